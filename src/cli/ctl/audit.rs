//! `voldemortctl audit`: who changed what, and whether the log of it is whole.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::api::Client;
use crate::api::client::{ClientError, escaped};
use crate::api::resource::Row;
use crate::cli::exit::{talk, write};
use crate::cli::patience::Patience;
use crate::cli::remote::{self, Remote};
use crate::cli::{Exit, exit};
use crate::model::printable::{json, line};
use crate::model::selection::glob;
use crate::model::{AuditChain, AuditEntry, AuditHead, Span};

/// Show who changed what through the control API, and who was refused, oldest first
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    /// Only what happened in this time until now: 30m, 2h, 7d
    #[arg(long, value_name = "DURATION")]
    since: Option<Span>,
    /// Only of this caller: user 1000, token start; * and ? stand for other letters
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Keep showing entries as they are made
    #[arg(short = 'f', long, visible_alias = "watch")]
    follow: bool,
    #[arg(short, long, value_parser = ["table", "jsonl"], default_value = "table")]
    output: String,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Check that no entry was changed, removed or inserted, and print the head: note it elsewhere
    Verify {
        /// A head that was noted: the log must have that very entry
        #[arg(long, value_name = "SEQUENCE:DIGEST")]
        head: Option<AuditHead>,
    },
}

/// Between two looks for new entries.
const PAUSE: Duration = Duration::from_secs(1);
/// Entries of one answer.
const PAGE: usize = 10_000;

pub(super) fn run(arguments: &Arguments, remote: &Remote) -> Exit {
    if let Some(What::Verify { head }) = &arguments.what {
        return verify(head.clone(), remote);
    }
    match remote.block_on(async |client| show(arguments, &client).await) {
        Ok(end) => end,
        Err(error) => remote::failed(&error, arguments.output == "jsonl"),
    }
}

/// Hands on every entry after the one of a number, until one is not taken.
async fn each(client: &Client, after: u64, mut take: impl FnMut(Value) -> bool) -> Result<(), ClientError> {
    // Where a page before would have ended.
    let place = escaped(&format!("[\"\",\"{after:020}\"]"));
    let mut next = Some(format!("/v1/audit?limit={PAGE}&continue={place}"));
    while let Some(path) = next {
        let (rows, link) = client.page::<Value>(&path).await?;
        if !rows.into_iter().all(&mut take) {
            return Ok(());
        }
        next = link;
    }
    Ok(())
}

async fn show(arguments: &Arguments, client: &Client) -> Result<Exit, ClientError> {
    let since = arguments.since.map(|since| (crate::daemon::now() - since).to_string());
    let (mut after, mut patience) = (0, Patience::endless());
    loop {
        let read = async || {
            let mut all = Vec::new();
            let take = |row| {
                all.extend(serde_json::from_value::<AuditEntry>(row));
                true
            };
            each(client, after, take).await.map(|()| all)
        };
        let all: Vec<AuditEntry> = patience.ask(read).await?;
        after = all.iter().map(|entry| entry.sequence).fold(after, u64::max);
        // An entry that ended says all that the one with which it had begun does.
        let ended: BTreeSet<u64> = all.iter().filter_map(|entry| entry.begun).collect();
        let is_wanted = |entry: &&AuditEntry| {
            let by = arguments.by.as_ref();
            !ended.contains(&entry.sequence)
                && since.as_ref().is_none_or(|since| entry.at >= *since)
                && by.is_none_or(|by| glob(by, &entry.by) || entry.by.starts_with(&format!("{by} (")))
        };
        for entry in all.iter().filter(is_wanted) {
            if let Err(end) = write(&shown(arguments, entry)) {
                return Ok(end);
            }
        }
        if !arguments.follow {
            return Ok(Exit::Done);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn shown(arguments: &Arguments, entry: &AuditEntry) -> String {
    if arguments.output == "jsonl" {
        return format!("{}\n", json(&serde_json::to_string(entry).unwrap_or_default()));
    }
    let AuditEntry { sequence, at, by, step, .. } = entry;
    let rest = entry.cells().split_off(4).join("  ");
    format!("{}\n", line(&format!("{at}  {sequence:>6}  {by:<20}  {step:<7}  {rest}")))
}

fn verify(noted: Option<AuditHead>, remote: &Remote) -> Exit {
    let mut chain = AuditChain::against(noted);
    let mut broken = None;
    let read = remote.block_on(async |client| {
        each(&client, 0, |row| {
            broken = chain.take(&row).err();
            broken.is_none()
        })
        .await
    });
    if let Err(error) = read {
        return remote::failed(&error, false);
    }
    if let Some(why) = broken.or_else(|| chain.end().err()) {
        talk(&format!("the audit log is not what it was: {why}"));
        return Exit::Failed;
    }
    let oldest = chain.oldest.as_ref().map_or(0, |oldest| oldest.sequence);
    let gone = if oldest > 0 {
        format!(", from entry {} on: older ones were dropped", oldest + 1)
    } else {
        String::new()
    };
    exit::print(&format!("{} entries follow one another{gone}\nhead {}\n", chain.entries, chain.head))
}
