//! `voldemort config`: settings for this host.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use super::{Exit, exit};
use crate::config::Config;
use crate::config::detect::{self, Choice, Facts, Found, Missing, Servers};
use crate::config::host::{self, Resolvers};
use crate::daemon::link::Interface;
use crate::daemon::probe;
use crate::media::loaders;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print a complete settings file for this host
    Detect {
        /// The interface towards the machines; without it the likeliest is taken
        #[arg(long, value_name = "IF")]
        interface: Option<String>,
    },
}

pub fn run(args: &Args) -> Exit {
    let Command::Detect { interface } = &args.command;
    let facts = match gather(interface.as_deref(), other_servers) {
        Ok(facts) => facts,
        Err(why) => {
            exit::talk(&why);
            return Exit::Failed;
        }
    };
    for line in talk(&facts) {
        exit::talk(&line);
    }
    let text = detect::file(&facts);
    // The printed file must be accepted by `start`; a difference is a bug.
    if let Err(error) = Config::parse(&text, "the detected settings") {
        exit::talk(&error.to_string());
        return Exit::Failed;
    }
    exit::print(&text)
}

/// How long other DHCP servers have to answer: dnsmasq pings for 3 s before it does.
const PATIENCE: Duration = Duration::from_secs(4);

/// Who else answers DHCP on an interface. Takes [`PATIENCE`].
pub(super) fn other_servers(interface: &str) -> Result<Vec<String>, String> {
    let interface = Interface::find(interface, None).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let found = runtime.block_on(probe::probe(&interface, PATIENCE)).map_err(|error| error.to_string())?;
    Ok(found.iter().map(|one| one.server.to_string()).collect())
}

/// The notes for a person whose stdout goes to a file.
fn talk(facts: &Facts) -> Vec<String> {
    let Choice { interface, reason, others, .. } = &facts.choice;
    let mut lines = Vec::new();
    if !reason.is_empty() {
        lines.push(format!("{interface} was chosen: {reason}"));
        lines.extend(others.iter().map(|other| format!("  also possible with --interface: {other}")));
    }
    match &facts.servers {
        Servers::None => {}
        Servers::Answering(servers) => {
            lines.push(format!("another DHCP server answers on {interface}: {}", servers.join(", ")));
        }
        Servers::Unknown(why) => lines.push(format!("other DHCP servers on {interface}: unknown ({why})")),
    }
    for missing in facts.missing.iter().filter(|missing| missing.is_usual) {
        let Missing { machines, .. } = missing;
        lines.push(format!("not installed, for machines with {machines}: {}", missing.programs()));
    }
    lines
}

fn gather(
    interface: Option<&str>,
    probe: impl FnOnce(&str) -> Result<Vec<String>, String>,
) -> Result<Facts, String> {
    let interfaces =
        host::interfaces().map_err(|error| format!("the interfaces can't be listed: {error}"))?;
    let gateways = host::gateways(&read("/proc/net/route"));
    let choice = detect::choose(interface, &interfaces, &gateways).map_err(|error| error.to_string())?;
    let gateway = gateways
        .iter()
        .filter(|gateway| gateway.interface == choice.interface)
        .map(|gateway| gateway.address)
        .find(|address: &Ipv4Addr| choice.network.is_host(*address));
    let servers = match probe(&choice.interface) {
        Ok(servers) if servers.is_empty() => Servers::None,
        Ok(servers) => Servers::Answering(servers),
        Err(why) => Servers::Unknown(why),
    };
    let (loaders, missing) = boot_programs();
    let neighbours = host::neighbours(&read("/proc/net/arp"), &choice.interface);
    let own = interfaces.iter().flat_map(|one| one.addresses.iter().map(|(own, _)| *own)).collect();
    Ok(Facts { gateway, resolvers: resolvers(read), own, neighbours, servers, loaders, missing, choice })
}

/// A table that can't be read counts as empty: the person fills in what is missing.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Where `/etc/resolv.conf` names only systemd-resolved, its own file has the real servers.
pub(super) fn resolvers(read: impl Fn(&str) -> String) -> Resolvers {
    let first = host::resolvers(&read("/etc/resolv.conf"));
    if first.servers.is_empty() { host::resolvers(&read("/run/systemd/resolve/resolv.conf")) } else { first }
}

fn boot_programs() -> (Vec<Found>, Vec<Missing>) {
    let found = loaders::find(&detect::FIRMWARE.map(PathBuf::from));
    let missing = loaders::missing(&found).into_iter().map(|lacking| Missing {
        machines: lacking.machines.into(),
        is_usual: lacking.is_usual(),
        programs: lacking.programs.iter().map(|one| (one.name.into(), one.package.into())).collect(),
    });
    let missing = missing.collect();
    let programs = found.iter().map(|(name, entry)| Found {
        name: name.to_string(),
        path: entry.path.to_path_buf(),
        size: entry.len(),
        version: loaders::version(&entry.path),
    });
    (programs.collect(), missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_servers_behind_systemd_resolved_are_found() {
        let stub = |path: &str| match path {
            "/etc/resolv.conf" => "nameserver 127.0.0.53\nsearch lan\n".to_owned(),
            _ => "nameserver 10.0.10.2\nsearch lab.example\n".to_owned(),
        };
        assert_eq!(resolvers(stub).servers, [Ipv4Addr::new(10, 0, 10, 2)]);
        let plain = |_: &str| "nameserver 9.9.9.9\n".to_owned();
        assert_eq!(resolvers(plain).servers, [Ipv4Addr::new(9, 9, 9, 9)]);
    }
}
