//! Events of a real daemon as a webhook's server gets them, over kill -9 and a stop, while another server hangs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::daemon::{Daemon, VOLDEMORTCTL, detect, eventually};
use super::net::{Net, within};

const SECRET: &str = "a secret of many words";

/// Takes every request of one server: its id and its body.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Vec<(String, Value)>>>);

impl Receiver {
    fn start(&self, net: &Net) -> u16 {
        let listener = within(&net.server, || TcpListener::bind("127.0.0.1:0").unwrap());
        let port = listener.local_addr().unwrap().port();
        let receiver = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let receiver = receiver.clone();
                std::thread::spawn(move || while receiver.take(stream.as_ref().unwrap()).is_some() {});
            }
        });
        port
    }

    /// One request; `None` at the end of the connection.
    fn take(&self, mut stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let (mut id, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim().split_once(": ") {
                Some(("webhook-id", text)) => id = text.to_owned(),
                Some(("content-length", text)) => length = text.parse().unwrap(),
                None if line.trim().is_empty() => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        self.0.lock().unwrap().push((id, serde_json::from_slice(&body).unwrap()));
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok()
    }

    fn came(&self) -> Vec<(String, Value)> {
        self.0.lock().unwrap().clone()
    }

    fn texts(&self) -> String {
        let texts = self.came().into_iter().map(|(_, body)| format!("{}\n", body["data"]["text"]));
        texts.collect()
    }
}

#[test]
fn every_event_arrives_also_over_a_crash_and_the_audit_logs_head_at_the_end() {
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("inventory");
    std::fs::create_dir_all(&root).unwrap();
    std::fs::write(root.join("lab.toml"), "[subnet.lab]\ncidr = '10.0.10.0/24'\n").unwrap();
    std::fs::write(folder.path().join("hook.secret"), SECRET).unwrap();
    let receiver = Receiver::default();
    let port = receiver.start(&net);
    // Connections to it are made by the kernel, and nobody answers.
    let silent = within(&net.server, || TcpListener::bind("127.0.0.1:0").unwrap());
    let silent = silent.local_addr().map(|address| (silent, address.port())).unwrap();
    let config = detect(&net, folder.path());
    let text = std::fs::read_to_string(&config).unwrap();
    let hook = |name, port| {
        format!(
            "[[webhook]]\nname = '{name}'\nurl = 'http://127.0.0.1:{port}/PASSWORD'\nsecret = 'hook.secret'\n"
        )
    };
    std::fs::write(&config, text + "\n" + &hook("chat", port) + &hook("silent", silent.1)).unwrap();
    let start = || Daemon::start(&net, &config, root.to_str().unwrap());
    let order = |order: &str| {
        let said = net.server_output(&["sh", "-c", &format!("{VOLDEMORTCTL} {order} 2>&1; echo $?")]);
        assert!(said.ends_with("0\n"), "{said}");
    };
    let daemon = start();
    order("suspend");
    eventually("the order arrives", || receiver.texts(), |texts| texts.contains("Suspended"));
    let count = receiver.came().len();
    daemon.murder();
    let daemon = start();
    order("resume");
    order("suspend");
    let shown = || net.server_output(&[VOLDEMORTCTL, "get", "webhooks", "-o", "json"]);
    let caught_up = |text: &str| {
        let rows: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
        rows.len() == 2 && rows[0]["name"] == "chat" && rows[0]["pending"] == 0 && rows[1]["pending"] != 0
    };
    let shown = eventually("one is sent all, and the other holds up nobody", shown, caught_up);
    assert!(!shown.contains("PASSWORD") && !shown.contains(SECRET), "{shown}");
    assert_eq!(daemon.stop(), Some(0));
    let came = receiver.came();
    // In their order; after the crash again perhaps, and none left out.
    let numbers = |came: &[(String, Value)]| -> Vec<u64> {
        let number = |(id, _): &(String, Value)| id.rsplit('.').next().unwrap().parse().unwrap();
        came.iter().filter(|(_, body)| body["type"] != "gap").map(number).collect()
    };
    let (before, after) = (numbers(&came[..count]), numbers(&came[count..]));
    assert!(before.is_sorted() && after.is_sorted(), "{before:?} {after:?}");
    let mut all: Vec<u64> = [before, after].concat();
    all.sort_unstable();
    all.dedup();
    let gaps = came.iter().filter(|(_, body)| body["type"] == "gap");
    let gone: u64 = gaps
        .map(|(_, body)| 1 + body["data"]["last"].as_u64().unwrap() - body["data"]["first"].as_u64().unwrap())
        .sum();
    assert_eq!(all.len() as u64 + gone, all[all.len() - 1] - all[0] + 1, "{all:?}");
    let (_, last) =
        came.iter().rfind(|(_, body)| body["type"] == "audit").expect("the head of the audit log");
    assert!(last["data"]["text"].as_str().unwrap().contains("head of the audit log is "), "{last}");
}
