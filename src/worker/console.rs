//! A console client's life behind its login.

use std::cell::Cell;
use std::rc::Rc;
use std::time::SystemTime;

use super::state::Worker;
use crate::admin::{self, ConsoleIdentity};
use crate::client::{Authenticated, ClientState, Rights};
use crate::net::{Stream, clock};

impl Worker {
    /// From the login to the end.
    pub(super) async fn serve_console(
        self: &Rc<Self>,
        mut stream: Stream,
        authenticated: Authenticated,
        rights: Rights,
        connected_at: SystemTime,
    ) {
        let Ok(key) = self.fresh_key(0) else { return };
        let entry = self.register(&stream, &authenticated, key, connected_at, None);
        let (user, database) = (authenticated.user.as_str(), authenticated.database.as_str());
        if self.config.borrow().process.log_connections {
            let peer = entry.entry.ends.peer();
            tracing::info!(client = entry.entry.id, %peer, user, database, "console login");
        }
        if stream.write_all(&authenticated.accepted).await.is_err() {
            return;
        }
        entry.entry.state.set(ClientState::Active);
        let used = Cell::new(false);
        let identity = ConsoleIdentity {
            key,
            on_command: || {
                entry.entry.request_at.set(Some(clock::now()));
                // As in PgBouncer: the first command of each console counts, and no other.
                if !used.replace(true) {
                    self.consoles_used.set(self.consoles_used.get() + 1);
                }
            },
        };
        let handle = self.shared.admin.clone();
        let rights = match rights {
            Rights::Admin => admin::Rights::Admin,
            Rights::Stats => admin::Rights::Stats,
        };
        let end = admin::serve(&mut stream, rights, Vec::new(), identity, handle).await;
        if self.config.borrow().process.log_disconnections {
            let peer = entry.entry.ends.peer();
            tracing::info!(client = entry.entry.id, %peer, user, database, "console closed: {end}");
        }
    }
}
