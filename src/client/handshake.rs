//! The first words of a client: encryption, then a login or a cancel request.
//!
//! Owns: the order in which these may come (R70 to R74), what is answered to each. Does not know: users, databases,
//! servers. What was received behind the packet at hand is unread, and a stream with anything unread never becomes a TLS
//! stream: nothing received in the clear can be taken for something received inside TLS (S4).
//!
//! ```text
//! Fresh --0x16--> TLS inside --.
//! Fresh --SSLRequest--> `S`, TLS inside --> login or cancel
//!   '------- `N` (once per kind of request) --> login or cancel
//! ```

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::end::{EndClass, LoginEnd, escape};
use super::packet::{discard, has_more, part, within};
use crate::config::SslMode;
use crate::net::{Quiet, Stream, TlsContext, Turnstile, clock, timeout_at};
use crate::proto::{
    LENGTH_WORD, PgError, SqlState, StartupError, StartupMessage, StartupPacket, put_negotiate_protocol,
    put_unsupported_major, startup_length,
};

/// First byte of a TLS record that carries a handshake. As the first byte of a length word it is far out of range.
const TLS_HANDSHAKE_RECORD: u8 = 0x16;

/// Longest time for a handshake that has begun: two round trips to the farthest client, many times over. Who takes
/// longer would keep others from theirs.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// What the greeting needs to know.
#[derive(Clone, Copy)]
pub struct GreetEnv<'a> {
    /// Our certificate, and whether clients must use it.
    pub tls: &'a TlsContext,
    /// How many may shake hands at a time (R109).
    pub handshakes: &'a Turnstile,
    /// When the whole login must be over; the same moment for every wait (R107).
    pub deadline: Option<Instant>,
}

/// What a client came for.
#[derive(Debug)]
pub enum Greeting {
    /// To stop what the holder of this key runs. It is never answered (R72); its client takes the end of the
    /// connection as word that the request has been dealt with, so it is closed only then, or at once if the key
    /// is unknown.
    Cancel {
        /// The connection.
        stream: Stream,
        /// First half of the key.
        process_id: i32,
        /// Second half of the key.
        secret: Vec<u8>,
    },
    /// To log in. Nothing is read behind the packet.
    Login {
        /// The connection, encrypted or not.
        stream: Stream,
        /// What it asked for.
        message: StartupMessage,
    },
}

/// Hears a fresh client out: answers its requests for encryption and reads its startup packet.
///
/// Cancel safe: the connection is closed when the future is dropped.
///
/// # Errors
/// The connection is closed; whatever had to be said has been said, and `tell` is empty.
pub async fn greet(stream: Stream, env: &GreetEnv<'_>) -> Result<Greeting, LoginEnd> {
    let offers_tls = env.tls.client_mode() != SslMode::Disable && !stream.is_unix();
    let mut guest = Guest { stream, env, begun: None, offers_tls, may_ask: MayAsk { tls: true, gss: true } };
    loop {
        let heard = match env.deadline {
            Some(deadline) => timeout_at(deadline, guest.hear()).await,
            None => Ok(guest.hear().await),
        };
        let fault = match heard.map_err(|elapsed| Fault::from(io::Error::from(elapsed))).flatten() {
            Ok(Wish::Cancel { process_id, secret }) => {
                return Ok(Greeting::Cancel { stream: guest.stream, process_id, secret });
            }
            Ok(Wish::Login(message)) => return Ok(Greeting::Login { stream: guest.stream, message }),
            Ok(Wish::Encrypt { rash }) => {
                // In boxes: both take much room, and most clients need neither.
                guest = Box::pin(guest.encrypt()).await?;
                if !rash {
                    continue;
                }
                unencrypted_data("SSL")
            }
            Err(fault) => fault,
        };
        if !fault.words.is_empty() {
            Box::pin(part(guest.stream, &fault.words)).await;
        }
        return Err(fault.end);
    }
}

/// What a client wants next.
enum Wish {
    /// A TLS handshake; it has been told that it may begin. `rash`: it said more before, which is forgotten.
    Encrypt {
        rash: bool,
    },
    Cancel {
        process_id: i32,
        secret: Vec<u8>,
    },
    Login(StartupMessage),
}

/// Why a client goes, and the bytes it is sent before.
struct Fault {
    words: Vec<u8>,
    end: LoginEnd,
}

impl Fault {
    fn silent(class: EndClass, reason: impl Into<String>) -> Self {
        Self { words: Vec::new(), end: LoginEnd::silent(class, reason) }
    }

    fn told(class: EndClass, tell: &PgError) -> Self {
        let mut fault = Self::silent(class, escape(&tell.message));
        tell.put(&mut fault.words);
        fault
    }

    fn unsupported(major: u16, minor: u16) -> Self {
        let mut fault =
            Self::silent(EndClass::Protocol, format!("unsupported frontend protocol {major}.{minor}"));
        put_unsupported_major(&mut fault.words, major, minor);
        fault
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self { words: Vec::new(), end: LoginEnd::broken(&error) }
    }
}

impl From<StartupError> for Fault {
    fn from(error: StartupError) -> Self {
        match error.for_client() {
            Some(tell) => Self::told(EndClass::Protocol, &tell),
            None => Self::silent(EndClass::Protocol, error.to_string()),
        }
    }
}

