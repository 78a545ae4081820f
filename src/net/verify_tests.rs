//! Promises of each sslmode: who is believed, who is not, and what the operator is told.

use std::io;

use rcgen::{CertificateParams, DnType, KeyPair, SigningKey};

use super::testing::{Authority, Identity, run, settings, tcp_pair};
use super::{TlsContext, TlsProblem};
use crate::config::{SslMode, TlsSettings};

use SslMode::{Allow, Disable, Prefer, Require, VerifyCa, VerifyFull};

/// What the connecting role says of a server that shows `shown`.
async fn verdict(shown: &Identity, server: &TlsSettings, host: &str) -> io::Result<()> {
    let off = settings(Disable, None, None);
    let far_ctx = TlsContext::load(&settings(Require, Some(shown), None), &off).unwrap();
    let near_ctx = TlsContext::load(&off, server).unwrap();
    let (near, far) = tcp_pair().await;
    let (near, _far) = tokio::join!(near.connect_tls(&near_ctx, host), far.accept_tls(&far_ctx));
    near.map(drop)
}

async fn refusal(shown: &Identity, server: &TlsSettings, host: &str) -> String {
    let error = verdict(shown, server, host).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    error.to_string()
}

fn expired(params: &mut CertificateParams) {
    params.not_before = rcgen::date_time_ymd(2001, 1, 1);
    params.not_after = rcgen::date_time_ymd(2002, 1, 1);
}

#[test]
fn without_verification_any_certificate_will_do() {
    run(|| async {
        let authority = Authority::new();
        let shown = authority.issue(&["elsewhere"], expired);
        for mode in [Allow, Prefer, Require] {
            for host in ["localhost", "127.0.0.1", "not a name", ""] {
                verdict(&shown, &settings(mode, None, None), host).await.unwrap();
            }
        }
    });
}

#[test]
fn verify_ca_believes_the_chain_and_not_the_name() {
    run(|| async {
        let (authority, stranger) = (Authority::new(), Authority::new());
        let shown = authority.issue(&["elsewhere"], |_| {});
        verdict(&shown, &settings(VerifyCa, None, Some(&authority)), "localhost").await.unwrap();
        verdict(&shown, &settings(VerifyCa, None, Some(&authority)), "not a name").await.unwrap();
        let text = refusal(&shown, &settings(VerifyCa, None, Some(&stranger)), "elsewhere").await;
        assert!(text.contains("UnknownIssuer"), "{text}");
        let late = authority.issue(&["localhost"], expired);
        let text = refusal(&late, &settings(VerifyCa, None, Some(&authority)), "localhost").await;
        assert!(text.contains("expired"), "{text}");
    });
}

#[test]
fn verify_full_believes_the_name_too() {
    run(|| async {
        let authority = Authority::new();
        let server = settings(VerifyFull, None, Some(&authority));
        let shown = authority.issue(&["db.example.com", "*.pool.example.com", "127.0.0.1"], |_| {});
        for host in ["db.example.com", "DB.example.com", "a.pool.example.com", "127.0.0.1"] {
            verdict(&shown, &server, host).await.unwrap();
        }
        for host in ["example.com", "a.b.pool.example.com", "127.0.0.2"] {
            let text = refusal(&shown, &server, host).await;
            assert!(text.contains("not valid for"), "{text}");
        }
        let nameless = verdict(&shown, &server, "not a name").await.unwrap_err();
        assert_eq!(nameless.kind(), io::ErrorKind::InvalidInput);
        let stranger = Authority::new();
        let misled = settings(VerifyFull, None, Some(&stranger));
        assert!(refusal(&shown, &misled, "db.example.com").await.contains("UnknownIssuer"));
        let late = authority.issue(&["db.example.com"], expired);
        assert!(refusal(&late, &server, "db.example.com").await.contains("expired"));
    });
}

