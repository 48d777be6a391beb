//! The logs of machines: logger(1) sends them in every form that it knows, and strangers send what is none.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpStream, UdpSocket};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::daemon::{Daemon, VOLDEMORTCTL, detect, eventually};
use super::net::{Net, has, within};

const MAC: &str = "52:54:00:00:00:21";
const MANIFEST: &str = r#"
[subnet.lab]
cidr    = "10.0.10.0/24"
gateway = "10.0.10.1"
dns     = ["10.0.10.1"]
[boot.debian-12]
kernel  = "files/vmlinuz"
initrd  = ["files/initrd.gz"]
cmdline = ["auto=true", "priority=critical", "url={{ answers_url }}", "log_host={{ server_url | remove: 'http://' }}"]
[machine.m21]
mac = "52:54:00:00:00:21"
[deployment.web]
machine  = "m21"
address  = "10.0.10.21"
boot     = "debian-12"
template = "preseed"
"#;

struct Lab {
    net: Net,
    daemon: Daemon,
    _folder: tempfile::TempDir,
}

impl Lab {
    fn new() -> Option<Lab> {
        let net = Net::new()?;
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("inventory");
        std::fs::create_dir_all(root.join("files")).unwrap();
        std::fs::write(root.join("lab.toml"), MANIFEST).unwrap();
        std::fs::write(root.join("files/vmlinuz"), "the kernel").unwrap();
        std::fs::write(root.join("files/initrd.gz"), "the initrd").unwrap();
        let config = detect(&net, folder.path());
        let text = std::fs::read_to_string(&config).unwrap();
        let syslog = "\n[syslog]\nlisten = [\"udp:0.0.0.0:514\", \"tcp:10.0.10.1:514\"]\n";
        std::fs::write(&config, text + syslog).unwrap();
        let daemon = Daemon::start(&net, &config, root.to_str().unwrap());
        net.client_mac(MAC);
        net.client_ip(&["address", "add", "10.0.10.21/24", "dev", "cli"]);
        net.client_ip(&["address", "add", "10.0.10.99/24", "dev", "cli"]);
        Some(Lab { net, daemon, _folder: folder })
    }

    fn ctl(&self, words: &str) -> String {
        self.net.server_output(&["sh", "-c", &format!("{VOLDEMORTCTL} {words} 2>&1")])
    }

    fn until(&self, words: &str, part: &str) -> String {
        eventually(part, || self.ctl(words), |text| text.contains(part))
    }

    fn datagram(&self, from: &str, bytes: &[u8]) {
        within(&self.net.client, || {
            let socket = UdpSocket::bind(format!("{from}:0")).unwrap();
            socket.send_to(bytes, "10.0.10.1:514").unwrap();
        });
    }
}

#[test]
fn logger_is_understood_in_every_form_and_its_machine_known() {
    if !has("logger") {
        return;
    }
    let Some(lab) = Lab::new() else { return };
    let mut follow = Command::new("ip");
    follow.args(["netns", "exec", &lab.net.server, VOLDEMORTCTL, "logs", "m21", "-f"]).stdout(Stdio::piped());
    let mut follow = follow.spawn().unwrap();
    let mut followed = BufReader::new(follow.stdout.take().unwrap()).lines();
    let forms: [&[&str]; 5] = [
        &["-d", "--rfc3164"],
        &["-d", "--rfc5424"],
        &["-T", "--rfc3164"],
        &["-T", "--rfc5424"],
        &["-T", "--rfc5424", "--octet-count"],
    ];
    for (number, form) in forms.into_iter().enumerate() {
        let to = ["logger", "-n", "10.0.10.1", "-P", "514", "-p", "daemon.warning", "-t", "anna"];
        lab.net.client_output(&[&to[..], form, &[&format!("message {number} of it")]].concat());
        let line = followed.next().unwrap().unwrap();
        assert!(line.ends_with(&format!("  warning  anna: message {number} of it")), "{line}");
    }
    follow.kill().unwrap();
    follow.wait().unwrap();
    for name in ["web", "10.0.10.21", "m21 --severity warning", "m21 --since 1h"] {
        let shown = lab.ctl(&format!("logs {name}"));
        assert_eq!(shown.matches("of it").count(), forms.len(), "{name}: {shown}");
    }
    assert_eq!(lab.ctl("logs m21 --severity err"), "");
    assert!(lab.ctl("logs nobody").contains("there is no machine and no deployment nobody"));
    let lines = lab.ctl("logs -o jsonl");
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((&first["machine"], &first["deployment"]), (&"m21".into(), &"web".into()), "{first}");
    assert_eq!((&first["facility"], &first["program"]), (&"daemon".into(), &"anna".into()), "{first}");
    assert_eq!(lab.daemon.stop(), Some(0), "no stream of lines holds the daemon up");
}

