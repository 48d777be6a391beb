//! `voldemort init`: a new, commented inventory that passes `check`.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Exit;
use super::exit::{say, talk};
use crate::config::detect::{self, free_range};
use crate::config::host;
use crate::model::ssh_key::is_public_key;
use crate::model::{Cidr, Mac, Range};

#[derive(Args, Debug)]
pub struct Arguments {
    /// The directory for the inventory; made if it does not exist
    #[arg(default_value = ".")]
    directory: PathBuf,
    /// The network of the machines, as in 10.0.10.0/24 [default: that of this host]
    #[arg(long, value_name = "NET/BITS")]
    subnet: Option<Cidr>,
    /// Its gateway [default: that of this host if it lies there, else the first address]
    #[arg(long, value_name = "ADDRESS")]
    gateway: Option<Ipv4Addr>,
    /// Hardware address of a first machine; without one it is a comment
    #[arg(long)]
    mac: Option<Mac>,
    /// Public ssh key that may log in to the machines, or a file with it [default: yours]
    #[arg(long, value_name = "KEY|FILE")]
    ssh_key: Option<String>,
}

/// Longest prefix of a network with room for a gateway, machines and a dynamic range.
const LONGEST: u8 = 29;

/// What the files are written from.
struct Answers {
    subnet: Cidr,
    gateway: Ipv4Addr,
    dns: Vec<Ipv4Addr>,
    /// Addresses in the network that are not free: the gateway, this host, its neighbours.
    taken: Vec<Ipv4Addr>,
    mac: Option<Mac>,
    key: Option<String>,
}

/// The network of this host's likeliest interface.
#[derive(Default)]
struct Surroundings {
    network: Option<Cidr>,
    gateway: Option<Ipv4Addr>,
    dns: Vec<Ipv4Addr>,
    taken: Vec<Ipv4Addr>,
}

pub fn run(arguments: &Arguments) -> Exit {
    let answers = match answers(arguments) {
        Ok(answers) => answers,
        Err(why) => {
            talk(&why);
            return Exit::Usage;
        }
    };
    match write(&arguments.directory, &files(&answers)) {
        Ok(()) => {
            let directory = arguments.directory.display();
            if answers.key.is_none() {
                say(
                    "no ssh key was found: until profiles.toml has one, nobody can log in to an installed machine",
                );
            }
            say(format!("a new inventory is in {directory}; next: voldemort check {directory}"));
            Exit::Done
        }
        Err(why) => {
            talk(&why);
            Exit::Failed
        }
    }
}

fn answers(arguments: &Arguments) -> Result<Answers, String> {
    settled(arguments, surroundings(), io::stdin().is_terminal() && io::stderr().is_terminal())
}

/// Flags first; on a terminal (`talks`) the person is asked for the rest.
fn settled(arguments: &Arguments, around: Surroundings, talks: bool) -> Result<Answers, String> {
    let usual = around.network.unwrap_or_else(|| "10.0.10.0/24".parse().expect("this is a network"));
    let subnet = match arguments.subnet {
        Some(subnet) => subnet,
        None if talks => ask("Network of the machines", &usual.to_string())?.unwrap_or(usual),
        None => usual,
    };
    let hosts = subnet.hosts();
    if subnet.length() > LONGEST {
        return Err(format!("{subnet} is too small for a gateway, machines and a dynamic range"));
    }
    let gateway = match arguments.gateway {
        Some(gateway) => gateway,
        None => {
            let usual = around.gateway.filter(|gateway| subnet.is_host(*gateway)).unwrap_or(hosts.first);
            if talks { ask("Its gateway", &usual.to_string())?.unwrap_or(usual) } else { usual }
        }
    };
    if !subnet.is_host(gateway) {
        return Err(format!("the gateway {gateway} is not a host address in {subnet}"));
    }
    let mac = match arguments.mac {
        None if talks => ask("Hardware address of a first machine", "none yet")?,
        given => given,
    };
    let key = match &arguments.ssh_key {
        Some(given) => Some(ssh_key(given)?),
        None => {
            let found = own_key();
            let shown = found.as_deref().map_or("none yet", |key| key.rsplit(' ').next().unwrap_or(key));
            let asked = if talks { ask::<String>("Public ssh key, or its file", shown)? } else { None };
            asked.map(|given| ssh_key(&given)).transpose()?.or(found)
        }
    };
    let own = around.network == Some(subnet);
    let dns = if own && !around.dns.is_empty() { around.dns } else { vec![gateway] };
    let mut taken = around.taken;
    taken.push(gateway);
    taken.extend(&dns);
    Ok(Answers { subnet, gateway, dns, taken, mac, key })
}

/// What `config detect` would choose; nothing where it would not know.
fn surroundings() -> Surroundings {
    let interfaces = host::interfaces().unwrap_or_default();
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let gateways = host::gateways(&read("/proc/net/route"));
    let Ok(choice) = detect::choose(None, &interfaces, &gateways) else { return Surroundings::default() };
    if choice.network.length() > LONGEST {
        return Surroundings::default();
    }
    let own = gateways.iter().filter(|gateway| gateway.interface == choice.interface);
    let gateway = own.map(|gateway| gateway.address).find(|address| choice.network.is_host(*address));
    let mut taken = host::neighbours(&read("/proc/net/arp"), &choice.interface);
    taken.extend(interfaces.iter().flat_map(|one| one.addresses.iter().map(|(own, _)| *own)));
    let dns = super::config::resolvers(read).servers;
    Surroundings { network: Some(choice.network), gateway, dns, taken }
}

