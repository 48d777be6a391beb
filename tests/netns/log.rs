//! The reader of the daemon's log stops reading: nothing that machines need may wait for it.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::daemon::{Daemon, VOLDEMORTCTL, detect};
use super::net::{Net, has, within};

/// Enough lines to fill the pipe (64 KiB) several times.
const REQUESTS: usize = 3_000;

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let Some(net) = Net::new().filter(|_| has("udhcpc")) else { return };
    net.client_ip(&["address", "add", "10.0.10.2/24", "dev", "cli"]);
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("inventory");
    std::fs::create_dir(&root).unwrap();
    let lab = "[subnet.lab]\ncidr = \"10.0.10.0/24\"\ndynamic = \"10.0.10.100-10.0.10.120\"\n";
    std::fs::write(root.join("lab.toml"), lab).unwrap();
    let daemon = Daemon::unread(&net, &detect(&net, folder.path()), root.to_str().unwrap());
    within(&net.client, || {
        for number in 0..REQUESTS / 100 {
            let mut stream = TcpStream::connect("10.0.10.1:80").unwrap();
            let one = |at| format!("GET /nothing-{number}-{at} HTTP/1.1\r\nHost: 10.0.10.1\r\n\r\n");
            let last = "GET /end HTTP/1.1\r\nHost: 10.0.10.1\r\nConnection: close\r\n\r\n";
            let requests: String = (0..100).map(one).chain([last.to_owned()]).collect();
            stream.write_all(requests.as_bytes()).unwrap();
            let mut answers = String::new();
            stream.read_to_string(&mut answers).unwrap();
            assert_eq!(answers.matches("HTTP/1.1 404").count(), 101);
        }
    });
    assert!(net.run(&["udhcpc", "-i", "cli", "-n", "-q", "-s", "/bin/true"]).wait(), "no DHCP");
    let status = net.server_output(&[VOLDEMORTCTL, "get", "status"]);
    assert!(status.contains("DHCP mode server"), "{status}");
    assert_eq!(daemon.stop(), Some(0));
}
