//! The first and the last words to a client.

use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::net::{Stream, clock, rt};
use crate::proto::{PgError, TxStatus, put_backend_key, put_ready};
use crate::server::Home;
use crate::session::{ParamSet, Wished};

/// Longest time a client may take to accept its last message.
const GOODBYE_TIME: Duration = Duration::from_secs(2);

/// Appends what a client is told at its login. Its parameters: its own startup values over what the servers of the pool
/// report.
pub(super) fn put_welcome(
    out: &mut Vec<u8>,
    home: &Home,
    wished: &Rc<Wished>,
    (process_id, secret): (i32, &[u8]),
) -> ParamSet {
    /// For the key and the word that all is ready: one growth of the buffer.
    const BEHIND: usize = 64;
    let welcome = home.welcome.borrow().clone().unwrap_or_default();
    let mut usual = home.usual.borrow_mut();
    let (params, messages) = usual.of(&welcome, wished);
    out.reserve(messages.len() + BEHIND);
    out.extend_from_slice(messages);
    put_backend_key(out, process_id, secret);
    put_ready(out, TxStatus::Idle);
    params
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
