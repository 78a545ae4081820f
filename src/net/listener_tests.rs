//! Promises of listening and of connecting.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use socket2::SockRef;

use super::testing::{loopback, options, process, read_exactly, run, target_of};
use super::{BindError, Endpoint, Listener, Stream, Target, clock, connect, is_transient_accept_error};
use crate::config::{Process, SocketOptions};

fn in_dir(dir: &std::path::Path) -> Process {
    Process { unix_socket_dir: Some(dir.to_owned()), ..process(&[], 6432) }
}

fn bind(process: &Process) -> Result<Vec<Listener>, BindError> {
    Listener::bind_all(process, &options())
}

/// A port that nobody listens on, as far as one can know.
fn free_port() -> u16 {
    target_of(&loopback()).port
}

#[test]
fn socket_options_are_set_on_both_sides() {
    fn check(stream: &Stream, wanted: &SocketOptions) {
        let socket = SockRef::from(&stream.socket);
        assert!(socket.tcp_nodelay().unwrap());
        assert_eq!(socket.keepalive().unwrap(), wanted.keepalive);
        let fresh = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let idle = wanted.keepidle.or(fresh.tcp_keepalive_time().ok());
        assert_eq!(socket.tcp_keepalive_time().ok(), idle);
        let interval = wanted.keepintvl.or(fresh.tcp_keepalive_interval().ok());
        assert_eq!(socket.tcp_keepalive_interval().ok(), interval);
        let count = wanted.keepcnt.or(fresh.tcp_keepalive_retries().ok());
        assert_eq!(socket.tcp_keepalive_retries().ok(), count);
        assert_eq!(socket.tcp_user_timeout().unwrap(), wanted.user_timeout);
    }
    run(|| async {
        let all = SocketOptions {
            keepalive: true,
            keepidle: Some(Duration::from_secs(31)),
            keepintvl: Some(Duration::from_secs(7)),
            keepcnt: Some(3),
            user_timeout: Some(Duration::from_millis(12_345)),
        };
        let none = SocketOptions { keepalive: false, ..options() };
        let listener = loopback();
        for wanted in [all, options(), none] {
            listener.set_options(&wanted).unwrap();
            let near = connect(&target_of(&listener), &wanted, None).await.unwrap();
            let far = listener.accept().await.unwrap().attach().unwrap();
            check(&near, &wanted);
            check(&far, &wanted);
        }
    });
}

#[test]
fn connections_that_wait_are_taken_together_and_none_is_lost() {
    run(|| async {
        let listener = loopback();
        let address = listener.local_addr_text();
        let near: Vec<_> = (0..5).map(|_| std::net::TcpStream::connect(&address).unwrap()).collect();
        let acceptor = listener.local_acceptor().unwrap();
        let mut taken = acceptor.accept_some(3).await.unwrap();
        assert!((1..=3).contains(&taken.len()));
        while taken.len() < near.len() {
            taken.extend(acceptor.accept_some(16).await.unwrap());
        }
        for (near, far) in near.iter().zip(&taken) {
            assert_eq!(far.endpoint(), Endpoint::Tcp(near.local_addr().unwrap()));
            assert_eq!(far.local_endpoint(), Endpoint::Tcp(near.peer_addr().unwrap()));
        }
        let nobody = super::testing::DropAfter::new(acceptor.accept_some(16), 1).await;
        assert!(nobody.is_none(), "and then it waits");
        let late = std::net::TcpStream::connect(&address).unwrap();
        let far = acceptor.accept_some(1).await.unwrap().remove(0);
        assert_eq!(far.endpoint(), Endpoint::Tcp(late.local_addr().unwrap()));
    });
}

#[test]
fn behind_a_wildcard_each_connection_knows_its_own_address() {
    run(|| async {
        let listener = bind(&process(&["0.0.0.0"], 0)).unwrap().remove(0);
        let port = target_of(&listener).port;
        let near = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let far = listener.accept().await.unwrap();
        assert_eq!(far.local_endpoint(), Endpoint::Tcp(near.peer_addr().unwrap()));
    });
}

