//! The ways bytes leave the daemon, as it is set up by its file: HTTPS beside HTTP, TFTP from one
//! port.

use std::fs;
use std::net::TcpStream;
use std::process::Command;

use super::daemon::{Daemon, VOLDEMORTCTL, detect, eventually};
use super::net::{Net, has, within};
use super::relay::Behind;

#[test]
fn https_by_our_own_authority_and_tftp_from_one_port() {
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let config = detect(&net, folder.path());
    let plain = fs::read_to_string(&config).unwrap();
    let text =
        plain.replace("[http]\n", "[http]\ntls = { port = 8443 }\n") + "\n[tftp]\nsingle-port = true\n";
    fs::write(&config, text.replace("mode = \"server\"", "mode = \"off\"")).unwrap();
    let inventory = folder.path().join("inventory");
    fs::create_dir(&inventory).unwrap();
    fs::write(inventory.join("voldemort.toml"), "format = 1\n").unwrap();
    let daemon = Daemon::start(&net, &config, &inventory.display().to_string());
    let said = "HTTPS 10.0.10.1:8443 (trust http://10.0.10.1/ca.pem)";
    assert!(daemon.said.iter().any(|line| line == said), "{:?}", daemon.said);
    net.client_ip(&["address", "add", "10.0.10.77/24", "dev", "cli"]);

    let root = folder.path().join("root.pem").display().to_string();
    net.client_output(&["curl", "-sf", "-o", &root, "http://10.0.10.1/ca.pem"]);
    let over_tls = net.client_output(&["curl", "-sf", "--cacert", &root, "https://10.0.10.1:8443/ca.pem"]);
    assert_eq!(over_tls, fs::read_to_string(&root).unwrap());
    assert!(over_tls.starts_with("-----BEGIN CERTIFICATE-----"), "{over_tls}");
    assert_eq!(
        net.client_output(&["curl", "-sf", "https://10.0.10.1:8443/ca.pem"]),
        "",
        "trusted without the root"
    );

    // A connected socket receives only from the port it sent to, as behind address translation.
    let ask = "exec 3<>/dev/udp/10.0.10.1/69; printf '\\000\\001ca.pem\\000octet\\000' >&3; \
               timeout 20 dd bs=2000 count=1 status=none <&3";
    let block = net.client_output(&["bash", "-c", ask]);
    assert_eq!(block, format!("\0\u{3}\0\u{1}{}", &over_tls[..512]));
    assert_eq!(daemon.stop(), Some(0));
}

/// File descriptors run out while clients hold idle connections: DHCP continues, idle connections make room
/// for new ones, and everything works afterwards.
#[test]
fn without_descriptors_left_it_goes_on() {
    let Some(net) = Net::new().filter(|_| has("udhcpc") && has("curl") && has("prlimit")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let config = detect(&net, folder.path());
    let inventory = folder.path().join("inventory");
    fs::create_dir_all(inventory.join("files")).unwrap();
    let lab = "[subnet.lab]\ncidr = \"10.0.10.0/24\"\ndynamic = \"10.0.10.100-10.0.10.120\"\n\
               [boot.b]\nkernel = \"files/vmlinuz\"\n";
    fs::write(inventory.join("lab.toml"), lab).unwrap();
    fs::write(inventory.join("files/vmlinuz"), "the kernel").unwrap();
    let daemon = Daemon::start(&net, &config, &inventory.display().to_string());
    net.client_ip(&["address", "add", "10.0.10.77/24", "dev", "cli"]);
    let get = |protocol: &str| {
        let url = format!("{protocol}://10.0.10.1/b/files/vmlinuz");
        net.client_output(&["curl", "-s", "--max-time", "15", &url])
    };
    let arrives = |what: &str, protocol: &str| {
        eventually(what, || get(protocol), |text| text == "the kernel");
    };
    arrives("the file", "http");

    let open = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    let (pid, limit) = (format!("--pid={}", daemon.pid()), format!("--nofile={0}:{0}", open + 8));
    assert!(Command::new("prlimit").args([&pid, &limit]).status().unwrap().success());
    let connect = || TcpStream::connect("10.0.10.1:80").unwrap();
    let idle: Vec<TcpStream> = within(&net.client, || (0..40).map(|_| connect()).collect());
    assert!(net.run(&["udhcpc", "-i", "cli", "-n", "-q", "-s", "/bin/true"]).wait(), "no DHCP");
    arrives("HTTP beside those who hold connections", "http");
    arrives("TFTP beside them", "tftp");
    drop(idle);
    arrives("HTTP afterwards", "http");
    let status = net.server_output(&[VOLDEMORTCTL, "get", "status"]);
    assert!(status.contains("DHCP mode server"), "{status}");
    assert_eq!(daemon.stop(), Some(0));
}

/// A router on the way passes on smaller packets than the cards at both ends: it says so, and what was
/// sent in one piece comes in two.
#[test]
fn a_way_that_is_narrower_than_its_ends_is_survived() {
    let Some(net) = Net::new().filter(|_| has("curl")) else { return };
    let behind = Behind::new(&net);
    for line in [
        "echo 1 > /proc/sys/net/ipv4/ip_forward",
        "ip link set lan0 mtu 1300",
        &format!("ip -n {} address add 10.0.20.2/24 dev eth0", behind.0),
        &format!("ip -n {} route add default via 10.0.20.1", behind.0),
    ] {
        assert!(net.run(&["sh", "-c", line]).wait(), "{line}");
    }
    let folder = tempfile::tempdir().unwrap();
    let config = detect(&net, folder.path());
    let inventory = folder.path().join("inventory");
    fs::create_dir_all(inventory.join("files")).unwrap();
    let lab = "[subnet.lab]\ncidr = \"10.0.10.0/24\"\n[boot.b]\nkernel = \"files/vmlinuz\"\n";
    fs::write(inventory.join("lab.toml"), lab).unwrap();
    let kernel = "the kernel ".repeat(20_000);
    fs::write(inventory.join("files/vmlinuz"), &kernel).unwrap();
    let daemon = Daemon::start(&net, &config, &inventory.display().to_string());
    // In front of the router nothing is narrow.
    let url = "tftp://10.0.10.1/b/files/vmlinuz";
    eventually("the file", || net.client_output(&["curl", "-s", url]), |text| text == kernel);
    let far =
        ["ip", "netns", "exec", &behind.0, "curl", "-s", "--max-time", "20", "--tftp-blksize", "1468", url];
    assert!(net.client_output(&far) == kernel, "behind the router");
    assert_eq!(daemon.stop(), Some(0));
}
