//! Servers that break off, speak out of turn, or send nonsense (F3, F4, F6, F55 to F58, B19, B21, B23, B24). A
//! scripted server plays them; what it does must never reach a client that did not ask.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::time::Duration;

use common::fake::{Act, FakeServer, Gate, answers};
use common::wire::unhex;
use common::{Lost, Message, Pooler, PoolerConfig, Raw, brief, eventually, msg};

/// A pooler with one server in front of the scripted one.
fn in_front_of(server: &FakeServer) -> Pooler {
    PoolerConfig::for_port(server.port(), 1).start()
}

/// Everything up to ReadyForQuery or the end.
fn answer(raw: &mut Raw) -> Vec<Message> {
    let mut seen = Vec::new();
    while let Ok(message) = raw.next() {
        let last = message.tag == b'Z';
        seen.push(message);
        if last {
            break;
        }
    }
    seen
}

#[test]
fn f3_a_commit_without_an_answer_is_neither_success_nor_tried_again() {
    let server = FakeServer::start(vec![
        vec![
            Act::Welcome,
            Act::Await(b'Q'),
            Act::Send([answers::complete("BEGIN"), answers::ready(b'T')].concat()),
            Act::Await(b'Q'),
            Act::Close,
        ],
        vec![Act::Welcome, Act::Serve],
    ]);
    let pooler = in_front_of(&server);
    let mut raw = Raw::login(&pooler.target());
    assert_eq!(brief(&raw.query("begin")), "C Z(T)");
    raw.send(&msg::query("commit"));
    let said = answer(&mut raw);
    assert_eq!(brief(&said), "E(08006)", "{said:?}");
    assert_eq!(Raw::login(&pooler.target()).value("select 1"), "fake");
    let commits = server.seen(b'Q').iter().filter(|body| body.starts_with(b"commit")).count();
    assert_eq!(commits, 1);
}

/// What a server says while nobody holds it is nobody's (R46 to R48).
#[test]
fn f4_f55_f56_b23_a_server_that_speaks_while_idle_is_not_heard_by_the_next_client() {
    let strays = [
        ("N", "4e 00000018 53 4e4f5449434500 43 303030303000 4d 686900 00"),
        ("C", "43 0000000d 53454c454354203100"),
        ("E", "45 00000025 53 464154414c00 43 353750303100 4d 7465726d696e6174696e672000 00 00000000000000"),
        ("D", "44 0000000b 0001 00000001 41"),
        ("Z", "5a 00000005 49"),
        ("Z failed", "5a 00000005 45"),
        ("garbage", "00 01020304 05"),
    ];
    let mut heard = Vec::new();
    for (name, stray) in strays {
        let gate = Gate::default();
        let spoken = Gate::default();
        let server = FakeServer::start(vec![
            vec![
                Act::Welcome,
                Act::ServeUntil(b'Q'),
                Act::Send([answers::one_row("first"), answers::ready(b'I')].concat()),
                Act::Pass(gate.clone()),
                Act::Send(unhex(stray)),
                Act::Open(spoken.clone()),
                Act::Serve,
            ],
            vec![Act::Welcome, Act::Serve],
        ]);
        let pooler = in_front_of(&server);
        let mut raw = Raw::login(&pooler.target());
        assert_eq!(raw.value("select 1"), "first");
        gate.open();
        spoken.wait();
        let mut next = Raw::login(&pooler.target());
        for _ in 0..3 {
            next.send(&msg::query("select 2"));
            let said = answer(&mut next);
            if format!("{said:?}") != "[T(c:25), D(fake), C(SELECT 1), Z(I)]" {
                heard.push(format!("after a stray {name}: {said:?}"));
                break;
            }
        }
        let (said, _) = raw.drain(Duration::from_millis(30));
        assert!(said.is_empty(), "the last holder was told {said:?}");
    }
    assert!(heard.is_empty(), "{heard:#?}");
}

#[test]
fn f57_surplus_replies_end_with_the_server_and_reach_nobody() {
    let surplus = [answers::ready(b'I'), answers::one_row("stolen"), answers::complete("SELECT 1")];
    for extra in surplus {
        let reply = [answers::one_row("mine"), answers::ready(b'I'), extra].concat();
        let server = FakeServer::start(vec![
            vec![Act::Welcome, Act::Await(b'Q'), Act::Send(reply), Act::Serve],
            vec![Act::Welcome, Act::Serve],
        ]);
        let pooler = in_front_of(&server);
        let mut raw = Raw::login(&pooler.target());
        assert_eq!(raw.value("select 1"), "mine");
        let mut next = Raw::login(&pooler.target());
        assert_eq!(next.value("select 2"), "fake");
        assert_eq!(server.accepted(), 2, "the server was used again");
    }
}

#[test]
fn f58_b21_nonsense_in_a_reply_ends_the_server_and_the_next_client_is_served() {
    let nonsense = [
        ("bad status", "5a 00000005 58"),
        ("no status", "5a 00000004"),
        ("length below four", "44 00000003"),
        ("negative length", "44 ffffffff"),
        ("unknown type", "01 00000004"),
        ("authentication", "52 00000008 00000000"),
    ];
    for (name, bytes) in nonsense {
        let server = FakeServer::start(vec![
            vec![Act::Welcome, Act::Await(b'Q'), Act::Send(unhex(bytes)), Act::Close],
            vec![Act::Welcome, Act::Serve],
        ]);
        let pooler = in_front_of(&server);
        let mut raw = Raw::login(&pooler.target());
        raw.send(&msg::query("select 1"));
        let said = answer(&mut raw);
        let errors = said.iter().filter(|m| m.tag == b'E').count();
        assert!(errors <= 1, "{name}: {said:?}");
        assert!(
            errors == 1 || !matches!(raw.next(), Err(Lost::Timeout)),
            "{name}: left hanging after {said:?}"
        );
        assert_eq!(Raw::login(&pooler.target()).value("select 2"), "fake", "{name}");
        pooler.assert_healthy();
    }
}

