//! What was agreed on in a TLS handshake.
//!
//! Owns: version and cipher as a value, and their text. Does not know: connections.

use std::fmt;

use rustls::{CipherSuite, Connection, ProtocolVersion};

/// Version and cipher, written in OpenSSL's words, which PgBouncer's users know: `TLSv1.3/TLS_AES_256_GCM_SHA384`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsInfo {
    version: ProtocolVersion,
    suite: CipherSuite,
}

impl TlsInfo {
    /// `None` before the handshake is done.
    pub(super) fn of(conn: &Connection) -> Option<Self> {
        let suite = conn.negotiated_cipher_suite()?.suite();
        Some(Self { version: conn.protocol_version()?, suite })
    }
}

impl fmt::Display for TlsInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // rustls speaks no other.
        let version = if self.version == ProtocolVersion::TLSv1_3 { "TLSv1.3" } else { "TLSv1.2" };
        write!(f, "{version}/{}", openssl_name(self.suite.as_str().unwrap_or("unknown")))
    }
}

/// `TLS13_AES_128_GCM_SHA256` is `TLS_AES_128_GCM_SHA256`, and `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256` is
/// `ECDHE-RSA-AES128-GCM-SHA256`.
pub(super) fn openssl_name(name: &str) -> String {
    if let Some(rest) = name.strip_prefix("TLS13_") {
        return format!("TLS_{rest}");
    }
    let short = name.strip_prefix("TLS_").unwrap_or(name).replace("WITH_", "").replace("AES_", "AES");
    let short = short.replace("POLY1305_SHA256", "POLY1305");
    short.replace('_', "-")
}
