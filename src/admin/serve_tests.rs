//! Whole conversations over an in-memory stream.

use proptest::prelude::*;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::super::request::AdminRequest;
use super::super::sample::overview;
use super::*;

const KEY: ConsoleIdentity<fn()> = ConsoleIdentity { key: (7, 9), on_command: || () };

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let word = i32::try_from(body.len() + 4).unwrap();
    [&[kind][..], &word.to_be_bytes(), body].concat()
}

fn query(text: &str) -> Vec<u8> {
    message(b'Q', &[text.as_bytes(), b"\0"].concat())
}

fn terminate() -> Vec<u8> {
    message(b'X', b"")
}

/// Type and body of each message.
fn read_messages(mut bytes: &[u8]) -> Vec<(char, Vec<u8>)> {
    let mut messages = Vec::new();
    while let Some((&[kind, a, b, c, d], _)) = bytes.split_first_chunk::<5>() {
        let end = usize::try_from(i32::from_be_bytes([a, b, c, d])).unwrap() + 1;
        messages.push((char::from(kind), bytes[5..end].to_vec()));
        bytes = &bytes[end..];
    }
    assert!(bytes.is_empty(), "half a message");
    messages
}

/// One word per message: the type, and what matters of the body.
fn summary(bytes: &[u8]) -> Vec<String> {
    let describe = |(kind, body): (char, Vec<u8>)| match kind {
        'E' | 'N' => {
            let error = PgError::parse(&body);
            format!("{kind} {} {}", error.code, error.message)
        }
        'C' | 'Z' => format!("{kind} {}", String::from_utf8_lossy(&body).trim_end_matches('\0')),
        other => other.to_string(),
    };
    let mut summary: Vec<_> = read_messages(bytes).into_iter().map(describe).collect();
    summary.dedup_by(|a, b| a == b && (a == "D" || a == "S"));
    summary
}

/// A control plane that answers overviews and says yes to commands, which it hands on.
fn control() -> (AdminHandle, mpsc::Receiver<Command>) {
    let (handle, mut requests) = AdminHandle::channel();
    let (seen, commands) = mpsc::channel(100);
    tokio::spawn(async move {
        while let Some(request) = requests.recv().await {
            match request {
                AdminRequest::Overview(answer) => drop(answer.send(overview())),
                AdminRequest::Execute(command, done) => {
                    let _ = seen.send(command).await;
                    let _ = done.send(Ok(()));
                }
            }
        }
    });
    (handle, commands)
}

fn start(rights: Rights, leftover: Vec<u8>, handle: AdminHandle) -> (DuplexStream, JoinHandle<ConsoleEnd>) {
    let (client, mut stream) = duplex(1 << 20);
    (client, tokio::spawn(async move { serve(&mut stream, rights, leftover, KEY, handle).await }))
}

