//! What a worker tells about itself.

use std::time::Instant;

use super::state::Worker;
use crate::client::{ClientEntry, ClientState};
use crate::metrics::{ConnKind, ConnSnapshot, PinSnapshot, PoolSnapshot, WorkerSnapshot};
use crate::net::{Endpoint, clock};
use crate::server::{Home, ServerEntry, open_for};
use crate::session::TrackedNames;

impl Worker {
    pub(super) fn snapshot(&self) -> WorkerSnapshot {
        let now = clock::now();
        let homes = self.homes_of(None);
        let clients = self.clients.borrow();
        let listen_port = self.config.borrow().process.listen_port;
        WorkerSnapshot {
            worker: self.index,
            pools: homes
                .iter()
                .map(|home| pool_row(home, clients.values().map(AsRef::as_ref), now))
                .collect(),
            clients: clients.values().map(|client| client_row(client, listen_port, now)).collect(),
            servers: homes.iter().flat_map(|home| server_rows(home, now)).collect(),
            uses: homes.iter().flat_map(|home| home.uses()).collect(),
            clients_in_login: self.door.logins(),
            failed_logins: self.failed_logins.get(),
            consoles_used: self.consoles_used.get(),
        }
    }
}

fn pool_row<'a>(home: &Home, clients: impl Iterator<Item = &'a ClientEntry>, now: Instant) -> PoolSnapshot {
    let key = home.pool.key();
    let counts = home.pool.counts();
    let (mut cl_active, mut cl_waiting) = (0, 0);
    for client in clients {
        let here = client.home.as_ref().is_some_and(|its| its.pool.is_same(&home.pool));
        match client.state.get() {
            _ if !here => {}
            ClientState::Active | ClientState::Idle => cl_active += 1,
            ClientState::Waiting | ClientState::Login => cl_waiting += 1,
        }
    }
    PoolSnapshot {
        database: key.database.to_string(),
        user: key.user.to_string(),
        mode: home.settings.borrow().rules.mode,
        cl_active,
        cl_waiting,
        cl_active_cancel_req: home.cancels.get(),
        cl_waiting_cancel_req: 0,
        sv_active: counts.active,
        sv_active_cancel: home.cancels.get(),
        sv_being_canceled: counts.being_canceled,
        sv_idle: counts.idle,
        sv_used: 0,
        sv_tested: counts.resetting + counts.checking,
        sv_login: counts.connecting,
        sv_listen: home.listener.is_up().into(),
        cl_listening: u32::try_from(home.listener.clients()).unwrap_or(u32::MAX),
        maxwait: open_for(counts.oldest_wait, now),
        pool_size: home.pool.limits().size,
        pinned: home.pins.counts(),
        paused: home.pool.is_paused(),
        counters: *home.counters.borrow(),
    }
}

fn client_row(client: &ClientEntry, listen_port: u16, now: Instant) -> ConnSnapshot {
    let (peer, local) = (client.ends.peer(), client.ends.local());
    let remote_pid = match &peer {
        Endpoint::Unix { peer_pid, .. } => peer_pid.unwrap_or(0),
        Endpoint::Tcp(_) => 0,
    };
    ConnSnapshot {
        kind: ConnKind::Client,
        id: client.id,
        user: client.user.to_string(),
        database: client.database().to_owned(),
        state: client.state.get().as_str(),
        addr: peer.addr_text(),
        port: peer.port(listen_port),
        local_addr: local.addr_text(),
        local_port: local.port(listen_port),
        connected_at: client.connected_at.into(),
        request_at: client.request_at.get().map_or(client.connected_at.into(), |at| clock::wall_of(at, now)),
        wait: open_for(client.request_since.get(), now),
        close_needed: client.is_ordered(),
        link: client.server.get().map(|server| server.id),
        remote_pid,
        tls: client.tls.map(|tls| tls.to_string()).unwrap_or_default(),
        application_name: application_name(client),
        prepared_statements: client.statements.get() as usize,
        pin: pin_of(client, now),
    }
}

fn pin_of(client: &ClientEntry, now: Instant) -> Option<PinSnapshot> {
    let pin = client.home.as_ref()?.pins.of(client.id)?;
    Some(PinSnapshot {
        reasons: pin.reasons.to_string(),
        since: clock::wall_of(pin.since, now),
        age: now.saturating_duration_since(pin.since),
        backend_pid: client.server.get().map_or(0, |server| server.backend_pid),
        text: pin.text.to_string(),
    })
}

fn application_name(client: &ClientEntry) -> String {
    let params = client.params.get();
    String::from_utf8_lossy(params.value(TrackedNames::APPLICATION_NAME).unwrap_or_default()).into_owned()
}

fn server_rows(home: &Home, now: Instant) -> Vec<ConnSnapshot> {
    let key = home.pool.key();
    let servers = home.servers.borrow();
    let row = |server: &ServerEntry| ConnSnapshot {
        kind: ConnKind::Server,
        id: server.id,
        user: key.user.to_string(),
        database: key.database.to_string(),
        state: server.state.get(),
        addr: server.addr.0.clone(),
        port: server.addr.1,
        local_addr: server.addr.2.clone(),
        local_port: server.addr.3,
        connected_at: server.connected_at,
        request_at: clock::wall_of(server.request_at.get(), now),
        wait: open_for(server.client.get().map(|_| server.request_at.get()), now),
        close_needed: false,
        link: server.client.get(),
        remote_pid: server.backend_pid,
        tls: server.tls.clone(),
        application_name: server.application_name.borrow().clone(),
        prepared_statements: server.statements.get(),
        pin: None,
    };
    servers.values().map(|server| row(server)).collect()
}
