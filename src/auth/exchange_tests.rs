//! The client-facing exchange, message by message: malformed input, wrong order, limits.

use proptest::prelude::*;

use super::testkit::*;
use super::*;
use crate::config::AuthType;
use crate::proto::{AuthRequest, PgError, Severity, SqlState};

const PASSWORD: &str = "pencil";
/// Client-first of a client without channel binding, as libpq sends it.
const FIRST: &[u8] = b"n,,n=,r=abcdefghijklmnop";

/// The states in which a client can be, by name.
#[derive(Debug, Clone, Copy, PartialEq)]
enum At {
    Cleartext,
    Deriving,
    Md5,
    SaslChoice,
    SaslFirst,
    SaslFinal,
    Accepted,
    Refused,
}

const ALL: [At; 8] = [
    At::Cleartext,
    At::Deriving,
    At::Md5,
    At::SaslChoice,
    At::SaslFirst,
    At::SaslFinal,
    At::Accepted,
    At::Refused,
];

/// An exchange in this state; the secret is right, so that nothing but the input can make it fail.
fn exchange_at(at: At) -> Exchange {
    let (plain, scram) = (plain(PASSWORD), scram(PASSWORD));
    let ask = |method, stored| asked(method, "bob", Identity::Known(stored)).0;
    let mut exchange = match at {
        At::Cleartext | At::Deriving => ask(AuthType::Plain, &plain),
        At::Md5 | At::Accepted | At::Refused => ask(AuthType::Md5, &plain),
        At::SaslChoice | At::SaslFirst | At::SaslFinal => ask(AuthType::ScramSha256, &scram),
    };
    match at {
        At::Cleartext | At::Md5 | At::SaslChoice => {}
        At::Deriving => {
            let step = exchange.on_message(b'p', b"pencil\0").expect("a step");
            assert!(matches!(step, Step::Derive(_)));
        }
        At::SaslFirst => {
            let step = exchange.on_message(b'p', b"SCRAM-SHA-256\0\xff\xff\xff\xff").expect("a step");
            assert!(matches!(step, Step::Continue(AuthRequest::SaslContinue(text)) if text.is_empty()));
        }
        At::SaslFinal => {
            let step = exchange.on_message(b'p', &initial("SCRAM-SHA-256", FIRST)).expect("a step");
            assert!(matches!(step, Step::Continue(AuthRequest::SaslContinue(_))));
        }
        At::Accepted => {
            let step = exchange.on_message(b'p', &right_md5()).expect("a step");
            assert!(matches!(step, Step::Accepted(_)));
        }
        At::Refused => {
            exchange.on_message(b'p', b"md5wrong\0").expect_err("refused");
        }
    }
    exchange
}

fn right_md5() -> Vec<u8> {
    let hash = postgres_protocol::authentication::md5_hash(b"bob", PASSWORD.as_bytes(), [0x0e; 4]);
    [hash.as_bytes(), b"\0"].concat()
}

fn refused(at: At, tag: u8, body: &[u8]) -> PgError {
    let mut exchange = exchange_at(at);
    let error = exchange.on_message(tag, body).expect_err("refused");
    assert_eq!(error.severity, Severity::Fatal);
    assert!(exchange.note().is_some(), "the log learns a cause");
    // Refused once is refused for good (R88).
    exchange.on_message(b'p', &right_md5()).expect_err("dead");
    error
}

fn violation(message: &str) -> PgError {
    PgError::fatal(SqlState::PROTOCOL_VIOLATION, message.to_owned())
}

fn denied(user: &str) -> PgError {
    PgError::fatal(SqlState::INVALID_PASSWORD, format!("password authentication failed for user \"{user}\""))
}

/// Takes the header off a message written out in full.
fn message(bytes: &[u8]) -> (u8, &[u8]) {
    let word = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
    assert_eq!(word as usize + 1, bytes.len(), "the row is written correctly");
    (bytes[0], &bytes[5..])
}

#[test]
fn s2_r80_r81_r88_every_message_type_is_answered_in_every_state() {
    for at in ALL {
        for tag in 0..=255u8 {
            let passes = tag == b'p' && !matches!(at, At::Deriving | At::Accepted | At::Refused);
            if passes {
                continue;
            }
            let expected = match at {
                At::Cleartext | At::Md5 => format!("expected password response, got message type {tag}"),
                At::SaslChoice | At::SaslFirst | At::SaslFinal => {
                    format!("expected SASL response, got message type {tag}")
                }
                At::Deriving | At::Accepted | At::Refused => format!("invalid frontend message type {tag}"),
            };
            assert_eq!(refused(at, tag, b"pencil\0"), violation(&expected), "{at:?}");
        }
    }
}

