//! Startup packets byte for byte, and what may be said about all of them.

use proptest::prelude::*;

use super::*;

/// A correct packet for user `bob`, database `app`.
const START: &[u8] = b"\0\0\0\x1f\0\x03\0\0user\0bob\0database\0app\0\0";

fn packet(minor: u16, body: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(8 + body.len()).unwrap().to_be_bytes().to_vec();
    out.extend([0, 3]);
    out.extend(minor.to_be_bytes());
    out.extend(body);
    out
}

fn login(body: &[u8]) -> StartupMessage {
    match StartupPacket::parse(&packet(0, body)) {
        Ok(StartupPacket::Login(message)) => message,
        other => panic!("not a login: {other:?}"),
    }
}

fn refused(body: &[u8]) -> StartupError {
    StartupPacket::parse(&packet(0, body)).unwrap_err()
}

#[test]
fn r75_a_correct_packet_is_a_login() {
    let StartupPacket::Login(message) = StartupPacket::parse(START).unwrap() else { panic!() };
    assert_eq!((message.user.as_str(), message.database.as_str(), message.minor), ("bob", "app", 0));
    assert!(message.parameters.is_empty() && !message.needs_negotiation());
    assert_eq!(login(b"user\0bob\0\0").database, "bob", "no database: the user's name");
    assert_eq!(login(b"database\0\0user\0bob\0\0").database, "bob");
}

#[test]
fn b3_b4_b5_b6_b35_lengths_are_signed_and_judged_first() {
    for word in
        [[0; 4], [0, 0, 0, 3], [0, 0, 0, 7], [0x7f, 0xff, 0xff, 0xff], [0xff; 4], [0x80, 0, 0, 0], *b"GET "]
    {
        let error = startup_length(word).unwrap_err();
        assert_eq!(error.for_client(), None, "{word:?} closes without a word");
    }
    assert_eq!(startup_length([0, 0, 0, 8]), Ok(8));
    assert_eq!(startup_length([0, 0, 0x27, 0x14]), Ok(10_004), "b35a");
    assert!(startup_length([0, 0, 0x27, 0x15]).is_err(), "b35b");
}

#[test]
fn b35a_the_largest_packet_is_read() {
    let mut body = b"user\0bob\0application_name\0".to_vec();
    body.resize(10_004 - 8 - 2, b'x');
    body.extend([0, 0]);
    assert_eq!(packet(0, &body).len(), MAX_STARTUP_WORD);
    assert_eq!(login(&body).parameters.len(), 1);
}

#[test]
fn b7_r75_names_and_values_end_where_the_packet_ends() {
    for body in [
        &b"user\0bob"[..],          // b7a
        b"user\0bob\0database\0\0", // b7b
        b"user\0bob\0\0x",
        b"user\0bob\0\0\0",
        b"user\0",
        b"",
    ] {
        let error = refused(body);
        assert_eq!(error, StartupError::Layout, "{body:?}");
        assert_eq!(error.for_client().unwrap().code, SqlState::PROTOCOL_VIOLATION);
    }
}

#[test]
fn b8_odd_values_are_values() {
    assert_eq!(login(b"user\0a\nFATAL x\0\0").user, "a\nFATAL x");
    let message = login(b"user\0bob\0search_path\0evil\0\0");
    assert_eq!(message.parameters, [("search_path".to_owned(), b"evil".to_vec())]);
}

#[test]
fn b16_r58_cancel_keys_have_4_to_256_secret_bytes() {
    let cancel = |secret: &[u8]| {
        let mut out = u32::try_from(12 + secret.len()).unwrap().to_be_bytes().to_vec();
        out.extend([0x04, 0xd2, 0x16, 0x2e, 0, 0, 0x04, 0xd2]);
        out.extend(secret);
        StartupPacket::parse(&out)
    };
    assert_eq!(cancel(&[1, 0, 0]).unwrap_err().for_client(), None, "b16a");
    for size in [4, 5, 256] {
        let secret = vec![7; size];
        assert_eq!(cancel(&secret), Ok(StartupPacket::Cancel { process_id: 1234, secret }), "b16b, b16c");
    }
    assert_eq!(cancel(&[7; 257]).unwrap_err().for_client(), None, "b16d");
    assert!(!format!("{:?}", cancel(&[0xab; 4]).unwrap()).contains("171"), "a secret is not printed");
}

