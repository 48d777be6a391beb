//! `voldemortctl claim POOL`, `extend` and `keep`: machines of pools.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use super::change;
use super::events::Place;
use crate::api::Client;
use crate::api::client::{ClientError, escaped};
use crate::api::resource::claim::Extension;
use crate::api::resource::{Claim, ClaimShown, ClaimState, ClaimWanted, Edited, Listed};
use crate::cli::exit::talk;
use crate::cli::live::{Names, names};
use crate::cli::patience::Patience;
use crate::cli::remote::{self, Remote};
use crate::cli::{Exit, exit};
use crate::model::Span;
use crate::state::user_data::USER_DATA_MAX;

/// Claim a machine of a pool
///
/// A free machine is given out at once and installs at its next network boot; without one the claim waits its turn.
/// The claim's name is printed: a word and a number, which no other claim ever has.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The pool
    pool: String,
    /// What the claim's name, which is its machine's host name too, begins with; the pool's name if absent
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How long it lasts from when it has its machine, as 8h; as long as the pool allows if absent
    #[arg(long = "for", value_name = "DURATION")]
    ttl: Option<String>,
    /// A file of text, up to 1 MiB, for its machine: templates have it as `user_data`, and cloud-init as its user data
    #[arg(long, value_name = "FILE")]
    user_data: Option<PathBuf>,
    /// Wait until its machine is installed
    #[arg(long)]
    wait: bool,
    /// Longest wait, as in 30m
    #[arg(long, default_value = "1h", requires = "wait")]
    timeout: String,
    #[arg(short, long, value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

