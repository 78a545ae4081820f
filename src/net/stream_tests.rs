//! Promises of a stream that do not depend on TLS, and those it keeps in both forms.

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::rt::{spawn_local, yield_now};
use super::testing::{DropAfter, pattern, read_exactly, run, tcp_pair, tls_pair, travel, unix_pair};
use super::{Endpoint, Quiet, Stream};

/// Counts how often it was woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Bell {
    fn rung(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

async fn all_kinds() -> [(Stream, Stream); 3] {
    [tcp_pair().await, unix_pair().await, tls_pair().await]
}

#[test]
fn bytes_arrive_in_both_directions_and_the_end_is_seen() {
    run(|| async {
        for (mut near, mut far) in all_kinds().await {
            near.write_all(b"question").await.unwrap();
            assert_eq!(read_exactly(&mut far, 8).await, b"question");
            far.write_all(b"answer").await.unwrap();
            assert_eq!(read_exactly(&mut near, 6).await, b"answer");
            near.shutdown().await.unwrap();
            assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 0);
            // Only one direction has ended.
            far.write_all(b"last").await.unwrap();
            assert_eq!(read_exactly(&mut near, 4).await, b"last");
        }
    });
}

#[test]
fn tokio_reads_and_writes_it_too() {
    run(|| async {
        for (mut near, mut far) in all_kinds().await {
            AsyncWriteExt::write_all(&mut near, b"hello").await.unwrap();
            AsyncWriteExt::flush(&mut near).await.unwrap();
            AsyncWriteExt::shutdown(&mut near).await.unwrap();
            let mut text = String::new();
            far.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "hello");
        }
    });
}

#[test]
fn pieces_in_several_places_leave_together() {
    run(|| async {
        for (mut near, mut far) in all_kinds().await {
            let pieces = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")];
            let written = std::future::poll_fn(|cx| near.poll_write_vectored(cx, &pieces)).await.unwrap();
            near.flush().await.unwrap();
            assert_eq!(written, 5);
            assert_eq!(read_exactly(&mut far, 5).await, b"abcde");
        }
    });
}

#[test]
fn an_idle_stream_is_silent_until_somebody_speaks_and_the_waker_is_called() {
    run(|| async {
        for (mut near, mut far) in all_kinds().await {
            let bell = Arc::new(Bell::default());
            let waker = Waker::from(Arc::clone(&bell));
            // What was read before must not count.
            far.write_all(b"x").await.unwrap();
            read_exactly(&mut near, 1).await;
            assert_eq!(near.poll_quiet(&waker), Quiet::Silent);
            assert!(!bell.rung());
            far.write_all(b"y").await.unwrap();
            while !bell.rung() {
                yield_now().await;
            }
            assert_eq!(near.poll_quiet(&waker), Quiet::Readable);
            assert_eq!(read_exactly(&mut near, 1).await, b"y", "looking takes nothing away");
            assert_eq!(near.poll_quiet(&waker), Quiet::Silent);
        }
    });
}

#[test]
fn r5_the_end_of_an_idle_stream_is_seen_and_wakes() {
    run(|| async {
        for (mut near, far) in all_kinds().await {
            let bell = Arc::new(Bell::default());
            let waker = Waker::from(Arc::clone(&bell));
            assert_eq!(near.poll_quiet(&waker), Quiet::Silent);
            drop(far);
            while !bell.rung() {
                yield_now().await;
            }
            assert_eq!(near.poll_quiet(&waker), Quiet::Closed);
        }
    });
}

#[test]
fn r5_a_reset_of_an_idle_stream_is_seen() {
    run(|| async {
        let (mut near, far) = tcp_pair().await;
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(Arc::clone(&bell));
        assert_eq!(near.poll_quiet(&waker), Quiet::Silent);
        SockRef::from(&far.socket).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(far);
        while !bell.rung() {
            yield_now().await;
        }
        assert_eq!(near.poll_quiet(&waker), Quiet::Closed);
    });
}

