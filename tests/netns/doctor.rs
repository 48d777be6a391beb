//! `voldemort doctor` on hosts with something in the way: it names what, and exits with 1 where the daemon can't work.

use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::daemon::{Daemon, VOLDEMORT, detect, eventually};
use super::net::{Net, has, within};

struct Host {
    net: Net,
    folder: tempfile::TempDir,
    config: PathBuf,
}

/// What the doctor says of one thing.
#[derive(Debug)]
struct Said {
    level: String,
    found: String,
    advice: String,
}

impl Host {
    fn new() -> Option<Host> {
        let net = Net::new()?;
        let folder = tempfile::tempdir().unwrap();
        let config = detect(&net, folder.path());
        Some(Host { net, folder, config })
    }

    /// Exit code and report.
    fn doctor(&self, more: &[&str]) -> (Option<i32>, serde_json::Value) {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.net.server, VOLDEMORT, "doctor", "-o", "json", "--config"]);
        let output = command.arg(&self.config).args(more).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let report = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        (output.status.code(), report)
    }

    /// What it says of one thing, without sending anything.
    fn says(&self, check: &str, subject: &str) -> Option<Said> {
        find(&self.doctor(&["--silent"]).1, check, subject)
    }
}

fn find(report: &serde_json::Value, check: &str, subject: &str) -> Option<Said> {
    let findings = report["findings"].as_array().unwrap();
    let text = |finding: &serde_json::Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let one = findings
        .iter()
        .find(|one| text(one, "check") == check && text(one, "subject").starts_with(subject))?;
    Some(Said { level: text(one, "level"), found: text(one, "found"), advice: text(one, "advice") })
}

#[test]
fn ports_interfaces_and_files_in_the_way_are_named() {
    let Some(host) = Host::new() else { return };
    let port = host.says("port", "69/udp").unwrap();
    assert_eq!((port.level.as_str(), port.found.as_str()), ("ok", "free"));
    assert_eq!(host.says("interface", "srv").unwrap().level, "ok");

    let taken = within(&host.net.server, || UdpSocket::bind("10.0.10.1:69").unwrap());
    let (code, report) = host.doctor(&["--silent"]);
    let port = find(&report, "port", "69/udp").unwrap();
    assert_eq!((code, port.level.as_str()), (Some(1), "error"), "{port:?}");
    assert!(
        port.found.contains(&format!("(pid {}", std::process::id())) && !port.advice.is_empty(),
        "{port:?}"
    );
    drop(taken);

    host.net.server_ip(&["link", "set", "srv", "down"]);
    let interface = host.says("interface", "srv").unwrap();
    assert!(interface.level == "error" && interface.found.contains("is down"), "{interface:?}");
    host.net.server_ip(&["link", "set", "srv", "up"]);
    host.net.server_ip(&["address", "del", "10.0.10.1/24", "dev", "srv"]);
    let port = host.says("port", "80/tcp").unwrap();
    assert!(port.found.contains("does not have the address 10.0.10.1"), "{port:?}");
    host.net.server_ip(&["address", "add", "10.0.10.1/24", "dev", "srv"]);

    let state = host.folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::set_permissions(&state, PermissionsExt::from_mode(0o755)).unwrap();
    let said = host.says("state", &state.display().to_string()).unwrap();
    assert!(said.level == "warning" && said.advice.starts_with("chmod 700"), "{said:?}");
    let text = std::fs::read_to_string(&host.config).unwrap();
    std::fs::write(&host.config, format!("{text}\n[secrets]\nidentity = \"age.key\"\n")).unwrap();
    let said = host.says("file", &host.folder.path().join("age.key").display().to_string()).unwrap();
    assert_eq!((said.level.as_str(), said.advice.as_str()), ("error", "make it, or correct the settings"));
}

