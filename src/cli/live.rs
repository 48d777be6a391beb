//! Names that a shell proposes while a command line is typed: the daemon's own, as far as it answers at once.
//!
//! A person waits for each key. So nothing here waits longer than [`PATIENCE`], and nothing is printed: without a
//! daemon, or without the right to read, there are no proposals.

use std::ffi::{OsStr, OsString};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use clap::{Command, ValueEnum};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use serde_json::Value;

use super::context::Contexts;
use super::remote::Remote;
use super::{Exit, exit};
use crate::api::Client;
use crate::api::client::ClientError;
use crate::api::resource::{Listed, WaitingPlan};

/// The longest time that proposals may take.
const PATIENCE: Duration = Duration::from_millis(300);
/// Most names that are proposed.
const NAMES: usize = 1000;
/// The shell names itself in this variable when it asks for proposals.
pub(super) const VARIABLE: &str = "VOLDEMORT_COMPLETE";

/// What a word of the command line names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Rows of this list.
    Of(Listed),
    /// Deployments and machines.
    Subjects,
    /// Rows of the list that an earlier word names.
    OfThatKind,
    /// Plans that wait, and the word for doubtful installations.
    Approvable,
    Sources,
    Contexts,
}

/// To be added to an argument: proposes these names.
pub fn names(of: Names) -> ArgValueCompleter {
    ArgValueCompleter::new(move |current: &OsStr| {
        let begun = current.to_string_lossy().into_owned();
        let line: Vec<String> = std::env::args_os()
            .skip_while(|word| word != "--")
            .skip(1)
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let (give, take) = sync_channel(1);
        let prefix = begun.clone();
        // The thread may hang in the resolver or on a disk: it is not waited for.
        let _ = crate::thread::start("names", move || drop(give.send(found(of, &line, &prefix))));
        let all = take.recv_timeout(PATIENCE).unwrap_or_default();
        let fits = all.into_iter().filter(|name| name.starts_with(&begun) && is_plain(name));
        fits.map(CompletionCandidate::new).collect()
    })
}

/// Runs the part of a program that a shell asks for proposals. `None` where it is an ordinary command line.
pub(super) fn complete(command: fn() -> Command, line: &[OsString]) -> Option<Exit> {
    let here = std::env::current_dir().ok();
    match CompleteEnv::with_factory(command).var(VARIABLE).try_complete(line, here.as_deref()) {
        Ok(false) => None,
        Ok(true) => Some(Exit::Done),
        Err(error) => Some(exit::usage(&error, line)),
    }
}

/// Names come off the wire, too, and end on a command line.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:@/+".contains(c))
}

fn found(of: Names, line: &[String], begun: &str) -> Vec<String> {
    let remote = Remote::of_line(line);
    let ask = |kind: Listed| remote.block_on(async |client| listed(kind, &client, begun).await);
    match of {
        Names::Of(kind) => ask(kind).unwrap_or_default(),
        Names::OfThatKind => {
            let kind = line.iter().skip(1).find_map(|word| Listed::from_str(word, true).ok());
            kind.and_then(|kind| ask(kind).ok()).unwrap_or_default()
        }
        Names::Subjects => {
            let mut all = ask(Listed::Deployments).unwrap_or_default();
            all.extend(ask(Listed::Machines).unwrap_or_default());
            all.sort();
            all.dedup();
            all
        }
        Names::Approvable => {
            let plans = ask(Listed::Plans).unwrap_or_default();
            plans.into_iter().chain(["installs".to_owned()]).collect()
        }
        Names::Sources => ask(Listed::Sources).unwrap_or_default(),
        Names::Contexts => {
            Contexts::open().map(|contexts| contexts.all().keys().cloned().collect()).unwrap_or_default()
        }
    }
}

/// The first names of a list that begin like this.
async fn listed(kind: Listed, client: &Client, begun: &str) -> Result<Vec<String>, ClientError> {
    let field = match kind {
        Listed::Status => return Ok(Vec::new()),
        Listed::Plans => {
            let plans: Vec<WaitingPlan> = client.get("/v1/plans").await?;
            return Ok(plans.into_iter().map(|plan| plan.id).collect());
        }
        Listed::Leases => "address",
        Listed::Effects | Listed::Operations => "id",
        Listed::Orders => "machine",
        Listed::Certificates => "number",
        _ => "name",
    };
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &NAMES.to_string()).append_pair("fields", field);
    if field == "name" && !begun.is_empty() && is_plain(begun) {
        query.append_pair(field, &format!("{begun}*"));
    }
    let (rows, _) = client.page::<Value>(&format!("{}?{}", kind.path(), query.finish())).await?;
    let name = |row: Value| match row.get(field)? {
        Value::String(name) => Some(name.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    Ok(rows.into_iter().filter_map(name).collect())
}
