//! What the console understands, as a table, and what it survives.

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Statement {
    parse(text.as_bytes()).unwrap_or_else(|rejection| panic!("{text}: {rejection:?}"))
}

fn refused(text: &[u8]) -> PgError {
    parse(text).expect_err("this is no statement").for_client()
}

#[test]
fn every_command_is_understood() {
    let cases = [
        ("RELOAD", Command::Reload),
        ("reload;", Command::Reload),
        ("PAUSE", Command::Pause(None)),
        ("pause Shop ;", Command::Pause(Some("Shop".into()))),
        ("PAUSE \"my db\"", Command::Pause(Some("my db".into()))),
        ("\"pause\" shop", Command::Pause(Some("shop".into()))),
        ("RESUME", Command::Resume(None)),
        ("RESUME shop", Command::Resume(Some("shop".into()))),
        ("KILL", Command::Kill(None)),
        ("KILL shop", Command::Kill(Some("shop".into()))),
        ("KILL_CLIENT 42", Command::KillClient(42)),
        ("RECONNECT", Command::Reconnect(None)),
        ("\n\treconnect\r\n shop\n;\n", Command::Reconnect(Some("shop".into()))),
        ("WAIT_CLOSE", Command::WaitClose(None)),
        ("WAIT_CLOSE shop", Command::WaitClose(Some("shop".into()))),
        ("DISABLE shop", Command::Disable("shop".into())),
        ("ENABLE shop", Command::Enable("shop".into())),
        ("SHUTDOWN", Command::Shutdown(Shutdown::Now)),
        ("shutdown wait_for_servers", Command::Shutdown(Shutdown::WaitForServers)),
        ("SHUTDOWN WAIT_FOR_CLIENTS;", Command::Shutdown(Shutdown::WaitForClients)),
    ];
    for (text, command) in cases {
        assert_eq!(read(text), Statement::Run(command), "{text}");
    }
    assert_eq!(read("SUSPEND;"), Statement::Suspend);
}

#[test]
fn every_view_is_understood_in_any_case_and_behind_select() {
    for view in View::ALL {
        for text in [
            format!("SHOW {}", view.as_str()),
            format!("sElEcT {};", view.as_str().to_uppercase()),
            format!("show \"{}\"", view.as_str()),
        ] {
            assert_eq!(read(&text), Statement::Show(view), "{text}");
        }
    }
}

#[test]
fn driver_variables_can_be_shown_and_set() {
    for variable in Variable::ALL {
        let name = variable.as_str();
        assert_eq!(read(&format!("SHOW {name}")), Statement::ShowVariable(variable));
        for text in [
            format!("SET {name} = x"),
            format!("set {} TO 'it''s, ok'", name.to_uppercase()),
            format!("SET {name}='x';"),
        ] {
            assert_eq!(read(&text), Statement::SetVariable(variable), "{text}");
        }
    }
    assert_eq!(read("SET query_timeout='0.5'"), Statement::SetSetting("query_timeout".into()));
}

#[test]
fn f77_what_is_no_statement_is_repeated_with_advice() {
    for text in [
        "",
        ";",
        ";;;;",
        " ;; ",
        "SHOW",
        "SHOW;",
        "SHOW nothing",
        "SHOW POOLS;;",
        "SHOW POOLS; SHOW STATS",
        "SHOW\"pools\"",
        "SHOW \"\"",
        "SHOW 'pools'",
        "SHOW \"pools",
        "RELOAD now",
        "SUSPEND x",
        "SHUTDOWN later",
        "SET",
        "SET a",
        "SET a =",
        "SET a = 'open",
        "SET a = b c",
        "SET a b",
        "DISCARD ALL",
        "HELP",
        "show a.b",
        "\u{e4}",
    ] {
        let error = refused(text.as_bytes());
        assert_eq!(error.message, format!("invalid command '{text}', use SHOW HELP;"));
        assert_eq!(error.code.as_str(), "08P01");
    }
}

