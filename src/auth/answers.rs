//! The answers of a client as they stand in its messages, and the errors that end its exchange.
//!
//! Owns: the layout of PasswordMessage and SASLInitialResponse, the texts of refusal. Does not know: states,
//! secrets. Every length inside a message is compared with what is there (S10).

use super::scram_text::malformed;
use crate::proto::{PgError, SqlState};

/// The one mechanism we offer. Without PLUS beside it, a client's `y` flag is legal (R87).
pub(super) const MECHANISM: &str = "SCRAM-SHA-256";

/// The one error for a wrong password, an unknown user and an unusable secret (R84).
pub(super) fn refusal(user: &str) -> PgError {
    PgError::fatal(SqlState::INVALID_PASSWORD, format!("password authentication failed for user \"{user}\""))
}

/// A message that the protocol does not allow here.
pub(super) fn violation(message: &'static str) -> PgError {
    PgError::fatal(SqlState::PROTOCOL_VIOLATION, message)
}

/// The password in a PasswordMessage (R82, R83).
pub(super) fn password_in(body: &[u8]) -> Result<&[u8], PgError> {
    match body.split_last() {
        Some((0, [])) => Err(PgError::fatal(SqlState::INVALID_PASSWORD, "empty password returned by client")),
        Some((0, password)) if !password.contains(&0) => Ok(password),
        _ => Err(violation("invalid password packet size")),
    }
}

/// The client's first SCRAM text in a SASLInitialResponse; `None` if it keeps that for the next message (R85, R86).
pub(super) fn initial_response(body: &[u8]) -> Result<Option<&[u8]>, PgError> {
    let end =
        body.iter().position(|&byte| byte == 0).ok_or_else(|| violation("invalid string in message"))?;
    let (mechanism, rest) = (&body[..end], &body[end + 1..]);
    if mechanism != MECHANISM.as_bytes() {
        return Err(violation("client selected an invalid SASL authentication mechanism"));
    }
    let insufficient = || violation("insufficient data left in message");
    let (length, data) = rest.split_first_chunk::<4>().ok_or_else(insufficient)?;
    let length = i32::from_be_bytes(*length);
    let announced = if length == -1 { 0 } else { usize::try_from(length).map_err(|_| insufficient())? };
    if data.len() < announced {
        Err(insufficient())
    } else if data.len() > announced {
        Err(violation("invalid message format"))
    } else if length == -1 {
        Ok(None)
    } else if data.is_empty() {
        Err(malformed("The message is empty."))
    } else {
        Ok(Some(data))
    }
}
