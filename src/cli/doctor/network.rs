//! Interfaces, and the other DHCP servers on them.

use std::fs;

use super::finding::Finding;
use crate::cli::config::other_servers as probe;
use crate::config::detect::{self, DetectError};
use crate::config::{Config, Mode, Network, host};
use crate::daemon::link::{Interface, LinkError};

/// Each interface of the settings; without settings the one that `config detect` would take.
pub(super) fn interfaces(config: Option<&Config>) -> Vec<Finding> {
    match config {
        Some(config) => config.networks().map(interface).collect(),
        None => vec![likeliest()],
    }
}

fn likeliest() -> Finding {
    let finding = Finding::about("interface", "any");
    let interfaces = match host::interfaces() {
        Ok(interfaces) => interfaces,
        Err(error) => return finding.unknown(error.to_string(), "look with `ip address`"),
    };
    let gateways = host::gateways(&fs::read_to_string("/proc/net/route").unwrap_or_default());
    match detect::choose(None, &interfaces, &gateways) {
        Ok(choice) => finding.ok(format!("`config detect` would take {}: {}", choice.interface, choice.reason)),
        Err(error @ DetectError::NothingUsable { .. }) => finding.error(
            error.to_string(),
            "give the interface towards the machines an address, as in `ip address add 10.0.10.1/24 dev eth1`",
        ),
        Err(error) => finding.error(error.to_string(), "see `ip address`"),
    }
}

fn interface(network: &Network) -> Finding {
    let name = &network.interface;
    let finding = Finding::about("interface", name);
    let advice = |error: &LinkError| match error {
        LinkError::Unknown { .. } => {
            "correct `network.interface` in the settings, or wait: the daemon serves it once it is there"
        }
        LinkError::OtherAddress { .. } => {
            "give it that address, or correct `network.address` in the settings"
        }
        LinkError::NoAddress(_) | LinkError::Down(_) | LinkError::List(_) => {
            "the daemon serves it once it is so"
        }
    };
    match Interface::find(name, Some(network.address)) {
        Err(error) => finding.error(error.to_string(), advice(&error)),
        // 0 where no link is seen; the file can't be read while the interface is down.
        Ok(_)
            if fs::read_to_string(format!("/sys/class/net/{name}/carrier"))
                .is_ok_and(|text| text.trim() == "0") =>
        {
            finding.warning(
                format!("up with {}, but without a link", network.address),
                "look at the cable and the switch",
            )
        }
        Ok(found) => finding.ok(format!("up with {}/{}", found.address, found.cidr.length())),
    }
}

/// Who else answers on the networks of the settings.
pub(super) fn other_servers(config: &Config) -> Vec<Finding> {
    let served = config.networks().filter(|network| config.mode(network) != Mode::Off);
    let here = served.filter(|network| Interface::find(&network.interface, Some(network.address)).is_ok());
    here.map(|network| judge(network, config.mode(network), probe(&network.interface))).collect()
}

fn judge(network: &Network, mode: Mode, found: Result<Vec<String>, String>) -> Finding {
    let finding = Finding::about("dhcp", &network.interface);
    let servers = match found {
        Ok(servers) => servers,
        Err(why) => return finding.unknown(why, "look again as root"),
    };
    let names = servers.join(", ");
    match (mode, servers.is_empty()) {
        (Mode::Server, true) => finding.ok("no other DHCP server answers"),
        (Mode::Server, false) => finding.error(
            format!("another DHCP server answers: {names}. The daemon only listens as long as it does"),
            "stop that server, or let it give the addresses and set `mode = \"proxy\"` in [dhcp] of the settings",
        ),
        (Mode::Proxy, true) => finding.warning(
            "no DHCP server answers, and in the mode `proxy` the daemon gives no addresses",
            "start the server that gives them, or set `mode = \"server\"` in [dhcp] of the settings",
        ),
        (_, true) => finding.ok("no DHCP server answers"),
        (_, false) => finding.ok(format!("addresses come from {names}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Level;

    #[test]
    fn another_server_is_an_error_or_what_is_needed() {
        let network =
            Network { interface: "eth0".into(), address: [10, 0, 0, 1].into(), mode: None, subnet: None };
        let level = |mode, servers: &[&str]| {
            judge(&network, mode, Ok(servers.iter().map(|one| (*one).to_owned()).collect())).level
        };
        assert_eq!(level(Mode::Server, &[]), Level::Ok);
        assert_eq!(level(Mode::Server, &["10.0.0.2"]), Level::Error);
        assert_eq!(level(Mode::Proxy, &["10.0.0.2"]), Level::Ok);
        assert_eq!(level(Mode::Proxy, &[]), Level::Warning);
        assert_eq!(judge(&network, Mode::Server, Err("no".into())).level, Level::Unknown);
    }

    #[test]
    fn an_interface_that_is_not_there_is_named() {
        let network = Network {
            interface: "no-such-if".into(),
            address: [10, 0, 0, 1].into(),
            mode: None,
            subnet: None,
        };
        let found = interface(&network);
        assert!(found.level == Level::Error && found.found.contains("no-such-if"), "{found:?}");
    }
}