#[test]
fn a_star_listens_on_every_family_and_names_may_stand_beside_addresses() {
    run(|| async {
        let port = free_port();
        let listeners = bind(&process(&["*"], port)).unwrap();
        assert_eq!(listeners[0].local_addr_text(), format!("0.0.0.0:{port}"));
        if listeners.len() == 2 {
            assert_eq!(listeners[1].local_addr_text(), format!("[::]:{port}"));
        }
        drop(listeners);
        let named = bind(&process(&["localhost"], free_port())).unwrap();
        assert!(!named.is_empty());
    });
}

#[test]
fn an_address_that_fails_is_left_out_and_all_failing_is_an_error() {
    run(|| async {
        let taken = loopback();
        let port = target_of(&taken).port;
        let some = bind(&process(&["127.0.0.1", "127.0.0.2"], port)).unwrap();
        assert_eq!(some.len(), 1);
        assert_eq!(some[0].local_addr_text(), format!("127.0.0.2:{port}"));
        let error = bind(&process(&["127.0.0.1", "name.invalid"], port)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "failed to listen on any address in listen_addr list: 127.0.0.1, name.invalid"
        );
        assert_eq!(bind(&process(&[], port)).unwrap_err().to_string(), "nowhere to listen on");
    });
}

#[test]
fn a_socket_file_has_its_rights_and_goes_with_its_listener() {
    run(|| async {
        let dir = tempfile::tempdir().unwrap();
        let mut process = in_dir(dir.path());
        process.unix_socket_mode = 0o640;
        let own_group = std::fs::metadata(dir.path()).map(|meta| std::os::unix::fs::MetadataExt::gid(&meta));
        process.unix_socket_group = Some(own_group.unwrap().to_string());
        let listener = bind(&process).unwrap().remove(0);
        let path = dir.path().join(".s.PGSQL.6432");
        assert_eq!(listener.local_addr_text(), path.to_str().unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        drop(listener);
        assert!(!path.exists());

        process.unix_socket_group = Some("no such group".to_owned());
        assert!(bind(&process).unwrap_err().to_string().contains("unknown group"));
        assert!(!path.exists(), "nothing is left of a failure");
    });
}

#[test]
fn a_stale_socket_file_is_replaced_and_a_living_one_is_not() {
    run(|| async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".s.PGSQL.6432");
        drop(UnixListener::bind(&path).unwrap()); // leaves its file behind
        assert!(path.exists());
        let living = bind(&in_dir(dir.path())).unwrap().remove(0);
        assert!(matches!(bind(&in_dir(dir.path())).unwrap_err(), BindError::UnixInUse(_)));
        assert!(path.exists());
        assert!(connect(&target_of(&living), &options(), None).await.is_ok());
    });
}

#[test]
fn a_file_that_is_no_socket_and_a_lock_of_another_are_respected() {
    run(|| async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".s.PGSQL.6432");
        std::fs::write(&path, "precious").unwrap();
        assert!(bind(&in_dir(dir.path())).unwrap_err().to_string().contains("no socket"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(dir.path().join(".s.PGSQL.6432.lock"), "1").unwrap();
        assert!(matches!(bind(&in_dir(dir.path())).unwrap_err(), BindError::UnixInUse(_)));
    });
}

#[test]
fn a_successor_s_socket_file_is_not_removed() {
    run(|| async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".s.PGSQL.6432");
        let first = bind(&in_dir(dir.path())).unwrap();
        // Made before the old one is removed, so that it cannot be given the same inode.
        let successor = dir.path().join("successor");
        let _second = UnixListener::bind(&successor).unwrap();
        std::fs::rename(&successor, &path).unwrap();
        drop(first);
        assert!(path.exists());
    });
}

#[test]
fn the_abstract_namespace_needs_no_file() {
    run(|| async {
        let name = format!("@pooler-test-{}", std::process::id());
        let process = in_dir(name.as_ref());
        let listener = bind(&process).unwrap().remove(0);
        assert!(matches!(bind(&process).unwrap_err(), BindError::UnixInUse(_)));
        let target = Target { host: name, port: 6432 };
        let mut near = connect(&target, &options(), None).await.unwrap();
        let mut far = listener.accept().await.unwrap().attach().unwrap();
        near.write_all(b"hi").await.unwrap();
        assert_eq!(read_exactly(&mut far, 2).await, b"hi");
        assert_eq!(near.reconnect_target(), target);
    });
}