#[test]
fn r5_a_task_that_has_used_up_its_turn_is_not_told_silence() {
    run(|| async {
        let (mut near, mut far) = tcp_pair().await;
        far.write_all(b"x").await.unwrap();
        // Wait until the reactor knows.
        while near.poll_quiet(Waker::noop()) != Quiet::Readable {
            yield_now().await;
        }
        // Each of these takes from the turn's budget and none gives the turn back.
        let answers = std::future::poll_fn(|_| {
            let looks = (0..1000).map(|_| near.poll_quiet(Waker::noop()));
            std::task::Poll::Ready(looks.filter(|quiet| *quiet == Quiet::Readable).count())
        });
        assert_eq!(answers.await, 1000);
    });
}

#[test]
fn a_read_by_another_task_replaces_the_watcher() {
    run(|| async {
        let (mut near, mut far) = tcp_pair().await;
        let bell = Arc::new(Bell::default());
        assert_eq!(near.poll_quiet(&Waker::from(Arc::clone(&bell))), Quiet::Silent);
        let reader = spawn_local("reader", async move { read_exactly(&mut near, 1).await });
        yield_now().await;
        far.write_all(b"z").await.unwrap();
        assert_eq!(reader.await.unwrap(), b"z");
        assert!(!bell.rung());
    });
}

#[test]
fn bytes_put_back_come_first_and_travel_along() {
    run(|| async {
        for (mut near, mut far) in all_kinds().await {
            near.write_all(b"defg").await.unwrap();
            assert_eq!(read_exactly(&mut far, 1).await, b"d");
            far.put_back(b"cd");
            far.put_back(b"ab");
            assert!(far.has_unread());
            assert_eq!(far.poll_quiet(Waker::noop()), Quiet::Readable);
            let mut far = travel(far);
            assert!(far.has_unread());
            assert_eq!(read_exactly(&mut far, 7).await, b"abcdefg");
            assert!(!far.has_unread());
        }
    });
}

#[test]
fn a_stream_changes_workers_in_mid_stream_with_data_under_way_both_ways() {
    run(|| async {
        for (mut near, mut far) in all_kinds().await {
            let sent = pattern(100_000);
            let (there, back) = (sent.clone(), sent.clone());
            let far_task = spawn_local("far", async move {
                for chunk in there.chunks(7_001) {
                    far.write_all(chunk).await.unwrap();
                    far = travel(far);
                }
                let got = read_exactly(&mut far, back.len()).await;
                assert!(got == back);
            });
            let mut got = Vec::new();
            while got.len() < sent.len() {
                let mut buf = [0; 1000];
                let read = near.read(&mut buf).await.unwrap();
                got.extend_from_slice(&buf[..read]);
                near = travel(near);
            }
            assert!(got == sent);
            near.write_all(&sent).await.unwrap();
            let near = travel(near);
            far_task.await.unwrap();
            drop(near);
        }
    });
}

#[test]
fn a_write_cut_off_at_any_poll_loses_order_never() {
    run(|| async {
        let sent = pattern(3_000_000);
        for polls in 0.. {
            let mut finished = true;
            for (mut near, mut far) in [tcp_pair().await, tls_pair().await] {
                let data = sent.clone();
                let reader = spawn_local("reader", async move {
                    let mut got = Vec::new();
                    far.read_to_end(&mut got).await.map(|_| got)
                });
                let done = DropAfter::new(near.write_all(&data), polls).await.is_some();
                near.shutdown().await.unwrap();
                drop(near);
                let got = reader.await.unwrap().unwrap();
                assert!(data.starts_with(&got), "a hole or a repetition after {polls} polls");
                assert!(!done || got.len() == data.len());
                finished &= done;
            }
            if finished {
                return;
            }
        }
    });
}

#[test]
fn endpoints_of_a_connection_mirror_each_other() {
    run(|| async {
        let (near, far) = tcp_pair().await;
        assert_eq!(near.endpoint(), far.local_endpoint());
        assert_eq!(far.endpoint(), near.local_endpoint());
        assert_eq!((near.is_unix(), near.is_tls(), near.tls_info()), (false, false, None));
        assert_eq!(near.reconnect_target().host, "127.0.0.1");

        let (near, far) = unix_pair().await;
        assert!(near.is_unix());
        let Endpoint::Unix { peer_pid, peer_uid, .. } = far.endpoint() else { unreachable!() };
        assert_eq!(peer_pid, i32::try_from(std::process::id()).ok());
        assert!(peer_uid.is_some());
        assert_eq!(near.reconnect_target(), far.reconnect_target());
        assert_eq!(near.reconnect_target().port, 1);
    });
}
