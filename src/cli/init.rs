//! `voldemort init`: a new, commented inventory that passes `check`.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Exit;
use super::exit::{say, talk};
use crate::model::{Cidr, Mac};

#[derive(Args, Debug)]
pub struct Arguments {
    /// The directory for the inventory; made if it does not exist
    #[arg(default_value = ".")]
    directory: PathBuf,
    /// The network of the machines, as in 10.0.10.0/24
    #[arg(long, value_name = "NET/BITS")]
    subnet: Option<Cidr>,
    /// Its gateway [default: the first address]
    #[arg(long, value_name = "ADDRESS")]
    gateway: Option<Ipv4Addr>,
    /// Hardware address of a first machine; without one it is a comment
    #[arg(long)]
    mac: Option<Mac>,
}

/// What the files are written from.
struct Answers {
    subnet: Cidr,
    gateway: Ipv4Addr,
    mac: Option<Mac>,
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
            say(format!("a new inventory is in {directory}; next: voldemort check {directory}"));
            Exit::Done
        }
        Err(why) => {
            talk(&why);
            Exit::Failed
        }
    }
}

/// Flags first; on a terminal the person is asked for the rest.
fn answers(arguments: &Arguments) -> Result<Answers, String> {
    let talks = io::stdin().is_terminal() && io::stderr().is_terminal();
    let usual: Cidr = "10.0.10.0/24".parse().expect("this is a network");
    let subnet = match arguments.subnet {
        Some(subnet) => subnet,
        None if talks => ask("Network of the machines", &usual.to_string())?.unwrap_or(usual),
        None => usual,
    };
    let hosts = subnet.hosts();
    if subnet.length() > 29 {
        return Err(format!("{subnet} is too small for a gateway, machines and a dynamic range"));
    }
    let gateway = match arguments.gateway {
        Some(gateway) => gateway,
        None if talks => ask("Its gateway", &hosts.first.to_string())?.unwrap_or(hosts.first),
        None => hosts.first,
    };
    if !subnet.is_host(gateway) {
        return Err(format!("the gateway {gateway} is not a host address in {subnet}"));
    }
    let mac = match arguments.mac {
        None if talks => ask("Hardware address of a first machine", "none yet")?,
        given => given,
    };
    Ok(Answers { subnet, gateway, mac })
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
    let (first, last) = dynamic(answers);
    let network = include_str!("init/network.toml")
        .replace("@SUBNET@", &answers.subnet.to_string())
        .replace("@GATEWAY@", &answers.gateway.to_string())
        .replace("@DYNAMIC@", &format!("{first}-{last}"));
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
        ("profiles.toml", include_str!("init/profiles.toml").to_owned()),
        ("deployments.toml", deployments),
    ]
}

/// The upper half of the network, for machines without a fixed address; the gateway left out.
fn dynamic(answers: &Answers) -> (Ipv4Addr, Ipv4Addr) {
    let hosts = answers.subnet.hosts();
    let (first, last) = (u32::from(hosts.first), u32::from(hosts.last));
    let middle = first + (last - first) / 2 + 1;
    let gateway = u32::from(answers.gateway);
    let (from, to) = match gateway {
        _ if gateway == last => (middle, last - 1),
        _ if gateway >= middle => (gateway + 1, last),
        _ => (middle, last),
    };
    (from.into(), to.into())
}

/// A first fixed address: the lowest that is not the gateway's.
fn fixed(answers: &Answers) -> Ipv4Addr {
    let first = answers.subnet.hosts().first;
    let second = Ipv4Addr::from(u32::from(first) + 1);
    if answers.gateway == second { Ipv4Addr::from(u32::from(second) + 1) } else { second }
}
