//! `voldemortctl get KIND`.

use std::net::IpAddr;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::table;
use crate::api::client::ClientError;
use crate::api::types;
use crate::cli::remote::{self, Remote};
use crate::cli::{Exit, exit};
use crate::model::printable;
use crate::plan::report;

/// List what the daemon knows
#[derive(Args, Debug)]
pub struct Arguments {
    #[arg(value_enum)]
    kind: Kind,
    /// Only the one of this name
    name: Option<String>,
    #[arg(short, long, value_parser = ["table", "json"], default_value = "table")]
    output: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    #[value(alias = "deployment")]
    Deployments,
    #[value(alias = "machine")]
    Machines,
    #[value(alias = "boot")]
    Boots,
    #[value(alias = "lease")]
    Leases,
    #[value(alias = "source", alias = "sources")]
    Status,
    /// Revisions that wait for somebody's approval
    #[value(alias = "plan")]
    Plans,
    /// Revisions that can be pinned, the newest first
    #[value(alias = "revision")]
    Revisions,
    /// Where machines are not as the inventory has them
    Drift,
}

pub fn run(arguments: &Arguments, remote: &Remote) -> Exit {
    match arguments.kind {
        Kind::Deployments => list(
            arguments,
            remote,
            "/v1/deployments",
            |row: &types::Deployment| &row.name,
            DEPLOYMENTS,
            deployment,
        ),
        Kind::Machines => list(
            arguments,
            remote,
            "/v1/machines",
            |row: &types::Machine| row.name.as_deref().unwrap_or(""),
            MACHINES,
            machine,
        ),
        Kind::Boots => list(arguments, remote, "/v1/boots", |row: &types::Boot| &row.name, BOOTS, boot),
        Kind::Leases => list(arguments, remote, "/v1/leases", |row: &types::Lease| &row.mac, LEASES, lease),
        Kind::Status => status(arguments, remote),
        Kind::Plans => plans(arguments, remote),
        Kind::Revisions => list(
            arguments,
            remote,
            "/v1/revisions",
            |row: &String| row,
            &["REVISION"],
            |row| vec![row.clone()],
        ),
        Kind::Drift => {
            list(arguments, remote, "/v1/drift", |row: &types::Drift| &row.deployment, DRIFT, drift)
        }
    }
}

fn list<T: Serialize + DeserializeOwned>(
    arguments: &Arguments,
    remote: &Remote,
    path: &str,
    name: impl Fn(&T) -> &str,
    titles: &[&str],
    row: impl Fn(&T) -> Vec<String>,
) -> Exit {
    let json = arguments.output == "json";
    let mut rows: Vec<T> = match remote.block_on(async |client| client.get(path).await) {
        Ok(rows) => rows,
        Err(error) => return remote::failed(&error, json),
    };
    if let Some(wanted) = &arguments.name {
        rows.retain(|row| name(row) == wanted);
        if rows.is_empty() {
            let error = ClientError::Refused(format!("the daemon knows no {wanted} there"));
            return remote::failed(&error, json);
        }
    }
    if json {
        exit::print_json(&rows);
    } else {
        print!("{}", table::format(titles, &rows.iter().map(row).collect::<Vec<_>>()));
    }
    Exit::Done
}

const DEPLOYMENTS: &[&str] =
    &["NAME", "MACHINE", "ADDRESS", "BOOT", "TEMPLATE", "PHASE", "NEXT NETWORK BOOT"];

fn deployment(row: &types::Deployment) -> Vec<String> {
    vec![
        row.name.clone(),
        or_dash(row.machine.as_ref()),
        row.address
            .map(IpAddr::V4)
            .or(row.address6.map(IpAddr::V6))
            .map_or("auto".into(), |own| own.to_string()),
        row.boot.clone(),
        or_dash(row.template.as_ref()),
        row.phase.clone(),
        row.next_boot.clone(),
    ]
}

const MACHINES: &[&str] =
    &["NAME", "MAC", "DEPLOYMENT", "ADDRESS", "ARCH", "POWER", "PROTECTED", "LAST SEEN"];

fn machine(row: &types::Machine) -> Vec<String> {
    vec![
        or_dash(row.name.as_ref()),
        row.macs.join(","),
        or_dash(row.deployment.as_ref()),
        or_dash(row.address.as_ref()),
        or_dash(row.arch.as_ref()),
        or_dash(row.power.as_ref().map(|power| &power.state)),
        if row.protected { "yes".into() } else { "-".into() },
        or_dash(row.last_seen.as_ref()),
    ]
}

const BOOTS: &[&str] = &["NAME", "ARCH", "PREFIX", "KERNEL", "IMAGE"];

fn boot(row: &types::Boot) -> Vec<String> {
    vec![
        row.name.clone(),
        row.arch.clone(),
        row.prefix.clone(),
        row.kernel.clone(),
        or_dash(row.image.as_ref()),
    ]
}

const LEASES: &[&str] = &["ADDRESS", "MAC", "MACHINE", "HOST NAME", "STATE", "EXPIRES"];