/// A key that was given, as a text or as a file.
fn ssh_key(given: &str) -> Result<String, String> {
    if is_key(given) {
        return Ok(given.trim().to_owned());
    }
    let text = fs::read_to_string(given)
        .map_err(|error| format!("{given}: {error}, and it is no public ssh key"))?;
    let key = text.lines().find(|line| is_key(line));
    key.map(|key| key.trim().to_owned()).ok_or_else(|| format!("{given}: there is no public ssh key in it"))
}

/// The key of who runs this: a key of theirs on this host, else the one they came with.
fn own_key() -> Option<String> {
    let home = PathBuf::from(std::env::var_os("HOME")?).join(".ssh");
    let names = ["id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub", "authorized_keys"];
    names.iter().find_map(|name| ssh_key(home.join(name).to_str()?).ok())
}

/// Whether it can be written into a manifest as it is.
fn is_key(line: &str) -> bool {
    is_public_key(line) && !line.contains(['"', '\\'])
}

/// Asks until the answer parses; `None` for the proposal.
fn ask<T: std::str::FromStr<Err: std::fmt::Display>>(
    question: &str,
    proposal: &str,
) -> Result<Option<T>, String> {
    loop {
        let mut err = io::stderr();
        let _ = write!(err, "{question} [{proposal}]: ").and_then(|()| err.flush());
        let mut line = String::new();
        let read = io::stdin().read_line(&mut line).map_err(|error| error.to_string())?;
        match line.trim() {
            _ if read == 0 => return Err("the input ended before all questions were answered".to_owned()),
            "" => return Ok(None),
            answer => match answer.parse() {
                Ok(value) => return Ok(Some(value)),
                Err(error) => say(format!("{answer}: {error}")),
            },
        }
    }
}

/// Writes all files or none: if one exists, nothing is written.
fn write(directory: &Path, files: &[(&str, String)]) -> Result<(), String> {
    let name = |path: &Path, error: &io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(directory).map_err(|error| name(directory, &error))?;
    for entry in fs::read_dir(directory).map_err(|error| name(directory, &error))? {
        let path = entry.map_err(|error| name(directory, &error))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            return Err(format!("{} exists already: nothing was written", path.display()));
        }
    }
    for (file, text) in files {
        let path = directory.join(file);
        let new = fs::OpenOptions::new().write(true).create_new(true).open(&path);
        new.and_then(|mut new| new.write_all(text.as_bytes())).map_err(|error| name(&path, &error))?;
    }
    Ok(())
}

fn files(answers: &Answers) -> [(&'static str, String); 5] {
    let Answers { subnet, gateway, dns, taken, .. } = answers;
    let dynamic = match free_range(*subnet, taken) {
        Some(Range { first, last }) => {
            format!(
                "dynamic = \"{first}-{last}\"   # for machines without a fixed address; without it they get no answer"
            )
        }
        None => {
            "# dynamic = \"FIRST-LAST\"   # no address was free: machines without a fixed one get no answer"
                .to_owned()
        }
    };
    let dns = dns.iter().map(|server| format!("\"{server}\"")).collect::<Vec<_>>().join(", ");
    let network = include_str!("init/network.toml")
        .replace("@SUBNET@", &subnet.to_string())
        .replace("@GATEWAY@", &gateway.to_string())
        .replace("@DNS@", &dns)
        .replace("@DYNAMIC@", &dynamic);
    let keys = match &answers.key {
        Some(key) => format!("ssh-keys = [\"{key}\"]"),
        None => {
            "# ssh-keys = [\"ssh-ed25519 AAAA… you@desk\"]     # without one nobody can log in".to_owned()
        }
    };
    let machine = |text: &str| text.replace("@ADDRESS@", &fixed(answers).to_string());
    let deployments = match answers.mac {
        Some(mac) => machine(include_str!("init/deployments.toml")).replace("@MAC@", &mac.to_string()),
        None => {
            let text = machine(include_str!("init/deployments.toml")).replace("@MAC@", "52:54:00:12:34:56");
            let comment = |line: &str| match line.is_empty() || line.starts_with('#') {
                true => format!("{line}\n"),
                false => format!("# {line}\n"),
            };
            text.lines().map(comment).collect()
        }
    };
    [
        ("voldemort.toml", include_str!("init/voldemort.toml").to_owned()),
        ("network.toml", network),
        ("boots.toml", include_str!("init/boots.toml").to_owned()),
        ("profiles.toml", include_str!("init/profiles.toml").replace("@KEYS@", &keys)),
        ("deployments.toml", deployments),
    ]
}

/// A first fixed address: the lowest that is free.
fn fixed(answers: &Answers) -> Ipv4Addr {
    let hosts = answers.subnet.hosts();
    let all = (u32::from(hosts.first)..=u32::from(hosts.last)).map(Ipv4Addr::from);
    let mut free = all.filter(|address| !answers.taken.contains(address));
    free.next().unwrap_or(hosts.first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_server_in_the_network_keeps_its_address() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = Arguments {
            directory: folder.path().to_owned(),
            subnet: Some("192.0.2.0/28".parse().unwrap()),
            gateway: Some(Ipv4Addr::new(192, 0, 2, 1)),
            mac: Some("52:54:00:aa:00:01".parse().unwrap()),
            ssh_key: None,
        };
        let dns = vec![Ipv4Addr::new(192, 0, 2, 2), Ipv4Addr::new(192, 0, 2, 14)];
        let around = Surroundings { network: arguments.subnet, dns, ..Surroundings::default() };
        let answers = settled(&arguments, around, false).unwrap();
        assert_eq!(fixed(&answers), Ipv4Addr::new(192, 0, 2, 3));
        let range = free_range(answers.subnet, &answers.taken).unwrap();
        assert_eq!(range.last, Ipv4Addr::new(192, 0, 2, 13));
    }
}
