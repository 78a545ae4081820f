//! The conversation with one console client.
//!
//! Owns: welcome, requests in order, answers, the end. Does not know: how the client logged in, how commands are
//! carried out. Errors leave the console usable; a broken message ends it.

use jiff::tz::TimeZone;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tracing::{info, warn};

use super::PGBOUNCER_VERSION;
use super::grammar::{Statement, parse};
use super::reports::{self, Answer};
use super::request::{AdminHandle, Command, Shutdown, refusal};
use super::rights::Rights;
use super::wire::{Front, MAX_MESSAGE, front};
use super::words::View;
use crate::proto::{
    PgError, Severity, TxStatus, put_backend_key, put_command_complete, put_parameter_status, put_ready,
};

/// Bytes asked of the socket at once: more than any statement that people write.
const READ_CHUNK: usize = 4096;

/// What a console tells its client about itself. The answers of SHOW are text in this form.
const WELCOME: [(&str, &str); 6] = [
    ("client_encoding", "UTF8"),
    ("server_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("TimeZone", "GMT"),
    ("standard_conforming_strings", "on"),
    ("is_superuser", "on"),
];

/// What belongs to one console beside its rights.
#[derive(Debug, Clone, Copy)]
pub struct ConsoleIdentity<F> {
    /// The pair a cancel request must show.
    pub key: (i32, i32),
    /// Called for each command before it is carried out.
    pub on_command: F,
}

/// Why a console ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsoleEnd {
    /// The client said good-bye.
    Terminated,
    /// The client is gone without a word.
    ClientGone,
    /// The client broke the protocol, and was told.
    ProtocolViolation,
    /// The process is going down.
    ShuttingDown,
}

impl std::fmt::Display for ConsoleEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Terminated => "close req",
            Self::ClientGone => "client unexpected eof",
            Self::ProtocolViolation => "bad packet",
            Self::ShuttingDown => "pooler is shutting down",
        })
    }
}

/// Talks to a console client until one side ends it. To be called when AuthenticationOk was sent; `leftover` are
/// bytes that arrived behind the login. The caller closes the stream.
///
/// Not cancel safe: dropped, an answer may be half written, so the stream must be closed. A command that was taken
/// by the control plane goes on. The future is large; box it where it is part of every client's future.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin, F: Fn()>(
    stream: &mut S,
    rights: Rights,
    leftover: Vec<u8>,
    identity: ConsoleIdentity<F>,
    handle: AdminHandle,
) -> ConsoleEnd {
    let mut console = Console { stream, rights, handle, pending: leftover };
    match console.converse(identity).await {
        Ok(never) => match never {},
        Err(end) => end,
    }
}

