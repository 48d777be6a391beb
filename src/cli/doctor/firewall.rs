//! Whether the host's firewall lets machines in: the rules of nftables, walked as a new packet to each port would be.
//!
//! iptables of current distributions writes the same rules. Rules with conditions that are not known here (addresses,
//! rates, extensions of iptables) are not guessed at: what depends on them is said to be unknown.

mod rules;

use std::process::Command;

use super::finding::Finding;
use super::ports::Wanted;
use crate::config::Config;
use rules::{Packet, Rules, Verdict};

pub(super) fn look(wanted: &[Wanted], config: Option<&Config>) -> Vec<Finding> {
    let finding = Finding::about("firewall", "nftables");
    match Command::new("nft").args(["-j", "list", "ruleset"]).output() {
        Ok(output) if output.status.success() => match Rules::parse(&output.stdout) {
            Some(rules) => judge(&rules, wanted, config),
            None => vec![
                finding
                    .unknown("nft prints something else than rules in JSON", "look with `nft list ruleset`"),
            ],
        },
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            vec![finding.unknown(why, "look again as root")]
        }
        Err(_) => vec![without_nft(finding)],
    }
}

/// Where the program `nft` is not installed, the kernel's modules tell whether it filters anything.
fn without_nft(finding: Finding) -> Finding {
    let modules = std::fs::read_to_string("/proc/modules").unwrap_or_default();
    let is_loaded = |name: &str| modules.lines().any(|line| line.split(' ').next() == Some(name));
    let tables = std::fs::read_to_string("/proc/net/ip_tables_names").unwrap_or_default();
    if is_loaded("nf_tables") || tables.lines().any(|table| table == "filter") {
        return finding.unknown(
            "the kernel filters packets, and nft is not installed to see how",
            "apt install nftables and look again, or look with `iptables -S INPUT`",
        );
    }
    finding.ok("the kernel filters nothing")
}

fn judge(rules: &Rules, wanted: &[Wanted], config: Option<&Config>) -> Vec<Finding> {
    let interfaces: Vec<Option<&str>> = match config {
        Some(config) => config.networks().map(|network| Some(network.interface.as_str())).collect(),
        None => vec![None],
    };
    let mut findings: Vec<Finding> = Vec::new();
    for one in wanted.iter().filter(|one| one.is_for_machines) {
        for interface in &interfaces {
            let packet = Packet { transport: one.transport, port: one.at.port(), interface: *interface };
            let place = interface.map(|name| format!(" from {name}")).unwrap_or_default();
            let subject = format!("{}/{}{place}", one.at.port(), one.transport);
            let finding = Finding::about("firewall", subject);
            let found = match rules.verdict(&packet) {
                Verdict::Accept => continue,
                Verdict::Drop { table, chain } => {
                    finding.error(format!("the chain {chain} of {table} drops {} packets", one.what), cure(&table, &chain, &packet))
                }
                Verdict::Unknown { table, chain } => finding.unknown(
                    format!("whether the chain {chain} of {table} lets {} in depends on rules that can't be judged here", one.what),
                    "look with `nft list ruleset`",
                ),
            };
            // Two addresses of one interface have the same ports.
            if !findings.contains(&found) {
                findings.push(found);
            }
        }
    }
    if findings.is_empty() {
        findings.push(Finding::about("firewall", "nftables").ok("it lets machines in"));
    }
    findings
}

/// The command that opens a port, of the program that the rules are of.
fn cure(table: &str, chain: &str, packet: &Packet<'_>) -> String {
    let Packet { transport, port, interface } = packet;
    let on = interface.map(|name| format!("iifname \"{name}\" ")).unwrap_or_default();
    if table.ends_with(" firewalld") {
        return format!("firewall-cmd --permanent --add-port={port}/{transport} && firewall-cmd --reload");
    }
    if chain.starts_with("ufw") || table == "ip filter" && chain == "INPUT" {
        let on = interface.map(|name| format!(" in on {name}")).unwrap_or_default();
        return format!(
            "ufw allow{on} to any port {port} proto {transport}, or iptables -I INPUT -p {transport} --dport {port} -j ACCEPT"
        );
    }
    format!(
        "nft insert rule {table} {chain} {on}{transport} dport {port} accept, and the same in /etc/nftables.conf"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Level;
    use crate::cli::doctor::ports;

    #[test]
    fn ports_that_are_closed_come_with_the_command_that_opens_them() {
        let text = br#"{"nftables": [
            {"chain": {"family": "inet", "table": "filter", "name": "input", "hook": "input", "policy": "drop"}},
            {"rule": {"family": "inet", "table": "filter", "chain": "input", "expr": [
                {"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": {"set": [67, 69]}}},
                {"accept": null}]}}]}"#;
        let config =
            Config::parse("network = { interface = 'eth0', address = '10.0.0.1' }", "v.toml").unwrap();
        let wanted = ports::wanted(Some(&config));
        let found = judge(&Rules::parse(text).unwrap(), &wanted, Some(&config));
        let shown: Vec<(&str, Level)> = found.iter().map(|one| (one.subject.as_str(), one.level)).collect();
        assert_eq!(shown, [("4011/udp from eth0", Level::Error), ("80/tcp from eth0", Level::Error)]);
        let advice = found[1].advice.as_deref().unwrap();
        assert!(
            advice.starts_with("nft insert rule inet filter input iifname \"eth0\" tcp dport 80 accept"),
            "{advice}"
        );
        let open = judge(&Rules::parse(br#"{"nftables": []}"#).unwrap(), &wanted, Some(&config));
        assert_eq!((open.len(), open[0].level), (1, Level::Ok));
    }
}