#[test]
fn arguments_are_checked() {
    assert_eq!(refused(b"DISABLE").message, "a database is required");
    assert_eq!(refused(b"ENABLE;").message, "a database is required");
    for text in ["KILL_CLIENT", "KILL_CLIENT x", "KILL_CLIENT \"-1\"", "KILL_CLIENT 99999999999999999999"] {
        assert_eq!(refused(text.as_bytes()).message, "invalid client pointer supplied", "{text}");
    }
    for text in [
        format!("{} x", "a".repeat(16)),
        format!("PAUSE {}", "a".repeat(64)),
        format!("SET {} = x", "a".repeat(64)),
        format!("SET x = '{}'", "a".repeat(256)),
    ] {
        assert_eq!(refused(text.as_bytes()).message, "bad arguments");
    }
    assert_eq!(refused(b"PAUSE \"\xff\"").message, "bad arguments");
    assert_eq!(
        read(&format!("PAUSE {}", "a".repeat(63))),
        Statement::Run(Command::Pause(Some("a".repeat(63))))
    );
    assert!(matches!(read(&format!("SET x = '{}'", "a".repeat(255))), Statement::SetSetting(_)));
}

#[test]
fn sql_gets_a_hint_that_this_is_no_database() {
    // What psql sends for \d.
    let describe = "SELECT n.nspname as \"Schema\",\n  c.relname as \"Name\",\n  CASE c.relkind WHEN 'r' THEN 'table' \
                    END as \"Type\"\nFROM pg_catalog.pg_class c\nWHERE c.relkind IN ('r','')\nORDER BY 1,2;";
    let error = refused(describe.as_bytes());
    let front: String = describe.chars().take(60).collect();
    assert_eq!(error.message, format!("invalid command '{front}…', use SHOW HELP;"));
    for text in [describe, "SELECT 1", "BEGIN", "DISCARD ALL", "/* x */ select 1", "(select 1)"] {
        let hint = refused(text.as_bytes()).hint.expect("a hint");
        assert!(hint.contains("console, not a database"), "{text}");
    }
    for text in ["", ";", "SHOW", "show tables", "KILL a b"] {
        assert_eq!(refused(text.as_bytes()).hint, None, "{text}");
    }
}

#[test]
fn s44_the_log_does_not_repeat_what_was_typed() {
    let rejection = parse(b"ALTER ROLE web PASSWORD 'hunter2'").expect_err("SQL");
    assert!(!rejection.to_string().contains("hunter2"));
}

#[test]
fn f77_a_mebibyte_of_anything_is_refused_in_a_short_answer() {
    const MEBIBYTE: usize = 1 << 20;
    for unit in [";", "a", " ", "'", "\"", "=", "\0", "''x", "SELECT 1; ", "ä"] {
        let text = unit.repeat(MEBIBYTE / unit.len());
        assert!(refused(text.as_bytes()).message.len() < 400, "{unit:?}");
    }
    assert!(refused(&vec![0xff; MEBIBYTE]).message.len() < 400);
}

#[test]
fn s46_nul_and_invalid_utf8_are_survived() {
    for text in
        [&b"\0"[..], b"SHOW \0", b"SHOW\0POOLS", b"\xff\xfe", b"SHOW \xc3", b"SET a = '\xff'", b"'", b"\""]
    {
        assert!(parse(text).is_err());
    }
}

proptest! {
    #[test]
    fn s45_no_bytes_make_the_parser_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&text).map_err(|rejection| rejection.for_client());
    }

    #[test]
    fn s45_no_arrangement_of_tokens_makes_the_parser_panic(
        parts in proptest::collection::vec(
            proptest::sample::select(vec![
                "show", "set", "kill_client", "disable", "to", "=", ";", " ", "'", "''", "\"", "x", "9", "\0", "é",
            ]),
            0..12,
        )
    ) {
        let _ = parse(parts.concat().as_bytes()).map_err(|rejection| rejection.for_client());
    }
}