/// A console at work. Its methods fail with the reason why it is over.
struct Console<'a, S> {
    stream: &'a mut S,
    rights: Rights,
    handle: AdminHandle,
    /// Received and not yet answered; at most [`MAX_MESSAGE`] beside what the login left over.
    pending: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Console<'_, S> {
    async fn converse(
        &mut self,
        identity: ConsoleIdentity<impl Fn()>,
    ) -> Result<std::convert::Infallible, ConsoleEnd> {
        self.send(&welcome(identity.key)).await?;
        loop {
            match front(&self.pending) {
                Front::NeedMore => read_more(self.stream, &mut self.pending).await?,
                Front::Query { text, length } => {
                    let parsed = parse(text);
                    self.pending.drain(..length);
                    (identity.on_command)();
                    match parsed {
                        Ok(statement) => self.obey(statement).await?,
                        Err(rejection) => {
                            warn!("pooler error: {rejection}");
                            self.send(&failed(&self.rights.answer_rejection(&rejection))).await?;
                        }
                    }
                }
                Front::Terminate => return Err(ConsoleEnd::Terminated),
                Front::Extended => {
                    let error = refusal("extended query protocol not supported by admin console");
                    return Err(self.expel(Some(&error), "bad packet").await);
                }
                Front::Unsupported(kind) => {
                    let error = refusal(format!("unsupported packet type for admin console: {kind}"));
                    return Err(self.expel(Some(&error), "bad packet").await);
                }
                Front::Broken(how) => return Err(self.expel(None, how).await),
            }
        }
    }

    /// Answers one statement.
    async fn obey(&mut self, statement: Statement) -> Result<(), ConsoleEnd> {
        let outcome = match self.rights.allow(&statement) {
            Err(error) => Err(error),
            Ok(()) => match statement {
                Statement::Show(view) => self.show(view).await,
                Statement::ShowVariable(variable) => {
                    Ok(complete("SHOW", |out| reports::variable(variable).put(out)))
                }
                Statement::SetVariable(_) => {
                    Ok(complete("SET", |out| PgError::notice("SET ignored").put(out)))
                }
                Statement::SetSetting(_) => {
                    Err(refusal("SET failed: edit the configuration file, then RELOAD"))
                }
                Statement::Suspend => Err(refusal("SUSPEND is not offered").with_hint(
                    "PAUSE holds transactions back; SHUTDOWN WAIT_FOR_CLIENTS ends without haste.",
                )),
                Statement::Run(command) => self.run(command).await?,
            },
        };
        match outcome {
            Ok(answer) => self.send(&answer).await,
            Err(error) => {
                warn!("pooler error: {}", error.message.escape_debug());
                self.send(&failed(&error)).await?;
                if ends(&error) { Err(ConsoleEnd::ShuttingDown) } else { Ok(()) }
            }
        }
    }

    async fn show(&self, view: View) -> Result<Vec<u8>, PgError> {
        let overview = self.handle.overview().await.ok_or_else(|| self.handle.unanswered())?;
        let answer = reports::answer(view, &overview, &TimeZone::system())?;
        Ok(complete("SHOW", |out| match answer {
            Answer::Table(table) => table.put(out),
            Answer::Notice(notice) => notice.put(out),
        }))
    }

    /// Has a command carried out. The outer error is the end of the console, the inner one an answer.
    async fn run(&mut self, command: Command) -> Result<Result<Vec<u8>, PgError>, ConsoleEnd> {
        if let Err(error) = command.refuse_console() {
            return Ok(Err(error));
        }
        info!("{}", command.issued());
        let word = command.word();
        let last = command == Command::Shutdown(Shutdown::Now);
        let outcome = if command.waits() {
            let execution = self.handle.execute(command);
            tokio::select! {
                biased;
                outcome = execution => outcome,
                end = until_gone(self.stream, &mut self.pending) => return Err(end),
            }
        } else {
            self.handle.execute(command).await
        };
        match outcome {
            Ok(()) if last => Err(ConsoleEnd::ShuttingDown),
            Ok(()) => Ok(Ok(complete(word, |_| ()))),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn send(&mut self, answer: &[u8]) -> Result<(), ConsoleEnd> {
        self.stream.write_all(answer).await.map_err(|_| ConsoleEnd::ClientGone)?;
        self.stream.flush().await.map_err(|_| ConsoleEnd::ClientGone)
    }

    /// Tells the client that it is over.
    async fn expel(&mut self, error: Option<&PgError>, fatal: &'static str) -> ConsoleEnd {
        let mut out = error.map(failed).unwrap_or_default();
        warn!("pooler error: {}", error.map_or(fatal, |error| error.message.as_ref()));
        refusal(fatal).into_fatal().put(&mut out);
        match self.send(&out).await {
            Ok(()) => ConsoleEnd::ProtocolViolation,
            Err(end) => end,
        }
    }
}

/// Reads what has arrived, waiting for something if nothing has. Cancel safe: nothing read is lost.
async fn read_more<S: AsyncRead + Unpin>(stream: &mut S, pending: &mut Vec<u8>) -> Result<(), ConsoleEnd> {
    let room = MAX_MESSAGE.saturating_sub(pending.len()).clamp(1, READ_CHUNK);
    pending.reserve(room);
    match stream.take(room as u64).read_buf(pending).await {
        Ok(0) | Err(_) => Err(ConsoleEnd::ClientGone),
        Ok(_) => Ok(()),
    }
}

/// Ends when the client does. What it sends meanwhile is kept up to the limit; a client that sent more than that
/// is not watched any longer. Cancel safe.
async fn until_gone<S: AsyncRead + Unpin>(stream: &mut S, pending: &mut Vec<u8>) -> ConsoleEnd {
    while pending.len() < MAX_MESSAGE {
        if let Err(end) = read_more(stream, pending).await {
            return end;
        }
    }
    std::future::pending().await
}

fn welcome(key: (i32, i32)) -> Vec<u8> {
    let mut out = Vec::new();
    put_parameter_status(&mut out, b"server_version", format!("{PGBOUNCER_VERSION}/bouncer").as_bytes());
    for (name, value) in WELCOME {
        put_parameter_status(&mut out, name.as_bytes(), value.as_bytes());
    }
    put_backend_key(&mut out, key.0, &key.1.to_be_bytes());
    put_ready(&mut out, TxStatus::Idle);
    out
}

/// An answer: what `body` writes, the tag, ready for the next.
fn complete(tag: &str, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    body(&mut out);
    put_command_complete(&mut out, tag);
    put_ready(&mut out, TxStatus::Idle);
    out
}

/// An error, and ready for the next unless it was the last word.
fn failed(error: &PgError) -> Vec<u8> {
    let mut out = Vec::new();
    error.put(&mut out);
    if !ends(error) {
        put_ready(&mut out, TxStatus::Idle);
    }
    out
}

fn ends(error: &PgError) -> bool {
    matches!(error.severity, Severity::Fatal | Severity::Panic)
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
