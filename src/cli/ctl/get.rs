//! `voldemortctl get KIND`.

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::table;
use crate::api::client::ClientError;
use crate::api::types;
use crate::cli::Exit;
use crate::cli::remote::{self, Remote};

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
        remote::print_json(&rows);
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
        row.address.map_or("auto".into(), |address| address.to_string()),
        row.boot.clone(),
        or_dash(row.template.as_ref()),
        row.phase.clone(),
        row.next_boot.clone(),
    ]
}

const MACHINES: &[&str] = &["NAME", "MAC", "DEPLOYMENT", "ADDRESS", "ARCH", "PROTECTED", "LAST SEEN"];

fn machine(row: &types::Machine) -> Vec<String> {
    vec![
        or_dash(row.name.as_ref()),
        row.macs.join(","),
        or_dash(row.deployment.as_ref()),
        or_dash(row.address.as_ref()),
        or_dash(row.arch.as_ref()),
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
        remote::print_json(&status);
        return Exit::Done;
    }
    let types::Status { version, lineage, serial, server, mode, deployments, machines, source } = &status;
    println!("daemon       {version}, {server}, DHCP mode {mode}");
    println!("table        {deployments} deployments, {machines} machines, serial {serial} ({lineage})");
    println!("inventory    {}", source.location);
    println!("applied      {}", source.applied);
    println!("attempted    {}", source.attempted);
    println!("condition    {} since {}", source.condition, source.since);
    if !source.reason.is_empty() {
        println!("{}", source.reason);
    }
    Exit::Done
}