#[test]
fn s2_a_derivation_that_nobody_asked_for_accepts_nobody() {
    for at in ALL.into_iter().filter(|&at| at != At::Deriving) {
        let mut other = exchange_at(At::Cleartext);
        let Ok(Step::Derive(derivation)) = other.on_message(b'p', b"pencil\0") else {
            panic!("no derivation")
        };
        exchange_at(at).on_derived(derivation.run()).expect_err("not asked for");
    }
}

#[test]
fn s2_a_derivation_of_another_exchange_accepts_nobody() {
    // The verifier is checked against what was derived; the results of two logins must not be exchangeable.
    let stored = scram(PASSWORD);
    let mut right = asked(AuthType::Plain, "bob", Identity::Known(&stored)).0;
    let mut wrong = asked(AuthType::Plain, "bob", Identity::Known(&stored)).0;
    let Ok(Step::Derive(_)) = right.on_message(b'p', b"pencil\0") else { panic!("no derivation") };
    let Ok(Step::Derive(derivation)) = wrong.on_message(b'p', b"pencils\0") else { panic!("no derivation") };
    assert_eq!(right.on_derived(derivation.run()).expect_err("wrong keys"), denied("bob"));
}

#[test]
fn r82_b33a_a_password_needs_its_nul_and_no_other() {
    let (tag, body) = message(&[0x70, 0, 0, 0, 6, 0x70, 0x77]);
    for at in [At::Cleartext, At::Md5] {
        for body in [body, b"", b"pen\0cil\0", b"pencil\0\0", b"\0\0"] {
            assert_eq!(refused(at, tag, body), violation("invalid password packet size"), "{body:?}");
        }
    }
}

#[test]
fn r83_b33b_an_empty_password_is_refused_as_such() {
    let (tag, body) = message(&[0x70, 0, 0, 0, 5, 0]);
    for at in [At::Cleartext, At::Md5] {
        let expected = PgError::fatal(SqlState::INVALID_PASSWORD, "empty password returned by client");
        assert_eq!(refused(at, tag, body), expected);
    }
    let (mut unknown, _) = asked(AuthType::Plain, "bob", Identity::Unknown);
    let error = unknown.on_message(tag, body).expect_err("refused");
    assert_eq!(error, refused(At::Cleartext, tag, body), "known or not (S14)");
}

#[test]
fn r59_b33c_a_password_above_65535_is_refused() {
    let row = [&[0x70, 0, 1, 0, 0][..], &b"x".repeat(65_532)].concat();
    let (tag, body) = message(&row);
    for at in [At::Cleartext, At::Md5] {
        assert_eq!(exchange_at(at).max_message_len(), 65_535);
        assert_eq!(refused(at, tag, body), violation("invalid message length"));
        assert_eq!(exchange_at(at).on_oversized(), violation("invalid message length"));
    }
    // The largest that is allowed is read, and merely wrong.
    let mut longest = vec![b'x'; 65_531];
    longest[65_530] = 0;
    assert!(matches!(exchange_at(At::Cleartext).on_message(b'p', &longest), Ok(Step::Derive(_))));
    assert_eq!(refused(At::Md5, b'p', &longest), denied("bob"));
}

#[test]
fn r60_b33d_a_sasl_answer_above_1024_is_a_wrong_password() {
    let row = [&[0x70, 0, 0, 4, 1][..], &[b'x'; 1_021]].concat();
    let (tag, body) = message(&row);
    for at in [At::SaslChoice, At::SaslFirst, At::SaslFinal] {
        assert_eq!(exchange_at(at).max_message_len(), 1_024);
        assert_eq!(refused(at, tag, body), denied("bob"));
        assert_eq!(exchange_at(at).on_oversized(), denied("bob"));
    }
    let mut nonce = vec![b'x'; 1_020 - 18 - 8];
    nonce.splice(..0, *b"n,,n=,r=");
    let longest = initial("SCRAM-SHA-256", &nonce);
    assert_eq!(longest.len() + 4, 1_024);
    assert!(matches!(exchange_at(At::SaslChoice).on_message(b'p', &longest), Ok(Step::Continue(_))));
}

const B13: [u8; 34] = [
    0x70, 0x00, 0x00, 0x00, 0x21, 0x53, 0x43, 0x52, 0x41, 0x4d, 0x2d, 0x53, 0x48, 0x41, 0x2d, 0x32, 0x35,
    0x36, 0x00, 0x7f, 0xff, 0xff, 0xff, 0x6e, 0x2c, 0x2c, 0x6e, 0x3d, 0x2c, 0x72, 0x3d, 0x61, 0x62, 0x63,
];

