//! SCRAM keys and texts against published vectors and against an independent client.

use super::hash::salted_password;
use super::scram::{VerifierFor, verifier_for};
use super::scram_text::{MAX_SALT_LEN, MAX_SERVER_TEXT, ServerFirst, parse_server_final};
use super::testkit::*;
use super::*;
use crate::config::AuthType;

/// The verifier of RFC 7677's example: password `pencil`, 4096 rounds.
const PENCIL: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
    WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
const SALT: [u8; 16] =
    [0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e, 0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36, 0xfa, 0x81];
/// The texts of that example over which proof and signature are made.
const SPOKEN: [&[u8]; 3] = [
    b"n=user,r=rOprNGfwEbeRWgbNEkqO,",
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,",
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
];
const PROOF: &[u8] = b"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SIGNATURE: &[u8] = b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn hex(text: &str) -> [u8; 32] {
    std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex"))
}

#[test]
fn pbkdf2_gives_the_published_vectors() {
    // The vectors of RFC 6070 as recomputed for SHA-256.
    let one = salted_password(b"password", b"salt", 1);
    assert_eq!(*one, hex("120fb6cffcf8b32c43e7225256c4f837a86548c92ccc35480805987cb70be17b"));
    let many = salted_password(b"password", b"salt", 4096);
    assert_eq!(*many, hex("c5e478d59288c841aa530db6845c4c8d962893a001ce4e11a4963873aa98134a"));
}

#[test]
fn the_example_of_rfc_7677_comes_out_on_both_sides() {
    let keys = Derivation::new(b"pencil", SALT.to_vec(), 4096).run().keys();
    let proof = scram::decode_key(PROOF).expect("32 bytes");
    let signature = scram::decode_key(SIGNATURE).expect("32 bytes");
    assert_eq!(*keys.proof(&SPOKEN), *proof);
    assert_eq!(*keys.server_signature(&SPOKEN), *signature);

    let stored = ScramVerifier::parse(PENCIL).expect("well formed");
    for verifier in [stored, ScramVerifier::derive(b"pencil", &SALT, 4096)] {
        assert!(bool::from(verifier.fits(&keys)));
        let (right, recovered) = verifier.check_proof(&proof, &SPOKEN);
        assert!(bool::from(right));
        assert!(bool::from(verifier.fits(&recovered)), "the ClientKey falls out of the proof");
        assert_eq!(*recovered.server_signature(&SPOKEN), *signature);
    }
}

#[test]
fn s16_a_proof_is_compared_to_its_last_bit() {
    let verifier = ScramVerifier::parse(PENCIL).expect("well formed");
    let proof = scram::decode_key(PROOF).expect("32 bytes");
    for bit in 0..256 {
        let mut wrong = *proof;
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert!(!bool::from(verifier.check_proof(&wrong, &SPOKEN).0), "bit {bit}");
    }
    assert!(!bool::from(verifier.check_proof(&proof, &SPOKEN[..2]).0), "over other texts");
}

#[test]
fn the_driver_logs_in_with_every_secret_and_odd_passwords() {
    for password in ["pencil", "I\u{ad}X", "\u{2168}", "p\u{a0}w", "=,= ,", "\u{7}", &"long".repeat(200)] {
        for stored in [plain(password), scram(password)] {
            let played = play(AuthType::ScramSha256, "bob", Identity::Known(&stored), password.as_bytes());
            let accepted = played.verdict.expect("the right password");
            assert!(accepted.keys.is_some() && accepted.password.is_none());
        }
    }
    let verifier = StoredSecret::Scram(ScramVerifier::derive(b"\xff\xfe", b"salt", 3));
    play(AuthType::ScramSha256, "bob", Identity::Known(&verifier), b"\xff\xfe").verdict.expect("raw bytes");
}

#[test]
fn s7_a_cached_verifier_dies_with_its_secret() {
    // A verifier kept from an earlier secret would let the old password in.
    let (old, new, seed) = (plain("old"), plain("new"), seed());
    let cached = VerifierJob::new("bob", &old, &seed).expect("plain").run();
    let ready = |user: &str, stored: &StoredSecret, seed: &AuthSeed| {
        matches!(verifier_for(user, stored, Some(&cached), seed), VerifierFor::Ready(_))
    };
    assert!(ready("bob", &old, &seed));
    assert!(!ready("bob", &new, &seed), "the secret has changed");
    assert!(!ready("ann", &old, &seed), "another user of the same password");
    assert!(!ready("bob", &old, &AuthSeed::new([1; 32])), "another seed means another salt");

    let login = Login {
        method: AuthType::ScramSha256,
        user: "bob",
        identity: Identity::Known(&new),
        cached: Some(&cached),
    };
    assert!(matches!(Exchange::begin(&login, &seed, &nonce()), Ok(Start::Derive(_))));
    assert!(VerifierJob::new("bob", &scram("x"), &seed).is_none(), "nothing to derive");
    assert!(VerifierJob::new("bob", &md5("bob", "x"), &seed).is_none(), "impossible to derive");
}

