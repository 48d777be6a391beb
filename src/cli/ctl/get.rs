//! `voldemortctl get KIND`.

mod watch;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

use super::output::{self, Format};
use super::several::pair;
use super::table;
use crate::api::Client;
use crate::api::client::ClientError;
use crate::api::resource::{
    Boot, Claim, Deployment, Discovered, Drift, Effect, Lease, Listed, LogSender, Machine, MachineOrder,
    Operation, Pool, Profile, Revision, Row, SourceStatus, Status, SubnetRow, Template, Token, WaitingPlan,
    Webhook, WipeCertificate,
};
use crate::cli::live::{Names, names};
use crate::cli::remote::{self, Remote};
use crate::cli::{Exit, exit};
use crate::model::selection::glob;
use crate::plan::report;

/// List what the daemon knows
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[arg(value_enum)]
    kind: Listed,
    /// Only the one of this name, or those of a pattern (web-*)
    #[arg(add = names(Names::OfThatKind))]
    name: Option<String>,
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
    /// Only rows with these labels: NAME=VALUE, NAME!=VALUE, NAME or !NAME, separated by commas
    #[arg(short = 'l', long = "selector", value_name = "LABELS")]
    labels: Option<String>,
    /// Only rows whose field has this value; * and ? stand for other letters, and commas separate several
    #[arg(long = "where", value_name = "FIELD=VALUE", value_parser = pair)]
    having: Vec<(String, String)>,
    /// The field to sort by; with `-` before it, the greatest first
    #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
    sort: Option<String>,
    /// Only these columns of the table, by title or field
    #[arg(long, value_delimiter = ',', value_name = "COLUMN")]
    columns: Vec<String>,
    /// Go on, and print rows again that have changed
    #[arg(short, long)]
    watch: bool,
}

/// Rows of one answer.
const PAGE: usize = 1000;

impl Arguments {
    /// A whole list.
    pub(super) fn of(kind: Listed, output: Format) -> Arguments {
        let (labels, having, columns) = (None, Vec::new(), Vec::new());
        Arguments { kind, name: None, output, labels, having, sort: None, columns, watch: false }
    }

    /// The first page of what is wanted.
    fn path(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &PAGE.to_string());
        if let Some(labels) = &self.labels {
            query.append_pair("label", labels);
        }
        if let Some(field) = &self.sort {
            query.append_pair("sort", field);
        }
        query.extend_pairs(&self.having);
        format!("{}?{}", self.kind.path(), query.finish())
    }

    /// Flags that do not go together, of which one would have no effect.
    fn contradiction(&self) -> Option<&'static str> {
        let is_table = matches!(self.output, Format::Table | Format::Wide);
        match self.kind {
            _ if !self.columns.is_empty() && !is_table => {
                Some("--columns chooses those of a table: give it with -o table or wide, or without -o")
            }
            Listed::Status if self.name.is_some() => {
                Some("`get status` is about the daemon: it takes no name")
            }
            _ => None,
        }
    }

    /// The rows of the name that is wanted. That there is none is a mistake, unless they were there before.
    fn named<T: Row>(&self, mut all: Vec<T>, were_there: bool) -> Result<Vec<T>, ClientError> {
        let Some(wanted) = &self.name else { return Ok(all) };
        all.retain(|row| glob(wanted, &row.key()) || row.name() == wanted);
        match all.is_empty() && !were_there {
            true => Err(ClientError::Refused(format!("{wanted} is none of the {}", self.kind))),
            false => Ok(all),
        }
    }

    /// Refuses what the lists that are no tables do not take.
    fn plain(&self) -> Result<(), ClientError> {
        let takes_more = self.labels.is_some()
            || !self.having.is_empty()
            || self.sort.is_some()
            || self.watch
            || !self.columns.is_empty();
        match takes_more || !matches!(self.output, Format::Table | Format::Json) {
            true => Err(ClientError::Refused(format!(
                "`get {}` is printed as text or JSON, and whole",
                self.kind
            ))),
            false => Ok(()),
        }
    }
}