/// Everything a console answers to these pieces, behind its welcome, and how it ended.
async fn talk(rights: Rights, pieces: &[&[u8]]) -> (Vec<String>, ConsoleEnd) {
    let (handle, _commands) = control();
    let (mut client, console) = start(rights, Vec::new(), handle);
    let welcome = super::welcome(KEY.key).len();
    let mut greeting = vec![0; welcome];
    client.read_exact(&mut greeting).await.unwrap();
    for piece in pieces {
        client.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    client.shutdown().await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    (summary(&answer), console.await.unwrap())
}

#[test]
fn the_welcome_is_pgbouncers() {
    let messages = read_messages(&welcome(KEY.key));
    let expected: [&[u8]; 7] = [
        b"server_version\x001.25.2/bouncer\0",
        b"client_encoding\0UTF8\0",
        b"server_encoding\0UTF8\0",
        b"DateStyle\0ISO\0",
        b"TimeZone\0GMT\0",
        b"standard_conforming_strings\0on\0",
        b"is_superuser\0on\0",
    ];
    for (message, body) in messages.iter().zip(expected) {
        assert_eq!(message, &('S', body.to_vec()));
    }
    assert_eq!(messages[7..], [('K', vec![0, 0, 0, 7, 0, 0, 0, 9]), ('Z', b"I".to_vec())]);
}

#[tokio::test]
async fn every_view_and_command_is_answered_in_its_form() {
    let texts = [
        ("SHOW POOLS;", vec!["T", "D", "C SHOW", "Z I"]),
        ("select stats", vec!["T", "D", "C SHOW", "Z I"]),
        ("SHOW PEERS", vec!["T", "C SHOW", "Z I"]),
        ("SHOW HELP", vec!["N 00000 Console usage", "C SHOW", "Z I"]),
        ("SHOW TIMEZONE", vec!["T", "D", "C SHOW", "Z I"]),
        ("SET timezone = 'UTC'", vec!["N 00000 SET ignored", "C SET", "Z I"]),
        ("SHOW FDS", vec!["E 08P01 SHOW FDS is not offered: file descriptors are not handed over", "Z I"]),
        ("SET a = b", vec!["E 08P01 SET failed: edit the configuration file, then RELOAD", "Z I"]),
        ("SUSPEND", vec!["E 08P01 SUSPEND is not offered", "Z I"]),
        ("", vec!["E 08P01 invalid command '', use SHOW HELP;", "Z I"]),
        ("PAUSE pgbouncer", vec!["E 08P01 cannot pause admin db: pgbouncer", "Z I"]),
        ("RELOAD", vec!["C RELOAD", "Z I"]),
        ("PAUSE", vec!["C PAUSE", "Z I"]),
        ("RESUME shop", vec!["C RESUME", "Z I"]),
        ("KILL_CLIENT 3", vec!["C KILL_CLIENT", "Z I"]),
        ("WAIT_CLOSE", vec!["C WAIT_CLOSE", "Z I"]),
        ("SHUTDOWN WAIT_FOR_CLIENTS", vec!["C SHUTDOWN", "Z I"]),
    ];
    for (text, expected) in texts {
        let (answers, end) = talk(Rights::Admin, &[&query(text), &terminate()]).await;
        assert_eq!(answers, expected, "{text}");
        assert_eq!(end, ConsoleEnd::Terminated, "{text}");
    }
}

#[tokio::test]
async fn s13_a_refused_command_never_reaches_the_control_plane() {
    let (handle, mut commands) = control();
    let (mut client, console) = start(Rights::Stats, query("KILL_CLIENT 3"), handle);
    client.write_all(&query("SHUTDOWN")).await.unwrap();
    client.write_all(&terminate()).await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(console.await.unwrap(), ConsoleEnd::Terminated);
    let refused = ["E 08P01 admin access needed", "Z I"];
    assert_eq!(summary(&answer)[3..], [refused, refused].concat());
    assert_eq!(commands.recv().await, None);
}

#[tokio::test]
async fn a_pipeline_cut_at_every_position_is_answered_the_same() {
    let stream = [query("SHOW STATE"), query("PAUSE shop"), query("nonsense"), terminate()].concat();
    let whole = talk(Rights::Admin, &[&stream]).await;
    assert_eq!(
        whole.0,
        [
            "T",
            "D",
            "C SHOW",
            "Z I",
            "C PAUSE",
            "Z I",
            "E 08P01 invalid command 'nonsense', use SHOW HELP;",
            "Z I",
        ]
    );
    for cut in 0..=stream.len() {
        let (left, right) = stream.split_at(cut);
        assert_eq!(talk(Rights::Admin, &[left, right]).await, whole, "cut at byte {cut}");
    }
    let bytes: Vec<_> = stream.chunks(1).collect();
    assert_eq!(talk(Rights::Admin, &bytes).await, whole);
}

#[tokio::test]
async fn bytes_that_came_with_the_login_are_answered() {
    let (handle, _commands) = control();
    let leftover = [query("SHOW VERSION"), terminate()].concat();
    let (mut client, console) = start(Rights::Stats, leftover, handle);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(summary(&answer)[3..], ["T", "D", "C SHOW", "Z I"]);
    assert_eq!(console.await.unwrap(), ConsoleEnd::Terminated);
}

#[tokio::test]
async fn f77_other_messages_are_refused_and_end_the_console() {
    let extended = "E 08P01 extended query protocol not supported by admin console";
    for kind in [b'P', b'B', b'E'] {
        let (answers, end) = talk(Rights::Admin, &[&message(kind, b"\0\0\0\0")]).await;
        assert_eq!(answers, [extended, "Z I", "E 08P01 bad packet"]);
        assert_eq!(end, ConsoleEnd::ProtocolViolation);
    }
    let (answers, _) = talk(Rights::Admin, &[&message(b'd', b"copy")]).await;
    assert_eq!(
        answers,
        ["E 08P01 unsupported packet type for admin console: 100", "Z I", "E 08P01 bad packet"]
    );
    let (answers, _) = talk(Rights::Admin, &[&message(b'Q', b"SHOW\0POOLS\0")]).await;
    assert_eq!(answers, ["E 08P01 broken Query packet"]);
    let (answers, _) = talk(Rights::Admin, &[b"Q\0\0\0\0"]).await;
    assert_eq!(answers, ["E 08P01 bad packet header"]);
}

#[tokio::test]
async fn f77_a_message_beyond_the_limit_ends_the_console_and_one_below_is_answered() {
    let (answers, end) = talk(Rights::Admin, &[&query(&" ".repeat(MAX_MESSAGE))]).await;
    assert_eq!(answers, ["E 08P01 incomplete pkt"]);
    assert_eq!(end, ConsoleEnd::ProtocolViolation);
    let padded = format!("SHOW STATE{}", " ".repeat(MAX_MESSAGE - 16));
    assert_eq!(query(&padded).len(), MAX_MESSAGE);
    let (answers, end) = talk(Rights::Admin, &[&query(&padded), &terminate()]).await;
    assert_eq!((answers.len(), end), (4, ConsoleEnd::Terminated));
}

#[tokio::test]
async fn sql_from_psql_gets_a_hint_and_the_console_lives_on() {
    let sql =
        "SELECT n.nspname as \"Schema\",\n  c.relname as \"Name\" FROM pg_catalog.pg_class c ORDER BY 1,2;";
    let (answers, end) = talk(Rights::Admin, &[&query(sql), &query("SHOW STATE"), &terminate()]).await;
    assert!(answers[0].starts_with("E 08P01 invalid command 'SELECT n.nspname"), "{}", answers[0]);
    assert_eq!(answers[1..], ["Z I", "T", "D", "C SHOW", "Z I"]);
    assert_eq!(end, ConsoleEnd::Terminated);
}

#[tokio::test]
async fn shutdown_at_once_ends_without_a_reply() {
    let (answers, end) = talk(Rights::Admin, &[&query("SHUTDOWN")]).await;
    assert_eq!((answers, end), (vec![], ConsoleEnd::ShuttingDown));
}

#[tokio::test]
async fn a_client_that_vanishes_ends_the_console() {
    for piece in [&b""[..], b"Q\0", &query("SHOW STATE")] {
        assert_eq!(talk(Rights::Admin, &[piece]).await.1, ConsoleEnd::ClientGone);
    }
}

/// A console whose PAUSE the control plane holds open.
async fn waiting_pause() -> (DuplexStream, JoinHandle<ConsoleEnd>, oneshot::Sender<Result<(), PgError>>) {
    let (handle, mut requests) = AdminHandle::channel();
    let (client, console) = start(Rights::Admin, query("PAUSE"), handle);
    let Some(AdminRequest::Execute(Command::Pause(None), done)) = requests.recv().await else {
        panic!("a pause was asked for");
    };
    (client, console, done)
}

#[tokio::test]
async fn a_pause_whose_console_is_gone_is_let_go() {
    let (client, console, mut done) = waiting_pause().await;
    drop(client);
    assert_eq!(console.await.unwrap(), ConsoleEnd::ClientGone);
    done.closed().await; // the control plane learns it
}

#[tokio::test]
async fn what_arrives_during_a_pause_is_answered_after_it() {
    let (mut client, console, done) = waiting_pause().await;
    client.write_all(&[query("SET timezone = x"), terminate()].concat()).await.unwrap();
    tokio::task::yield_now().await;
    done.send(Ok(())).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(summary(&answer)[3..], ["C PAUSE", "Z I", "N 00000 SET ignored", "C SET", "Z I"]);
    assert_eq!(console.await.unwrap(), ConsoleEnd::Terminated);
}

#[tokio::test(start_paused = true)] // a stalled write shows by the timeout, at no real time
async fn a_flood_during_a_pause_is_not_kept_beyond_the_limit() {
    let (handle, mut requests) = AdminHandle::channel();
    let (mut client, mut stream) = duplex(1024);
    let console =
        tokio::spawn(async move { serve(&mut stream, Rights::Admin, query("PAUSE"), KEY, handle).await });
    let mut greeting = vec![0; super::welcome(KEY.key).len()];
    client.read_exact(&mut greeting).await.unwrap();
    let _held = requests.recv().await;
    let mut taken = 0;
    let flood = [b'x'; 512];
    while let Ok(Ok(written)) =
        tokio::time::timeout(std::time::Duration::from_secs(1), client.write(&flood)).await
    {
        taken += written;
        assert!(taken <= MAX_MESSAGE + 2048, "the console reads on");
    }
    assert!(taken >= MAX_MESSAGE);
    console.abort();
}

#[tokio::test]
async fn a_refusal_of_the_control_plane_is_the_answer() {
    let (handle, mut requests) = AdminHandle::channel();
    let (mut client, console) = start(Rights::Admin, [query("KILL x"), terminate()].concat(), handle);
    let Some(AdminRequest::Execute(_, done)) = requests.recv().await else { panic!("a command was sent") };
    done.send(Err(refusal("no such database: x"))).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(summary(&answer)[3..], ["E 08P01 no such database: x", "Z I"]);
    assert_eq!(console.await.unwrap(), ConsoleEnd::Terminated);
}

#[tokio::test]
async fn a_control_plane_that_has_ended_ends_the_console() {
    for text in ["SHOW POOLS", "RELOAD"] {
        let (handle, requests) = AdminHandle::channel();
        drop(requests);
        let (mut client, console) = start(Rights::Admin, query(text), handle);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(summary(&answer)[3..], ["E 57P01 pooler is shutting down"]);
        assert_eq!(console.await.unwrap(), ConsoleEnd::ShuttingDown);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn s45_no_bytes_make_a_console_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(talk(Rights::Admin, &[&bytes]));
        runtime.block_on(talk(Rights::Admin, &[&message(b'Q', &[bytes.as_slice(), b"\0"].concat())]));
    }
}