#[test]
fn r70_requests_have_no_body() {
    assert_eq!(StartupPacket::parse(b"\0\0\0\x08\x04\xd2\x16\x2f"), Ok(StartupPacket::Ssl));
    assert_eq!(StartupPacket::parse(b"\0\0\0\x08\x04\xd2\x16\x30"), Ok(StartupPacket::GssEnc));
    assert!(StartupPacket::parse(b"\0\0\0\x09\x04\xd2\x16\x2f\0").is_err());
}

#[test]
fn b28a_r73_protocol_2_is_refused_in_its_own_format() {
    let packet = StartupPacket::parse(b"\0\0\0\x08\0\x02\0\0").unwrap();
    assert_eq!(packet, StartupPacket::UnsupportedMajor(2, 0));
    let mut out = Vec::new();
    put_unsupported_major(&mut out, 2, 0);
    assert!(out.starts_with(b"EFATAL:  unsupported frontend protocol 2.0") && out.ends_with(b"\n\0"));
    out.clear();
    put_unsupported_major(&mut out, 4, 1);
    assert_eq!(PgError::parse(&out[5..]).code, SqlState::FEATURE_NOT_SUPPORTED);
}

#[test]
fn b28b_r74_newer_minors_and_protocol_options_are_negotiated() {
    let StartupPacket::Login(message) =
        StartupPacket::parse(b"\0\0\0\x1b\0\x03\x27\x0fuser\0bob\0_pq_.x\0y\0\0").unwrap()
    else {
        panic!()
    };
    assert!(message.needs_negotiation() && message.parameters.is_empty());
    assert_eq!(message.spoken_minor(), NEWEST_MINOR);
    assert_eq!((message.minor, message.refused_options), (9999, vec![b"_pq_.x".to_vec()]));
    let message = login(b"user\0bob\0_pq_.x\0\0\0");
    assert!(message.needs_negotiation(), "an option alone suffices");
    assert_eq!(message.spoken_minor(), 0, "nobody is told of a newer version than it has asked for");
}

#[test]
fn b35c_a_login_needs_a_user() {
    for body in [&b"\0"[..], b"user\0\0\0", b"database\0app\0\0"] {
        assert_eq!(refused(body).for_client().unwrap().code, SqlState::INVALID_AUTHORIZATION);
    }
}

#[test]
fn s1_r76_names_of_any_length_are_cut_at_63_bytes() {
    for size in [63, 64, 127, 1_000, 9_900] {
        let mut body = b"user\0".to_vec();
        body.resize(5 + size, b'n');
        body.extend([0, 0]);
        let message = login(&body);
        assert_eq!((message.user.len(), message.database.len()), (63, 63));
    }
    let umlauts = "ü".repeat(40);
    assert_eq!(clip_name(&umlauts).len(), 62, "never inside a character");
    assert!(matches!(refused(b"user\0\xff\0\0"), StartupError::Encoding));
}

#[test]
fn r77_replication_is_a_boolean_or_database() {
    let parse = |value: &[u8]| Replication::parse(value);
    for yes in [&b"true"[..], b"T", b"yes", b"on", b"1", b"tr"] {
        assert_eq!(parse(yes), Ok(Replication::Physical));
    }
    for no in [&b"false"[..], b"n", b"OFF", b"0"] {
        assert_eq!(parse(no), Ok(Replication::None));
    }
    assert_eq!(parse(b"database"), Ok(Replication::Logical));
    for bad in [&b""[..], b"o", b"2", b"DATABASE", b"truely"] {
        let error = parse(bad).unwrap_err().for_client().unwrap();
        assert_eq!(error.code, SqlState::INVALID_PARAMETER_VALUE);
    }
}