impl ValueEnum for Listed {
    fn value_variants<'a>() -> &'a [Listed] {
        &Listed::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let value = PossibleValue::new(self.name());
        Some(match self {
            Listed::Deployments => value.alias("deployment"),
            Listed::Machines => value.alias("machine"),
            Listed::Discovered => value.help("Machines that our agent found and no manifest declares"),
            Listed::Boots => value.alias("boot"),
            Listed::Profiles => value.alias("profile"),
            Listed::Templates => value.alias("template").help("The templates of the manifests"),
            Listed::Subnets => value.alias("subnet"),
            Listed::Pools => value.alias("pool"),
            Listed::Leases => value.alias("lease"),
            Listed::Status => value.help("How the daemon and its sources stand, in sentences"),
            Listed::Sources => {
                value.alias("source").help("Repositories and directories that manifests come from, and how they stand")
            }
            Listed::Operations => {
                value.alias("operation").help("Requests that went on after they were answered, since the daemon started")
            }
            Listed::Plans => value.alias("plan").help("Revisions that wait for somebody's approval"),
            Listed::Revisions => {
                value.alias("revision").help("What was live lately and can be pinned, the newest first: since when, by whom, and with what effect")
            }
            Listed::Drift => value.help("Where machines are not as the inventory has them"),
            Listed::Claims => value
                .alias("claim")
                .help("Machines of pools that somebody has, or waits for, and why it waits"),
            Listed::Orders => {
                value.alias("order").help("What is being done with machines: releases and wipes")
            }
            Listed::Certificates => value
                .alias("certificate")
                .help("What was done to the disks of machines that were wiped"),
            Listed::Effects => value
                .alias("effect")
                .help("What follows from a change and is not done yet: sources to read, controllers to ask"),
            Listed::LogSenders => value
                .alias("log-sender")
                .help("Who sent messages of syslog, and how many were malformed or too many"),
            Listed::Webhooks => {
                value.alias("webhook").help("Where events are sent, how many wait, and what went wrong last")
            }
            Listed::Tokens => value.alias("token").help("The tokens of the API; for admins"),
        })
    }
}

pub(super) fn run(arguments: &Arguments, remote: &Remote) -> Exit {
    if let Some(why) = arguments.contradiction() {
        exit::failed(why, arguments.output.is_json());
        return Exit::Usage;
    }
    match arguments.kind {
        Listed::Deployments => list::<Deployment>(arguments, remote),
        Listed::Machines => list::<Machine>(arguments, remote),
        Listed::Discovered => list::<Discovered>(arguments, remote),
        Listed::Boots => list::<Boot>(arguments, remote),
        Listed::Profiles => list::<Profile>(arguments, remote),
        Listed::Templates => list::<Template>(arguments, remote),
        Listed::Subnets => list::<SubnetRow>(arguments, remote),
        Listed::Pools => list::<Pool>(arguments, remote),
        Listed::Sources => list::<SourceStatus>(arguments, remote),
        Listed::Leases => list::<Lease>(arguments, remote),
        Listed::Status => status(arguments, remote),
        Listed::Operations => list::<Operation>(arguments, remote),
        Listed::Plans => plans(arguments, remote),
        Listed::Revisions => list::<Revision>(arguments, remote),
        Listed::Drift => list::<Drift>(arguments, remote),
        Listed::Claims => list::<Claim>(arguments, remote),
        Listed::Orders => list::<MachineOrder>(arguments, remote),
        Listed::Certificates => list::<WipeCertificate>(arguments, remote),
        Listed::Effects => list::<Effect>(arguments, remote),
        Listed::LogSenders => list::<LogSender>(arguments, remote),
        Listed::Webhooks => list::<Webhook>(arguments, remote),
        Listed::Tokens => list::<Token>(arguments, remote),
    }
}

fn list<T: Row>(arguments: &Arguments, remote: &Remote) -> Exit {
    let json = arguments.output.is_json();
    if arguments.watch {
        return watch::run::<T>(arguments, remote);
    }
    let rows = match remote.block_on(async |client| rows::<T>(arguments, &client).await) {
        Ok(rows) => rows,
        Err(error) => return remote::failed(&error, json),
    };
    if rows.is_empty() && !json {
        let such = if arguments.labels.is_some() || !arguments.having.is_empty() { " like that" } else { "" };
        exit::talk(&format!("no {}{such}", arguments.kind));
    }
    match output::text(arguments.kind.name(), &rows, arguments.output, &arguments.columns) {
        Ok(text) => exit::print(&text),
        Err(why) => exit::failed(&why, json),
    }
}

/// All rows that are wanted.
///
/// # Errors
/// None has the name that is wanted, or the daemon does not answer.
pub(super) async fn rows<T: Row>(arguments: &Arguments, client: &Client) -> Result<Vec<T>, ClientError> {
    arguments.named(whole(arguments, client).await?, false)
}

