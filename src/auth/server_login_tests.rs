//! The server-facing login, request by request: each method, hostile servers, wrong order.

use proptest::prelude::*;

use super::testkit::*;
use super::*;
use crate::config::Secret;
use crate::proto::{AuthRequest, SqlState};

/// Our nonce in these tests: eighteen times 0x0e in base64.
const NONCE: &str = "Dg4ODg4ODg4ODg4ODg4ODg4O";

fn login(secret: ServerSecret) -> ServerLogin {
    ServerLogin::new(ServerCredentials { user: "bob".to_owned(), secret }, &nonce())
}

fn password() -> ServerSecret {
    ServerSecret::Password(Secret::new("pencil"))
}

fn keys() -> ScramKeys {
    Derivation::new(b"pencil", b"salt".to_vec(), 5).run().keys()
}

fn sasl() -> Vec<u8> {
    body_of(&AuthRequest::Sasl(vec!["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]))
}

fn go_on(text: &str) -> Vec<u8> {
    body_of(&AuthRequest::SaslContinue(text.as_bytes().to_vec()))
}

fn sent(step: Result<LoginStep, LoginError>) -> Vec<u8> {
    let Ok(LoginStep::Send(message)) = step else { panic!("{step:?}") };
    assert_eq!(message[0], b'p');
    let word = u32::from_be_bytes([message[1], message[2], message[3], message[4]]);
    assert_eq!(word as usize + 1, message.len());
    message[5..].to_vec()
}

/// A login that has sent its client-first-message.
fn in_scram(secret: ServerSecret) -> ServerLogin {
    let mut login = login(secret);
    let first = sent(login.on_auth_request(&sasl()));
    assert_eq!(first, initial("SCRAM-SHA-256", format!("n,,n=,r={NONCE}").as_bytes()));
    login
}

/// A login that waits for the server's signature.
fn proved() -> ServerLogin {
    let mut login = in_scram(ServerSecret::Keys(keys()));
    sent(login.on_auth_request(&go_on(&format!("r={NONCE}XYZ,s=c2FsdA==,i=5"))));
    login
}

#[test]
fn a_server_that_asks_nothing_lets_us_in() {
    for secret in [ServerSecret::None, password(), ServerSecret::VerifierOnly] {
        let mut login = login(secret);
        assert!(matches!(login.on_auth_request(&[0, 0, 0, 0]), Ok(LoginStep::Done)));
        assert!(!login.sent_clear_password());
        assert_eq!(login.on_auth_request(&[0, 0, 0, 0]).expect_err("done"), LoginError::OutOfOrder(0));
    }
}

#[test]
fn a_password_answers_a_request_for_clear_text() {
    let mut login = login(password());
    assert_eq!(sent(login.on_auth_request(&[0, 0, 0, 3])), b"pencil\0");
    assert!(login.sent_clear_password());
    assert!(matches!(login.on_auth_request(&[0, 0, 0, 0]), Ok(LoginStep::Done)));
}

#[test]
fn password_and_hash_answer_md5_as_the_driver_does() {
    let salt = [1, 2, 3, 4];
    let oracle = postgres_protocol::authentication::md5_hash(b"bob", b"pencil", salt);
    for secret in [password(), ServerSecret::Md5(Md5Hash::of("bob", b"pencil"))] {
        let mut login = login(secret);
        let answer = sent(login.on_auth_request(&body_of(&AuthRequest::Md5Password(salt))));
        assert_eq!(answer, [oracle.as_bytes(), b"\0"].concat());
        assert!(!login.sent_clear_password());
        assert!(matches!(login.on_auth_request(&[0, 0, 0, 0]), Ok(LoginStep::Done)));
    }
}

#[test]
fn what_is_known_of_a_password_serves_only_what_it_can() {
    let md5 = || ServerSecret::Md5(Md5Hash::of("bob", b"pencil"));
    let ask = |secret, body: &[u8]| login(secret).on_auth_request(body).expect_err("cannot");
    let md5_request = body_of(&AuthRequest::Md5Password([0; 4]));
    let keys = || ServerSecret::Keys(keys());
    assert_eq!(ask(md5(), &[0, 0, 0, 3]), LoginError::WrongPasswordType("cleartext"), "no hash is sent");
    assert_eq!(ask(keys(), &[0, 0, 0, 3]), LoginError::WrongPasswordType("cleartext"));
    assert_eq!(ask(keys(), &md5_request), LoginError::WrongPasswordType("MD5"));
    assert_eq!(ask(ServerSecret::VerifierOnly, &md5_request), LoginError::WrongPasswordType("MD5"));
    assert_eq!(ask(md5(), &sasl()), LoginError::WrongPasswordType("SCRAM"));
    assert_eq!(ask(ServerSecret::VerifierOnly, &sasl()), LoginError::NoScramKeys);
    for unsendable in [ServerSecret::None, ServerSecret::Password(Secret::new("")), nul_inside()] {
        for request in [&[0, 0, 0, 3][..], &md5_request, &sasl()] {
            assert_eq!(ask(unsendable.clone(), request), LoginError::NoPassword);
        }
    }
}

fn nul_inside() -> ServerSecret {
    ServerSecret::Password(Secret::new("pen\0cil"))
}

#[test]
fn methods_that_we_do_not_speak_are_named() {
    for (code, name) in [(2, "Kerberos V5"), (6, "SCM"), (7, "GSSAPI"), (9, "SSPI"), (13, "13"), (-1, "-1")] {
        let error = login(password()).on_auth_request(&i32::to_be_bytes(code)).expect_err("unsupported");
        assert_eq!(error, LoginError::UnsupportedMethod(code));
        assert!(error.to_string().contains(name), "{error}");
    }
    let other = body_of(&AuthRequest::Sasl(vec!["SCRAM-SHA-256-PLUS", "OAUTHBEARER"]));
    assert_eq!(login(password()).on_auth_request(&other).expect_err("none"), LoginError::NoMechanism);
    assert_eq!(
        login(password()).on_auth_request(&[0, 0, 0, 10, 0]).expect_err("none"),
        LoginError::NoMechanism
    );
}

#[test]
fn s29_requests_that_cannot_be_read_end_the_login() {
    for body in [
        &b""[..],
        b"\0\0\0",
        b"\0\0\0\0x",
        b"\0\0\0\x03x",
        b"\0\0\0\x05abc",
        b"\0\0\0\x05abcde",
        b"\0\0\0\x0a",
        b"\0\0\0\x0aSCRAM-SHA-256",
        b"\0\0\0\x0aSCRAM-SHA-256\0",
        b"\0\0\0\x0aX\0\0SCRAM-SHA-256\0\0",
    ] {
        let error = login(password()).on_auth_request(body).expect_err("unreadable");
        assert!(matches!(error, LoginError::Malformed(_)), "{} {error}", body.escape_ascii());
    }
}

/// The body of a message written out in full, with its nonce put behind ours where `ours` says so.
fn row(bytes: &[u8]) -> &[u8] {
    assert_eq!(bytes[0], b'R');
    let word = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
    assert_eq!(word as usize + 1, bytes.len(), "the row is written correctly");
    &bytes[5..]
}

#[test]
fn s11_b20a_two_billion_iterations_are_refused_before_pbkdf2() {
    let bytes = [
        0x52, 0x00, 0x00, 0x00, 0x28, 0x00, 0x00, 0x00, 0x0b, 0x72, 0x3d, 0x61, 0x62, 0x63, 0x58, 0x59, 0x5a,
        0x2c, 0x73, 0x3d, 0x63, 0x32, 0x46, 0x73, 0x64, 0x41, 0x3d, 0x3d, 0x2c, 0x69, 0x3d, 0x32, 0x31, 0x34,
        0x37, 0x34, 0x38, 0x33, 0x36, 0x34, 0x37,
    ];
    // As it stands its nonce is not ours either; with ours in place only the iterations are wrong.
    let literal = row(&bytes);
    in_scram(password()).on_auth_request(literal).expect_err("refused");
    let text =
        String::from_utf8(literal[4..].to_vec()).expect("ASCII").replace("r=abc", &format!("r={NONCE}"));
    let error = in_scram(password()).on_auth_request(&go_on(&text)).expect_err("refused");
    assert_eq!(error, LoginError::TooManyIterations(i32::MAX as u32));
    let error = in_scram(ServerSecret::Keys(keys())).on_auth_request(&go_on(&text)).expect_err("refused");
    assert_eq!(error, LoginError::OtherVerifier);

    let with = |iterations: &str| {
        in_scram(password()).on_auth_request(&go_on(&format!("r={NONCE}XYZ,s=c2FsdA==,i={iterations}")))
    };
    assert!(matches!(with("1"), Ok(LoginStep::Derive(_))));
    assert!(matches!(with("100000"), Ok(LoginStep::Derive(_))));
    assert_eq!(with("100001").expect_err("refused"), LoginError::TooManyIterations(100_001));
    for bad in ["0", "-1", "2147483648", "18446744073709551617"] {
        assert!(matches!(with(bad), Err(LoginError::Malformed(_))), "{bad}");
    }
}

#[test]
fn s11_b20b_a_nonce_that_is_not_ours_is_refused_before_pbkdf2() {
    let bytes = [
        0x52, 0x00, 0x00, 0x00, 0x1f, 0x00, 0x00, 0x00, 0x0b, 0x72, 0x3d, 0x7a, 0x7a, 0x7a, 0x2c, 0x73, 0x3d,
        0x63, 0x32, 0x46, 0x73, 0x64, 0x41, 0x3d, 0x3d, 0x2c, 0x69, 0x3d, 0x34, 0x30, 0x39, 0x36,
    ];
    let error = in_scram(password()).on_auth_request(row(&bytes)).expect_err("refused");
    assert_eq!(error, LoginError::Malformed("the SCRAM nonce does not extend ours"));
}

#[test]
fn s11_b20c_a_long_nonce_is_refused_whatever_it_begins_with() {
    for length in [1 << 10, 1 << 16, 1 << 20] {
        let text = format!("r={NONCE}{},s=c2FsdA==,i=4096", "X".repeat(length));
        let error = in_scram(password()).on_auth_request(&go_on(&text)).expect_err("refused");
        assert_eq!(error, LoginError::Malformed("the SCRAM message is too long"));
    }
}

#[test]
fn keys_serve_only_the_verifier_they_came_from() {
    for text in ["s=c2FsdA==,i=6", "s=c2FsdHk=,i=5", "s=c2FsdHk=,i=4096"] {
        let mut login = in_scram(ServerSecret::Keys(keys()));
        let error =
            login.on_auth_request(&go_on(&format!("r={NONCE}XYZ,{text}"))).expect_err("another verifier");
        assert_eq!(error, LoginError::OtherVerifier);
    }
    let (stored, other) =
        (ScramVerifier::derive(b"pencil", b"salt", 5), ScramVerifier::derive(b"ink", b"salt", 5));
    let secret = |verifier, keys: Option<&ScramKeys>| {
        ServerCredentials::from_stored("bob", Some(&StoredSecret::Scram(verifier)), keys).secret
    };
    assert!(matches!(secret(stored.clone(), Some(&keys())), ServerSecret::Keys(_)));
    assert!(matches!(secret(stored, None), ServerSecret::VerifierOnly));
    assert!(matches!(secret(other, Some(&keys())), ServerSecret::VerifierOnly), "keys of an older verifier");
    let none = ServerCredentials::from_stored("bob", None, Some(&keys())).secret;
    assert!(matches!(none, ServerSecret::None));
}

#[test]
fn a_server_must_show_its_signature_before_it_is_believed() {
    for early in [in_scram(password()), in_scram(ServerSecret::Keys(keys())), proved()] {
        let mut login = early;
        assert_eq!(login.on_auth_request(&[0, 0, 0, 0]).expect_err("skipped"), LoginError::SignatureSkipped);
        login.on_auth_request(&[0, 0, 0, 0]).expect_err("and stays out");
    }
    let finish = |text: &[u8]| {
        let mut login = proved();
        let step = login.on_auth_request(&body_of(&AuthRequest::SaslFinal(text.to_vec())));
        login.on_auth_request(&[0, 0, 0, 0]).expect_err("refused for good");
        step.expect_err("no signature")
    };
    assert_eq!(finish(b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), LoginError::InvalidSignature);
    assert_eq!(finish(b"v=AAAA"), LoginError::UnreadableSignature);
    assert_eq!(finish(b"e=invalid-proof"), LoginError::UnreadableSignature);
    assert_eq!(finish(b""), LoginError::UnreadableSignature);
}

/// A state by name, how to get there, and the requests that are in order.
type State<'a> = (&'a str, &'a dyn Fn() -> ServerLogin, &'a [i32]);

#[test]
fn s2_every_request_is_answered_in_every_state() {
    let answered = || {
        let mut login = login(password());
        sent(login.on_auth_request(&[0, 0, 0, 3]));
        login
    };
    let deriving = || {
        let mut login = in_scram(password());
        let step = login.on_auth_request(&go_on(&format!("r={NONCE}XYZ,s=c2FsdA==,i=5")));
        assert!(matches!(step, Ok(LoginStep::Derive(_))));
        login
    };
    let states: [State<'_>; 5] = [
        ("Start", &|| login(password()), &[0, 3, 5, 10]),
        ("Answered", &answered, &[0]),
        ("First", &|| in_scram(password()), &[11]),
        ("Deriving", &deriving, &[]),
        ("Final", &proved, &[12]),
    ];
    for (name, state, legal) in states {
        for code in (-2..=16).filter(|code| !legal.contains(code)) {
            let mut login = state();
            let error = login.on_auth_request(&i32::to_be_bytes(code)).expect_err("not now");
            let expected = match code {
                0 => LoginError::SignatureSkipped,
                3 | 5 | 10 | 11 | 12 => LoginError::OutOfOrder(code),
                _ => LoginError::UnsupportedMethod(code),
            };
            assert_eq!(error, expected, "{name} {code}");
            login.on_auth_request(&[0, 0, 0, 0]).expect_err("over");
        }
        let derived = Derivation::new(b"x", b"salt".to_vec(), 1).run();
        assert_eq!(state().on_derived(derived).is_ok(), name == "Deriving", "{name}");
    }
}

#[test]
fn clients_hear_pgbouncers_texts() {
    let wrong = "server login failed: wrong password type";
    let none = "server login failed: none of the server's SASL authentication mechanisms are supported";
    for (error, text) in [
        (LoginError::NoPassword, wrong),
        (LoginError::WrongPasswordType("MD5"), wrong),
        (LoginError::NoScramKeys, wrong),
        (LoginError::OtherVerifier, wrong),
        (LoginError::NoMechanism, none),
        (LoginError::InvalidSignature, "server login failed: invalid server signature"),
        (LoginError::UnreadableSignature, "server login failed: failed to verify server signature"),
        (LoginError::SignatureSkipped, "server login failed: failed to verify server signature"),
        (LoginError::UnsupportedMethod(7), "server login failed: authentication method is not supported"),
        (LoginError::TooManyIterations(7), "server login failed: invalid authentication request"),
    ] {
        let shown = error.for_client();
        assert_eq!((shown.code, &*shown.message), (SqlState::PROTOCOL_VIOLATION, text));
        assert_eq!(shown.severity, crate::proto::Severity::Fatal);
    }
    let log = LoginError::WrongPasswordType("MD5").to_string();
    assert_eq!(log, "cannot do MD5 authentication: wrong password type");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn s11_arbitrary_requests_neither_panic_nor_end_a_scram_login_well(
        which in 0..3usize,
        requests in proptest::collection::vec((-2..16i32, any::<Vec<u8>>()), 1..5),
        framed in any::<bool>(),
    ) {
        let mut login = match which {
            0 => in_scram(password()),
            1 => in_scram(ServerSecret::Keys(keys())),
            _ => proved(),
        };
        for (code, data) in requests {
            let text = [b"r=", NONCE.as_bytes(), data.as_slice()].concat();
            let body = [&code.to_be_bytes()[..], if framed { &text } else { &data }].concat();
            match login.on_auth_request(&body) {
                Ok(LoginStep::Done | LoginStep::Wait) => prop_assert!(false, "believed {:?}", body),
                Ok(LoginStep::Send(_) | LoginStep::Derive(_)) | Err(_) => {}
            }
        }
    }

    #[test]
    fn s11_arbitrary_first_requests_do_not_panic(body in any::<Vec<u8>>()) {
        let trusted = body == [0, 0, 0, 0];
        let done = matches!(login(password()).on_auth_request(&body), Ok(LoginStep::Done));
        prop_assert_eq!(done, trusted);
    }
}
