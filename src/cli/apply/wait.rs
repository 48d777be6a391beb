//! `apply --wait`: waits until machines are installed.

use std::time::{Duration, Instant};

use crate::api::Client;
use crate::api::client::ClientError;
use crate::api::resource::Deployment;
use crate::cli::Exit;
use crate::cli::exit::talk;
use crate::cli::patience::Patience;
use crate::cli::remote::{self, Remote};
use crate::model::Phase;
use crate::plan::{Action, Plan};

/// How often the daemon is asked.
const PAUSE: Duration = Duration::from_secs(1);

/// Waits until every machine that `plan` installs has reported, also those that a person has to start.
pub(super) fn installed(plan: &Plan, remote: &Remote, limit: Duration) -> Exit {
    let awaited = plan.changes.iter().filter(|change| change.installs && change.action != Action::Remove);
    let awaited: Vec<&str> = awaited.map(|change| change.name.as_str()).collect();
    let end = Instant::now() + limit;
    match remote.block_on(async |client| wait(&awaited, &client, end).await) {
        Ok(exit) => exit,
        Err(error) => remote::failed(&error, false),
    }
}

async fn wait(awaited: &[&str], client: &Client, end: Instant) -> Result<Exit, ClientError> {
    let mut patience = Patience::until(end);
    loop {
        let rows: Vec<Deployment> = patience.ask(async || client.get("/v1/deployments").await).await?;
        let of = |name: &str| rows.iter().find(|row| row.name == name);
        let bad = |name: &&&str| of(name).and_then(|row| row.phase.known()).is_some_and(Phase::is_stuck);
        if let Some(row) = awaited.iter().find(bad).and_then(|name| of(name)) {
            talk(&format!("{} is {}; its machine {}", row.name, row.phase, row.next_boot));
            return Ok(Exit::Failed);
        }
        let open: Vec<&str> = awaited
            .iter()
            .copied()
            .filter(|name| of(name).is_some_and(|row| row.phase != Phase::Installed))
            .collect();
        if open.is_empty() {
            return Ok(Exit::Done);
        }
        if Instant::now() >= end {
            let list: Vec<String> = open.iter().filter_map(|name| of(name)).map(phase).collect();
            talk(&format!("not installed in time: {}", list.join(", ")));
            return Ok(Exit::Unreachable);
        }
        tokio::time::sleep(PAUSE.min(end.saturating_duration_since(Instant::now()))).await;
    }
}

fn phase(row: &Deployment) -> String {
    format!("{} ({})", row.name, row.phase)
}
