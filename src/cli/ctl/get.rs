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
use crate::model::ServiceState;
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
    match json {
        true => exit::print_json(&rows),
        false => exit::print(&table::format(titles, &rows.iter().map(row).collect::<Vec<_>>())),
    }
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
        row.phase.to_string(),
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
        row.state.to_string(),
        row.expires.clone(),
    ]
}

const DRIFT: &[&str] = &["DEPLOYMENT", "MACHINE", "WHAT", "ACTUAL", "DESIRED", "SINCE", "MEANING"];

fn drift(row: &types::Drift) -> Vec<String> {
    vec![
        row.deployment.clone(),
        or_dash(row.machine.as_ref()),
        row.kind.to_string(),
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
        return exit::print_json(&status);
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
        doubtful: _,
        waiting,
        in_flight,
        services,
        source,
        sources,
        troubles,
    } = &status;
    let mut out = String::new();
    let mut line = |text: String| {
        // Reasons may have come off the wire, and have several lines.
        text.lines().for_each(|part| out.extend([&*table::printable(part), "\n"]));
    };
    line(format!("daemon       {version}, {server}, DHCP mode {mode}"));
    if let Some(others) = other_servers {
        let others = if others.is_empty() { "none".to_owned() } else { others.join(", ") };
        line(format!("other DHCP   {others}"));
    }
    line(format!("table        {deployments} deployments, {machines} machines, serial {serial} ({lineage})"));
    if waiting + in_flight > 0 {
        line(format!("reinstalls   {in_flight} in flight, {waiting} wait for their turn"));
    }
    for trouble in troubles {
        line(format!("trouble      {trouble}"));
    }
    service_lines(services).into_iter().for_each(&mut line);
    // A daemon of before there could be several tells of one.
    let sources = if sources.is_empty() { std::slice::from_ref(source) } else { sources };
    for source in sources {
        if sources.len() > 1 {
            line(format!("\nsource       {}", source.name));
        }
        source_lines(source).into_iter().for_each(&mut line);
    }
    exit::print(&out)
}

/// Those that serve in one line, then each that does not, with its reason.
fn service_lines(services: &[types::ServiceStatus]) -> Vec<String> {
    let (serving, lacking): (Vec<_>, Vec<_>) =
        services.iter().partition(|service| service.state == ServiceState::Serving);
    let names: Vec<&str> = serving.iter().map(|service| service.name.as_str()).collect();
    let mut lines = Vec::new();
    if !names.is_empty() {
        lines.push(format!("serving      {}", names.join(", ")));
    }
    lines.extend(lacking.into_iter().map(|service| {
        let types::ServiceStatus { name, state, since, reason, auxiliary: _ } = service;
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let since = or_dash(Some(since).filter(|since| !since.is_empty()));
        format!("{state:<12} {name} since {since}{reason}")
    }));
    lines
}

fn source_lines(source: &types::SourceStatus) -> Vec<String> {
    let types::SourceStatus { name: _, location, applied, attempted, condition, reason, since, next } =
        source;
    let mut lines = vec![
        format!("inventory    {location}"),
        format!("applied      {}", or_dash(Some(applied).filter(|applied| !applied.is_empty()))),
        format!("attempted    {}", or_dash(Some(attempted).filter(|attempted| !attempted.is_empty()))),
        format!("condition    {condition} since {since}"),
    ];
    lines.extend(next.as_ref().map(|next| format!("next look    {next}")));
    lines.extend(Some(reason.clone()).filter(|reason| !reason.is_empty()));
    lines
}
