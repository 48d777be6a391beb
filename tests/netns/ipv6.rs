//! IPv6 with the real daemon: ISC's client, curl by TFTP and HTTP, `kill -9`, advertisements.

use std::path::Path;

use super::daemon::{Daemon, VOLDEMORTCTL, detect, eventually};
use super::machine::url_in;
use super::net::{Net, has};

const HARRY: &str = "00:11:22:33:44:55";
const STRANGER: &str = "52:54:00:00:00:99";
const SCRIPT: &str = "http://[fd00:10::1]/ipxe/00-11-22-33-44-55.ipxe";

const MANIFEST: &str = r#"
[subnet.lab]
cidr = "10.0.10.0/24"
ipv6 = { cidr = "fd00:10::/64", dynamic = "fd00:10::1000-fd00:10::1fff", dns = "fd00:10::1", ra = "managed" }

[boot.debian-12]
kernel  = "files/vmlinuz"
initrd  = ["files/initrd.gz"]
cmdline = ["auto=true", "priority=critical", "url={{ answers_url }}", "ip={{ address6 }}"]

[deployment.harry]
mac      = "00:11:22:33:44:55"
address  = "10.0.10.30"
address6 = "fd00:10::30"
boot     = "debian-12"
template = "preseed"
redeploy = 1
"#;

fn inventory(folder: &Path) -> String {
    let root = folder.join("inventory");
    std::fs::create_dir_all(root.join("files")).unwrap();
    std::fs::write(root.join("lab.toml"), MANIFEST).unwrap();
    std::fs::write(root.join("files/vmlinuz"), vec![b'k'; 200_000]).unwrap();
    std::fs::write(root.join("files/initrd.gz"), "the initrd").unwrap();
    root.display().to_string()
}

/// Starts the daemon and waits until it serves IPv6, which it does once the inventory is read.
fn serving(net: &Net, config: &Path, root: &str) -> Daemon {
    let daemon = Daemon::start(net, config, root);
    let port = || net.server_output(&["ss", "-H", "-6", "-lntu"]);
    eventually("IPv6", port, |text| text.contains("[fd00:10::1]:80") && text.contains(":547"));
    daemon
}

/// Another card, with a link-local address that can be used.
fn card(net: &Net, mac: &str) {
    net.client_ip(&["link", "set", "cli", "down"]);
    net.client_mac(mac);
    net.client_ip(&["link", "set", "cli", "up"]);
    let addresses = || net.client_output(&["ip", "-6", "address", "show", "dev", "cli"]);
    eventually("a link-local address", addresses, |text| {
        text.contains("fe80:") && !text.contains("tentative")
    });
}

/// The lease file of ISC's client.
fn dhclient(net: &Net, folder: &Path, words: &str) -> String {
    let leases = folder.join("dhclient6.leases");
    let _ = std::fs::remove_file(&leases);
    std::fs::write(&leases, "").unwrap();
    let (lf, pf) = (leases.display(), folder.join("dhclient6.pid"));
    let pf = pf.display();
    let command = format!(
        "timeout 20 dhclient -6 {words} -1 -v -sf /bin/true -lf {lf} -pf {pf} cli 2>&1; \
         kill $(cat {pf}) 2>/dev/null; cat {lf}"
    );
    net.client_output(&["sh", "-c", &command])
}

fn address(lease: &str) -> &str {
    let found = lease.lines().find_map(|line| line.trim().strip_prefix("iaaddr "));
    found.and_then(|rest| rest.split(' ').next()).unwrap_or_else(|| panic!("{lease}"))
}

fn get(net: &Net, url: &str) -> String {
    net.client_output(&["curl", "-g", "-s", "--max-time", "10", url])
}

