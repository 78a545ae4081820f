//! An idle server on its way from one worker's share of a pool to another's.
//!
//! Owns: everything a [`ServerConn`] is, in a form that may cross threads. Does not know: who may have it.
//!
//! Only a server at rest moves: it comes from the pool, which has it back with evidence, and it must be quiet when it
//! leaves. Whether it still is when it arrives is asked before it is lent, as of any idle server (R5).

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::SystemTime;

use super::cancel::CancelTarget;
use super::conn::{ServerConn, ServerEntry};
use super::home::Home;
use super::welcome::Welcome;
use crate::net::{Detached, clock};
use crate::pool::Pooled;
use crate::session::PackedFacts;

/// See the module.
#[derive(Debug)]
pub struct Traveller {
    /// Process-wide number.
    pub id: u64,
    socket: Detached,
    facts: PackedFacts,
    backend_pid: i32,
    addr: (String, u16, String, u16),
    tls: String,
    connected_at: SystemTime,
    application_name: String,
    cancel: Option<CancelTarget>,
    /// What new clients are told, for a share that has not seen a login.
    reported: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Traveller {
    /// What its server reported is not true any more.
    pub fn forget_welcome(&mut self) {
        self.reported.clear();
    }
}

/// Why a server does not move.
#[derive(Debug)]
pub enum Stays {
    /// It is not fit for it, and must be closed.
    Unfit(Box<ServerConn>),
    /// The system has closed it.
    Lost(io::Error),
}

impl Home {
    /// Takes a server out of this share.
    ///
    /// # Errors
    /// It does not move, see [`Stays`].
    pub fn send_off(&self, mut conn: ServerConn) -> Result<Traveller, Stays> {
        let packed = conn.facts.pack(self.names.len());
        let Some(facts) = packed.filter(|_| conn.entry.cancels.get() == 0 && conn.is_quiet()) else {
            return Err(Stays::Unfit(Box::new(conn)));
        };
        let ServerConn { stream, entry, .. } = conn;
        self.forget(entry.id);
        let socket = stream.detach().map_err(Stays::Lost)?;
        let reported = self.welcome.borrow().as_ref().map(|welcome| welcome.reported().to_vec());
        Ok(Traveller {
            id: entry.id,
            socket,
            facts,
            backend_pid: entry.backend_pid,
            addr: entry.addr.clone(),
            tls: entry.tls.clone(),
            connected_at: entry.connected_at,
            application_name: entry.application_name.borrow().clone(),
            cancel: entry.cancel.as_deref().cloned(),
            reported: reported.unwrap_or_default(),
        })
    }

    /// Makes a server part of this share: the pool is still to be given it.
    ///
    /// # Errors
    /// The system refused; the connection is closed.
    pub fn take_in(&self, traveller: Traveller) -> io::Result<ServerConn> {
        let Traveller { id, socket, facts, reported, .. } = traveller;
        let stream = socket.attach()?;
        let facts = facts.unpack(&mut self.catalog.borrow_mut());
        if self.welcome.borrow().is_none() && !reported.is_empty() {
            self.welcome.replace(Some(Rc::new(Welcome::new(reported, &self.names))));
        }
        let entry = Rc::new(ServerEntry {
            id,
            backend_pid: traveller.backend_pid,
            addr: traveller.addr,
            tls: traveller.tls,
            connected_at: traveller.connected_at,
            request_at: Cell::new(clock::now()),
            state: Cell::new("idle"),
            client: Cell::new(None),
            statements: Cell::new(0),
            application_name: RefCell::new(traveller.application_name),
            cancel: traveller.cancel.map(Rc::new),
            cancels: Cell::new(0),
        });
        self.servers.borrow_mut().insert(id, Rc::clone(&entry));
        let mut conn = ServerConn::new(stream, facts, entry, &self.alarms);
        conn.unlinked();
        conn.watch();
        Ok(conn)
    }
}
