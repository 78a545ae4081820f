//! Promises of records on a socket: bounds, order, the end.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use super::rt::{spawn_local, yield_now};
use super::testing::{pattern, read_exactly, run, tls_pair, travel};
use super::tls_io::TlsLayer;
use super::{Quiet, Stream};

fn layer(stream: &Stream) -> &TlsLayer {
    stream.tls.as_deref().unwrap()
}

/// What arrives at this end as it is on the wire.
async fn wire_bytes(stream: &mut Stream) -> Vec<u8> {
    let mut bytes = Vec::new();
    poll_fn(|cx| stream.socket.poll_read_to(cx, &mut bytes, 100_000)).await.unwrap();
    bytes
}

/// Puts bytes on the wire as they are.
async fn put_on_wire(stream: &mut Stream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let written = poll_fn(|cx| stream.socket.poll_write(cx, bytes)).await.unwrap();
        bytes = &bytes[written..];
    }
}

#[test]
fn s52_a_writer_waits_for_a_slow_reader_instead_of_buffering() {
    run(|| async {
        let (mut near, mut far) = tls_pair().await;
        let block = pattern(64 * 1024);
        let mut cx = Context::from_waker(Waker::noop());
        let mut written = 0;
        // Until the kernel's buffers are full: the write is refused, and what is kept is one block at most.
        while let Poll::Ready(taken) = near.poll_write(&mut cx, &block) {
            written += taken.unwrap();
            assert!(written < 64 << 20, "nothing ever made the writer wait");
        }
        assert!(near.has_unsent());
        assert!(matches!(near.poll_write(&mut cx, &block), Poll::Pending));
        let reader = spawn_local("reader", async move { read_exactly(&mut far, written).await.len() });
        near.flush().await.unwrap();
        assert!(!near.has_unsent());
        assert_eq!(reader.await.unwrap(), written);
    });
}

#[test]
fn s52_a_reader_that_takes_little_keeps_little() {
    run(|| async {
        let (mut near, mut far) = tls_pair().await;
        let sent = pattern(4_000_000);
        let data = sent.clone();
        let writer = spawn_local("writer", async move {
            near.write_all(&data).await.unwrap();
            near
        });
        let mut got = Vec::new();
        let mut buf = [0; 777];
        while got.len() < sent.len() {
            let read = far.read(&mut buf).await.unwrap();
            got.extend_from_slice(&buf[..read]);
            assert!(layer(&far).buffered_capacity() <= 40_000);
        }
        assert!(got == sent);
        drop(writer.await);
    });
}

#[test]
fn an_idle_connection_holds_no_buffer() {
    run(|| async {
        let (mut near, mut far) = tls_pair().await;
        near.write_all(&pattern(50_000)).await.unwrap();
        read_exactly(&mut far, 50_000).await;
        let mut cx = Context::from_waker(Waker::noop());
        assert!(far.poll_read(&mut cx, &mut [0; 100]).is_pending());
        assert_eq!(layer(&far).buffered_capacity(), 0);
        assert!(!far.has_unread());
        assert_eq!(far.poll_quiet(Waker::noop()), Quiet::Silent);
    });
}

#[test]
fn r1d_undecoded_and_unread_bytes_both_count_and_survive_a_move() {
    run(|| async {
        let (mut near, mut far) = tls_pair().await;
        near.write_all(b"abc").await.unwrap();
        assert_eq!(read_exactly(&mut far, 1).await, b"a");
        assert!(far.has_unread(), "decoded and not yet read");
        assert_eq!(far.poll_quiet(Waker::noop()), Quiet::Readable);
        far = travel(far);
        assert!(far.has_unread());
        assert_eq!(read_exactly(&mut far, 2).await, b"bc");
        assert!(!far.has_unread());

        // A record cut in two on the wire.
        near.write_all(b"def").await.unwrap();
        let record = wire_bytes(&mut far).await;
        let (head, tail) = record.split_at(record.len() / 2);
        far.tls.as_mut().unwrap().push_received(head);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(far.poll_read(&mut cx, &mut [0; 9]).is_pending());
        assert!(far.has_unread(), "undecoded");
        assert_eq!(far.poll_quiet(Waker::noop()), Quiet::Readable);
        far = travel(far);
        far.tls.as_mut().unwrap().push_received(tail);
        assert_eq!(read_exactly(&mut far, 3).await, b"def");
    });
}