#[test]
fn a_machine_boots_and_installs_once_by_ipv6() {
    if !has("dhclient") || !has("curl") || !has("ss") {
        return;
    }
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    net.server_ip(&["address", "add", "fd00:10::1/64", "dev", "srv", "nodad"]);
    let (config, root) = (detect(&net, folder.path()), inventory(folder.path()));
    let plain = std::fs::read_to_string(&config).unwrap();
    let secure = plain.replace("[http]\n", "[http]\ntls = { port = 8443 }\n");
    std::fs::write(&config, secure + "\n[tftp]\nsingle-port = true\n").unwrap();
    let daemon = serving(&net, &config, &root);
    // Without these memberships a card or a switch may drop what clients and relays send (RFC 8415 section 7.1).
    let groups = net.server_output(&["ip", "-6", "maddress", "show", "dev", "srv"]);
    for group in ["ff02::1:2", "ff05::1:3"] {
        assert!(groups.lines().any(|line| line.split_whitespace().any(|word| word == group)), "{groups}");
    }

    card(&net, STRANGER);
    let lease = dhclient(&net, folder.path(), "");
    let dynamic = address(&lease).to_owned();
    assert!(dynamic.starts_with("fd00:10::1") && dynamic.len() == "fd00:10::1000".len(), "{dynamic}");
    let leases = || net.server_output(&[VOLDEMORTCTL, "get", "leases"]);
    eventually("the lease", leases, |text| text.contains(&dynamic) && text.contains(STRANGER));
    // The advertised router has the network on its link, and nothing else.
    let routes = || net.client_output(&["ip", "-6", "route", "show", "dev", "cli"]);
    let routes = eventually("an advertisement", routes, |text| text.contains("fd00:10::/64"));
    assert!(!routes.contains("default"), "{routes}");
    daemon.murder();

    let daemon = serving(&net, &config, &root);
    let again = dhclient(&net, folder.path(), "");
    assert_eq!(address(&again), dynamic, "the lease survives kill -9");
    card(&net, HARRY);
    let lease = dhclient(&net, folder.path(), "");
    assert_eq!(address(&lease), "fd00:10::30");
    assert!(lease.contains("dhcp6.name-servers fd00:10::1"), "{lease}");
    assert!(get(&net, SCRIPT).contains("kernel"), "its card identifies it, whatever address it made itself");
    net.client_ip(&["address", "add", "fd00:10::30/64", "dev", "cli", "nodad"]);
    let script = get(&net, SCRIPT);
    assert!(script.contains("kernel --name linux http://[fd00:10::1]/debian-12/files/vmlinuz"), "{script}");
    assert!(script.contains("ip=fd00:10::30"), "{script}");
    let kernel = get(&net, "tftp://[fd00:10::1]/debian-12/files/vmlinuz");
    assert_eq!(kernel.len(), 200_000);
    assert_eq!(get(&net, "http://[fd00:10::1]/debian-12/files/initrd.gz"), "the initrd");
    let authority = folder.path().join("ca.pem");
    std::fs::write(&authority, get(&net, "http://[fd00:10::1]/ca.pem")).unwrap();
    let secure = "https://[fd00:10::1]:8443/debian-12/files/initrd.gz";
    let trusting = ["curl", "-g", "-s", "--cacert", authority.to_str().unwrap(), secure];
    assert_eq!(net.client_output(&trusting), "the initrd");
    let answers = get(&net, url_in(&script, "/answers/"));
    assert!(answers.contains("http://[fd00:10::1]/hooks/"), "{answers}");
    daemon.murder();

    let daemon = serving(&net, &config, &root);
    assert!(!get(&net, SCRIPT).contains("kernel"), "an unreported installation is not repeated");
    assert_eq!(get(&net, url_in(&answers, "/completed").trim_end_matches([';', '\''])), "");
    let phase = net.server_output(&[VOLDEMORTCTL, "get", "deployments", "-o", "json"]);
    assert!(phase.contains("\"installed\""), "{phase}");
    assert!(!get(&net, SCRIPT).contains("kernel"), "installed");
    assert_eq!(daemon.stop(), Some(0));
}