#[test]
fn r79_options_are_read_as_postgresql_reads_them() {
    let read = |text: &[u8]| {
        let settings = parse_options(text)?;
        Ok::<_, PgError>(
            settings
                .into_iter()
                .map(|(n, v)| format!("{n}={}", String::from_utf8_lossy(&v)))
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(read(b""), Ok(vec![]));
    assert_eq!(read(b" \t -c a=b  -cc=d --e-f=g-h "), Ok(vec!["a=b".into(), "c=d".into(), "e_f=g-h".into()]));
    assert_eq!(read(br"-c a=b\ c\\d"), Ok(vec![r"a=b c\d".into()]));
    assert_eq!(read(b"-c+a=b"), Ok(vec!["+a=b".into()]), "+ is no blank");
    assert_eq!(read(b"--a="), Ok(vec!["a=".into()]), "an empty value is one");
    assert_eq!(read(b"-Fc a=b --"), Ok(vec!["fsync=false".into(), "a=b".into()]));
    assert_eq!(
        read(b"-eS70 -fs -T -v 3"),
        Ok(["datestyle=euro", "work_mem=70", "enable_seqscan=false"].map(String::from).into())
    );
    assert_eq!(
        read(b"-d 2 -t pl"),
        Ok(["log_min_messages=debug2", "log_statement=all", "log_planner_stats=true"]
            .map(String::from)
            .into())
    );
    assert_eq!(read(b"-c =b"), Ok(vec!["=b".into()]), "PostgreSQL knows no such setting");
    for (bad, told) in [
        (&b"-x"[..], "-x"),
        (b"-xe", "postgres"),
        (b"-F -xe", "-F"),
        (b"-c a=b -xe", "a=b"),
        (b"-c", "-c"),
        (b"-f x", "x"),
        (b"-fx", "-fx"),
        (b"a=b", "a=b"),
        (b"a=b -x", "-x"),
        (b"-- x", "x"),
        (b"\\", ""),
        (b"-", "-"),
    ] {
        let error = read(bad).unwrap_err();
        assert_eq!(
            error.message,
            format!("invalid command-line argument for server process: {told}"),
            "{bad:?}"
        );
    }
    assert_eq!(read(b"a -c a").unwrap_err().message, "-c a requires a value");
    assert_eq!(read(b"--a-b").unwrap_err().message, "--a-b requires a value");
}

#[test]
fn s23_a_packet_cut_anywhere_is_no_packet() {
    for cut in 0..START.len() {
        assert!(StartupPacket::parse(&START[..cut]).is_err(), "cut at byte {cut}");
        // The same with a length word that fits what is left: never a login of somebody else.
        if cut >= 8 {
            let body = &START[8..cut];
            assert!(StartupPacket::parse(&packet(0, body)).is_err(), "shortened to {cut} bytes");
        }
    }
}

proptest! {
    #[test]
    fn no_packet_panics_and_names_stay_short(body in prop::collection::vec(any::<u8>(), 0..200), code in any::<u32>()) {
        let mut packet = u32::try_from(8 + body.len()).unwrap().to_be_bytes().to_vec();
        packet.extend(code.to_be_bytes());
        packet.extend(&body);
        let _ = StartupPacket::parse(&packet);
        packet[4..8].copy_from_slice(&[0, 3, 0, 0]);
        if let Ok(StartupPacket::Login(message)) = StartupPacket::parse(&packet) {
            prop_assert!(!message.user.is_empty() && message.user.len() <= NAME_LIMIT);
            prop_assert!(!message.database.is_empty() && message.database.len() <= NAME_LIMIT);
        }
        let _ = parse_options(&body);
    }

    #[test]
    fn what_a_client_writes_is_what_is_read(pairs in prop::collection::vec(("[a-oq-z]{1,9}_", "[^\0]{0,20}"), 0..8)) {
        let mut body = b"user\0bob\0".to_vec();
        for (name, value) in &pairs {
            body.extend(name.as_bytes());
            body.push(0);
            body.extend(value.as_bytes());
            body.push(0);
        }
        body.push(0);
        let read: Vec<_> = login(&body).parameters.into_iter().map(|(n, v)| (n, String::from_utf8(v).unwrap())).collect();
        prop_assert_eq!(read, pairs);
    }
}