#[test]
fn the_common_name_decides_only_where_there_are_no_alternative_names() {
    run(|| async {
        let authority = Authority::new();
        let server = settings(VerifyFull, None, Some(&authority));
        let common = |name: &'static str| {
            move |params: &mut CertificateParams| params.distinguished_name.push(DnType::CommonName, name)
        };
        let old = authority.issue(&[], common("db.example.com"));
        verdict(&old, &server, "db.example.com").await.unwrap();
        refusal(&old, &server, "example.com").await;
        let wild = authority.issue(&[], common("*.example.com"));
        verdict(&wild, &server, "db.example.com").await.unwrap();
        refusal(&wild, &server, "a.b.example.com").await;
        refusal(&wild, &server, "example.com").await;
        refusal(&authority.issue(&[], common("*.com")), &server, "example.com").await;
        refusal(&authority.issue(&[], common("*.0.0.1")), &server, "127.0.0.1").await;
        let both = authority.issue(&["other.example.com"], common("db.example.com"));
        refusal(&both, &server, "db.example.com").await;
    });
}

/// A certificate that is its own authority, as the PostgreSQL manual has people make.
fn self_signed(home: &Authority, change: impl FnOnce(&mut CertificateParams)) -> Identity {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    home.write(&params.self_signed(&key).unwrap().pem(), &key.serialize_pem())
}

fn believing(mode: SslMode, ca: &Identity) -> TlsSettings {
    TlsSettings { ca_file: Some(ca.cert_file.clone()), ..settings(mode, None, None) }
}

#[test]
fn a_server_may_show_the_very_certificate_of_the_ca_file() {
    run(|| async {
        let home = Authority::new();
        let shown = self_signed(&home, |_| {});
        verdict(&shown, &believing(VerifyCa, &shown), "elsewhere").await.unwrap();
        verdict(&shown, &believing(VerifyFull, &shown), "localhost").await.unwrap();
        assert!(refusal(&shown, &believing(VerifyFull, &shown), "elsewhere").await.contains("not valid for"));
        let other = self_signed(&home, |_| {});
        refusal(&other, &believing(VerifyCa, &shown), "localhost").await;
        let late = self_signed(&home, expired);
        assert!(refusal(&late, &believing(VerifyCa, &late), "localhost").await.contains("expired"));
        let early = self_signed(&home, |params| {
            params.not_before = rcgen::date_time_ymd(2999, 1, 1);
            params.not_after = rcgen::date_time_ymd(3000, 1, 1);
        });
        assert!(refusal(&early, &believing(VerifyCa, &early), "localhost").await.contains("not valid yet"));
    });
}

/// One DER element.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let mut out = match (high, low) {
        (0, 0..0x80) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    out.extend_from_slice(content);
    out
}

/// The content of the DER element at the front.
fn der_content(element: &[u8]) -> &[u8] {
    let skip = if element[1] < 0x80 { 2 } else { 2 + usize::from(element[1] & 0x7f) };
    &element[skip..]
}

/// Version 1, as `openssl x509 -req` makes without extensions.
fn version_one(home: &Authority) -> Identity {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "localhost");
    let key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(cert.der()).unwrap();
    let version = [0xa0, 3, 2, 1, 2];
    let body = der_content(parsed.tbs_certificate.as_ref()).strip_prefix(&version).unwrap();
    assert!(parsed.extensions().is_empty(), "version 1 has none");
    let tbs = der(0x30, body);
    let signature = [vec![0], key.sign(&tbs).unwrap()].concat();
    // ecdsa-with-SHA256
    let algorithm = [0x30, 0x0a, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let whole = der(0x30, &[tbs, algorithm.to_vec(), der(0x03, &signature)].concat());
    let text = pem_text(&whole);
    home.write(&text, &key.serialize_pem())
}

