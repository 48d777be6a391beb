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

/// How far the machines are that are waited for.
#[derive(Debug, PartialEq)]
enum Standing {
    Installed,
    /// These are not installed yet.
    Open(Vec<String>),
    /// One of them is not going to be, for this reason.
    Failed(String),
}

async fn wait(awaited: &[&str], client: &Client, end: Instant) -> Result<Exit, ClientError> {
    let mut patience = Patience::until(end);
    loop {
        let rows: Vec<Deployment> = patience.ask(async || client.get("/v1/deployments").await).await?;
        let open = match standing(awaited, &rows) {
            Standing::Installed => return Ok(Exit::Done),
            Standing::Failed(why) => {
                talk(&why);
                return Ok(Exit::Failed);
            }
            Standing::Open(open) => open,
        };
        if Instant::now() >= end {
            talk(&format!("not installed in time: {}", open.join(", ")));
            return Ok(Exit::Unreachable);
        }
        tokio::time::sleep(PAUSE.min(end.saturating_duration_since(Instant::now()))).await;
    }
}

/// A deployment that is in no list is not installed: what was applied is served, so that somebody else removed it.
fn standing(awaited: &[&str], rows: &[Deployment]) -> Standing {
    let mut open = Vec::new();
    for name in awaited {
        let Some(row) = rows.iter().find(|row| row.name == *name) else {
            return Standing::Failed(format!("{name} is gone: no manifest that is served has it any more"));
        };
        if row.phase.known().is_some_and(Phase::is_stuck) {
            return Standing::Failed(format!("{name} is {}; its machine {}", row.phase, row.next_boot));
        }
        if row.phase != Phase::Installed {
            open.push(format!("{name} ({})", row.phase));
        }
    }
    if open.is_empty() { Standing::Installed } else { Standing::Open(open) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, phase: Phase) -> Deployment {
        let subnet = serde_json::json!({ "name": "lab", "cidr": "10.0.0.0/24", "gateway": null });
        let row = serde_json::json!({
            "name": name, "machine": null, "macs": [], "address": null, "boot": "debian", "template": null,
            "redeploy": 1, "phase": phase.name(), "next_boot": "installs", "since": null, "subnet": subnet,
            "origin": "site.toml:1:1",
        });
        serde_json::from_value(row).unwrap()
    }

    #[test]
    fn a_deployment_that_is_not_there_is_not_installed() {
        let both = [row("web-1", Phase::Installed), row("web-2", Phase::Waiting)];
        assert_eq!(standing(&["web-1"], &both), Standing::Installed);
        assert_eq!(standing(&["web-1", "web-2"], &both), Standing::Open(vec!["web-2 (waiting)".into()]));
        for (awaited, rows) in [(&["web-1"][..], &[][..]), (&["web-1", "web-3"], &both)] {
            let gone = standing(awaited, rows);
            assert!(matches!(&gone, Standing::Failed(why) if why.contains("is gone")), "{gone:?}");
        }
        let failed =
            standing(&["web-1", "web-2"], &[row("web-1", Phase::Failed), row("web-2", Phase::Waiting)]);
        assert!(matches!(&failed, Standing::Failed(why) if why.starts_with("web-1 is failed")), "{failed:?}");
    }
}