#[test]
fn r85_s10_b13_an_inner_length_beyond_the_packet_is_refused() {
    let (tag, body) = message(&B13);
    assert_eq!(refused(At::SaslChoice, tag, body), violation("insufficient data left in message"));
}

#[test]
fn r85_s10_b14_only_minus_one_is_a_legal_negative_length() {
    for length in [-2i32, i32::MIN, -3, 12] {
        let mut row = B13;
        row[19..23].copy_from_slice(&length.to_be_bytes());
        let (tag, body) = message(&row);
        let expected = violation("insufficient data left in message");
        assert_eq!(refused(At::SaslChoice, tag, body), expected, "{length}");
    }
    for length in [-1i32, 0, 1, 10] {
        let mut row = B13;
        row[19..23].copy_from_slice(&length.to_be_bytes());
        let (tag, body) = message(&row);
        assert_eq!(refused(At::SaslChoice, tag, body), violation("invalid message format"), "{length}");
    }
    for cut in 1..=4 {
        let expected = violation("insufficient data left in message");
        assert_eq!(
            refused(At::SaslChoice, b'p', &B13[5..23 - cut]),
            expected,
            "{cut} bytes of length missing"
        );
    }
}

#[test]
fn r87_s17_b15a_the_flag_y_is_legal_where_plus_is_not_offered() {
    let row = [
        0x70, 0x00, 0x00, 0x00, 0x21, 0x53, 0x43, 0x52, 0x41, 0x4d, 0x2d, 0x53, 0x48, 0x41, 0x2d, 0x32, 0x35,
        0x36, 0x00, 0x00, 0x00, 0x00, 0x0b, 0x79, 0x2c, 0x2c, 0x6e, 0x3d, 0x2c, 0x72, 0x3d, 0x61, 0x62, 0x63,
    ];
    let (tag, body) = message(&row);
    let (mut exchange, request) = asked(AuthType::ScramSha256, "bob", Identity::Unknown);
    assert_eq!(request, AuthRequest::Sasl(vec!["SCRAM-SHA-256"]), "PLUS is not offered");
    assert!(matches!(exchange.on_message(tag, body), Ok(Step::Continue(_))));
}

#[test]
fn r86_s17_b15b_plus_is_refused_where_it_is_not_offered() {
    let row = [
        0x70, 0x00, 0x00, 0x00, 0x3b, 0x53, 0x43, 0x52, 0x41, 0x4d, 0x2d, 0x53, 0x48, 0x41, 0x2d, 0x32, 0x35,
        0x36, 0x2d, 0x50, 0x4c, 0x55, 0x53, 0x00, 0x00, 0x00, 0x00, 0x20, 0x70, 0x3d, 0x74, 0x6c, 0x73, 0x2d,
        0x73, 0x65, 0x72, 0x76, 0x65, 0x72, 0x2d, 0x65, 0x6e, 0x64, 0x2d, 0x70, 0x6f, 0x69, 0x6e, 0x74, 0x2c,
        0x2c, 0x6e, 0x3d, 0x2c, 0x72, 0x3d, 0x61, 0x62, 0x63,
    ];
    let (tag, body) = message(&row);
    let expected = violation("client selected an invalid SASL authentication mechanism");
    assert_eq!(refused(At::SaslChoice, tag, body), expected);
    for mechanism in ["", "SCRAM-SHA-1", "scram-sha-256", "SCRAM-SHA-256 ", "PLAIN"] {
        assert_eq!(refused(At::SaslChoice, b'p', &initial(mechanism, FIRST)), expected, "{mechanism}");
    }
    assert_eq!(refused(At::SaslChoice, b'p', b"SCRAM-SHA-256"), violation("invalid string in message"));
}

