//! Why a login to a server failed.
//!
//! Owns: the causes, their line in our log, and what clients are told. Does not know: the exchange itself.

use crate::proto::{PgError, SqlState};

/// Why we could not log in to a server. `Display` is for our log; clients get [`Self::for_client`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// The server wants a password, and none is known that could be sent.
    #[error("server asks for a password: no password is known")]
    NoPassword,
    /// What is known of the password does not serve this method.
    #[error("cannot do {0} authentication: wrong password type")]
    WrongPasswordType(&'static str),
    /// Only the verifier is known, and no client has shown the keys behind it.
    #[error(
        "cannot do SCRAM authentication: password is SCRAM secret but client authentication did not provide SCRAM keys"
    )]
    NoScramKeys,
    /// The server's salt or iteration count is not that of the keys: it stores another verifier.
    #[error("cannot do SCRAM authentication: the server stores another SCRAM secret than the client proved")]
    OtherVerifier,
    /// The server's iteration count is above [`super::MAX_ITERATIONS`].
    #[error("cannot do SCRAM authentication: the server asks for {0} iterations")]
    TooManyIterations(u32),
    /// None of the server's SASL mechanisms is ours.
    #[error("none of the server's SASL authentication mechanisms are supported")]
    NoMechanism,
    /// A method that the pooler does not speak, by name.
    #[error("unknown/unsupported auth method: {0} ({name})", name = method_name(*.0))]
    UnsupportedMethod(i32),
    /// The server's signature is that of somebody who does not know the verifier.
    #[error("invalid server signature")]
    InvalidSignature,
    /// The server's last SCRAM text is an error, or no signature at all.
    #[error("failed to verify server signature")]
    UnreadableSignature,
    /// `AuthenticationOk` before the server had shown its signature.
    #[error("the server ended SCRAM authentication without proving that it knows the secret")]
    SignatureSkipped,
    /// A request that does not belong here.
    #[error("authentication request {0} out of order")]
    OutOfOrder(i32),
    /// A request that cannot be read.
    #[error("malformed authentication request: {0}")]
    Malformed(&'static str),
}

impl LoginError {
    /// What the clients that wait for this server are told: PgBouncer's texts where it has one.
    pub fn for_client(&self) -> PgError {
        let text = match self {
            Self::NoPassword | Self::WrongPasswordType(_) | Self::NoScramKeys | Self::OtherVerifier => {
                "server login failed: wrong password type"
            }
            Self::NoMechanism => {
                "server login failed: none of the server's SASL authentication mechanisms are supported"
            }
            Self::InvalidSignature => "server login failed: invalid server signature",
            Self::UnreadableSignature | Self::SignatureSkipped => {
                "server login failed: failed to verify server signature"
            }
            Self::UnsupportedMethod(_) => "server login failed: authentication method is not supported",
            Self::TooManyIterations(_) | Self::OutOfOrder(_) | Self::Malformed(_) => {
                "server login failed: invalid authentication request"
            }
        };
        PgError::fatal(SqlState::PROTOCOL_VIOLATION, text)
    }
}

/// The method behind the code of an authentication request (`pqcomm.h`, `AUTH_REQ_*`).
const fn method_name(code: i32) -> &'static str {
    match code {
        1 => "Kerberos V4",
        2 => "Kerberos V5",
        4 => "crypt",
        6 => "SCM credentials",
        7 => "GSSAPI",
        8 => "GSSAPI continuation",
        9 => "SSPI",
        _ => "unknown",
    }
}
