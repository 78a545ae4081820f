//! The first and the last words to a client.

use std::time::{Duration, Instant};

use crate::net::{Stream, clock, rt};
use crate::proto::{PgError, TxStatus, put_backend_key, put_ready};
use crate::server::Home;
use crate::session::{ParamSet, Startup};

/// Longest time a client may take to accept its last message.
const GOODBYE_TIME: Duration = Duration::from_secs(2);

/// The client's own startup values over what the servers of the pool report.
pub(super) fn client_params(home: &Home, startup: &Startup) -> ParamSet {
    let welcome = home.welcome.borrow();
    let mut params = welcome.as_ref().map(|welcome| welcome.followed().clone()).unwrap_or_default();
    startup.over(&mut params);
    let mut usual = home.usual.borrow_mut();
    params.share(&usual);
    usual.clone_from(&params);
    params
}

pub(super) fn put_welcome(out: &mut Vec<u8>, home: &Home, params: &ParamSet, key: (i32, i32)) {
    if let Some(welcome) = &*home.welcome.borrow() {
        welcome.put(out, params);
    }
    put_backend_key(out, key.0, key.1);
    put_ready(out, TxStatus::Idle);
}

/// Sends what is left to say, within a bound, and closes.
pub(super) async fn say_goodbye(stream: &mut Stream, mut last: Vec<u8>, error: Option<PgError>) {
    if let Some(error) = error {
        error.put(&mut last);
    }
    let deadline: Instant = clock::now() + GOODBYE_TIME;
    let _ = rt::timeout_at(deadline, async {
        stream.write_all(&last).await?;
        stream.flush().await?;
        stream.shutdown().await
    })
    .await;
}
