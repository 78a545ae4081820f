//! What TLS presents and believes, in both roles.
//!
//! Owns: the settings of both sides turned into rustls configurations. Does not know: connections. A context is
//! made anew at each reload; connections that exist keep theirs.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, InconsistentKeys, ServerConfig};

use super::pem;
use super::verify::ServerCertCheck;
use crate::config::{SslMode, TlsSettings};

/// The name of PostgreSQL's protocol in ALPN.
pub(super) const ALPN_POSTGRESQL: &[u8] = b"postgresql";

/// Why TLS cannot be set up. The texts are for the operator and contain no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsProblem {
    /// Clients are offered TLS, and there is nothing to show them.
    #[error(
        "To allow TLS connections from clients, client_tls_key_file and client_tls_cert_file must be set."
    )]
    NoIdentity,
    /// A key without a certificate, or the other way round.
    #[error("{side}_tls_key_file and {side}_tls_cert_file must be set together")]
    HalfIdentity {
        /// `client` or `server`.
        side: &'static str,
    },
    /// Verification is asked for without anything to verify against.
    #[error("{side}_tls_sslmode requires {side}_tls_ca_file")]
    NoCa {
        /// `client` or `server`.
        side: &'static str,
    },
    /// A file cannot be used.
    #[error("failed to load {what} file \"{}\": {why}", file.display())]
    File {
        /// What it should contain.
        what: &'static str,
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The files are readable and do not fit together.
    #[error("{side} TLS settings: {why}")]
    Unfit {
        /// `client` or `server`.
        side: &'static str,
        /// What is wrong.
        why: String,
    },
}

/// TLS towards clients and towards servers.
pub struct TlsContext {
    client: TlsSettings,
    server: TlsSettings,
    accepting: Option<Arc<ServerConfig>>,
    connecting: Option<Arc<ClientConfig>>,
}

impl TlsContext {
    /// Reads the files of both sides. Blocks on the disk.
    ///
    /// # Errors
    /// The first problem found; nothing is changed then, the caller keeps its old context.
    pub fn load(client: &TlsSettings, server: &TlsSettings) -> Result<Self, TlsProblem> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let offered = client.mode != SslMode::Disable;
        let wanted = server.mode != SslMode::Disable;
        let accepting = offered.then(|| accepting_config(client, &provider)).transpose()?;
        let connecting = wanted.then(|| connecting_config(server, &provider)).transpose()?;
        Ok(Self {
            client: client.clone(),
            server: server.clone(),
            accepting: accepting.map(Arc::new),
            connecting: connecting.map(Arc::new),
        })
    }

    /// `client_tls_sslmode`.
    pub fn client_mode(&self) -> SslMode {
        self.client.mode
    }

    /// `server_tls_sslmode`.
    pub fn server_mode(&self) -> SslMode {
        self.server.mode
    }

    /// Whether the settings towards servers are the same. The contents of the files may differ: new connections
    /// use the new ones, old connections need not be replaced for that.
    pub fn same_server_settings(&self, other: &Self) -> bool {
        self.server == other.server
    }

    pub(super) fn accepting(&self) -> Option<&Arc<ServerConfig>> {
        self.accepting.as_ref()
    }

    pub(super) fn connecting(&self) -> Option<&Arc<ClientConfig>> {
        self.connecting.as_ref()
    }
}

impl std::fmt::Debug for TlsContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsContext")
            .field("client", &self.client)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

fn accepting_config(
    settings: &TlsSettings,
    provider: &Arc<CryptoProvider>,
) -> Result<ServerConfig, TlsProblem> {
    const SIDE: &str = "client";
    let unfit = |error: &dyn std::fmt::Display| TlsProblem::Unfit { side: SIDE, why: error.to_string() };
    let identity = identity(settings, SIDE, provider)?.ok_or(TlsProblem::NoIdentity)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unfit(&error))?;
    let builder = match client_cert_check(settings, provider)? {
        Some(check) => builder.with_client_cert_verifier(check),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(identity));
    // As PostgreSQL has it: its clients resume nothing, and a ticket that nobody reads turns the end of a connection
    // into a reset. Nor would a store shared by all workers suit a data path without locks.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![ALPN_POSTGRESQL.to_vec()];
    Ok(config)
}

/// Asked for only where it can be verified: a certificate shown to nobody's knowledge would fail for no reason.
fn client_cert_check(
    settings: &TlsSettings,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsProblem> {
    const SIDE: &str = "client";
    let required = settings.mode >= SslMode::VerifyCa;
    let Some(ca_file) = &settings.ca_file else {
        return if required { Err(TlsProblem::NoCa { side: SIDE }) } else { Ok(None) };
    };
    let (_, roots) = pem::read_roots(ca_file)?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if required { builder } else { builder.allow_unauthenticated() };
    let check = builder.build().map_err(|error| TlsProblem::Unfit { side: SIDE, why: error.to_string() })?;
    Ok(Some(check))
}

fn connecting_config(
    settings: &TlsSettings,
    provider: &Arc<CryptoProvider>,
) -> Result<ClientConfig, TlsProblem> {
    const SIDE: &str = "server";
    let unfit = |error: &dyn std::fmt::Display| TlsProblem::Unfit { side: SIDE, why: error.to_string() };
    let check = ServerCertCheck::new(settings, provider.signature_verification_algorithms)?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unfit(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(check));
    let mut config = match identity(settings, SIDE, provider)? {
        Some(identity) => builder.with_client_cert_resolver(Arc::new(identity)),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN_POSTGRESQL.to_vec()];
    // PostgreSQL resumes nothing; and so each connection sees the server's certificate afresh.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Our own key and certificate, checked to belong together.
fn identity(
    settings: &TlsSettings,
    side: &'static str,
    provider: &CryptoProvider,
) -> Result<Option<SingleCertAndKey>, TlsProblem> {
    let (key_file, cert_file) = match (&settings.key_file, &settings.cert_file) {
        (Some(key), Some(cert)) => (key, cert),
        (None, None) => return Ok(None),
        _half => return Err(TlsProblem::HalfIdentity { side }),
    };
    let chain = pem::read_certificates(cert_file)?;
    let key = provider.key_provider.load_private_key(pem::read_key(key_file)?).map_err(|error| {
        TlsProblem::File { what: "private key", file: key_file.clone(), why: error.to_string() }
    })?;
    let certified = CertifiedKey::new(chain, key);
    // Other doubts (an old certificate format, say) are for the peer to judge.
    if let Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) = certified.keys_match() {
        let why = format!(
            "the private key \"{}\" does not belong to the certificate \"{}\"",
            key_file.display(),
            cert_file.display()
        );
        return Err(TlsProblem::Unfit { side, why });
    }
    Ok(Some(SingleCertAndKey::from(certified)))
}
