//! From a fresh socket to one that is as encrypted as was configured.
//!
//! Owns: the TLS request and its answer (R103). Does not know: what is said afterwards. Every connection starts
//! here anew, with the same settings (R104, S41, S42).

use std::future::poll_fn;
use std::task::{Poll, Waker};

use super::error::{MAX_LOGGED_TEXT, OpenCause};
use crate::config::SslMode;
use crate::net::{Quiet, Stream, TlsContext};

/// `SSLRequest`.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// How much encryption a connection needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// What the settings say.
    AsConfigured,
    /// TLS, whatever the settings say.
    Encrypted,
}

/// Asks for TLS and does the handshake, as the settings have it. `host` is the name that `verify-full` looks for in
/// the certificate. A Unix socket stays as it is. Only a clear `N` leads to plain text, and only where `need` and
/// the settings allow that.
///
/// # Errors
/// The connection is of no more use.
pub(super) async fn encrypt(
    mut stream: Stream,
    tls: &TlsContext,
    host: &str,
    need: Need,
) -> Result<Stream, OpenCause> {
    let mode = tls.server_mode();
    if stream.is_unix() || (mode == SslMode::Disable && need == Need::AsConfigured) {
        return Ok(stream);
    }
    stream.write_all(&SSL_REQUEST).await.map_err(OpenCause::Lost)?;
    let mut answer = [0; 1];
    stream.read_exact(&mut answer).await.map_err(OpenCause::Lost)?;
    match answer[0] {
        b'N' if mode >= SslMode::Require || need == Need::Encrypted => Err(OpenCause::TlsRefused),
        // A server that says more than `N` before we have said anything is not one (S5, S6).
        b'N' | b'S' if stream.poll_quiet(Waker::noop()) == Quiet::Readable => {
            Err(OpenCause::TlsAnswer("unencrypted data follows".to_owned()))
        }
        b'N' => Ok(stream),
        b'S' => stream.connect_tls(tls, host).await.map_err(OpenCause::Tls),
        other => Err(OpenCause::TlsAnswer(unauthenticated_text(&mut stream, other).await)),
    }
}

/// What stands behind an answer that is none, as far as it has arrived, cut and marked, for the log only (S6).
async fn unauthenticated_text(stream: &mut Stream, first: u8) -> String {
    let mut text = [0; MAX_LOGGED_TEXT];
    text[0] = first;
    let read = poll_fn(|cx| match stream.poll_read(cx, &mut text[1..]) {
        Poll::Ready(Ok(read)) => Poll::Ready(read),
        Poll::Ready(Err(_)) | Poll::Pending => Poll::Ready(0),
    })
    .await;
    format!("unauthenticated text \"{}\"", text[..=read].escape_ascii())
}