fn pem_text(whole: &[u8]) -> String {
    use base64::Engine;
    let body = base64::engine::general_purpose::STANDARD.encode(whole);
    let lines: Vec<&str> = body.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

#[test]
fn a_certificate_of_version_one_is_good_for_what_needs_no_chain() {
    run(|| async {
        let home = Authority::new();
        let shown = version_one(&home);
        verdict(&shown, &settings(Require, None, None), "localhost").await.unwrap();
        verdict(&shown, &believing(VerifyFull, &shown), "localhost").await.unwrap();
        refusal(&shown, &settings(VerifyCa, None, Some(&home)), "localhost").await;
    });
}

/// What the accepting role says of a client that shows `shown`.
async fn admission(client: &TlsSettings, shown: Option<&Identity>) -> io::Result<()> {
    let off = settings(Disable, None, None);
    let far_ctx = TlsContext::load(client, &off).unwrap();
    let near_ctx = TlsContext::load(&off, &settings(Require, shown, None)).unwrap();
    let (near, far) = tcp_pair().await;
    let (_near, far) = tokio::join!(near.connect_tls(&near_ctx, "localhost"), far.accept_tls(&far_ctx));
    far.map(drop)
}

#[test]
fn client_certificates_are_required_verified_or_not_asked_for() {
    run(|| async {
        let (authority, stranger) = (Authority::new(), Authority::new());
        let own = authority.issue(&["localhost"], |_| {});
        let friend = authority.issue(&["alice"], |_| {});
        let late = authority.issue(&["alice"], expired);
        let foe = stranger.issue(&["alice"], |_| {});
        for mode in [VerifyCa, VerifyFull] {
            let client = settings(mode, Some(&own), Some(&authority));
            admission(&client, Some(&friend)).await.unwrap();
            for refused in [Some(&late), Some(&foe), None] {
                assert_eq!(admission(&client, refused).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
            }
        }
        for mode in [Allow, Prefer, Require] {
            let client = settings(mode, Some(&own), Some(&authority));
            admission(&client, Some(&friend)).await.unwrap();
            admission(&client, None).await.unwrap();
            assert!(admission(&client, Some(&foe)).await.is_err(), "a certificate that is shown is verified");
            // Without a CA file nothing could verify it, so it is not asked for.
            admission(&settings(mode, Some(&own), None), Some(&foe)).await.unwrap();
        }
    });
}

fn problem(client: &TlsSettings, server: &TlsSettings) -> TlsProblem {
    TlsContext::load(client, server).unwrap_err()
}

#[test]
fn each_mistake_in_the_settings_is_told_with_its_setting_or_file() {
    let authority = Authority::new();
    let (own, other) = (authority.issue(&["a"], |_| {}), authority.issue(&["b"], |_| {}));
    let off = settings(Disable, None, None);
    assert_eq!(problem(&settings(Allow, None, None), &off), TlsProblem::NoIdentity);
    for mode in [VerifyCa, VerifyFull] {
        let no_ca = problem(&settings(mode, Some(&own), None), &off).to_string();
        assert_eq!(no_ca, "client_tls_sslmode requires client_tls_ca_file");
        let no_ca = problem(&off, &settings(mode, None, None)).to_string();
        assert_eq!(no_ca, "server_tls_sslmode requires server_tls_ca_file");
    }
    let half = TlsSettings { key_file: None, ..settings(Require, Some(&own), None) };
    assert_eq!(problem(&off, &half), TlsProblem::HalfIdentity { side: "server" });

    let mixed = TlsSettings { key_file: Some(own.key_file.clone()), ..settings(Require, Some(&other), None) };
    assert!(problem(&mixed, &off).to_string().contains("does not belong to"));

    let missing =
        TlsSettings { cert_file: Some(authority.path("gone")), ..settings(Require, Some(&own), None) };
    let text = problem(&missing, &off).to_string();
    assert!(
        text.contains("certificate file") && text.contains("gone") && text.contains("No such file"),
        "{text}"
    );

    let swapped = TlsSettings {
        key_file: Some(own.cert_file.clone()),
        cert_file: Some(own.cert_file.clone()),
        ..settings(Require, None, None)
    };
    assert!(problem(&swapped, &off).to_string().contains("no private key in it"));

    let empty = authority.write("nothing here", "nor here");
    let text = problem(&settings(Require, Some(&empty), None), &off).to_string();
    assert!(text.contains("no certificate in it"), "{text}");
    let text = problem(&off, &believing(VerifyCa, &empty)).to_string();
    assert!(text.contains("no certificate in it"), "{text}");
}

#[test]
fn a_context_prints_no_key_and_knows_when_servers_are_unaffected() {
    let authority = Authority::new();
    let first = authority.context(Require, VerifyFull);
    let second = authority.context(VerifyCa, VerifyFull);
    let third = authority.context(Require, VerifyCa);
    assert!(first.same_server_settings(&second) && !first.same_server_settings(&third));
    assert_eq!((first.client_mode(), first.server_mode()), (Require, VerifyFull));
    let shown = format!("{first:?}");
    assert!(
        shown.contains("VerifyFull") && !shown.contains("BEGIN") && !shown.contains("PrivateKey"),
        "{shown}"
    );
}