/// A subnet without IPv4: a machine gets IPv6 only, and DHCPv4 does not answer.
#[test]
fn a_subnet_may_have_ipv6_alone() {
    if !has("dhclient") || !has("curl") || !has("ss") || !has("busybox") {
        return;
    }
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    net.server_ip(&["address", "add", "fd00:10::1/64", "dev", "srv", "nodad"]);
    let (config, root) = (detect(&net, folder.path()), inventory(folder.path()));
    let alone = MANIFEST
        .replace("cidr = \"10.0.10.0/24\"", "domain = \"six.example\"")
        .replace("address  = \"10.0.10.30\"", "")
        .replace("ip={{ address6 }}", "ip={{ address }}/{{ prefix_length }}\", \"from={{ server_url }}");
    std::fs::write(Path::new(&root).join("lab.toml"), alone).unwrap();
    let daemon = serving(&net, &config, &root);
    card(&net, HARRY);
    let four =
        net.client_output(&["sh", "-c", "busybox udhcpc -f -n -t 2 -T 1 -i cli -s /bin/true 2>&1; true"]);
    assert!(!four.contains("lease of"), "{four}");
    assert_eq!(address(&dhclient(&net, folder.path(), "")), "fd00:10::30");
    net.client_ip(&["address", "add", "fd00:10::30/64", "dev", "cli", "nodad"]);
    let script = get(&net, SCRIPT);
    assert!(script.contains("kernel --name linux http://[fd00:10::1]/debian-12/files/vmlinuz"), "{script}");
    assert!(script.contains("ip=fd00:10::30/64 from=http://[fd00:10::1]"), "{script}");
    assert_eq!(get(&net, "tftp://[fd00:10::1]/debian-12/files/initrd.gz"), "the initrd");
    let answers = get(&net, url_in(&script, "/answers/"));
    assert!(answers.contains("http://[fd00:10::1]/hooks/"), "{answers}");
    assert_eq!(get(&net, url_in(&answers, "/completed").trim_end_matches([';', '\''])), "");
    let shown = net.server_output(&[VOLDEMORTCTL, "get", "deployments"]);
    assert!(shown.contains("fd00:10::30") && shown.contains("installed"), "{shown}");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn machines_may_make_their_own_addresses_and_an_edit_ends_ipv6() {
    if !has("dhclient") || !has("curl") || !has("ss") {
        return;
    }
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    net.server_ip(&["address", "add", "fd00:10::1/64", "dev", "srv", "nodad"]);
    let (config, root) = (detect(&net, folder.path()), inventory(folder.path()));
    let manifest = Path::new(&root).join("lab.toml");
    let slaac =
        MANIFEST.replace("ra = \"managed\"", "ra = \"slaac\"").replace("address6 = \"fd00:10::30\"", "");
    std::fs::write(&manifest, slaac).unwrap();
    let daemon = serving(&net, &config, &root);
    // A soliciting client gets its advertisement and makes an address of its card's.
    card(&net, HARRY);
    let own = "fd00:10::211:22ff:fe33:4455";
    let addresses = || net.client_output(&["ip", "-6", "address", "show", "dev", "cli"]);
    eventually("its own address", addresses, |text| text.contains(own) && !text.contains("tentative"));
    let lease = dhclient(&net, folder.path(), "-S");
    assert!(lease.contains("RCV: Reply message"), "information without an address: {lease}");
    let script = get(&net, SCRIPT);
    assert!(
        script.contains("kernel --name linux http://[fd00:10::1]/"),
        "known by its own address: {script}"
    );
    // The subnet gets another name: its servers are made anew, and the status shows those.
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("[subnet.lab]", "[subnet.rack]")).unwrap();
    let events = || net.server_output(&[VOLDEMORTCTL, "events"]);
    eventually("the other name", events, |text| text.contains("(subnet rack)"));
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(!events().contains("failed and is opened again"), "{}", events());
    let status = net.server_output(&[VOLDEMORTCTL, "get", "status"]);
    for row in ["dhcp6 srv", "router advertisements srv", "tftp fd00:10::1", "http fd00:10::1"] {
        assert!(status.lines().any(|line| line.contains(row)), "{row}: {status}");
    }
    assert!(get(&net, SCRIPT).contains("kernel"), "it is served");
    std::fs::write(
        &manifest,
        MANIFEST.replace("ipv6 = {", "x-ipv6 = {").replace("address6 =", "x-address6 ="),
    )
    .unwrap();
    let ports = || net.server_output(&["ss", "-H", "-6", "-lntu"]);
    eventually("the end of IPv6", ports, |text| !text.contains("fd00:10::1") && !text.contains(":547"));
    assert_eq!(daemon.stop(), Some(0));
}
