//! A fleet that another DHCP server knew is brought in: its machines keep what is on their disks. One of them is led
//! into a rescue system, once.

use super::agent::{ask, card};
use super::daemon::{Daemon, VOLDEMORT, VOLDEMORTCTL, detect, eventually};
use super::net::{Net, has};

const DNSMASQ: &str = "dhcp-range=set:lab,10.0.10.100,10.0.10.199,255.255.255.0,1h\n\
    dhcp-option=option:router,10.0.10.1\n\
    dhcp-host=52:54:00:00:00:77,10.0.10.21,web-1\n\
    dhcp-host=52:54:00:00:00:78,10.0.10.22,web-2\n";
const OTHERS: &str = r#"
[boot.debian-12]
kernel  = "files/vmlinuz"
cmdline = ["url={{ answers_url }}"]
[boot.rescue]
kernel  = "files/rescue"
cmdline = ["rescue", "name={{ name }}"]
[profile.fleet]
boot     = "debian-12"
template = "preseed"
"#;

#[test]
fn imported_machines_keep_their_systems_and_boot_a_rescue_system_once() {
    if !has("curl") {
        return;
    }
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("inventory");
    std::fs::create_dir_all(root.join("files")).unwrap();
    let source = folder.path().join("dnsmasq.conf");
    std::fs::write(&source, DNSMASQ).unwrap();
    let imported =
        net.server_output(&[VOLDEMORT, "import", "dnsmasq", source.to_str().unwrap(), "--profile", "fleet"]);
    for (name, text) in [
        ("fleet.toml", imported.as_str()),
        ("others.toml", OTHERS),
        ("files/vmlinuz", "the kernel"),
        ("files/rescue", "another kernel"),
    ] {
        std::fs::write(root.join(name), text).unwrap();
    }
    let (config, root) = (detect(&net, folder.path()), root.display().to_string());
    let _daemon = Daemon::behind(&net, &config, &["--inventory", &root], &[]);
    card(&net, "box", "52:54:00:00:00:77", 21);
    let script = || ask(&net, "box", &[], "ipxe/52-54-00-00-00-77.ipxe").1;
    assert!(script().contains("doubtful"), "{}", script());
    net.server_output(&[VOLDEMORTCTL, "adopt", "--all"]);
    let deployments = || net.server_output(&[VOLDEMORTCTL, "get", "deployments"]);
    eventually("both are installed", deployments, |text| text.matches("installed").count() >= 2);
    let local = script();
    assert!(!local.contains("vmlinuz"), "{local}");

    let order = ["boot-once", "web-1", "--boot", "rescue", "--for", "2h", "-o", "json"];
    let said = net.server_output(&[&[VOLDEMORTCTL], &order[..]].concat());
    assert!(said.contains("\"boot\": \"rescue\""), "{said}");
    let why = net.server_output(&[VOLDEMORT, "why", "web-1"]);
    assert!(why.contains("leads to boot rescue") && why.contains("boots rescue once"), "{why}");
    let rescue = script();
    assert!(rescue.contains("files/rescue") && rescue.contains("name=web-1"), "{rescue}");
    net.server_output(&[VOLDEMORTCTL, "boot-once", "web-1", "--cancel"]);
    assert_eq!(script(), local);
    assert!(deployments().matches("installed").count() >= 2, "{}", deployments());

    // One that was only seen gets a manifest by its hardware address.
    let adopt = ["adopt", "52:54:00:00:00:99", "--name", "spare", "--label", "rack=1", "-o", "json"];
    net.server_output(&[&[VOLDEMORTCTL], &adopt[..]].concat());
    let spare = || net.server_output(&[VOLDEMORTCTL, "get", "machines", "-o", "json"]);
    eventually("spare is a machine", spare, |text| text.contains("\"name\": \"spare\""));
}