/// In a page as well as in a stream.
#[test]
fn viewers_see_no_credentials_in_what_machines_log() {
    if !has("curl") {
        return;
    }
    let Some(lab) = Lab::new() else { return };
    let token = lab.net.server_output(&[VOLDEMORTCTL, "token", "create", "reader", "--role", "viewer"]);
    lab.datagram("10.0.10.21", b"<14>kernel: Command line: inst.vncpassword=hunter4");
    lab.until("logs m21", "inst.vncpassword=hunter4");
    for accept in ["application/json", "text/event-stream"] {
        let (token, accept) =
            (format!("Authorization: Bearer {}", token.trim()), format!("Accept: {accept}"));
        let said = lab.net.server_output(&[
            "curl",
            "-sN",
            "--max-time",
            "3",
            "-H",
            &token,
            "-H",
            &accept,
            "http://127.0.0.1:12345/v1/logs?name=m21",
        ]);
        assert!(said.contains("inst.vncpassword=(masked)") && !said.contains("hunter"), "{accept}: {said}");
    }
    assert_eq!(lab.daemon.stop(), Some(0));
}

#[test]
fn strangers_floods_and_nonsense_are_counted_and_made_harmless() {
    let Some(lab) = Lab::new() else { return };
    lab.datagram("10.0.10.99", b"no priority \x1b[2J and \xff");
    lab.datagram("10.0.10.99", b"");
    lab.datagram("10.0.10.99", &[b'x'; 60_000]);
    let shown = lab.until("logs 10.0.10.99", "xxx");
    assert!(shown.contains("no priority \\u{1b}[2J and "), "{shown}");
    assert!(!shown.contains('\u{1b}') && shown.len() < 3000, "{}", shown.len());
    // A length that no message has, and a connection that breaks off.
    for text in ["99999999999 <1>x", "<13>half a line"] {
        within(&lab.net.client, || {
            TcpStream::connect("10.0.10.1:514").unwrap().write_all(text.as_bytes()).unwrap()
        });
    }
    lab.until("logs m21", "half a line");
    let sender = |name: &str| -> Value {
        let rows: Value = serde_json::from_str(&lab.ctl("get log-senders -o json")).unwrap();
        rows.as_array().unwrap().iter().find(|row| row["name"] == name).cloned().unwrap_or_default()
    };
    let malformed = |name: &'static str, count: u64| {
        let ask = || sender(name)["malformed"].to_string();
        eventually("what is malformed is counted", ask, |text| *text == count.to_string());
    };
    malformed("10.0.10.99", 3);
    malformed("m21", 1);
    within(&lab.net.client, || {
        let socket = UdpSocket::bind("10.0.10.99:0").unwrap();
        (0..3000)
            .for_each(|number| drop(socket.send_to(format!("<13>{number}").as_bytes(), "10.0.10.1:514")));
    });
    let flood = || sender("10.0.10.99");
    eventually(
        "a flood is bounded",
        || flood()["left_out"].to_string(),
        |text| text.parse::<u64>().unwrap_or(0) > 1000,
    );
    assert!(flood()["kept"].as_u64() <= Some(200), "{}", flood());
    // Machines are served all the while.
    let status = lab.ctl("get status");
    assert!(status.contains("syslog udp:0.0.0.0:514"), "{status}");
    assert_eq!(lab.daemon.stop(), Some(0));
}

#[test]
fn the_token_of_a_machines_answers_is_not_shown() {
    if !has("curl") {
        return;
    }
    let Some(lab) = Lab::new() else { return };
    let script = lab.net.client_output(&["curl", "-s", "http://10.0.10.1/ipxe/52-54-00-00-00-21.ipxe"]);
    let url = script.split_whitespace().find_map(|word| word.strip_prefix("url=")).expect(&script);
    assert!(script.contains(" log_host=10.0.10.1"), "{script}");
    let token = url.split('/').find(|part| part.len() == 32).expect(url);
    lab.datagram("10.0.10.21", format!("<6>kernel: Command line: auto=true url={url} quiet").as_bytes());
    let shown = lab.until("logs web", "Command line");
    assert!(shown.contains("[token]") && !shown.contains(token), "{shown}");
    assert_eq!(lab.daemon.stop(), Some(0));
}