/// Have claims last longer
#[derive(Args, Debug)]
pub(super) struct Extend {
    /// The claims
    #[arg(required = true, value_name = "CLAIM", add = names(Names::Of(Listed::Claims)))]
    claims: Vec<String>,
    /// How long they last from now on, as 4h
    #[arg(long = "for", value_name = "DURATION")]
    ttl: String,
    #[arg(short, long, value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

/// Keep a claim's machine: write a deployment of the claim's name, which takes the machine over when it is live
#[derive(Args, Debug)]
pub(super) struct Keep {
    /// The claim
    #[arg(value_name = "CLAIM", add = names(Names::Of(Listed::Claims)))]
    claim: String,
    #[arg(short, long, value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

/// Longest single question to the daemon, in seconds.
const ASK: u64 = 30;
/// Shortest time between two looks at a claim: in a storm of events it is not read for each.
const PAUSE: Duration = Duration::from_secs(1);
/// The same while it has no machine: the daemon looks at every machine for the answer.
const QUEUED_PAUSE: Duration = Duration::from_secs(5);

pub(super) fn run(arguments: &Arguments, remote: &Remote) -> Exit {
    let json = arguments.output == "json";
    let Ok(Span(limit)) = arguments.timeout.parse::<Span>() else {
        let why = format!("--timeout: `{}` is no time; write it as in 30m", arguments.timeout);
        remote::failed(&ClientError::Refused(why), json);
        return Exit::Usage;
    };
    let (pool, name, ttl) = (arguments.pool.clone(), arguments.name.clone(), arguments.ttl.clone());
    let user_data = match arguments.user_data.as_deref().map(text_of).transpose() {
        Ok(user_data) => user_data,
        Err(why) => {
            remote::failed(&ClientError::Refused(why), json);
            return Exit::Usage;
        }
    };
    let wanted = ClaimWanted { pool, name, ttl, user_data };
    let made = remote.block_on(async |client| client.post::<Claim>("/v1/claims", &wanted).await);
    let made = match made {
        Ok(made) => made,
        Err(error) => return remote::failed(&error, json),
    };
    if !arguments.wait {
        return shown(&made, json);
    }
    talk(&sentence(&made));
    let end = Instant::now() + Duration::from_millis(limit);
    match remote.block_on(async |client| wait(&made.name, &client, end).await) {
        Ok(claim) if claim.state == ClaimState::Installed => shown(&claim, json),
        Ok(claim) => {
            let printed = shown(&claim, json);
            let seen = format!("claim {} is {}: {}", claim.name, claim.state, claim.reason);
            let is_stuck = claim.state == ClaimState::Failed;
            talk(&if is_stuck {
                seen
            } else {
                format!("{seen}; it was not installed within {}", arguments.timeout)
            });
            match (printed, is_stuck) {
                (Exit::Done, true) => Exit::Failed,
                (Exit::Done, false) => Exit::Unreachable,
                (printed, _) => printed,
            }
        }
        Err(error) => remote::failed(&error, json),
    }
}

/// The text of a file of user data.
fn text_of(path: &Path) -> Result<String, String> {
    let wrong = |why: String| format!("--user-data {}: {why}", path.display());
    let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    if bytes.len() > USER_DATA_MAX {
        return Err(wrong(format!("it has {} bytes, and there may be {USER_DATA_MAX} at most", bytes.len())));
    }
    String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8: user data are text".into()))
}

/// The claim when it is installed, waits for a person, or the time is over.
async fn wait(name: &str, client: &Client, end: Instant) -> Result<Claim, ClientError> {
    let path = format!("/v1/claims/{}", escaped(name));
    let (mut place, mut patience) = (Place::default(), Patience::until(end));
    loop {
        let ClaimShown { claim, .. } = patience.ask(async || client.get(&path).await).await?;
        let left = end.saturating_duration_since(Instant::now());
        let is_settled = claim.state == ClaimState::Installed || claim.state == ClaimState::Failed;
        if is_settled || left.is_zero() {
            return Ok(claim);
        }
        let pause = if claim.machine.is_none() { QUEUED_PAUSE } else { PAUSE };
        tokio::time::sleep(pause.min(left)).await;
        let more = format!("&wait={}", left.as_secs().min(ASK));
        patience.ask(async || place.next(client, &more).await).await?;
    }
}

fn shown(claim: &Claim, json: bool) -> Exit {
    if json {
        return exit::print_json(claim);
    }
    let printed = exit::print(&format!("{}\n", claim.name));
    talk(&sentence(claim));
    printed
}

fn sentence(claim: &Claim) -> String {
    let ends = claim.ends.as_ref().map(|ends| format!(", until {ends}")).unwrap_or_default();
    match &claim.machine {
        Some(machine) => {
            let address = claim.address.map(|address| format!(" ({address})")).unwrap_or_default();
            format!("claim {} has machine {machine}{address}{ends}: {}", claim.name, claim.reason)
        }
        None => format!("claim {} waits: {}", claim.name, claim.reason),
    }
}

pub(super) fn extend(arguments: &Extend, remote: &Remote) -> Exit {
    let extension = Extension { ttl: arguments.ttl.clone() };
    let body = serde_json::to_value(extension).unwrap_or_default();
    each(&arguments.claims, "extend", &body, arguments.output == "json", remote, sentence)
}

/// Does the same to each of some claims, and says what became of them.
pub(super) fn each(
    claims: &[String],
    verb: &str,
    body: &Value,
    json: bool,
    remote: &Remote,
    said: fn(&Claim) -> String,
) -> Exit {
    let single = claims.len() == 1;
    let (mut all, mut failed) = (Vec::new(), None);
    for name in claims {
        let path = format!("/v1/claims/{}/{verb}", escaped(name));
        match remote.block_on(async |client| client.post::<Claim>(&path, body).await) {
            Ok(claim) => {
                if !json {
                    talk(&said(&claim));
                }
                all.push(claim);
            }
            Err(error) => {
                failed = Some(remote::failed(&error, json && single));
                // The others are not worse for a refusal.
                if !matches!(error, ClientError::Refused(_)) {
                    break;
                }
            }
        }
    }
    let printed = match (json, all.as_slice()) {
        (true, [one]) if single => exit::print_json(one),
        (true, _) if !single => exit::print_json(&all),
        _ => Exit::Done,
    };
    failed.unwrap_or(printed)
}

pub(super) fn keep(arguments: &Keep, remote: &Remote) -> Exit {
    let json = arguments.output == "json";
    let path = format!("/v1/claims/{}/keep", escaped(&arguments.claim));
    match remote.block_on(async |client| client.post::<Edited>(&path, &serde_json::json!({})).await) {
        Ok(edited) => change::show(&edited, json),
        Err(error) => remote::failed(&error, json),
    }
}
