//! The ways bytes leave the daemon, as it is set up by its file: HTTPS beside HTTP, TFTP from one
//! port.

use std::fs;

use super::daemon::{Daemon, detect};
use super::net::Net;

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

    // A connected socket hears nobody but the port it asked, as behind address translation.
    let ask = "exec 3<>/dev/udp/10.0.10.1/69; printf '\\000\\001ca.pem\\000octet\\000' >&3; \
               timeout 20 dd bs=2000 count=1 status=none <&3";
    let block = net.client_output(&["bash", "-c", ask]);
    assert_eq!(block, format!("\0\u{3}\0\u{1}{}", &over_tls[..512]));
    assert_eq!(daemon.stop(), Some(0));
}
