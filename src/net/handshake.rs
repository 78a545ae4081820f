//! From plain to TLS.
//!
//! Owns: the handshake in both roles and the rule that no clear-text byte survives it. Does not know: who asked for
//! TLS and how.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Connection, ServerConnection};

use super::endpoint::Endpoint;
use super::stream::Stream;
use super::tls_context::{ALPN_POSTGRESQL, TlsContext};
use super::tls_io::TlsLayer;
use crate::config::SslMode;

impl Stream {
    /// Answers a handshake as the server. Cancelling closes the connection.
    ///
    /// # Errors
    /// `InvalidInput` if TLS towards clients is off; `InvalidData` if bytes came before the handshake (S4), or the
    /// peer's certificate or its TLS is not in order; `UnexpectedEof` if it hung up; else from the socket.
    pub async fn accept_tls(self, ctx: &TlsContext) -> io::Result<Self> {
        let tls = self.acceptor(ctx, &[])?;
        self.handshake(tls).await
    }

    /// Answers a client that began with TLS at once. `received` and what was put back behind it are the beginning
    /// of its handshake as far as it was read. Such a client must name the protocol (ALPN), so that TLS meant for another service does not end here.
    /// Cancelling closes the connection.
    ///
    /// # Errors
    /// As [`accept_tls`](Self::accept_tls); `InvalidData` without ALPN `postgresql`.
    pub async fn accept_direct_tls(mut self, ctx: &TlsContext, received: &[u8]) -> io::Result<Self> {
        let unread = self.unread.take().map(|unread| *unread).unwrap_or_default();
        let received = [received, &unread].concat();
        let tls = self.acceptor(ctx, &received)?;
        let stream = self.handshake(tls).await?;
        match stream.tls.as_ref().and_then(|tls| tls.agreed_protocol()) {
            Some(ALPN_POSTGRESQL) => Ok(stream),
            _ => Err(invalid_data("direct TLS without the protocol name postgresql (ALPN)")),
        }
    }

    /// Not async, so that the kilobytes of a TLS connection are in their box before anything waits.
    fn acceptor(&self, ctx: &TlsContext, received: &[u8]) -> io::Result<Box<TlsLayer>> {
        self.check_nothing_unread()?;
        let config = ctx.accepting().ok_or_else(|| invalid_input("TLS is off"))?;
        let conn = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        let mut tls = Box::new(TlsLayer::new(Connection::Server(conn)));
        tls.push_received(received);
        Ok(tls)
    }

    /// Begins a handshake as the client. `host` is the configured name of the server: sent for SNI, and compared
    /// with the certificate by `verify-full`. Cancelling closes the connection.
    ///
    /// # Errors
    /// As [`accept_tls`](Self::accept_tls); `InvalidInput` if `verify-full` has no name to compare with.
    pub async fn connect_tls(self, ctx: &TlsContext, host: &str) -> io::Result<Self> {
        self.check_nothing_unread()?;
        let config = ctx.connecting().ok_or_else(|| invalid_input("TLS is off"))?;
        let name = self.server_name(host, ctx.server_mode())?;
        let conn = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        self.handshake(Box::new(TlsLayer::new(Connection::Client(conn)))).await
    }

    fn server_name(&self, host: &str, mode: SslMode) -> io::Result<ServerName<'static>> {
        if let Ok(name) = ServerName::try_from(host.to_owned()) {
            return Ok(name);
        }
        if mode == SslMode::VerifyFull {
            return Err(invalid_input("verify-full needs a host name or address"));
        }
        // Nobody will compare it, and an address is not sent.
        Ok(match self.ends.peer() {
            Endpoint::Tcp(addr) => addr.ip().into(),
            Endpoint::Unix { .. } => std::net::Ipv4Addr::LOCALHOST.into(),
        })
    }

    /// Bytes that came in the clear must never be taken for something said under TLS (S4, S5, R71).
    fn check_nothing_unread(&self) -> io::Result<()> {
        if self.has_unread() || self.is_tls() {
            return Err(invalid_data("received unencrypted data before the TLS handshake"));
        }
        Ok(())
    }

    pub(super) async fn handshake(mut self, mut tls: Box<TlsLayer>) -> io::Result<Self> {
        poll_fn(|cx| tls.poll_handshake(&mut self.socket, cx)).await?;
        self.tls = Some(tls);
        Ok(self)
    }
}

fn invalid_data(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn invalid_input(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
