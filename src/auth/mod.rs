//! Who is asking: the password exchanges with clients and with servers.
//!
//! Owns: stored secrets, the exchange that a client must pass ([`Exchange`]), the exchange by which we pass a
//! server ([`ServerLogin`]), the verdicts. Does not know: where secrets come from, sockets, who may use which
//! database. No I/O, no clock; random bytes come in as arguments ([`Nonce`], [`AuthSeed`]).
//!
//! The one expensive step is PBKDF2, one to three milliseconds for 4096 rounds. It happens only inside
//! [`Derivation::run`] and [`VerifierJob::run`], both `Send + 'static`: the shell runs them off its loop, and
//! bounds how many run at once (R109).

mod answers;
mod exchange;
mod hash;
mod login_error;
mod random;
mod scram;
mod scram_text;
mod secret;
mod server_login;

#[cfg(test)]
mod exchange_tests;
#[cfg(test)]
mod scram_tests;
#[cfg(test)]
mod server_login_tests;
#[cfg(test)]
mod testkit;
#[cfg(test)]
mod verdict_tests;

pub use exchange::{Accepted, Exchange, Identity, Login, MAX_PASSWORD_LEN, MAX_SASL_LEN, Start, Step};
pub use login_error::LoginError;
pub use random::{AuthSeed, CANCEL_TAIL, EntropyError, Nonce, RandomStock, random};
pub use scram::{
    CachedVerifier, Derivation, Derived, MAX_ITERATIONS, SCRAM_ITERATIONS, ScramKeys, ScramVerifier,
    VerifierJob,
};
pub use secret::{Md5Hash, StoredSecret};
pub use server_login::{LoginStep, ServerCredentials, ServerLogin, ServerSecret};