#[test]
fn s11_a_servers_first_text_is_bounded_before_it_is_used() {
    let parse = |text: &str| ServerFirst::parse(text.as_bytes(), b"abc").map(|first| first.iterations);
    assert_eq!(parse("r=abcXYZ,s=c2FsdA==,i=4096"), Ok(4096));
    for bad in [
        "",
        "r=abcXYZ",
        "r=abcXYZ,s=c2FsdA==",
        "r=abc,s=c2FsdA==,i=4096",
        "r=zzz,s=c2FsdA==,i=4096",
        "r=ab,s=c2FsdA==,i=4096",
        "r=abcX\u{7f},s=c2FsdA==,i=4096",
        "r=abcXYZ,s=,i=4096",
        "r=abcXYZ,s=#,i=4096",
        "r=abcXYZ,s=c2FsdA=,i=4096",
        "r=abcXYZ,s=c2FsdA==,i=0",
        "r=abcXYZ,s=c2FsdA==,i=-1",
        "r=abcXYZ,s=c2FsdA==,i=+1",
        "r=abcXYZ,s=c2FsdA==,i=",
        "r=abcXYZ,s=c2FsdA==,i= 1",
        "r=abcXYZ,s=c2FsdA==,i=2147483648",
        "r=abcXYZ,s=c2FsdA==,i=99999999999999999999",
        "r=abcXYZ,s=c2FsdA==,i=4096,x=y",
        "m=x,r=abcXYZ,s=c2FsdA==,i=4096",
        "s=c2FsdA==,r=abcXYZ,i=4096",
        "e=other-error",
    ] {
        parse(bad).expect_err(bad);
    }
    for length in [1 << 10, 1 << 16, 1 << 20] {
        let text = format!("r=abc{},s=c2FsdA==,i=1", "X".repeat(length));
        assert!(text.len() > MAX_SERVER_TEXT);
        assert_eq!(parse(&text), Err("the SCRAM message is too long"));
    }
    let salt = |bytes: usize| format!("r=abcX,s={},i=1", "AAAA".repeat(bytes / 3));
    assert_eq!(parse(&salt(MAX_SALT_LEN / 3 * 3)), Ok(1));
    parse(&salt(MAX_SALT_LEN + 3)).expect_err("salt too long");
}

#[test]
fn s11_a_servers_last_text_is_one_signature_and_nothing_else() {
    let text = |text: &[u8]| parse_server_final(text).is_some();
    assert!(text(&[b"v=", SIGNATURE].concat()));
    assert!(!text(&[b"v=", SIGNATURE, b",x=y"].concat()));
    assert!(!text(&[b"v=", SIGNATURE, b"="].concat()));
    assert!(!text(&[b"v=".as_slice(), &b"A".repeat(1 << 16)].concat()));
    for bad in [&b""[..], b"v", b"v=", b"v=AAAA", b"e=invalid-proof", b"\xff"] {
        assert!(!text(bad), "{}", bad.escape_ascii());
    }
}

/// Chosen for a type without `PartialEq` only; ambiguous, and so an error, for one that has it.
trait NotComparable<Marker> {
    fn kept() {}
}
impl<T: ?Sized> NotComparable<()> for T {}
struct Comparable;
impl<T: ?Sized + PartialEq> NotComparable<Comparable> for T {}

#[test]
fn s16_no_secret_type_can_be_compared_with_equals() {
    <crate::config::Secret as NotComparable<_>>::kept();
    <StoredSecret as NotComparable<_>>::kept();
    <Md5Hash as NotComparable<_>>::kept();
    <ScramVerifier as NotComparable<_>>::kept();
    <ScramKeys as NotComparable<_>>::kept();
    <CachedVerifier as NotComparable<_>>::kept();
    <Derived as NotComparable<_>>::kept();
    <AuthSeed as NotComparable<_>>::kept();
    <ServerSecret as NotComparable<_>>::kept();
}

#[test]
fn r109_what_runs_off_the_loop_may_cross_threads() {
    fn crosses<T: Send + 'static>() {}
    crosses::<Derivation>();
    crosses::<Derived>();
    crosses::<VerifierJob>();
    crosses::<CachedVerifier>();
    crosses::<Exchange>();
    crosses::<ServerLogin>();
}
