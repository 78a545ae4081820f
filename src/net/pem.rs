//! PEM files.
//!
//! Owns: reading keys and certificates, and saying which file is at fault. Does not know: what they are for.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::tls_context::TlsProblem;

pub(super) fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
    let problem = |why: String| TlsProblem::File { what: "certificate", file: file.to_owned(), why };
    let text = std::fs::read(file).map_err(|error| problem(error.to_string()))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = found.map_err(|error| problem(error.to_string()))?;
    if certificates.is_empty() {
        return Err(problem("no certificate in it".to_owned()));
    }
    Ok(certificates)
}

/// The certificates of a CA file and, again, as trust anchors.
pub(super) fn read_roots(file: &Path) -> Result<(Vec<CertificateDer<'static>>, RootCertStore), TlsProblem> {
    let certificates = read_certificates(file)?;
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots.add(certificate.clone()).map_err(|error| TlsProblem::File {
            what: "CA",
            file: file.to_owned(),
            why: error.to_string(),
        })?;
    }
    Ok((certificates, roots))
}

pub(super) fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsProblem> {
    let problem = |why: String| TlsProblem::File { what: "private key", file: file.to_owned(), why };
    let text = Zeroizing::new(std::fs::read(file).map_err(|error| problem(error.to_string()))?);
    // The library's own text could quote the file; the reason is told in our words.
    PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| problem("no private key in it (PEM, not encrypted: PKCS#8, PKCS#1 or SEC1)".to_owned()))
}