#[test]
fn another_dhcp_server_is_an_error_unless_the_daemon_is_beside_it() {
    let Some(host) = Host::new().filter(|_| has("dnsmasq")) else { return };
    let (code, report) = host.doctor(&[]);
    assert_eq!(find(&report, "dhcp", "srv").unwrap().level, "ok", "{report}");
    assert_ne!(code, None);
    host.net.client_ip(&["address", "add", "10.0.10.2/24", "dev", "cli"]);
    let leases = format!("--dhcp-leasefile={}", host.folder.path().join("leases").display());
    let range = "--dhcp-range=10.0.10.50,10.0.10.60";
    let words = [
        "dnsmasq",
        "-d",
        "--port=0",
        "--conf-file=/dev/null",
        "--no-ping",
        "--interface=cli",
        range,
        &leases,
    ];
    let _other = host.net.run(&words);
    let ask = || find(&host.doctor(&[]).1, "dhcp", "srv").map(|said| format!("{said:?}")).unwrap_or_default();
    let said = eventually("it is seen", ask, |said| said.contains("10.0.10.2"));
    assert!(said.contains("error") && said.contains("mode = \\\"proxy\\\""), "{said}");
    let text = std::fs::read_to_string(&host.config).unwrap();
    std::fs::write(&host.config, text.replace("mode = \"server\"", "mode = \"proxy\"")).unwrap();
    assert_eq!(find(&host.doctor(&[]).1, "dhcp", "srv").unwrap().level, "ok");
}

#[test]
fn a_firewall_that_keeps_machines_out_is_named_with_the_command_that_opens_it() {
    let Some(host) = Host::new().filter(|_| has("nft")) else { return };
    let nft = |words: &[&str]| {
        let mut command = Command::new("ip");
        let done = command.args(["netns", "exec", &host.net.server, "nft"]).args(words).status().unwrap();
        assert!(done.success(), "{words:?}");
    };
    let rules = host.folder.path().join("rules");
    let text = "table inet filter { chain input { type filter hook input priority 0; policy drop;\n\
                iifname \"lo\" accept\nct state established,related accept\nudp dport { 67, 69 } accept\n}\n}\n";
    std::fs::write(&rules, text).unwrap();
    nft(&["-f", &rules.display().to_string()]);
    let closed = host.says("firewall", "80/tcp").unwrap();
    assert_eq!(closed.level, "error", "{closed:?}");
    assert!(host.says("firewall", "67/udp").is_none() && host.says("firewall", "4011/udp").is_some());
    for port in ["80/tcp", "4011/udp"] {
        let said = host.says("firewall", port).unwrap().advice;
        let command = said.split(", and").next().unwrap().strip_prefix("nft ").unwrap();
        let words: Vec<&str> = command.split(' ').map(|word| word.trim_matches('"')).collect();
        nft(&words);
    }
    let open = host.says("firewall", "nftables").unwrap();
    assert_eq!((open.level.as_str(), open.found.as_str()), ("ok", "it lets machines in"));
}

#[test]
fn a_running_daemon_has_its_ports_itself() {
    let Some(host) = Host::new() else { return };
    let inventory = host.folder.path().join("inventory");
    std::fs::create_dir(&inventory).unwrap();
    let _daemon = Daemon::start(&host.net, &host.config, &inventory.display().to_string());
    for port in ["67/udp", "69/udp", "80/tcp", "12345/tcp"] {
        let said = host.says("port", port).unwrap();
        assert!(said.level == "ok" && said.found.starts_with("the daemon has it (pid "), "{said:?}");
    }
    let said = host.says("state", &host.folder.path().join("state").display().to_string()).unwrap();
    assert!(said.level != "error", "{said:?}");
}

#[test]
fn a_host_without_settings_is_looked_at_too() {
    let Some(net) = Net::new() else { return };
    let text = net.server_output(&[VOLDEMORT, "doctor", "--silent"]);
    if !Path::new("/etc/voldemort/voldemort.toml").exists() {
        assert!(text.contains("warning settings /etc/voldemort/voldemort.toml: there are none"), "{text}");
    }
    assert!(text.contains("port 67/udp (DHCP): free"), "{text}");
    assert!(text.lines().last().unwrap().contains("warnings: "), "{text}");
}
