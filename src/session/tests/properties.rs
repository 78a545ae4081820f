//! Streams cut everywhere, arbitrary bytes, and random batches against a model of PostgreSQL.

use proptest::prelude::*;

use super::*;

/// Runs both scripts in the given cuts and returns everything both sides got, and how it ended.
fn drive(client: &[&[u8]], server: &[&[u8]]) -> (Vec<u8>, Vec<u8>, bool) {
    let mut talk = Talk::transaction();
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    for (from_client, chunks) in [(true, client), (false, server)] {
        let mut kept = Vec::new();
        for chunk in chunks {
            kept.extend_from_slice(chunk);
            let (s, c, taken) = talk.run(from_client, &kept);
            kept.drain(..taken.consumed);
            to_server.extend(s);
            to_client.extend(c);
            assert_eq!(taken.halt, Halt::More);
        }
        assert!(kept.is_empty());
    }
    let rest = talk.at_rest();
    (to_server, to_client, rest)
}

#[test]
fn a_stream_cut_at_every_byte_means_the_same() {
    let client = all(&[
        parse("s1", "select $1"),
        bind("s1"),
        message(b'D', b"Ss1\0"),
        execute(),
        parse("", "select 2"),
        bind(""),
        execute(),
        close("s1"),
        sync(),
        query("select 3"),
    ]);
    let server = [
        replies("12"),
        message(b't', b"\0\0"),
        replies("TDDC12DCZ"),
        message(b'S', b"application_name\0x\0"),
        replies("TDCZ"),
    ]
    .concat();
    let whole = drive(&[&client], &[&server]);
    assert!(whole.2);
    for cut in 0..=client.len() {
        let (a, b) = client.split_at(cut);
        assert_eq!(drive(&[a, b], &[&server]), whole, "client cut at {cut}");
    }
    for cut in 0..=server.len() {
        let (a, b) = server.split_at(cut);
        assert_eq!(drive(&[&client], &[a, b]), whole, "server cut at {cut}");
    }
    let bytes: Vec<&[u8]> = client.chunks(1).collect();
    let replies: Vec<&[u8]> = server.chunks(1).collect();
    assert_eq!(drive(&bytes, &replies), whole, "byte by byte");
}

proptest! {
    /// Whatever either side sends, nothing panics, and nobody is at rest while something is owed.
    #[test]
    fn s2_r1_arbitrary_bytes_never_panic(
        script in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
    ) {
        let mut talk = Talk::transaction();
        for (from_client, bytes) in script {
            let (_, _, taken) = talk.run(from_client, &bytes);
            prop_assert!(taken.consumed <= bytes.len());
            if matches!(taken.halt, Halt::End(_)) {
                break;
            }
        }
    }

    /// A model of PostgreSQL answers random batches; every answer arrives, in order, and the end is rest.
    #[test]
    fn r15_r1_random_batches_get_every_reply_and_end_at_rest(
        script in proptest::collection::vec((0u8..8, 0usize..3, any::<bool>()), 1..60),
    ) {
        let mut talk = Talk::transaction();
        let mut model = model::Postgres::default();
        let mut direct = model::Postgres::default();
        let mut names = 0;
        for (what, name, fail) in script {
            let name = ["", "a", "b"][name];
            let sql = if fail { "fail".to_owned() } else { names += 1; format!("select {}", names % 4) };
            let sent = match what {
                0 => parse(name, &sql),
                1 => bind(name),
                2 => execute(),
                3 => close(name),
                4 => message(b'D', format!("S{name}\0").as_bytes()),
                5 => query(&sql),
                _ => sync(),
            };
            model::exchange(&mut talk, &mut model, &mut direct, &sent)?;
        }
        model::exchange(&mut talk, &mut model, &mut direct, &sync())?;
        prop_assert!(talk.at_rest());
    }
}

/// Enough of PostgreSQL to answer the extended protocol.
mod model {
    use super::*;
    use std::collections::HashMap;

    #[derive(Default)]
    pub(super) struct Postgres {
        statements: HashMap<Vec<u8>, Vec<u8>>,
        skipping: bool,
    }

    impl Postgres {
        fn answer(&mut self, bytes: &[u8]) -> Vec<u8> {
            let mut out = Vec::new();
            let mut rest = bytes;
            while let Ok(Some(header)) = FrameHeader::frontend(rest) {
                let body = &rest[5..header.wire_len];
                out.extend(self.one(header.tag, body));
                rest = &rest[header.wire_len..];
            }
            out
        }

        fn one(&mut self, tag: u8, body: &[u8]) -> Vec<u8> {
            if tag == b'S' {
                self.skipping = false;
                return replies("Z");
            }
            if self.skipping {
                return Vec::new();
            }
            let reply = match tag {
                b'P' => self.parse(body),
                b'B' => self.known(body.split(|&b| b == 0).nth(1).unwrap(), "2"),
                b'D' => self.known(&body[1..body.len() - 1], "tT"),
                b'C' => {
                    self.statements.remove(&body[1..body.len() - 1]);
                    Ok(replies("3"))
                }
                b'E' => Ok(replies("DC")),
                _ => {
                    self.statements.remove(&b""[..]);
                    let failed = body.starts_with(b"fail");
                    return if failed { [error(*b"42601"), replies("Z")].concat() } else { replies("TDCZ") };
                }
            };
            reply.unwrap_or_else(|code| {
                self.skipping = true;
                error(code)
            })
        }

        fn parse(&mut self, body: &[u8]) -> Result<Vec<u8>, [u8; 5]> {
            let mut parts = body.split(|&b| b == 0);
            let (name, sql) = (parts.next().unwrap(), parts.next().unwrap());
            if name.is_empty() {
                self.statements.remove(name);
            }
            if self.statements.contains_key(name) {
                return Err(*b"42P05");
            }
            if sql == b"fail" {
                return Err(*b"42601");
            }
            self.statements.insert(name.to_vec(), sql.to_vec());
            Ok(replies("1"))
        }

        fn known(&self, name: &[u8], reply: &str) -> Result<Vec<u8>, [u8; 5]> {
            if self.statements.contains_key(name) { Ok(replies(reply)) } else { Err(*b"26000") }
        }
    }

    /// Sends one message through the session to one model and straight to another; both answer alike, though a
    /// reply made here may come before the server has spoken.
    pub(super) fn exchange(
        talk: &mut Talk,
        behind: &mut Postgres,
        direct: &mut Postgres,
        sent: &[u8],
    ) -> Result<(), TestCaseError> {
        let wanted = direct.answer(sent);
        let (server, client, taken) = talk.run(true, sent);
        prop_assert_eq!(taken, Taken { consumed: sent.len(), halt: Halt::More });
        let mut got = client;
        let answer = behind.answer(&server);
        let (_, client, taken) = talk.run(false, &answer);
        prop_assert_eq!(taken, Taken { consumed: answer.len(), halt: Halt::More });
        got.extend(client);
        prop_assert_eq!(words(&got), words(&wanted), "sent {}", words(sent));
        Ok(())
    }
}
