//! A connection between two workers.
//!
//! Owns: everything a [`Stream`] is, tied to no reactor. Does not know: where it goes.

use std::io;

use bytes::BytesMut;

use super::endpoint::{Endpoint, Ends};
use super::socket::FreeSocket;
use super::stream::Stream;
use super::tls_io::TlsLayer;

/// A connection that belongs to no thread: what a listener yields, and what travels from worker to worker. Nothing
/// is lost on the way: neither the TLS state nor bytes that were received or are still to be sent.
pub struct Detached {
    pub(super) socket: FreeSocket,
    pub(super) tls: Option<Box<TlsLayer>>,
    pub(super) unread: Option<Box<BytesMut>>,
    pub(super) ends: Ends,
}

impl Detached {
    /// Registers the connection with the reactor of the calling worker.
    ///
    /// # Errors
    /// The system refused; the connection is closed.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn attach(self) -> io::Result<Stream> {
        let Self { socket, tls, unread, ends } = self;
        Ok(Stream { socket: socket.attach()?, tls, unread, ends })
    }

    /// One that nobody has listened for.
    #[cfg(test)]
    pub(crate) fn for_test(socket: std::os::unix::net::UnixStream) -> Self {
        Self { socket: FreeSocket::Unix(socket), tls: None, unread: None, ends: Ends::for_test() }
    }

    /// The other end.
    pub fn endpoint(&self) -> Endpoint {
        self.ends.peer()
    }

    /// Our end.
    pub fn local_endpoint(&self) -> Endpoint {
        self.ends.local()
    }
}

impl std::fmt::Debug for Detached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Detached").field("ends", &self.ends).field("tls", &self.tls).finish_non_exhaustive()
    }
}