#[test]
fn r1e_unsent_bytes_survive_a_move() {
    run(|| async {
        let (mut near, mut far) = tls_pair().await;
        let block = pattern(64 * 1024);
        let mut cx = Context::from_waker(Waker::noop());
        let mut written = 0;
        while let Poll::Ready(taken) = near.poll_write(&mut cx, &block) {
            written += taken.unwrap();
        }
        let mut near = travel(near);
        assert!(near.has_unsent());
        let reader = spawn_local("reader", async move { read_exactly(&mut far, written).await });
        near.flush().await.unwrap();
        let got = reader.await.unwrap();
        assert!(got.chunks(block.len()).all(|chunk| block.starts_with(chunk)));
    });
}

#[test]
fn an_announced_end_and_a_bare_one_both_read_as_the_end() {
    run(|| async {
        let (mut near, mut far) = tls_pair().await;
        near.write_all(b"bye").await.unwrap();
        near.shutdown().await.unwrap();
        near.shutdown().await.unwrap();
        assert_eq!(read_exactly(&mut far, 3).await, b"bye");
        assert_eq!(far.read(&mut [0; 9]).await.unwrap(), 0);
        assert_eq!(far.read(&mut [0; 9]).await.unwrap(), 0);
        assert_eq!(far.poll_quiet(Waker::noop()), Quiet::Closed);

        let (mut near, mut far) = tls_pair().await;
        near.write_all(b"bye").await.unwrap();
        drop(near);
        assert_eq!(read_exactly(&mut far, 3).await, b"bye");
        assert_eq!(far.read(&mut [0; 9]).await.unwrap(), 0);
    });
}

#[test]
fn what_came_before_a_broken_record_is_read_first_and_the_fault_stays() {
    run(|| async {
        let (mut near, mut far) = tls_pair().await;
        near.write_all(b"good").await.unwrap();
        put_on_wire(&mut near, b"\x17\x03\x03\x00\x20no ciphertext of any known key..").await;
        assert_eq!(read_exactly(&mut far, 4).await, b"good");
        for _ in 0..2 {
            let error = far.read(&mut [0; 9]).await.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        }
        assert_eq!(far.poll_quiet(Waker::noop()), Quiet::Closed);
        // The peer hears why.
        let error = near.read(&mut [0; 9]).await.unwrap_err();
        assert!(error.to_string().contains("alert"), "{error}");
    });
}

#[test]
fn clear_text_inside_tls_is_refused() {
    run(|| async {
        for junk in [&b"Q\0\0\0\x0dselect 1\0"[..], b"\x17\x03\x03\xff\xff", b"\x16\x09\x03\x00\x01\x00"] {
            let (mut near, mut far) = tls_pair().await;
            put_on_wire(&mut near, junk).await;
            let error = far.read(&mut [0; 9]).await.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{junk:?}");
        }
    });
}

#[test]
fn keys_can_be_renewed_on_a_connection_that_only_reads() {
    run(|| async {
        let (mut near, mut far) = tls_pair().await;
        for round in 0..3u8 {
            near.tls.as_mut().unwrap().refresh_keys();
            near.write_all(&[round]).await.unwrap();
            assert_eq!(read_exactly(&mut far, 1).await, [round]);
            far.write_all(&[round]).await.unwrap();
            assert_eq!(read_exactly(&mut near, 1).await, [round]);
        }
        yield_now().await;
    });
}
