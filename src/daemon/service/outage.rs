//! Ends a daemon that can serve no client, so that the service manager starts it again.

use crate::model::ServiceState;
use std::time::Duration;

use super::{Part, StatusBoard};

/// How long nothing at all may be served.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Returns, with the reasons, when no service for machines has served for as long as `patience`.
pub async fn outage(board: StatusBoard, patience: Duration) -> String {
    let mut changes = board.changes();
    loop {
        wait_while(&mut changes, || is_served(&board)).await;
        let back = wait_while(&mut changes, || !is_served(&board));
        if tokio::time::timeout(patience, back).await.is_err() {
            let rows = board.conditions();
            let machines = rows.iter().filter(|(_, row)| row.part == Part::Machines);
            let reasons = machines.map(|(name, row)| format!("{name} ({}): {}", row.state, row.reason));
            let reasons = reasons.collect::<Vec<_>>().join("; ");
            return format!("nothing could be served for {} s: {reasons}", patience.as_secs());
        }
    }
}

fn is_served(board: &StatusBoard) -> bool {
    board.conditions().values().any(|row| row.part == Part::Machines && row.state == ServiceState::Serving)
}

/// Until the condition is over.
async fn wait_while(changes: &mut tokio::sync::watch::Receiver<u64>, holds: impl Fn() -> bool) {
    loop {
        changes.borrow_and_update();
        if !holds() {
            return;
        }
        if changes.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn a_minute_without_any_service_is_an_outage_and_one_of_two_is_none() {
        let board = StatusBoard::new(drop);
        let one = board.row("tftp 10.0.10.1", Part::Machines);
        let two = board.row("tftp 10.0.20.1", Part::Machines);
        let _helper = board.row("power", Part::Daemon);
        let watching = tokio::spawn(outage(board.clone(), PATIENCE));
        one.serving();
        two.waiting("there is no network interface eth1");
        tokio::time::sleep(PATIENCE * 2).await;
        assert!(!watching.is_finished(), "one network that stays away stops nobody");
        one.failed("the port is in use");
        tokio::time::sleep(PATIENCE / 2).await;
        one.serving();
        tokio::time::sleep(PATIENCE).await;
        assert!(!watching.is_finished(), "it came back");
        one.failed("the port is in use");
        let why = watching.await.unwrap();
        assert_eq!(
            why,
            "nothing could be served for 1 s: tftp 10.0.10.1 (failed): the port is in use; \
             tftp 10.0.20.1 (waiting): there is no network interface eth1"
        );
    }
}
