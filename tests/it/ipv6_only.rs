//! Subnets that have only IPv6: checked, simulated, rendered, planned.

use std::path::Path;
use std::sync::Arc;

use voldemort::desired::{Desired, Media};
use voldemort::inventory::Loaded;
use voldemort::manifest::Code;
use voldemort::model::Time;
use voldemort::proto::tree::Form;
use voldemort::walk::{self, End, Route};

use crate::check::checked;

const SITE: &str = r#"
[subnet.six]
domain = "six.example"
lease  = "2h"
ipv6   = { cidr = "fd00:20::/64", dynamic = "fd00:20::1000-fd00:20::1fff", dns = ["fd00:20::53"], ra = "managed" }
[boot.debian]
kernel  = "files/vmlinuz"
initrd  = ["files/initrd.gz"]
cmdline = ["ds=nocloud;s={{ answers_url }}", "ip={{ address }}/{{ prefix_length }}", "at={{ server_url }}", "mask={{ netmask }}", "dns={{ dns | join: ',' }}"]
[deployment.web-1]
mac      = "52:54:00:aa:00:01"
address6 = "fd00:20::21"
boot     = "debian"
template = "cloud-init"
ssh-keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 you@desk"]
[deployment.web-2]
mac      = "52:54:00:aa:00:02"
boot     = "debian"
template = "cloud-init"
ssh-keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 you@desk"]
"#;

fn inventory(site: &str) -> Loaded {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "site.toml", site);
    write(root.path(), "files/vmlinuz", "kernel");
    write(root.path(), "files/initrd.gz", "initrd");
    checked(root.path(), Media::Required)
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn messages(site: &str) -> Vec<(Code, String)> {
    inventory(site).problems.iter().map(|problem| (problem.code, problem.message.clone())).collect()
}

#[test]
fn every_route_by_ipv6_is_walked_to_its_end() {
    let loaded = inventory(SITE);
    let problems: Vec<&String> = loaded.problems.iter().map(|problem| &problem.message).collect();
    assert!(problems.is_empty(), "{problems:?}");
    for name in ["web-1", "web-2"] {
        let deployment = &loaded.desired.deployments[name];
        let state = walk::initial_state(loaded.desired.clone(), &deployment.subnet);
        let routes = Route::of(deployment);
        assert_eq!(routes, Route::IPV6, "{name}");
        for walk in walk::simulate_all(&state, deployment, &routes, Time(0)) {
            assert_eq!(walk.end, End::Installed, "{name}, {}", walk.route);
        }
    }
}

#[test]
fn variables_are_those_of_ipv6() {
    let loaded = inventory(SITE);
    let deployment = &loaded.desired.deployments["web-1"];
    let state = walk::initial_state(loaded.desired.clone(), &deployment.subnet);
    let mac = "52:54:00:aa:00:01".parse().unwrap();
    let asker = walk::served::asker(&state, deployment, mac);
    let script = voldemort::proto::tree::boot_script(&state, &asker, Form::Ipxe, mac, deployment).unwrap();
    for part in ["ip=fd00:20::21/64 ", "at=http://[fd00:20::53] ", "mask= ", "dns=fd00:20::53"] {
        assert!(script.contains(part), "{part}: {script}");
    }
    let served = walk::served::served(&state, deployment, Time(0));
    let (_, dhcp) = &served[0];
    assert!(dhcp.starts_with("address fd00:20::21\nboot file tftp://[fd00:20::53]/"), "{dhcp}");
}

/// Another network is another plan, and the same one is none.
#[test]
fn plans_tell_what_changes() {
    let before = inventory(SITE);
    let empty = voldemort::state::State::new(voldemort::state::Server::stand_in([10, 0, 0, 1].into()));
    let state = empty.adopt(before.desired.clone());
    let plan = |desired: &Arc<Desired>| voldemort::plan::diff(desired, &state).changes;
    assert_eq!(plan(&before.desired).len(), 0);
    let moved = inventory(&SITE.replace("fd00:20:", "fd00:21:"));
    let changes = plan(&moved.desired);
    assert!(changes.iter().any(|change| change.kind == "subnet"), "{changes:?}");
    let widened = inventory(&SITE.replace("domain = ", "cidr = \"10.0.20.0/24\"\ndomain = "));
    let text = format!("{:?}", plan(&widened.desired));
    assert!(text.contains("none") && text.contains("10.0.20.0/24"), "{text}");
}

#[test]
fn what_makes_no_sense_there_is_said() {
    let with = |line: &str| messages(&SITE.replace("domain = \"six.example\"", line));
    for (line, key) in [
        ("gateway = \"10.0.20.1\"", "gateway"),
        ("dns = \"10.0.20.1\"", "dns"),
        ("dynamic = \"10.0.20.100-10.0.20.199\"", "dynamic"),
        ("options = { mtu = 1400 }", "options"),
        ("routes = [{ to = \"10.1.0.0/16\", via = \"10.0.20.1\" }]", "routes"),
    ] {
        let found = with(line);
        let message = format!("`{key}` of subnet `six` is about IPv4, which it has not");
        assert!(found.contains(&(Code::BadSubnet, message)), "{line}: {found:?}");
    }
    let four = messages(&SITE.replace("address6 = \"fd00:20::21\"", "address = \"10.0.20.21\""));
    let message = "subnet `six` has IPv6 alone, and 10.0.20.21 is IPv4".to_owned();
    assert!(four.contains(&(Code::Outside, message)), "{four:?}");
    let none = messages(&SITE.replace("dynamic = \"fd00:20::1000-fd00:20::1fff\", ", ""));
    let message = "deployment web-2 gets no address in subnet `six`".to_owned();
    assert!(none.contains(&(Code::NoDynamic, message)), "{none:?}");
    let neither = messages(&SITE.replace("ipv6   = ", "x-ipv6 = "));
    let message = "subnet six has no `cidr` or `ipv6`".to_owned();
    assert!(neither.iter().any(|found| *found == (Code::MissingKey, message.clone())), "{neither:?}");
}

/// Of several subnets the one that holds `address6` is meant.
#[test]
fn an_address_tells_its_subnet() {
    let both = format!("[subnet.four]\ncidr = \"10.0.10.0/24\"\n{SITE}");
    let loaded = inventory(&both.replace("[deployment.web-2]", "[deployment.web-2]\nsubnet = \"six\""));
    assert_eq!(loaded.desired.deployments["web-1"].subnet.name.as_str(), "six");
    assert_eq!(loaded.desired.deployments["web-2"].subnet.name.as_str(), "six");
}
