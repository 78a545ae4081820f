//! Connections from applications.
//!
//! Owns: a client's life from its first byte on. Does not know: how servers log in.
//!
//! Reading order: `door` (how many may try), `handshake` (encryption and startup packet), `login` (who it is),
//! `parameters` (what it wants), `packet` and `end` (packets before login, and how it can go wrong); then `relay`
//! (the conversation), `hearing` (what has arrived), `short` (its commonest turns), `resting` (what stays of an idle
//! client), `notices` (notifications), `wire` (bytes that wait), `entry` (what the worker may see), `ended`.

mod books;
mod door;
mod end;
mod ended;
mod entry;
mod handshake;
#[cfg(test)]
mod handshake_tests;
mod hearing;
#[cfg(test)]
mod hostile_tests;
mod linking;
mod login;
#[cfg(test)]
mod login_tests;
mod notices;
mod packet;
mod parameters;
#[cfg(test)]
mod position_tests;
mod relay;
#[cfg(test)]
mod relay_tests;
mod resting;
mod short;
#[cfg(test)]
mod short_tests;
#[cfg(test)]
mod test_config;
#[cfg(test)]
pub(crate) mod test_entry;
mod verifiers;
mod wire;

pub use door::{
    Door, DoorBook, Gatehouse, MAX_DERIVATIONS, MAX_FAILING, MAX_FAILURES_PER_SECOND, MAX_HANDSHAKES,
    MAX_LOGINS, MAX_LOGINS_PER_ADDRESS, Origin, Place, Refusal,
};
pub use end::{EndClass, LoginEnd};
pub use ended::Ended;
pub use entry::{Asked, ClientEntry, ClientState, EndOrder, HeldCancel, Move, Pause, Shared};
pub use handshake::{GreetEnv, Greeting, greet};
pub use login::{Authenticated, Identity, LoginEnv, Rights, authenticate};
pub use parameters::{Wanted, choose_parameters};
pub use resting::{Conversation, Leaving};
pub use verifiers::{MAX_VERIFIERS, VerifierCache, warm_verifiers};
pub use wire::{READ_BUFFER, Scratch};
