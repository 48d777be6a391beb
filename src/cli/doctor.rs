//! `voldemort doctor`: looks at this host as the daemon would use it, and says what to do.
//!
//! Nothing is changed. On networks where the daemon serves DHCP or is beside a server, two DISCOVERs are sent, as by
//! `config detect`.

mod clock;
mod daemon;
mod files;
mod finding;
mod firewall;
mod firmware;
mod network;
mod ports;
mod privileges;
mod sockets;
mod storage;

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{Exit, exit};
use crate::config::Config;
use crate::model::printable;
use finding::{Finding, Level};

/// The settings where the unit of the packages has them.
const SETTINGS: &str = "/etc/voldemort/voldemort.toml";

#[derive(Args, Debug)]
pub struct Arguments {
    /// The daemon's settings [default: /etc/voldemort/voldemort.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Send nothing: do not look for other DHCP servers
    #[arg(long)]
    silent: bool,
    #[arg(short, long, value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Report {
    /// Of this program.
    version: &'static str,
    /// The worst of all findings.
    level: Level,
    findings: Vec<Finding>,
}

pub fn run(arguments: &Arguments) -> Exit {
    let report = Report::of(look(arguments));
    let printed = match arguments.output.as_str() {
        "json" => exit::print_json(&report),
        _ => exit::print(&printable::lines(&text(&report))),
    };
    match report.level {
        Level::Error => Exit::Failed.and(printed),
        Level::Ok | Level::Unknown | Level::Warning => Exit::Done.and(printed),
    }
}

/// Everything that is looked at, in the order in which a person would repair it.
fn look(arguments: &Arguments) -> Vec<Finding> {
    let mut findings = privileges::look();
    let config = settings(arguments, &mut findings);
    findings.push(daemon::look(config.as_ref()));
    findings.extend(network::interfaces(config.as_ref()));
    let wanted = ports::wanted(config.as_ref());
    findings.extend(ports::look(&wanted, config.as_ref()));
    findings.extend(firewall::look(&wanted, config.as_ref()));
    if !arguments.silent {
        findings.extend(config.iter().flat_map(network::other_servers));
    }
    findings.extend(firmware::look(config.as_ref()));
    findings.extend(storage::look(config.as_ref()));
    findings.extend(config.iter().flat_map(|config| files::look(config, arguments.config.as_deref())));
    findings.push(clock::look());
    findings
}

/// The settings, with what is wrong with them; `None` where there are none that could be used.
fn settings(arguments: &Arguments, findings: &mut Vec<Finding>) -> Option<Config> {
    let path = arguments.config.clone().unwrap_or_else(|| SETTINGS.into());
    let finding = Finding::about("settings", path.display());
    if arguments.config.is_none() && !path.exists() {
        findings.push(finding.warning(
            "there are none: this host is looked at as with the default settings",
            format!("voldemort config detect > {SETTINGS}, then read and correct it; or name another file with --config"),
        ));
        return None;
    }
    match Config::read(&path) {
        Ok(config) => {
            findings.push(finding.ok("they can be used"));
            Some(config)
        }
        Err(error) => {
            findings.push(finding.error(error.to_string(), "correct the file"));
            None
        }
    }
}

impl Report {
    fn of(findings: Vec<Finding>) -> Report {
        let level = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
        Report { version: env!("CARGO_PKG_VERSION"), level, findings }
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for Finding { check, subject, level, found, advice } in &report.findings {
        text += &format!("{:<8}{check} {subject}: {}\n", level.text(), found.replace('\n', "\n        "));
        if let Some(advice) = advice {
            text += &format!("          -> {}\n", advice.replace('\n', "\n             "));
        }
    }
    let count = |level: Level| report.findings.iter().filter(|finding| finding.level == level).count();
    let (errors, warnings) = (count(Level::Error), count(Level::Warning));
    text + &match (errors, warnings) {
        (0, 0) => "nothing is in the way\n".to_owned(),
        _ => format!("errors: {errors}, warnings: {warnings}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides_and_advice_follows_it() {
        let report = Report::of(vec![
            Finding::about("clock", "now").ok("right"),
            Finding::about("port", "69/udp").error("in use by tftpd (pid 7)", "stop it"),
            Finding::about("disk", "/x").warning("little", "make room"),
        ]);
        assert_eq!(report.level, Level::Error);
        let text = text(&report);
        assert!(
            text.contains("error   port 69/udp: in use by tftpd (pid 7)\n          -> stop it\n"),
            "{text}"
        );
        assert!(text.ends_with("errors: 1, warnings: 1\n"), "{text}");
    }
}
