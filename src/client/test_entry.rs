//! A logged-in client for tests.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::entry::{ClientEntry, ClientState};
use crate::net::clock;
use crate::server::Home;

pub(crate) fn entry(home: &Rc<Home>) -> Rc<ClientEntry> {
    Rc::new(ClientEntry {
        id: 7,
        key: (1, 2),
        user: "bob".into(),
        database: "shop".into(),
        home: Some(Rc::clone(home)),
        addr: ("127.0.0.1".into(), 1, "127.0.0.1".into(), 2),
        peer_pid: 0,
        tls: String::new(),
        connected_at: clock::wall(),
        request_at: Cell::new(clock::wall()),
        request_since: Cell::default(),
        idle_in_xact_since: Cell::default(),
        idle_since: Cell::default(),
        state: Cell::new(ClientState::Login),
        server: RefCell::default(),
        running: Cell::default(),
        preparing_since: Cell::default(),
        held_cancel: RefCell::default(),
        read_ahead_full: Cell::default(),
        waiter: Cell::default(),
        statements: Cell::default(),
        application_name: RefCell::default(),
        cancelled_request: Cell::default(),
        order: RefCell::default(),
        waker: RefCell::default(),
    })
}
