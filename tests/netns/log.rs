//! The reader of the daemon's log stops reading: nothing that machines need may wait for it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::daemon::{Daemon, VOLDEMORT, VOLDEMORTCTL, detect, eventually};
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

/// With `--log-format json` each line on both streams is an object with the fields that docs/reference/logs.md has.
#[test]
fn lines_are_objects_with_the_documented_fields() {
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("inventory");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("odd.toml"), "[colour]\n").unwrap();
    let config = detect(&net, folder.path());
    let mut command = Command::new("ip");
    command.args([
        "netns",
        "exec",
        &net.server,
        VOLDEMORT,
        "start",
        "services",
        "--new-site",
        "--log-format",
        "json",
    ]);
    command.arg("--config").arg(&config).arg("--inventory").arg(&root).env_remove("VOLDEMORT_LOG");
    let log = folder.path().join("log");
    command.stdout(Stdio::piped()).stderr(std::fs::File::create(&log).unwrap());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.by_ref().map(|line| object(&line.unwrap())).find(|line| line["message"] == "ready");
    assert!(ready.is_some());
    eventually("the log has lines", || std::fs::read_to_string(&log).unwrap(), |text| text.contains('\n'));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert!(child.wait().unwrap().success());
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.lines().map(object).count() > 0, "{text}");
}

fn object(line: &str) -> serde_json::Value {
    let value: serde_json::Value =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    for field in ["timestamp", "level", "target", "message"] {
        assert!(value[field].is_string(), "{field}: {line}");
    }
    value
}
