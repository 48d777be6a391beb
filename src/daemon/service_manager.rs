//! What is reported to the host's service manager (sd_notify(3), Type=notify), and its watchdog.

use crate::model::ServiceState;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use super::keeper::Keeper;
use super::service::{Part, StatusBoard};

/// How long the keeper may take to answer, unless it waits for the disk.
const ANSWER: Duration = Duration::from_secs(2);

/// Notifies the service manager; does nothing where there is none.
fn notify(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent = UnixDatagram::unbound().and_then(|socket| {
        socket.set_nonblocking(true)?;
        let address = match path.to_str().and_then(|path| path.strip_prefix('@')) {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(&path)?,
        };
        socket.send_to_addr(state.as_bytes(), &address)
    });
    if let Err(error) = sent {
        tracing::debug!(%error, "the service manager could not be notified of {state:?}");
    }
}

/// Everything is open.
pub(super) fn ready() {
    notify("READY=1");
}

/// The daemon ends, after so long at most.
pub(super) fn stopping(limit: Duration) {
    notify(&format!("STOPPING=1\nSTATUS=stopping\nEXTEND_TIMEOUT_USEC={}", limit.as_micros()));
}

/// Keeps the manager's one line about the daemon true. Never ends.
pub(super) async fn show(board: StatusBoard) {
    let mut changes = board.changes();
    let mut shown = String::new();
    loop {
        changes.borrow_and_update();
        let text = summary(&board);
        if text != shown {
            notify(&format!("STATUS={text}"));
            shown = text;
        }
        if changes.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

fn summary(board: &StatusBoard) -> String {
    let rows = board.conditions();
    let lacking =
        rows.iter().filter(|(_, row)| row.part != Part::Auxiliary && row.state != ServiceState::Serving);
    let lacking = lacking.map(|(name, row)| match row.reason.as_str() {
        "" => format!("{name} {}", row.state),
        reason => format!("{name} {}: {reason}", row.state),
    });
    let lacking: Vec<String> = lacking.collect();
    if lacking.is_empty() { "everything is served".to_owned() } else { lacking.join("; ") }
}

/// Feeds the manager's watchdog while the keeper answers and `services` tick. Never ends.
///
/// A disk that takes long is no reason to be killed: the keeper is alive, it waits.
pub(super) async fn watchdog(keeper: Keeper, services: impl AsyncFn() -> bool) {
    let Some(period) = period() else { std::future::pending().await };
    let mut clock = tokio::time::interval(period);
    loop {
        clock.tick().await;
        match is_alive(&keeper).await && services().await {
            true => notify("WATCHDOG=1"),
            false => tracing::error!("the watchdog is not fed: a part of the daemon does not answer"),
        }
    }
}

/// Whether the keeper answers, or waits for the disk.
pub(super) async fn is_alive(keeper: &Keeper) -> bool {
    match tokio::time::timeout(ANSWER, keeper.ping()).await {
        Ok(answer) => answer,
        Err(_) => keeper.writes_since().is_some(),
    }
}

/// How often the watchdog is fed: three times in its limit.
fn period() -> Option<Duration> {
    let limit: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok().filter(|limit| *limit > 0)?;
    let other = std::env::var("WATCHDOG_PID").is_ok_and(|pid| pid != std::process::id().to_string());
    (!other).then(|| Duration::from_micros(limit) / 3)
}