#[test]
fn s17_channel_binding_and_other_identities_are_refused_in_client_first() {
    let code = |text: &[u8]| {
        let error = refused(At::SaslChoice, b'p', &initial("SCRAM-SHA-256", text));
        assert_eq!(refused(At::SaslFirst, b'p', text), error, "the same in the other round");
        (error.code.to_string(), error.message.into_owned())
    };
    let malformed = ("08P01".to_owned(), "malformed SCRAM message".to_owned());
    for text in [
        &b"p=tls-server-end-point,,n=,r=abc"[..],
        b"p,,n=,r=abc",
        b"x,,n=,r=abc",
        b"n",
        b"n,",
        b"n,,",
        b"n,,n=",
        b"n,,n=,",
        b"n,,r=abc",
        b"n,,n=,r",
        b"n,,n=,q=abc",
        b"nn,,n=,r=abc",
        b"n;,n=,r=abc",
        b"n,,n=,r=abc,",
        b"n,,n=,r=abc,1=x",
        b"n,,n=,r=ab\0c",
    ] {
        assert_eq!(code(text), malformed, "{}", text.escape_ascii());
    }
    for text in [&b"n,,n=,r="[..], b"n,,n=,r=a\x7fb", b"n,,n=,r=a b", b"n,,n=,r=\xff"] {
        assert_eq!(code(text).1, "non-printable characters in SCRAM nonce", "{}", text.escape_ascii());
    }
    assert_eq!(code(b"n,a=root,n=,r=abc").0, "0A000");
    assert_eq!(code(b"n,,m=x,n=,r=abc").0, "0A000");
    let empty = refused(At::SaslChoice, b'p', &initial("SCRAM-SHA-256", b""));
    assert_eq!((empty.code.to_string(), empty.message.into_owned()), malformed);
    assert_eq!(refused(At::SaslFirst, b'p', b"").code, SqlState::PROTOCOL_VIOLATION);
}

#[test]
fn r88_client_final_must_fit_what_was_said_before() {
    // Nonce of the client, then ours: eighteen times 0x0e in base64.
    let nonce = "abcdefghijklmnopDg4ODg4ODg4ODg4ODg4ODg4O";
    let proof = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let text = |text: String| refused(At::SaslFinal, b'p', text.as_bytes());
    assert_eq!(text(format!("c=biws,r={nonce},p={proof}")), denied("bob"));
    assert_eq!(text(format!("c=biws,r={nonce},x=y,p={proof}")), denied("bob"));
    let binding = "unexpected SCRAM channel-binding attribute in client-final-message";
    for header in ["eSws", "cD10bHMtc2VydmVyLWVuZC1wb2ludCws", ""] {
        assert_eq!(text(format!("c={header},r={nonce},p={proof}")), violation(binding), "{header}");
    }
    for other in ["abcdefghijklmnop", "x", "abcdefghijklmnopDg4ODg4ODg4ODg4ODg4ODg4P"] {
        assert_eq!(text(format!("c=biws,r={other},p={proof}")).message, "invalid SCRAM response", "{other}");
    }
    for bad in [
        format!("c=biws,r={nonce}"),
        format!("c=biws,r={nonce},p="),
        format!("c=biws,r={nonce},p=AAAA"),
        format!("c=biws,r={nonce},p={proof}="),
        format!("c=biws,r={nonce},p={proof},x=y"),
        format!("c=biws,r={nonce},p={proof},p={proof}"),
        format!("r={nonce},c=biws,p={proof}"),
        format!("p={proof}"),
        format!("c=biws,r={nonce},p={proof}\0"),
        String::new(),
    ] {
        assert_eq!(text(bad.clone()).message, "malformed SCRAM message", "{bad}");
    }
}

#[test]
fn r102_every_refusal_has_all_fields_and_no_secret() {
    let stored = plain("s3cr3t-marker");
    for method in [AuthType::Plain, AuthType::Md5, AuthType::ScramSha256] {
        let played = play(method, "bob", Identity::Known(&stored), b"s3cr3t-marker-too");
        let mut out = Vec::new();
        played.verdict.expect_err("wrong").put(&mut out);
        let text = out.escape_ascii().to_string();
        for field in ["SFATAL\\x00", "VFATAL\\x00", "C28P01\\x00", "Mpassword authentication failed"] {
            assert!(text.contains(field), "{field} in {text}");
        }
        assert!(text.ends_with("\\x00\\x00") && !text.contains("s3cr3t"), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn s2_s10_arbitrary_bytes_neither_panic_nor_get_in(
        which in 0..6usize,
        messages in proptest::collection::vec((prop_oneof![Just(b'p'), any::<u8>()], any::<Vec<u8>>()), 1..5),
        framed in any::<bool>(),
    ) {
        let mut exchange = exchange_at(ALL[which]);
        for (tag, mut body) in messages {
            if framed {
                body = initial("SCRAM-SHA-256", &[b"n,,n=,r=", body.as_slice()].concat());
            }
            match exchange.on_message(tag, &body) {
                Ok(Step::Accepted(_)) => prop_assert!(false, "got in with {:?}", body),
                Ok(Step::Continue(_) | Step::Derive(_)) => {}
                Err(error) => prop_assert_eq!(error.severity, Severity::Fatal),
            }
        }
    }
}
