//! The audit log of a real daemon: every change of the contract is in it, nothing that was changed in it later goes
//! unseen, and it outlasts the daemon.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use super::callers::{House, err};
use super::daemon::{Daemon, eventually};
use super::members::{GROUP, with_group};
use super::net::{has, within};

const ROOT: [&str; 5] = ["--reuid", "0", "--regid", "0", "--clear-groups"];

impl House {
    fn audit(&self, words: &[&str]) -> Output {
        let socket = self.socket().display().to_string();
        self.ctl_as(&ROOT, &[&["--server", &socket, "audit"], words].concat())
    }

    fn entries(&self) -> Vec<Value> {
        let output = self.audit(&["-o", "jsonl"]);
        assert!(output.status.success(), "{}", err(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        let all = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        // What was adopted out of the source is not asked for.
        all.filter(|entry| entry["step"] != "adopted").collect()
    }

    /// The head that a check prints.
    fn verified(&self, words: &[&str]) -> String {
        let output = self.audit(&[&["verify"], words].concat());
        assert!(output.status.success(), "{}", err(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().find_map(|line| line.strip_prefix("head ")).unwrap().to_owned()
    }

    /// One request with the words of curl(1).
    fn curl(&self, words: &[&str], method: &str, path: &str) {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.net.server, "curl", "-s", "-o", "/dev/null", "-X", method]);
        command.args(["-H", "Content-Type: application/json", "-d", "{\"wrong\":\"PASSWORD\"}"]).args(words);
        assert!(command.arg(format!("http://127.0.0.1:12345{path}")).status().unwrap().success());
    }

    /// Kills the daemon and starts it again.
    pub(crate) fn again(self) -> House {
        let House { net, folder, daemon, token: _ } = self;
        daemon.murder();
        let (config, inventory) = (folder.path().join("voldemort.toml"), folder.path().join("inventory"));
        let daemon = Daemon::start(&net, &config, inventory.to_str().unwrap());
        House::of(net, folder, daemon)
    }
}

/// The methods and paths of the contract that change something.
fn changes() -> Vec<(String, String)> {
    let contract =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/openapi.json")).unwrap();
    let contract: Value = serde_json::from_str(&contract).unwrap();
    let mut found = Vec::new();
    for (path, operations) in contract["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            if method != "get" && operation["x-role"] != "viewer" {
                found.push((method.to_uppercase(), path.clone()));
            }
        }
    }
    assert!(found.len() >= 7, "{found:?}");
    found
}

