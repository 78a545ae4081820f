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

/// One message of a random script.
fn random_message(what: u8, name: &str, sql: &str) -> Vec<u8> {
    match what {
        0 => parse(name, sql),
        1 => bind(name),
        2 => execute(),
        3 => close(name),
        4 => message(b'D', format!("S{name}\0").as_bytes()),
        5 => query(sql),
        6 => message(b'H', b""),
        7 => parse(name, &format!("{sql}{}", " ".repeat(crate::session::extended::MAX_HELD_PARSE))),
        _ => sync(),
    }
}

proptest! {
    /// Whole scripts at once against a server that holds its replies back, with statements too large to keep and a
    /// server that may keep only a few: every reply comes, and the record of the server's statements is true.
    #[test]
    fn r36_r52_r53_pipelines_never_wait_for_ever_and_records_are_true(
        script in proptest::collection::vec((0u8..40, 0usize..4, any::<bool>()), 1..60),
        max_prepared in 1usize..4,
    ) {
        let mut talk = Talk::new(PoolMode::Transaction, max_prepared);
        let (mut behind, mut direct) = (model::Postgres::default(), model::Postgres::default());
        let mut sent = Vec::new();
        for (number, (what, name, fail)) in script.into_iter().enumerate() {
            // One large one in forty, one failure in some.
            let what = if what < 39 { [0, 1, 2, 3, 4, 5, 6, 8, 0, 1, 1, 3, 8][usize::from(what) % 13] } else { 7 };
            let sql = if fail && number % 4 == 0 { "fail".to_owned() } else { format!("select {}", number % 5) };
            sent.extend(random_message(what, ["", "a", "b", "c"][name], &sql));
        }
        sent.extend(sync());
        model::pipeline(&mut talk, &mut behind, &mut direct, &sent)?;
        prop_assert!(talk.session.inflight.at_rest(talk.session.tx()));
        prop_assert_eq!(talk.facts.statements.len(), behind.named());
        model::pipeline(&mut talk, &mut behind, &mut direct, &all(&[close("a"), close("b"), close("c"), query("x")]))?;
        prop_assert!(talk.at_rest() && !talk.session.is_pinned(), "nothing binds a client that names nothing");
        prop_assert_eq!(talk.facts.statements.len(), behind.named());
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
        buffer: Vec<u8>,
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

        /// Replies that PostgreSQL would send now: up to the last Sync, Query, Flush or error. The others stay in
        /// its buffer.
        fn answer_when_flushed(&mut self, bytes: &[u8]) -> Vec<u8> {
            let mut ready = 0;
            let mut rest = bytes;
            while let Ok(Some(header)) = FrameHeader::frontend(rest) {
                let reply = self.one(header.tag, &rest[5..header.wire_len]);
                let flushes = matches!(header.tag, b'S' | b'Q' | b'H') || reply.first() == Some(&b'E');
                self.buffer.extend(reply);
                if flushes && !(header.tag == b'H' && self.skipping) {
                    ready = self.buffer.len();
                }
                rest = &rest[header.wire_len..];
            }
            self.buffer.drain(..ready).collect()
        }

        /// Statements it has under names.
        pub(super) fn named(&self) -> usize {
            self.statements.keys().filter(|name| !name.is_empty()).count()
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
                b'H' => Ok(Vec::new()),
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

    /// Sends everything at once; the server keeps replies to itself as long as it may. Nobody may wait for ever.
    pub(super) fn pipeline(
        talk: &mut Talk,
        behind: &mut Postgres,
        direct: &mut Postgres,
        sent: &[u8],
    ) -> Result<(), TestCaseError> {
        let wanted = direct.answer(sent);
        let (mut got, mut at) = (Vec::new(), 0);
        loop {
            let (server, client, taken) = talk.run(true, &sent[at..]);
            at += taken.consumed;
            got.extend(client);
            let ready = behind.answer_when_flushed(&server);
            if ready.is_empty() && at == sent.len() {
                break;
            }
            prop_assert!(!ready.is_empty() || taken.consumed > 0, "waits for ever behind {}", words(&got));
            let (_, client, taken) = talk.run(false, &ready);
            prop_assert_eq!(taken, Taken { consumed: ready.len(), halt: Halt::More });
            got.extend(client);
        }
        prop_assert_eq!(words(&got), words(&wanted));
        Ok(())
    }
}
