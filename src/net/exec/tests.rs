//! Promises of the executor: no wake-up lost, no task starved, nothing leaked.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};
use std::time::Duration;

use super::{Executor, Io, Join, Sleep, current, yield_now};
use crate::net::clock;
use crate::net::socket::FreeSocket;

fn run(test: impl Future<Output = ()>) {
    Executor::new("test", 4).unwrap().run(test);
}

fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Join<T> {
    Join::spawn(&current().unwrap(), "test", future)
}

fn attach(socket: TcpStream) -> Io {
    socket.set_nonblocking(true).unwrap();
    Io::attach(&current().unwrap(), FreeSocket::Tcp(socket), true).unwrap()
}

/// An attached end and the other end, which blocks.
fn pair() -> (Io, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (attach(listener.accept().unwrap().0), far)
}

async fn read(io: &Io, room: usize) -> Vec<u8> {
    let mut buf = vec![0; room];
    let n = poll_fn(|cx| io.poll_read(cx, &mut buf)).await.unwrap();
    buf.truncate(n);
    buf
}

#[test]
fn a_task_woken_while_it_is_polled_is_polled_again() {
    run(async {
        let polls = Rc::new(Cell::new(0));
        let seen = Rc::clone(&polls);
        spawn(poll_fn(move |cx| {
            seen.set(seen.get() + 1);
            cx.waker().wake_by_ref();
            cx.waker().wake_by_ref();
            if seen.get() == 5 { Poll::Ready(()) } else { Poll::Pending }
        }))
        .await;
        assert_eq!(polls.get(), 5, "each poll was asked for by the one before, and none twice");
    });
}

#[test]
fn a_task_that_never_rests_leaves_the_others_their_turns_and_the_clock_its_ticks() {
    run(async {
        let stop = Rc::new(Cell::new(false));
        let told = Rc::clone(&stop);
        let spinner = spawn(async move {
            while !told.get() {
                yield_now().await;
            }
        });
        let (io, mut far) = pair();
        far.write_all(b"x").unwrap();
        assert_eq!(read(&io, 8).await, b"x", "sockets have their turn");
        Sleep::new(current().unwrap(), clock::now() + Duration::from_millis(2)).await;
        stop.set(true);
        assert_eq!(spinner.await, Some(()));
    });
}

#[test]
fn a_wake_up_from_another_thread_arrives_however_it_falls() {
    run(async {
        for round in 0..2000 {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            let other = std::thread::spawn(move || sender.send(round));
            assert_eq!(receiver.await, Ok(round));
            other.join().unwrap().unwrap();
        }
    });
}

#[test]
fn wakers_outlive_their_tasks_and_wake_nobody_then() {
    run(async {
        let kept: Rc<RefCell<Option<Waker>>> = Rc::default();
        let keep = Rc::clone(&kept);
        spawn(poll_fn(move |cx| {
            keep.replace(Some(cx.waker().clone()));
            Poll::Ready(())
        }))
        .await;
        let polls = Rc::new(Cell::new(0));
        let seen = Rc::clone(&polls);
        // Takes the place in the table that has become free.
        let next = spawn(poll_fn(move |_| {
            seen.set(seen.get() + 1);
            Poll::<()>::Pending
        }));
        yield_now().await;
        let waker = kept.take().unwrap();
        waker.wake_by_ref();
        std::thread::spawn(move || waker.wake()).join().unwrap();
        for _ in 0..3 {
            yield_now().await;
        }
        assert_eq!(polls.get(), 1, "woken once, by being spawned");
        next.abort();
        assert_eq!(next.await, None);
    });
}

#[test]
fn a_task_may_end_itself_and_others_while_it_is_polled() {
    run(async {
        let held = Rc::new(());
        let weak = Rc::downgrade(&held);
        let victim = spawn(async move {
            pending::<()>().await;
            drop(held);
        });
        yield_now().await;
        let own: Rc<RefCell<Option<Join<()>>>> = Rc::default();
        let mine = Rc::clone(&own);
        let killer = spawn(async move {
            victim.abort();
            assert!(weak.upgrade().is_none(), "dropped at once");
            if let Some(own) = &*mine.borrow() {
                own.abort();
            }
            pending::<()>().await;
        });
        own.replace(Some(killer));
        let killer = poll_fn(|cx| own.borrow_mut().as_mut().unwrap().poll(cx));
        assert_eq!(killer.await, None, "dropped after its poll");
    });
}

#[test]
fn what_dropped_tasks_spawn_is_dropped_and_all_is_gone_at_the_end() {
    struct SpawnsOnDrop(Rc<Cell<u32>>, Rc<()>);
    impl Drop for SpawnsOnDrop {
        fn drop(&mut self) {
            let held = Rc::clone(&self.1);
            let ran = Rc::clone(&self.0);
            drop(spawn(async move {
                ran.set(ran.get() + 1);
                drop(held);
            }));
        }
    }
    let (ran, held) = (Rc::new(Cell::new(0)), Rc::new(()));
    let heir = SpawnsOnDrop(Rc::clone(&ran), Rc::clone(&held));
    run(async move {
        drop(spawn(async move {
            let _heir = heir;
            pending::<()>().await;
        }));
        yield_now().await;
    });
    assert_eq!((ran.get(), Rc::strong_count(&held)), (0, 1));
    assert!(current().is_none());
}