#[test]
fn unix_peers_are_known_by_process_and_user() {
    run(|| async {
        let dir = tempfile::tempdir().unwrap();
        let listener = bind(&in_dir(dir.path())).unwrap().remove(0);
        let _near = connect(&target_of(&listener), &options(), None).await.unwrap();
        let far = listener.accept().await.unwrap();
        let Endpoint::Unix { peer_pid, peer_uid, .. } = far.endpoint() else { unreachable!() };
        assert_eq!(peer_pid, i32::try_from(std::process::id()).ok());
        assert!(peer_uid.is_some());
        assert_eq!((far.endpoint().addr_text(), far.local_endpoint().port(6432)), ("unix".to_owned(), 6432));
    });
}

#[test]
fn sockets_handed_over_by_the_system_are_taken() {
    run(|| async {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = Listener::from_std(tcp, &options()).unwrap();
        connect(&target_of(&listener), &options(), None).await.unwrap();
        assert!(listener.accept().await.is_ok());

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".s.PGSQL.9");
        let listener = Listener::from_std(UnixListener::bind(&path).unwrap(), &options()).unwrap();
        assert_eq!(listener.local_addr_text(), path.to_str().unwrap());
        connect(&target_of(&listener), &options(), None).await.unwrap();
        assert!(listener.accept().await.is_ok());
        drop(listener);
        assert!(path.exists(), "the file belongs to whoever made it");

        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(Listener::from_std(one, &options()).is_err(), "not a listener");
    });
}

#[test]
fn r111_passing_failures_of_accept_are_told_from_lasting_ones() {
    for number in [24, 23, 103, 105, 12] {
        assert!(is_transient_accept_error(&io::Error::from_raw_os_error(number)), "{number}");
    }
    for number in [9, 22] {
        assert!(!is_transient_accept_error(&io::Error::from_raw_os_error(number)), "{number}");
    }
    assert!(is_transient_accept_error(&io::ErrorKind::ConnectionAborted.into()));
}

#[test]
fn r113_accept_survives_cancellation_and_peers_that_are_gone() {
    run(|| async {
        let listener = loopback();
        drop(std::net::TcpStream::connect(listener.local_addr_text()).unwrap());
        for _ in 0..3 {
            let waiting = super::testing::DropAfter::new(listener.accept(), 1);
            if let Some(accepted) = waiting.await {
                accepted.unwrap();
            }
        }
        let mut near = std::net::TcpStream::connect(listener.local_addr_text()).unwrap();
        near.write_all(b"!").unwrap();
        let wanted = near.local_addr().unwrap();
        loop {
            let accepted = listener.accept().await.unwrap();
            if accepted.endpoint() == Endpoint::Tcp(wanted) {
                assert_eq!(read_exactly(&mut accepted.attach().unwrap(), 1).await, b"!");
                return;
            }
        }
    });
}

#[test]
fn nobody_listening_and_unknown_names_are_errors() {
    run(|| async {
        let target = Target { host: "127.0.0.1".to_owned(), port: free_port() };
        let refused = connect(&target, &options(), None).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let target = Target { host: "name.invalid".to_owned(), port: 1 };
        assert!(connect(&target, &options(), None).await.is_err());
        let target = Target { host: "/nowhere".to_owned(), port: 1 };
        assert_eq!(connect(&target, &options(), None).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    });
}

#[test]
fn every_address_of_a_name_is_tried() {
    run(|| async {
        // `localhost` may have an IPv6 address before this one.
        let listener = loopback();
        let target = Target { host: "localhost".to_owned(), port: target_of(&listener).port };
        let deadline = clock::now() + Duration::from_secs(10);
        let near = connect(&target, &options(), Some(deadline)).await.unwrap();
        assert_eq!(near.reconnect_target(), target_of(&listener), "the address, not the name");
    });
}

#[test]
fn a_full_queue_is_waited_for_until_the_deadline() {
    run(|| async {
        let dir = tempfile::tempdir().unwrap();
        let process = Process { listen_backlog: 0, ..in_dir(dir.path()) };
        let listener = bind(&process).unwrap().remove(0);
        let target = target_of(&listener);
        let _first = connect(&target, &options(), None).await.unwrap();
        let deadline = clock::now() + Duration::from_millis(30);
        let late = connect(&target, &options(), Some(deadline)).await.unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        let options = options();
        let (second, accepted) = tokio::join!(connect(&target, &options, None), listener.accept());
        assert!(second.is_ok() && accepted.is_ok());
    });
}