#[test]
fn f14_a_reset_at_any_byte_of_a_reply_gives_no_part_of_it_to_the_next_client() {
    let reply = [answers::one_row("first"), answers::ready(b'I')].concat();
    for cut in (0..reply.len()).step_by(5) {
        let server = FakeServer::start(vec![
            vec![Act::Welcome, Act::Await(b'Q'), Act::Send(reply[..cut].to_vec()), Act::Reset],
            vec![Act::Welcome, Act::Serve],
        ]);
        let pooler = in_front_of(&server);
        let mut raw = Raw::login(&pooler.target());
        raw.send(&msg::query("select 1"));
        let said = answer(&mut raw);
        assert!(said.iter().all(|m| m.tag != b'Z'), "cut at {cut}: {said:?}");
        assert_eq!(Raw::login(&pooler.target()).value("select 2"), "fake", "cut at {cut}");
    }
}

#[test]
fn f6_a_server_that_is_starting_up_is_tried_again_and_waiters_stay() {
    let starting =
        vec![Act::Send(answers::error("FATAL", "57P03", "the database system is starting up")), Act::Close];
    let server =
        FakeServer::start(vec![starting.clone(), starting.clone(), starting, vec![Act::Welcome, Act::Serve]]);
    let pooler = in_front_of(&server);
    assert_eq!(Raw::login(&pooler.target()).value("select 1"), "fake");
    assert_eq!(server.accepted(), 4);
}

#[test]
fn s12_b19_errors_without_the_usual_fields_are_survived() {
    let generic = "the server sent an error without a text";
    let odd = [
        ("45 00000012 53 4552524f5200 4d 6f6f707300 00", "oops"),
        ("45 00000005 00", generic),
        ("45 0000000a 534552524f52", generic),
    ];
    for (bytes, text) in odd {
        // At login …
        let server = FakeServer::start(vec![
            vec![Act::Send(unhex(bytes)), Act::Close],
            vec![Act::Welcome, Act::Serve],
        ]);
        let pooler = in_front_of(&server);
        let _ = Raw::try_login(&common::Login::plain(&pooler.target()));
        pooler.assert_healthy();
        // … and in a reply: told with a generic code, and the session goes on.
        let reply = [unhex(bytes), answers::ready(b'I')].concat();
        let server = FakeServer::start(vec![
            vec![Act::Welcome, Act::Await(b'Q'), Act::Send(reply), Act::Serve],
            vec![Act::Welcome, Act::Serve],
        ]);
        let pooler = in_front_of(&server);
        let mut raw = Raw::login(&pooler.target());
        raw.send(&msg::query("select 1"));
        let said = answer(&mut raw);
        assert_eq!(brief(&said), "E(XX000) Z(I)", "{said:?}");
        assert!(format!("{said:?}").contains(text), "{said:?}");
        assert_eq!(raw.value("select 2"), "fake");
        assert_eq!(Raw::login(&pooler.target()).value("select 2"), "fake");
        pooler.assert_healthy();
    }
}

#[test]
fn b24_logins_that_are_unusual_but_right_are_accepted() {
    let welcome = |extra: Vec<u8>, key: bool| {
        let mut bytes = [extra, msg::any(b'R', &[0, 0, 0, 0])].concat();
        bytes.extend(
            [answers::parameter("server_version", "15.0"), answers::parameter("client_encoding", "UTF8")]
                .concat(),
        );
        if key {
            bytes.extend(msg::any(b'K', &[&[0, 0, 0, 9][..], &[7; 256]].concat()));
        }
        bytes.extend(answers::ready(b'I'));
        vec![Act::Send(bytes), Act::Serve]
    };
    let notice = msg::any(b'N', b"SNOTICE\0C00000\0Mhi\0\0");
    for (name, login) in [
        ("b24b no key", welcome(Vec::new(), false)),
        ("b24c long key", welcome(Vec::new(), true)),
        ("b24d notice before authentication", welcome(notice, true)),
    ] {
        let server = FakeServer::start(vec![login]);
        let pooler = in_front_of(&server);
        assert_eq!(Raw::login(&pooler.target()).value("select 1"), "fake", "{name}");
    }
}

#[test]
fn f40_a_cancel_that_hangs_holds_nobody_up() {
    let gate = Gate::default();
    let server = FakeServer::start(vec![vec![
        Act::Welcome,
        Act::Await(b'Q'),
        Act::Pass(gate.clone()),
        Act::Send([answers::error("ERROR", "57014", "cancelled"), answers::ready(b'I')].concat()),
        Act::Serve,
    ]]);
    let pooler = in_front_of(&server);
    let mut raw = Raw::login(&pooler.target());
    raw.send(&msg::query("select 1"));
    eventually("the server has it", || !server.seen(b'Q').is_empty());
    common::raw::cancel(&pooler.target().addr(), &raw.key());
    eventually("the cancel arrives", || server.cancels() == 1);
    gate.open();
    assert_eq!(brief(&raw.until_ready()), "E(57014) Z(I)");
    assert_eq!(raw.value("select 2"), "fake");
}