/// A client that has not said yet what it came for.
struct Guest<'a> {
    stream: Stream,
    env: &'a GreetEnv<'a>,
    /// The first bytes of all, while nobody has made anything of them.
    begun: Option<[u8; LENGTH_WORD]>,
    offers_tls: bool,
    may_ask: MayAsk,
}

/// Which kinds of encryption the client may still ask for: each once, and neither inside TLS.
#[derive(Clone, Copy)]
struct MayAsk {
    tls: bool,
    gss: bool,
}

impl Guest<'_> {
    async fn hear(&mut self) -> Result<Wish, Fault> {
        let fresh = self.may_ask.tls && self.may_ask.gss;
        if fresh {
            let mut first = [0; LENGTH_WORD];
            self.stream.read_exact_ahead(&mut first).await?;
            self.begun = Some(first);
            if self.offers_tls && first[0] == TLS_HANDSHAKE_RECORD {
                return Ok(Wish::Encrypt { rash: false });
            }
        }
        loop {
            match self.next_packet().await? {
                StartupPacket::Ssl if self.may_ask.tls && self.offers_tls => {
                    let rash = has_more(&mut self.stream);
                    if rash {
                        discard(&mut self.stream).await;
                    }
                    self.send(b"S").await?;
                    return Ok(Wish::Encrypt { rash });
                }
                StartupPacket::Ssl if self.may_ask.tls => {
                    self.may_ask.tls = false;
                    self.decline("SSL").await?;
                }
                StartupPacket::GssEnc if self.may_ask.gss => {
                    self.may_ask.gss = false;
                    self.decline("GSSAPI encryption").await?;
                }
                // Once too often, or inside TLS: like PostgreSQL, take the code for a version (R70, B34).
                StartupPacket::Ssl => return Err(Fault::unsupported(1234, 5679)),
                StartupPacket::GssEnc => return Err(Fault::unsupported(1234, 5680)),
                StartupPacket::UnsupportedMajor(major, minor) => {
                    return Err(Fault::unsupported(major, minor));
                }
                StartupPacket::Cancel { process_id, secret } => {
                    return Ok(Wish::Cancel { process_id, secret });
                }
                StartupPacket::Login(message) => return self.admit(message).await,
            }
        }
    }

    /// Makes the connection a TLS connection. A handshake that fails leaves nothing to talk over.
    async fn encrypt(self) -> Result<Self, LoginEnd> {
        let Self { mut stream, env, begun, offers_tls, .. } = self;
        let handshake = async {
            // A client that says nothing keeps nobody waiting.
            speaks(&mut stream).await;
            let _ticket = env.handshakes.enter().await;
            let handshake = async {
                match begun {
                    Some(first) => stream.accept_direct_tls(env.tls, &first).await,
                    None => stream.accept_tls(env.tls).await,
                }
            };
            timeout_at(clock::now() + HANDSHAKE_TIME, handshake).await?
        };
        match within(env.deadline, handshake).await {
            Ok(stream) => {
                Ok(Self { stream, env, begun: None, offers_tls, may_ask: MayAsk { tls: false, gss: false } })
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let reason = format!("TLS handshake failed: {}", escape(&error.to_string()));
                Err(LoginEnd::silent(EndClass::Protocol, reason))
            }
            Err(error) => Err(LoginEnd::broken(&error)),
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    async fn next_packet(&mut self) -> Result<StartupPacket, Fault> {
        let word = if let Some(word) = self.begun.take() {
            word
        } else {
            let mut word = [0; LENGTH_WORD];
            self.stream.read_exact_ahead(&mut word).await?;
            word
        };
        // Judged before anything is reserved (B4).
        let mut packet = vec![0; startup_length(word)?];
        packet[..LENGTH_WORD].copy_from_slice(&word);
        self.stream.read_exact_ahead(&mut packet[LENGTH_WORD..]).await?;
        Ok(StartupPacket::parse(&packet)?)
    }

    /// Answers `N`. What came in the same breath as the request was never meant to be read in the clear (R71).
    async fn decline(&mut self, what: &str) -> Result<(), Fault> {
        let rash = has_more(&mut self.stream);
        self.send(b"N").await?;
        if rash { Err(unencrypted_data(what)) } else { Ok(()) }
    }

    async fn admit(&mut self, message: StartupMessage) -> Result<Wish, Fault> {
        if self.env.tls.client_mode() >= SslMode::Require && self.offers_tls && !self.stream.is_tls() {
            let tell = PgError::fatal(SqlState::INVALID_AUTHORIZATION, "SSL required");
            return Err(Fault::told(EndClass::Refused, &tell));
        }
        if message.needs_negotiation() {
            let mut words = Vec::new();
            let refused: Vec<&[u8]> = message.refused_options.iter().map(Vec::as_slice).collect();
            put_negotiate_protocol(&mut words, message.spoken_minor(), &refused);
            self.send(&words).await?;
        }
        Ok(Wish::Login(message))
    }
}

/// Waits until there is something to read, or the end.
async fn speaks(stream: &mut Stream) {
    poll_fn(|cx| match stream.poll_quiet(cx.waker()) {
        Quiet::Silent => Poll::Pending,
        Quiet::Readable | Quiet::Closed => Poll::Ready(()),
    })
    .await;
}

fn unencrypted_data(what: &str) -> Fault {
    let text = format!("received unencrypted data after {what} request");
    Fault::told(EndClass::Protocol, &PgError::fatal(SqlState::PROTOCOL_VIOLATION, text))
}