fn lease(row: &types::Lease) -> Vec<String> {
    vec![
        row.address.to_string(),
        row.mac.clone(),
        or_dash(row.machine.as_ref()),
        or_dash(row.hostname.as_ref()),
        row.state.clone(),
        row.expires.clone(),
    ]
}

const DRIFT: &[&str] = &["DEPLOYMENT", "MACHINE", "WHAT", "ACTUAL", "DESIRED", "SINCE", "MEANING"];

fn drift(row: &types::Drift) -> Vec<String> {
    vec![
        row.deployment.clone(),
        or_dash(row.machine.as_ref()),
        row.kind.clone(),
        row.actual.clone(),
        row.desired.clone(),
        or_dash(row.since.as_ref()),
        row.text.clone(),
    ]
}

/// Waiting plans are for reading: each is printed whole, under its id.
fn plans(arguments: &Arguments, remote: &Remote) -> Exit {
    let json = arguments.output == "json";
    let mut plans: Vec<types::WaitingPlan> =
        match remote.block_on(async |client| client.get("/v1/plans").await) {
            Ok(plans) => plans,
            Err(error) => return remote::failed(&error, json),
        };
    plans.retain(|plan| arguments.name.as_ref().is_none_or(|wanted| *wanted == plan.id));
    if json {
        return exit::print_json(&plans);
    }
    if plans.is_empty() {
        crate::cli::exit::talk("no plan waits");
    }
    for types::WaitingPlan { id, source, revision, condition, since, plan, holds } in &plans {
        let of = source.as_ref().map(|name| format!("{name}, ")).unwrap_or_default();
        let head = format!("plan {id} of {of}{revision}: {condition} since {since}\n\n");
        if crate::cli::exit::print(&(table::printable(head.trim_end()) + "\n\n" + &report::text(plan)))
            != Exit::Done
        {
            return Exit::Failed;
        }
        holds.iter().for_each(|hold| crate::cli::exit::say(remote::hold_text(hold)));
        crate::cli::exit::say(format!("voldemortctl approve {id}, or voldemortctl reject {id}"));
    }
    Exit::Done
}

fn or_dash(value: Option<&impl ToString>) -> String {
    value.map_or("-".into(), ToString::to_string)
}

fn status(arguments: &Arguments, remote: &Remote) -> Exit {
    let json = arguments.output == "json";
    let status: types::Status = match remote.block_on(async |client| client.get("/v1/status").await) {
        Ok(status) => status,
        Err(error) => return remote::failed(&error, json),
    };
    if json {
        exit::print_json(&status);
        return Exit::Done;
    }
    let types::Status {
        version,
        lineage,
        serial,
        server,
        mode,
        other_servers,
        deployments,
        machines,
        doubtful,
        waiting,
        in_flight,
        services,
        source,
        sources,
        troubles,
    } = &status;
    println!("daemon       {version}, {server}, DHCP mode {mode}");
    if let Some(others) = other_servers {
        println!("other DHCP   {}", if others.is_empty() { "none".into() } else { others.join(", ") });
    }
    println!("table        {deployments} deployments, {machines} machines, serial {serial} ({lineage})");
    if *doubtful > 0 {
        println!(
            "doubtful     {doubtful} installations: settle them with `voldemortctl approve installs` or \
             `voldemortctl adopt`"
        );
    }
    if waiting + in_flight > 0 {
        println!("reinstalls   {in_flight} in flight, {waiting} wait for their turn");
    }
    for trouble in troubles {
        println!("trouble      {}", table::printable(trouble));
    }
    print_services(services);
    // A daemon of before there could be several tells of one.
    let sources = if sources.is_empty() { std::slice::from_ref(source) } else { sources };
    for source in sources {
        if sources.len() > 1 {
            println!(
                "
source       {}",
                source.name
            );
        }
        print_source(source);
    }
    Exit::Done
}

/// Those that serve in one line, then each that does not, with its reason.
fn print_services(services: &[types::ServiceStatus]) {
    let (serving, lacking): (Vec<_>, Vec<_>) =
        services.iter().partition(|service| service.state == "serving");
    let names: Vec<&str> = serving.iter().map(|service| service.name.as_str()).collect();
    if !names.is_empty() {
        println!("serving      {}", names.join(", "));
    }
    for types::ServiceStatus { name, state, since, reason, auxiliary: _ } in lacking {
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        println!(
            "{state:<12} {name} since {}{reason}",
            or_dash(Some(since).filter(|since| !since.is_empty()))
        );
    }
}

fn print_source(source: &types::SourceStatus) {
    let types::SourceStatus { name: _, location, applied, attempted, condition, reason, since, next } =
        source;
    println!("inventory    {}", table::printable(location));
    println!("applied      {}", or_dash(Some(applied).filter(|applied| !applied.is_empty())));
    println!("attempted    {}", or_dash(Some(attempted).filter(|attempted| !attempted.is_empty())));
    println!("condition    {} since {since}", table::printable(condition));
    if let Some(next) = next {
        println!("next look    {next}");
    }
    if !reason.is_empty() {
        println!("{}", printable::lines(reason));
    }
}