fn files(state: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(state.join("audit")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn every_change_of_the_contract_and_every_refusal_leaves_an_entry() {
    if !has("curl") || !has("setpriv") {
        return;
    }
    let Some(house) = House::behind(&[], "") else { return };
    let socket = house.socket().display().to_string();
    let changes = changes();
    for (method, path) in &changes {
        let asked = path.replace(['{', '}'], "");
        house.curl(&["--unix-socket", &socket], method, &asked);
        house.curl(&["-H", "Authorization: Bearer PASSWORD"], method, &asked);
    }
    let mut steps: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for entry in house.entries() {
        let text = |name: &str| entry[name].as_str().unwrap().to_owned();
        let by = text("by");
        assert!(by == "user 0 (admin)" || text("step") == "refused" && by == "nobody known", "{entry}");
        assert!(entry["status"].as_u64().is_some(), "{entry}");
        steps.entry((text("method"), text("route"))).or_default().push(text("step"));
    }
    let mut refusals = 0;
    for (method, path) in changes {
        let found = steps.remove(&(method.clone(), path.clone())).unwrap_or_default();
        // Whoever calls a webhook is nobody in either case.
        let expected =
            if path.starts_with("/hooks/") { ["refused", "refused"] } else { ["ended", "refused"] };
        refusals += expected.iter().filter(|step| **step == "refused").count();
        // Of one caller's refusals twenty a minute are entered, and the others are counted.
        let thinned = refusals > 20 && found == ["ended"];
        assert!(found == expected || thinned, "{method} {path}: {found:?}");
    }
    assert_eq!(steps, BTreeMap::new(), "reads are not entered");
    for file in files(&house.folder.path().join("state")) {
        let text = std::fs::read_to_string(file).unwrap();
        assert!(!text.contains("PASSWORD") && !text.contains(&house.token));
    }
    house.verified(&[]);
    assert_eq!(house.daemon.stop(), Some(0));
}

#[test]
fn a_change_is_entered_with_its_keys_and_a_changed_log_is_found() {
    if !has("setpriv") {
        return;
    }
    let Some(house) = House::behind(&[], "") else { return };
    let socket = house.socket().display().to_string();
    let edit = ["--server", &socket, "update", "deployment", "harry", "--disk", "/dev/disk/by-id/nvme-harry"];
    let output = house.ctl_as(&ROOT, &edit);
    assert!(output.status.success(), "{}", err(&output));
    let entries = house.entries();
    let about = entries[0]["about"].as_str().unwrap();
    assert!(about.starts_with("update deployment harry (disk): written to "), "{about}");
    assert!(entries[0]["serial"].as_u64() > Some(0) && entries[0]["begun"].is_u64(), "{}", entries[0]);
    let head = house.verified(&[]);
    let status = house.ctl_as(&ROOT, &["--server", &socket, "get", "status"]);
    assert!(String::from_utf8_lossy(&status.stdout).contains(&head), "the status has the head");
    let house = house.again();
    let head = house.verified(&["--head", &head]);
    let by = |who: &str| house.audit(&["--by", who, "--since", "1h"]).stdout.len();
    assert!(by("user 0") > 0 && by("user 1") == 0);
    // A letter is changed while no daemon runs.
    let file = files(&house.folder.path().join("state")).remove(0);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("harry", "larry", 1)).unwrap();
    let house = house.again();
    let broken = house.audit(&["verify"]);
    assert_eq!(broken.status.code(), Some(1), "{}", err(&broken));
    assert!(err(&broken).contains("entry "), "{}", err(&broken));
    // All of it is away: only who noted the head sees it.
    std::fs::remove_dir_all(house.folder.path().join("state/audit")).unwrap();
    let house = house.again();
    house.verified(&[]);
    let away = house.audit(&["verify", "--head", &head]);
    assert!(away.status.code() == Some(1) && err(&away).contains("cut off"), "{}", err(&away));
    assert_eq!(house.daemon.stop(), Some(0));
}

#[test]
fn a_log_that_cannot_be_written_leaves_changes_to_admins() {
    let Some((_group, house)) = with_group("") else { return };
    // The place of the folder is taken.
    let folder = house.folder.path().join("state/audit");
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(&folder, "").unwrap();
    let socket = house.socket().display().to_string();
    let output = house.ctl_as(&ROOT, &["--server", &socket, "suspend"]);
    assert!(output.status.success(), "an admin can repair things: {}", err(&output));
    let member = ["--reuid", "65534", "--regid", "65534", "--groups", GROUP];
    let refused = house.ctl_as(&member, &["--server", &socket, "resume"]);
    assert_eq!(refused.status.code(), Some(5), "{}", err(&refused));
    assert!(err(&refused).contains("the audit log can't be written"), "{}", err(&refused));
    let status = || {
        let output = house.ctl_as(&ROOT, &["--server", &socket, "get", "status"]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(status().contains("the audit log can't be written"), "{}", status());
    std::fs::remove_file(&folder).unwrap();
    let output = house.ctl_as(&ROOT, &["--server", &socket, "resume"]);
    assert!(output.status.success(), "{}", err(&output));
    assert!(!status().contains("the audit log can't be written"), "{}", status());
    let steps: Vec<Value> = house.entries().into_iter().map(|entry| entry["step"].clone()).collect();
    assert_eq!(steps, ["lost", "ended"]);
    house.verified(&[]);
    assert_eq!(house.daemon.stop(), Some(0));
}

#[test]
fn a_change_that_kill_9_ends_is_said_and_the_chain_holds() {
    let Some(mut house) = House::behind(&[], "") else { return };
    for round in 1..=3 {
        // One waits for its body, others are in the middle of something.
        let head = |length: usize| {
            let token = &house.token;
            format!(
                "POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
                 Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
            )
        };
        let open = |text: &str| {
            within(&house.net.server, || {
                let mut stream = TcpStream::connect("127.0.0.1:12345").unwrap();
                stream.write_all(text.as_bytes()).unwrap();
                stream
            })
        };
        let body = "{\"order\":\"suspend\",\"reason\":\"x\"}";
        let waiting = open(&head(1000));
        let begun = || {
            let entries = house.entries().into_iter().filter(|entry| entry["step"] == "begun");
            entries.count().to_string()
        };
        eventually("it is begun", begun, |count| *count != *"0");
        let others: Vec<TcpStream> = (0..20).map(|_| open(&(head(body.len()) + body))).collect();
        house = house.again();
        drop((waiting, others));
        let cut = || house.entries().iter().filter(|entry| entry["step"] == "cut").count().to_string();
        eventually("what was cut is said", cut, |count| count.parse::<usize>().unwrap() >= round);
        let entries = house.entries();
        assert!(entries.iter().all(|entry| entry["step"] != "begun"), "each has an end: {entries:?}");
        let one = entries.iter().find(|entry| entry["step"] == "cut").unwrap();
        assert!(one["begun"].is_u64() && one["subject"] == "/v1/orders", "{one}");
        house.verified(&[]);
    }
    assert_eq!(house.daemon.stop(), Some(0));
}