#[test]
fn a_short_read_costs_no_second_one_and_loses_neither_data_nor_the_end() {
    run(async {
        let (io, mut far) = pair();
        let reader = spawn(async move {
            let mut all = Vec::new();
            loop {
                let some = read(&io, 64).await;
                if some.is_empty() {
                    return all;
                }
                all.extend(some);
            }
        });
        for byte in 0..200u8 {
            far.write_all(&[byte]).unwrap();
            if byte % 3 == 0 {
                yield_now().await;
            }
        }
        drop(far); // the end may come in one event with the data
        assert_eq!(reader.await, Some((0..200u8).collect::<Vec<_>>()));
    });
}

#[test]
fn the_end_is_seen_by_a_read_that_came_short_after_it_had_arrived() {
    run(async {
        let (io, mut far) = pair();
        far.write_all(b"bye").unwrap();
        drop(far);
        yield_now().await;
        assert_eq!(read(&io, 64).await, b"bye");
        assert_eq!(read(&io, 64).await, b"", "no further event tells of it");
    });
}

#[test]
fn a_full_socket_is_written_on_when_there_is_room_on_tcp_and_unix() {
    async fn fill(io: Io, mut far: impl std::io::Read + Send + 'static) {
        let block = vec![7; 64 * 1024];
        let mut sent = 0;
        let cx = std::task::Context::from_waker(Waker::noop());
        while let Poll::Ready(n) = io.poll_write_vectored(&cx, &[std::io::IoSlice::new(&block)]) {
            sent += n.unwrap();
        }
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            far.read_to_end(&mut all).map(|_| all.len())
        });
        sent += poll_fn(|cx| io.poll_write_vectored(cx, &[std::io::IoSlice::new(&block)])).await.unwrap();
        io.shutdown().unwrap();
        assert_eq!(reader.join().unwrap().unwrap(), sent);
    }
    run(async {
        let (io, far) = pair();
        fill(io, far).await;
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        fill(Io::attach(&current().unwrap(), FreeSocket::Unix(near), true).unwrap(), far).await;
    });
}

struct Count(std::sync::atomic::AtomicU32);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn an_alarm_rings_only_while_no_task_waits() {
    run(async {
        let task = async {
            let (io, mut far) = pair();
            let count = Arc::new(Count(0.into()));
            let rung = || count.0.load(std::sync::atomic::Ordering::Relaxed);
            let waker = Waker::from(Arc::clone(&count));
            let alarm = std::task::Context::from_waker(&waker);
            io.set_alarm(&waker);
            for round in 1..=3 {
                assert!(poll_fn(|cx| Poll::Ready(io.poll_read_ready(cx))).await.is_pending());
                assert!(!io.is_dry(&alarm), "the task waits, not the alarm");
                far.write_all(b"x").unwrap();
                assert_eq!(read(&io, 64).await, b"x", "the task was woken");
                assert_eq!(rung(), round - 1);
                assert!(io.poll_read_ready(&alarm).is_pending());
                assert!(io.is_dry(&alarm));
                far.write_all(b"y").unwrap();
                while rung() < round {
                    yield_now().await;
                }
                assert_eq!(read(&io, 64).await, b"y");
            }
        };
        assert!(spawn(task).await.is_some());
    });
}

#[test]
fn an_event_for_a_closed_socket_marks_not_the_next_one_with_its_number() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for _ in 0..50 {
            let mut far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let old = attach(listener.accept().unwrap().0);
            let far2 = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let fresh = listener.accept().unwrap().0;
            // Ready in the kernel and not yet seen here when its number goes to another.
            far.write_all(b"x").unwrap();
            drop(old);
            let fresh = attach(fresh);
            let count = Arc::new(Count(0.into()));
            let waker = Waker::from(Arc::clone(&count));
            let cx = std::task::Context::from_waker(&waker);
            assert!(fresh.poll_read_ready(&cx).is_pending());
            yield_now().await;
            yield_now().await;
            assert!(fresh.poll_read_ready(&cx).is_pending(), "nobody has written to it");
            assert_eq!(count.0.load(std::sync::atomic::Ordering::Relaxed), 0);
            drop(far2);
        }
        let reactor = Rc::clone(current().unwrap().reactor());
        assert_eq!(reactor.len(), 0, "each socket has left the table");
    });
}

#[test]
fn deadlines_come_in_order_and_a_dropped_sleep_leaves_nothing() {
    run(async {
        let executor = current().unwrap();
        let order: Rc<RefCell<Vec<u64>>> = Rc::default();
        let start = clock::now();
        let tasks: Vec<_> = [6u64, 2, 4]
            .into_iter()
            .map(|ms| {
                let order = Rc::clone(&order);
                let sleep = Sleep::new(Rc::clone(&executor), start + Duration::from_millis(ms));
                spawn(async move {
                    sleep.await;
                    order.borrow_mut().push(ms);
                })
            })
            .collect();
        let dropped = spawn(Sleep::new(Rc::clone(&executor), start + Duration::from_hours(1)));
        yield_now().await;
        dropped.abort();
        for task in tasks {
            task.await;
        }
        assert_eq!(*order.borrow(), [2, 4, 6]);
        assert!(executor.timers.until_next(start).is_none(), "no deadline is left behind");
    });
}
