//! `voldemortctl release CLAIM…` and `release lease ADDRESS…`: gives back machines that were claimed, and addresses that
//! something keeps from others.

use std::collections::BTreeSet;
use std::net::IpAddr;

use clap::{Args, Subcommand};

use super::claim;
use super::several::{Asking, Fitting, counted, find, is_pattern};
use crate::api::client::escaped;
use crate::api::resource::{Claim, Freed, Lease, LeaseShown, Listed};
use crate::cli::live::{Names, names};
use crate::cli::remote::{self, Remote};
use crate::cli::{Exit, exit};
use crate::model::OnReturn;

/// Give back claims: their machines are wiped, or kept as they are, as their pools say
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Arguments {
    /// The claims, as `voldemortctl get claims` shows them, or patterns (ci-*)
    #[arg(required = true, value_name = "CLAIM", add = names(Names::Of(Listed::Claims)))]
    claims: Vec<String>,
    #[command(subcommand)]
    what: Option<What>,
    #[arg(short, long, global = true, value_parser = ["text", "json"], default_value = "text")]
    output: String,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Free addresses that are leased, on offer, or withheld after a conflict: the next machine may get them.
    /// A machine that uses one is not notified, and keeps it until it asks DHCP again
    Lease {
        /// The addresses, as `voldemortctl get leases` shows them, or patterns (10.0.10.*)
        #[arg(value_name = "ADDRESS", value_parser = address, add = names(Names::Of(Listed::Leases)))]
        addresses: Vec<String>,
        /// Only those whose field has this value, as in state=declined; * and ? stand for other letters, and commas
        /// separate several
        #[arg(long = "where", value_name = "FIELD=VALUE", value_parser = super::several::pair)]
        having: Vec<(String, String)>,
    },
}

fn address(text: &str) -> Result<String, String> {
    let is_address = || text.parse::<IpAddr>().is_ok();
    match is_pattern(text) || is_address() {
        true => Ok(text.to_owned()),
        false => Err("this is no IP address, and no pattern such as 10.0.10.*".into()),
    }
}

pub(super) fn run(arguments: &Arguments, remote: &Remote) -> Exit {
    let json = arguments.output == "json";
    let Some(What::Lease { addresses, having }) = &arguments.what else {
        return claims(arguments, json, remote);
    };
    if addresses.is_empty() && having.is_empty() {
        exit::failed("which addresses? name them, or give a pattern or --where", json);
        return Exit::Usage;
    }
    let is_chosen = !having.is_empty() || addresses.iter().any(|address| is_pattern(address));
    let mut wanted = addresses.clone();
    if is_chosen {
        let fitting = Fitting { labels: None, having: having.clone() };
        let found =
            remote.block_on(async |client| find::<Lease>(Listed::Leases, addresses, &fitting, &client).await);
        wanted = match found {
            Ok(found) => leased(&found),
            Err(error) => return remote::failed(&error, json),
        };
        if wanted.is_empty() {
            exit::failed(
                "none of the leases fits: the addresses that do are fixed ones of deployments",
                json,
            );
            return Exit::Failed;
        }
        let what = format!("freed: {}", counted(wanted.iter().map(String::as_str), "lease"));
        if let Err(no) = arguments.asking.agree(&what, &wanted.len().to_string(), json) {
            return no;
        }
    }
    let mut all = Vec::new();
    for address in &wanted {
        let path = format!("/v1/leases/{}", escaped(address));
        match remote.block_on(async |client| client.delete::<Freed>(&path).await) {
            Ok(freed) => all.push(freed),
            Err(error) => {
                let done = shown(&all, json && wanted.len() > 1);
                let failed = remote::failed(&error, json && wanted.len() == 1);
                return if failed == Exit::Done { done } else { failed };
            }
        }
    }
    match all.as_slice() {
        [one] if json && !is_chosen && wanted.len() == 1 => exit::print_json(one),
        all => shown(all, json),
    }
}

/// Each address once: one on offer may be in a second row. Fixed addresses belong to their deployments.
fn leased(found: &[Lease]) -> Vec<String> {
    let leased = found.iter().filter(|lease| lease.state != LeaseShown::Fixed);
    let addresses: BTreeSet<IpAddr> = leased.map(|lease| lease.address).collect();
    addresses.iter().map(IpAddr::to_string).collect()
}

/// One that is named goes at once: the machine is known to be claimed, and no one else's.
fn claims(arguments: &Arguments, json: bool, remote: &Remote) -> Exit {
    let mut wanted = arguments.claims.clone();
    if wanted.iter().any(|name| is_pattern(name)) {
        let any = Fitting::default();
        let found = remote
            .block_on(async |client| find::<Claim>(Listed::Claims, &arguments.claims, &any, &client).await);
        wanted = match found {
            Ok(found) => found.into_iter().map(|claim| claim.name).collect(),
            Err(error) => return remote::failed(&error, json),
        };
        let what = format!("released: {}", counted(wanted.iter().map(String::as_str), "claim"));
        if let Err(no) = arguments.asking.agree(&what, &wanted.len().to_string(), json) {
            return no;
        }
    }
    claim::each(&wanted, "release", &serde_json::json!({}), json, remote, released)
}

fn released(claim: &Claim) -> String {
    let Some(machine) = &claim.machine else {
        return format!("claim {} does not wait any more", claim.name);
    };
    let next = match claim.on_return.known() {
        Some(OnReturn::Keep) => "its disks stay as they are".to_owned(),
        _ => {
            format!("its disks are wiped ({}): `voldemortctl get orders` shows how far that is", claim.level)
        }
    };
    format!("claim {} is released; machine {machine}: {next}", claim.name)
}

fn shown(all: &[Freed], json: bool) -> Exit {
    if json {
        return exit::print_json(&all);
    }
    let row = |freed: &Freed| {
        let Freed { address, mac, state, until } = freed;
        format!("{address} is free; it was {state} ({mac}) until {until}\n")
    };
    exit::print(&all.iter().map(row).collect::<String>())
}