/// All pages, whatever name is wanted.
async fn whole<T: Row>(arguments: &Arguments, client: &Client) -> Result<Vec<T>, ClientError> {
    let (mut all, mut next) = (Vec::new(), Some(arguments.path()));
    while let Some(path) = next {
        let (mut rows, link) = client.page(&path).await?;
        all.append(&mut rows);
        next = link;
    }
    Ok(all)
}

/// Waiting plans are for reading: each is printed whole, under its id.
fn plans(arguments: &Arguments, remote: &Remote) -> Exit {
    let json = arguments.output.is_json();
    if let Err(error) = arguments.plain() {
        return remote::failed(&error, json);
    }
    let path = arguments.kind.path();
    let mut plans: Vec<WaitingPlan> = match remote.block_on(async |client| client.get(&path).await) {
        Ok(plans) => plans,
        Err(error) => return remote::failed(&error, json),
    };
    if let Some(wanted) = &arguments.name {
        plans.retain(|plan| plan.id == *wanted);
        if plans.is_empty() {
            return exit::failed(&format!("{wanted} is none of the plans that wait"), json);
        }
    }
    if json {
        return exit::print_json(&plans);
    }
    if plans.is_empty() {
        crate::cli::exit::talk("no plan waits");
    }
    for WaitingPlan { id, source, revision, condition, since, plan, holds } in &plans {
        let of = source.as_ref().map(|name| format!("{name}, ")).unwrap_or_default();
        let head = format!("plan {id} of {of}{revision}: {condition} since {since}\n\n");
        if crate::cli::exit::print(&(table::printable(head.trim_end()) + "\n\n" + &report::text(plan)))
            != Exit::Done
        {
            return Exit::Failed;
        }
        holds.iter().for_each(|hold| crate::cli::exit::say(remote::hold_text(hold)));
        let flags: String = holds.iter().filter_map(|hold| Some(format!(" {}", hold.flag()?))).collect();
        crate::cli::exit::say(format!(
            "voldemortctl approve {id}{flags}, or voldemortctl reject {id} --reason WHY"
        ));
    }
    Exit::Done
}

fn status(arguments: &Arguments, remote: &Remote) -> Exit {
    let json = arguments.output.is_json();
    if let Err(error) = arguments.plain() {
        return remote::failed(&error, json);
    }
    let path = arguments.kind.path();
    let status: Status = match remote.block_on(async |client| client.get(&path).await) {
        Ok(status) => status,
        Err(error) => return remote::failed(&error, json),
    };
    if json {
        return exit::print_json(&status);
    }
    let mut out = String::new();
    for text in status.lines() {
        // Reasons may have come off the wire, and have several lines.
        text.lines().for_each(|part| out.extend([&*table::printable(part), "\n"]));
    }
    exit::print(&out)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        get: Arguments,
    }

    #[test]
    fn a_name_has_to_be_there_at_the_beginning_alone() {
        let boot = |name: &str| -> Boot {
            serde_json::from_value(serde_json::json!({
                "name": name, "prefix": "/", "arch": "x86_64", "kernel": "linux", "initrd": [], "image": null,
                "origin": "boots.toml:1:1",
            }))
            .unwrap()
        };
        let all = || vec![boot("debian-12"), boot("debian-13"), boot("rescue")];
        let found = |name: &str, were_there| {
            let wanted = Arguments { name: Some(name.into()), ..Arguments::of(Listed::Boots, Format::Table) };
            wanted.named(all(), were_there).map(|rows| rows.len()).map_err(|error| error.to_string())
        };
        assert_eq!((found("rescue", false), found("debian-*", false)), (Ok(1), Ok(2)));
        assert_eq!(found("arch", false), Err("arch is none of the boots".to_owned()));
        assert_eq!(found("arch", true), Ok(0), "who follows it sees that it goes, and that it comes back");
    }

    #[test]
    fn flags_that_would_have_no_effect_are_refused() {
        let remote = Remote::of_line(&["--server=unix:/nowhere/api.sock".to_owned()]);
        let run = |line: &str| {
            let line = Line::try_parse_from(format!("get {line}").split(' ')).unwrap();
            run(&line.get, &remote)
        };
        for form in ["json", "jsonl", "yaml", "toml", "name"] {
            assert_eq!(run(&format!("machines --columns name -o {form}")), Exit::Usage, "{form}");
        }
        for form in ["", " -o table", " -o wide"] {
            assert_eq!(run(&format!("machines --columns name{form}")), Exit::Unreachable, "{form}");
        }
        assert_eq!(run("status lab"), Exit::Usage);
        assert_eq!(run("status -o json"), Exit::Unreachable);
    }
}
