//! Whether a server is who it should be.
//!
//! Owns: what each `server_tls_sslmode` demands of a certificate. Does not know: files, connections.
//!
//! In every mode the server proves that it holds the key of the certificate it shows.

use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Version;

use super::pem;
use super::tls_context::TlsProblem;
use crate::config::{SslMode, TlsSettings};

/// Checks servers' certificates as one mode demands.
#[derive(Debug)]
pub(super) struct ServerCertCheck {
    demand: Demand,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
enum Demand {
    /// `allow`, `prefer`, `require`: any certificate.
    Nothing,
    /// `verify-ca`: a chain to a certificate of the CA file.
    Chain(Trusted),
    /// `verify-full`: that, and the host name.
    ChainAndName(Trusted),
}

/// The CA file.
#[derive(Debug)]
struct Trusted {
    roots: RootCertStore,
    /// The same, whole: a server may show one of these itself, as self-signed servers do.
    certificates: Vec<CertificateDer<'static>>,
}

impl ServerCertCheck {
    pub(super) fn new(
        settings: &TlsSettings,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<Self, TlsProblem> {
        let trusted = || -> Result<Trusted, TlsProblem> {
            let file = settings.ca_file.as_ref().ok_or(TlsProblem::NoCa { side: "server" })?;
            let (certificates, roots) = pem::read_roots(file)?;
            Ok(Trusted { roots, certificates })
        };
        let demand = match settings.mode {
            SslMode::Disable | SslMode::Allow | SslMode::Prefer | SslMode::Require => Demand::Nothing,
            SslMode::VerifyCa => Demand::Chain(trusted()?),
            SslMode::VerifyFull => Demand::ChainAndName(trusted()?),
        };
        Ok(Self { demand, algorithms })
    }

    fn check_chain(
        &self,
        trusted: &Trusted,
        cert: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if trusted.certificates.iter().any(|known| known == cert) {
            return check_validity(cert, now);
        }
        let parsed = ParsedCertificate::try_from(cert)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &trusted.roots,
            intermediates,
            now,
            self.algorithms.all,
        )
    }
}

impl ServerCertVerifier for ServerCertCheck {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.demand {
            Demand::Nothing => {}
            Demand::Chain(trusted) => self.check_chain(trusted, end_entity, intermediates, now)?,
            Demand::ChainAndName(trusted) => {
                self.check_chain(trusted, end_entity, intermediates, now)?;
                check_name(end_entity, server_name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let parsed = parse(cert)?;
        if parsed.version() == X509Version::V3 {
            return verify_tls13_signature(message, cert, dss, &self.algorithms);
        }
        // Certificates made by `openssl x509 -req` without extensions are of version 1. webpki does not read them,
        // but the key in them can sign.
        let key = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
        verify_tls13_signature_with_raw_key(message, &key, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn parse<'a>(cert: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Error> {
    match X509Certificate::from_der(cert) {
        Ok((_, parsed)) => Ok(parsed),
        Err(_) => Err(CertificateError::BadEncoding.into()),
    }
}

fn check_validity(cert: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let validity = parse(cert)?.validity().clone();
    let not_before = unix_time(&validity.not_before);
    let not_after = unix_time(&validity.not_after);
    if now < not_before {
        return Err(CertificateError::NotValidYetContext { time: now, not_before }.into());
    }
    if now > not_after {
        return Err(CertificateError::ExpiredContext { time: now, not_after }.into());
    }
    Ok(())
}

/// Times before 1970 count as 1970.
fn unix_time(time: &ASN1Time) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0)))
}

/// The subject alternative names decide if there are any of a fitting kind; else the common name, as libpq does.
fn check_name(cert: &CertificateDer<'_>, server_name: &ServerName<'_>) -> Result<(), Error> {
    let parsed = parse(cert)?;
    let alternatives = parsed.subject_alternative_name().map_err(|_| CertificateError::BadEncoding)?;
    let decisive = alternatives.is_some_and(|names| {
        names
            .value
            .general_names
            .iter()
            .any(|name| matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_)))
    });
    if decisive {
        return verify_server_name(&ParsedCertificate::try_from(cert)?, server_name);
    }
    let host = server_name.to_str();
    // The last one is the most specific.
    let common = parsed.subject().iter_common_name().last().and_then(|name| name.as_str().ok());
    match common {
        Some(common) if common_name_fits(common, &host) => Ok(()),
        _ => Err(CertificateError::NotValidForName.into()),
    }
}

/// Equal, or `*.` and everything after the host's first label.
fn common_name_fits(common: &str, host: &str) -> bool {
    if common.eq_ignore_ascii_case(host) {
        return true;
    }
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    match (common.strip_prefix("*."), host.split_once('.')) {
        (Some(pattern), Some((label, rest))) => {
            !is_address && !label.is_empty() && pattern.contains('.') && pattern.eq_ignore_ascii_case(rest)
        }
        _ => false,
    }
}
