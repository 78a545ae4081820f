//! Whole logins: who gets in, what a failure looks like from outside, and what a client's login is worth
//! towards a server.

use std::fmt::Write;

use super::testkit::*;
use super::*;
use crate::config::AuthType;
use crate::proto::{AuthRequest, PgError, SqlState};

const PASSWORD: &str = "s3cr3t-marker";

/// The name of a secret's form, and the secret.
fn secrets(user: &str) -> [(&'static str, StoredSecret); 3] {
    [("plain", plain(PASSWORD)), ("md5", md5(user, PASSWORD)), ("scram", scram(PASSWORD))]
}

fn denied(user: &str) -> PgError {
    PgError::fatal(SqlState::INVALID_PASSWORD, format!("password authentication failed for user \"{user}\""))
}

#[test]
fn s15_s19_only_the_right_password_gets_in_whatever_the_method_and_the_secret() {
    // The console's users log in by the same exchange: no name has a way around it.
    for user in ["bob", "pgbouncer", "postgres", ""] {
        for method in METHODS {
            for (form, stored) in secrets(user) {
                let identity = Identity::Known(&stored);
                let cell = format!("{user:?} {method:?} {form}");
                let possible = !(method == AuthType::ScramSha256 && form == "md5");
                let right = play(method, user, identity, PASSWORD.as_bytes());
                assert_eq!(right.verdict.is_ok(), possible, "{cell}");
                if method == AuthType::Trust {
                    continue;
                }
                let wrong = play(method, user, identity, b"s3cr3t-marker ");
                assert_eq!(wrong.verdict.expect_err("wrong"), denied(user), "{cell}");
            }
        }
    }
}

#[test]
fn s15_no_stored_text_is_a_password_itself() {
    // Who has stolen the file must not get in by typing its lines.
    let hash = "md5f96b697d7cb7938d525a2f31aaf161d0";
    let verifier = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
        WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    for text in [hash, verifier] {
        let stored = plain(text);
        for method in [AuthType::Plain, AuthType::Md5, AuthType::ScramSha256] {
            play(method, "bob", Identity::Known(&stored), text.as_bytes())
                .verdict
                .expect_err("the stored text");
        }
    }
}

/// A wrong password for each form of secret, as it would look with the default number of rounds.
fn wrong_passwords(method: AuthType, user: &str) -> Vec<Played> {
    let mut all = vec![play(method, user, Identity::NoSecret, b"guess")];
    for (form, stored) in &secrets(user) {
        // Under md5 a SCRAM secret shows itself, as it does at PostgreSQL.
        if (method, *form) == (AuthType::Md5, "scram") {
            continue;
        }
        let mut played = play(method, user, Identity::Known(stored), b"guess");
        if (method, *form) == (AuthType::ScramSha256, "scram") {
            // The rounds are written out: "i=64" in these tests, "i=4096" by default.
            played.asked[1].1 += 2;
        }
        all.push(played);
    }
    all
}

#[test]
fn s14_r84_a_failure_looks_the_same_whatever_its_cause() {
    let long_name = "n".repeat(9_900);
    for user in ["bob", "mallory\nFATAL x", &long_name] {
        for method in [AuthType::Plain, AuthType::Md5, AuthType::ScramSha256] {
            let unknown = play(method, user, Identity::Unknown, b"guess");
            let error = unknown.verdict.expect_err("unknown");
            assert_eq!(error, denied(user));
            for other in wrong_passwords(method, user) {
                assert_eq!(other.verdict.expect_err("wrong"), error, "{method:?}");
                assert_eq!(other.asked, unknown.asked, "{method:?}: kinds, lengths and number of messages");
                assert_eq!(other.derivations, unknown.derivations, "{method:?}: the same work");
            }
        }
    }
}

#[test]
fn s14_even_the_right_password_of_nobody_is_wrong() {
    // Whatever a mock is made of, no password may fit it; the empty one and the name are the obvious guesses.
    for method in METHODS {
        for identity in [Identity::Unknown, Identity::NoSecret] {
            for guess in [&b"bob"[..], b"0", &[0x5e; 32]] {
                let played = play(method, "bob", identity, guess);
                let trusted = method == AuthType::Trust && matches!(identity, Identity::NoSecret);
                assert_eq!(played.verdict.is_ok(), trusted, "{method:?} {identity:?}");
            }
        }
    }
}

#[test]
fn s14_a_mock_salt_is_constant_per_name() {
    let server_first = |user: &str| {
        let (mut exchange, _) = asked(AuthType::ScramSha256, user, Identity::Unknown);
        let step = exchange.on_message(b'p', &initial("SCRAM-SHA-256", b"n,,n=,r=abc"));
        let Ok(Step::Continue(AuthRequest::SaslContinue(text))) = step else { panic!("{step:?}") };
        String::from_utf8(text).expect("ASCII")
    };
    assert_eq!(server_first("ann"), server_first("ann"));
    assert_ne!(server_first("ann"), server_first("bob"));
    assert!(server_first("ann").ends_with(",i=4096"));
}

#[test]
fn the_log_learns_the_true_cause() {
    let (plain, md5) = (plain(PASSWORD), md5("bob", PASSWORD));
    let scram_method = AuthType::ScramSha256;
    for (identity, note) in [
        (Identity::Unknown, "no such user"),
        (Identity::NoSecret, "user has no password"),
        (Identity::Known(&md5), "SCRAM authentication failed: user has MD5 secret"),
        (Identity::Known(&plain), "wrong password"),
    ] {
        assert_eq!(play(scram_method, "bob", identity, b"guess").note, Some(note));
    }
    assert_eq!(play(scram_method, "bob", Identity::Known(&plain), PASSWORD.as_bytes()).note, None);
    assert_eq!(asked(AuthType::Plain, "bob", Identity::Unknown).0.note(), Some("no such user"), "at once");
}

#[test]
fn a_verifier_of_absurd_cost_is_not_run_for_a_clear_text_password() {
    let text = "SCRAM-SHA-256$2147483647:W22ZaJ0SNY7soEsUEjb6gQ==$\
        WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    let stored = plain(text);
    assert!(matches!(stored, StoredSecret::Scram(_)));
    let played = play(AuthType::Plain, "bob", Identity::Known(&stored), b"pencil");
    assert_eq!(played.verdict.expect_err("refused"), denied("bob"));
}

#[test]
fn s3_s15_clear_text_is_kept_only_where_it_was_proved() {
    for (form, stored) in secrets("bob") {
        let accepted = |method| play(method, "bob", Identity::Known(&stored), PASSWORD.as_bytes()).verdict;
        let proved = accepted(AuthType::Plain).expect("right").password.expect("clear text");
        assert_eq!(proved.reveal(), PASSWORD, "{form}");
        assert!(accepted(AuthType::Md5).expect("right").password.is_none());
        assert!(accepted(AuthType::Trust).expect("known").password.is_none());
    }
}

/// Logs in to a server that asks by `method` and stores `stored`: our own exchange plays it.
fn log_in(credentials: ServerCredentials, method: AuthType, stored: &StoredSecret) -> Result<(), LoginError> {
    let mut login = ServerLogin::new(credentials, &Nonce::new([0x77; 18]));
    let (mut server, mut request) = asked(method, "bob", Identity::Known(stored));
    loop {
        let mut step = login.on_auth_request(&body_of(&request))?;
        if let LoginStep::Derive(derivation) = step {
            step = login.on_derived(derivation.run())?;
        }
        let LoginStep::Send(message) = step else { panic!("{step:?}") };
        let mut answer = server.on_message(message[0], &message[5..]).expect("a right answer");
        if let Step::Derive(derivation) = answer {
            answer = server.on_derived(derivation.run()).expect("the right password");
        }
        match answer {
            Step::Continue(next) => request = next,
            Step::Derive(_) => panic!("two derivations for one answer"),
            Step::Accepted(accepted) => {
                if let Some(last) = accepted.extra {
                    assert!(matches!(login.on_auth_request(&body_of(&last)), Ok(LoginStep::Wait)));
                }
                assert!(matches!(login.on_auth_request(&body_of(&AuthRequest::Ok)), Ok(LoginStep::Done)));
                return Ok(());
            }
        }
    }
}

#[test]
fn s15_client_method_by_server_method_by_source_of_the_secret() {
    for client_method in METHODS {
        for (form, stored) in secrets("bob") {
            let identity = Identity::Known(&stored);
            let Ok(accepted) = play(client_method, "bob", identity, PASSWORD.as_bytes()).verdict else {
                continue;
            };
            let keys = accepted.keys.as_ref();
            for server_method in [AuthType::Plain, AuthType::Md5, AuthType::ScramSha256] {
                let on_server = match form {
                    "scram" if server_method == AuthType::ScramSha256 => stored.clone(),
                    _ => plain(PASSWORD),
                };
                let credentials = ServerCredentials::from_stored("bob", Some(&stored), keys);
                let entered = log_in(credentials, server_method, &on_server);
                let cell = format!("{client_method:?} {form} {server_method:?}");
                let expected = match (form, server_method) {
                    ("plain", _) | ("md5", AuthType::Md5) => Ok(()),
                    ("scram", AuthType::ScramSha256) if keys.is_some() => Ok(()),
                    ("scram", AuthType::ScramSha256) => Err(LoginError::NoScramKeys),
                    (_, AuthType::ScramSha256) => Err(LoginError::WrongPasswordType("SCRAM")),
                    (_, AuthType::Md5) => Err(LoginError::WrongPasswordType("MD5")),
                    (..) => Err(LoginError::WrongPasswordType("cleartext")),
                };
                assert_eq!(entered, expected, "{cell}");
                // A server of this user exists now. The next client is judged on its own all the same.
                if client_method != AuthType::Trust {
                    let wrong = play(client_method, "bob", identity, b"guess").verdict;
                    assert_eq!(wrong.expect_err("wrong"), denied("bob"), "{cell}");
                }
            }
        }
    }
}

#[test]
fn s16_debug_output_holds_no_secret() {
    let mut shown = String::new();
    let mut show = |thing: &dyn std::fmt::Debug| writeln!(shown, "{thing:?} {thing:#?}").expect("a String");
    let derivation = || Derivation::new(PASSWORD.as_bytes(), b"salt".to_vec(), 3);
    for (_, stored) in secrets("bob") {
        show(&stored);
        let identity = Identity::Known(&stored);
        show(&Login { method: AuthType::Md5, user: "bob", identity, cached: None });
        for method in METHODS {
            let login = Login { method, user: "bob", identity, cached: None };
            show(&Exchange::begin(&login, &seed(), &nonce()));
            show(&begin(method, "bob", identity));
            let played = play(method, "bob", identity, PASSWORD.as_bytes());
            show(&played);
            show(&ServerCredentials::from_stored("bob", Some(&stored), None));
        }
    }
    let job = VerifierJob::new("bob", &plain(PASSWORD), &seed()).expect("plain");
    show(&job);
    show(&job.run());
    show(&derivation());
    show(&derivation().run());
    show(&derivation().run().keys());
    show(&ScramVerifier::derive(PASSWORD.as_bytes(), b"salt", 3));
    show(&Md5Hash::of("bob", PASSWORD.as_bytes()));
    show(&seed());
    let credentials = ServerCredentials::from_stored("bob", Some(&plain(PASSWORD)), None);
    let mut login = ServerLogin::new(credentials, &nonce());
    show(&login.on_auth_request(&body_of(&AuthRequest::CleartextPassword)));
    show(&login);

    let hash = postgres_protocol::authentication::md5_hash(b"bob", PASSWORD.as_bytes(), [0x0e; 4]);
    let bytes = format!("{:?}", PASSWORD.as_bytes());
    for marker in [PASSWORD, bytes.trim_matches(['[', ']']), &hash[3..], "94, 94, 94"] {
        assert!(!shown.contains(marker), "{marker} is shown");
    }
}
