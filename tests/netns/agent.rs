//! Machines that no manifest declares: they boot our agent, say what they are, get their own disk back, and are
//! registered. A program of the test's own speaks as the agent.

use std::path::Path;

use serde_json::{Value, json};
use voldemort::api::agent::{CommandLine, Order, SignedOrder, Task};

use super::daemon::{Daemon, VOLDEMORTCTL, detect, eventually};
use super::machine;
use super::net::{Net, has};

const BOX: &str = "52:54:00:00:00:77";
const LAPTOP: &str = "52:54:00:00:00:66";
const NAME: &str = "m525400000077";

const MANIFEST: &str = r#"
[subnet.lab]
cidr    = "10.0.10.0/24"
gateway = "10.0.10.1"
dynamic = "10.0.10.100-10.0.10.199"
unknown = "discover"
[boot.agent]
kernel  = "files/vmlinuz"
initrd  = ["files/initrd.gz"]
cmdline = ["console=ttyS0"]
[machine.declared]
mac = "52:54:00:00:00:71"
"#;
const SETTINGS: &str = "format = 1\n[agent]\nboot = { x86_64 = \"agent\" }\n";

/// The machine is declared, and of a pool whose machines are wiped when they come back.
const POOL: &str = r#"
[boot.debian-12]
kernel  = "files/vmlinuz"
initrd  = ["files/initrd.gz"]
cmdline = ["auto=true", "priority=critical", "url={{ answers_url }}"]
[profile.base]
boot     = "debian-12"
template = "preseed"
vars     = { root-hash = "!" }
ssh-keys = ["ssh-ed25519 AAAA"]
[machine.m1]
mac    = "52:54:00:00:00:77"
labels = { size = "small" }
[pool.ci]
profile = "base"
select  = { size = "small" }
clean   = false
"#;

fn inventory(folder: &Path) -> String {
    inventory_of(folder, MANIFEST)
}

fn inventory_of(folder: &Path, manifest: &str) -> String {
    let root = machine::inventory(folder, manifest);
    std::fs::write(folder.join("inventory/voldemort.toml"), SETTINGS).unwrap();
    root
}

/// A card on the wire, with an address that it gave itself.
pub(super) fn card(net: &Net, name: &str, mac: &str, host: u8) {
    net.client_ip(&["link", "add", "link", "cli", name, "address", mac, "type", "macvlan", "mode", "bridge"]);
    net.client_ip(&["link", "set", name, "up"]);
    net.client_ip(&["address", "add", &format!("10.0.10.{host}/24"), "dev", name]);
}

/// Status and body of a request.
pub(super) fn ask(net: &Net, card: &str, words: &[&str], path: &str) -> (String, String) {
    let fixed = ["curl", "-s", "--max-time", "20", "--interface", card, "-w", "\n%{http_code}"];
    let url = format!("http://10.0.10.1/{path}");
    let said = net.client_output(&[&fixed, words, &[&url]].concat());
    let (body, status) = said.rsplit_once('\n').unwrap_or_else(|| panic!("{card} {path}: {said}"));
    (status.to_owned(), body.to_owned())
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

fn post(net: &Net, card: &str, token: &str, path: &str, body: &Value) -> (String, String) {
    let (token, body) = (bearer(token), body.to_string());
    ask(net, card, &["-H", &token, "-d", &body], path)
}

fn hello(boot_id: &str, memory: u64) -> Value {
    json!({
        "version": "0.2.0", "boot-id": boot_id, "card": BOX,
        "facts": {
            "arch": "x86_64", "firmware": "bios", "vendor": "ACME", "product": "Box 1", "serial": "A1",
            "memory": memory,
            "nics": [{ "name": "eth0", "mac": BOX, "carrier": true }],
            "disks": [{ "path": "/dev/vda", "serial": "D1", "model": "Disk", "bytes": 8_u64 << 30, "blank": false }],
        },
    })
}

/// The kernel command line that a script gives the agent.
fn command_line(script: &str) -> CommandLine {
    script.parse().unwrap_or_else(|error| panic!("{error}: {script}"))
}

fn script(net: &Net, card: &str) -> String {
    ask(net, card, &[], "ipxe/52-54-00-00-00-77.ipxe").1
}

/// The present order of a session, waited for up to so many seconds.
fn order(net: &Net, line: &CommandLine, session: &str, boot_id: &str, wait: u8) -> Result<Order, String> {
    let token = bearer(session);
    let (status, body) = ask(net, "box", &["-H", &token], &format!("agent/v1/order?wait={wait}"));
    if status != "200" {
        return Err(format!("{status} {body}"));
    }
    let signed: SignedOrder = serde_json::from_str(&body).unwrap();
    Ok(signed.open(&line.key, boot_id).unwrap())
}

fn session_of(body: &str) -> String {
    let welcome: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    welcome["session"].as_str().unwrap().to_owned()
}

fn discovered(net: &Net) -> String {
    net.server_output(&[VOLDEMORTCTL, "get", "discovered", "-o", "json"])
}

#[test]
fn an_unknown_machine_is_discovered_gets_its_own_disk_and_is_registered() {
    if !has("curl") {
        return;
    }
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (config, root) = (detect(&net, folder.path()), inventory(folder.path()));
    let daemon = Daemon::start(&net, &config, &root);
    card(&net, "box", BOX, 150);
    card(&net, "laptop", LAPTOP, 166);
    let line = command_line(&script(&net, "box"));
    assert_eq!((line.url.as_str(), line.card.unwrap().to_string().as_str()), ("http://10.0.10.1", BOX));

    // Whoever has no token, or another's, is let in to nothing.
    for token in ["nonsense", &line.token.replace(".0.", ".1."), &line.token[..line.token.len() - 1]] {
        assert_eq!(post(&net, "box", token, "agent/v1/hello", &hello("b1", 1)).0, "401", "{token}");
    }
    assert_eq!(post(&net, "laptop", &line.token, "agent/v1/hello", &hello("b1", 1)).0, "409");
    assert_eq!(ask(&net, "box", &["-H", &bearer(&line.token)], "agent/v1/order").0, "401");
    assert_eq!(post(&net, "box", &line.token, "agent/v1/hello", &json!({ "facts": 1 })).0, "422");
    assert_eq!(discovered(&net).trim(), "[]");

    let (status, body) = post(&net, "box", &line.token, "agent/v1/hello", &hello("b1", 4 << 30));
    assert_eq!(status, "200", "{body}");
    let session = session_of(&body);
    let found = discovered(&net);
    for part in [NAME, "ACME", "Box 1", "serial:D1:Disk:8589934592", "lab"] {
        assert!(found.contains(part), "{part}: {found}");
    }
    // It hands over to what is on its disk, and is not asked again.
    let handed = order(&net, &line, &session, "b1", 0).unwrap();
    assert_eq!((handed.task, handed.epoch, handed.machine.as_str()), (Task::LocalDisk, 0, NAME));
    let local = script(&net, "box");
    assert!(local.contains("discovered already") && !local.contains("voldemort.agent"), "{local}");
    let log = json!({ "lines": ["[    0.1] disk D1\tonline"], "dropped": 2 });
    assert_eq!(post(&net, "box", &session, "agent/v1/log", &log).0, "204");
    let logs = net.server_output(&[VOLDEMORTCTL, "logs", NAME]);
    assert!(
        logs.contains("disk D1 online") && logs.contains("2 lines of the console were left out"),
        "{logs}"
    );

    // The session is good after a restart of the daemon, too; an order stays signed by the same key.
    assert_eq!(daemon.stop(), Some(0));
    let _daemon = Daemon::with(&net, &config, &["--inventory", &root]);
    assert!(discovered(&net).contains(NAME));
    assert_eq!(order(&net, &line, &session, "b1", 0).unwrap().task, Task::LocalDisk);
    // Other hardware is an event.
    assert_eq!(post(&net, "box", &session, "agent/v1/hello", &hello("b1", 8 << 30)).0, "200");
    let events = || net.server_output(&[VOLDEMORTCTL, "events", "-o", "jsonl"]);
    eventually("the change", events, |events| events.contains("the memory was 4 GiB and is 8 GiB"));
    let why = net.server_output(&[super::daemon::VOLDEMORT, "why", BOX]);
    assert!(why.contains("discovered as") && why.contains("register"), "{why}");
    // One typing mistake away from a machine that was never seen.
    assert!(discovered(&net).contains("\"near\": \"declared\""), "{}", discovered(&net));

    let said = net.server_output(&[
        VOLDEMORTCTL,
        "register",
        BOX,
        "--name",
        "rack1-u01",
        "--label",
        "rack=1",
        "-o",
        "json",
    ]);
    eventually(&format!("registered: {said}"), || discovered(&net), |found| found.trim() == "[]");
    let written = std::fs::read_to_string(Path::new(&root).join("lab.toml")).unwrap();
    for part in ["[machine.rack1-u01]", BOX, "vendor", "ACME", "rack"] {
        assert!(written.contains(part), "{part}: {written}");
    }
}

#[test]
fn an_agent_that_never_reports_is_booted_twice_and_of_two_with_one_card_neither_is_believed() {
    if !has("curl") {
        return;
    }
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (config, root) = (detect(&net, folder.path()), inventory(folder.path()));
    let _daemon = Daemon::start(&net, &config, &root);
    card(&net, "box", BOX, 150);
    let line = command_line(&script(&net, "box"));
    let hello_of = |boot_id: &str| post(&net, "box", &line.token, "agent/v1/hello", &hello(boot_id, 1)).0;
    assert_eq!(hello_of("b1"), "200");
    // It was restarted.
    assert_eq!(hello_of("b2"), "200");
    // And yet the first one speaks.
    assert_eq!(hello_of("b1"), "409");
    assert_eq!(hello_of("b2"), "409");
    let events = || net.server_output(&[VOLDEMORTCTL, "events", "-o", "jsonl"]);
    eventually("two of one", events, |events| events.contains("neither is believed"));
}

/// Two machines with one network card, of which one is to be wiped: neither gets an order, a condition and the order say
/// which two, over a restart of the daemon too, until a person has taken one away.
#[test]
fn of_two_machines_with_one_card_neither_is_wiped_and_both_are_named() {
    if !has("curl") {
        return;
    }
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let root = inventory_of(folder.path(), &format!("{MANIFEST}{POOL}"));
    let config = detect(&net, folder.path());
    let daemon = Daemon::start(&net, &config, &root);
    card(&net, "box", BOX, 150);
    let claim = ctl(&net, &["claim", "ci"]);
    install(&net);
    ctl(&net, &["release", &claim]);
    let line = command_line(&script(&net, "box"));
    let own = greet(&net, &line, "b1");
    assert!(matches!(order(&net, &line, &own, "b1", 0).unwrap().task, Task::Wipe { .. }));
    // The other has the same address, as the server gave it by its card, and is another machine.
    let mut other = hello("b2", 1);
    other["facts"]["serial"] = "B2".into();
    other["facts"]["product"] = "Box 2".into();
    other["facts"]["disks"][0]["serial"] = "D2".into();
    let greeted = post(&net, "box", &line.token, "agent/v1/hello", &other);
    assert_eq!(greeted.0, "200", "it may be the same one, restarted: {greeted:?}");
    let strangers = session_of(&greeted.1);
    let stale = order(&net, &line, &strangers, "b2", 0).map(|order| order.task);
    assert!(!format!("{stale:?}").contains("D2"), "no order names what the stranger has: {stale:?}");
    // And yet the first one speaks.
    let refused = order(&net, &line, &own, "b1", 0).unwrap_err();
    assert!(refused.starts_with("409"), "{refused}");
    assert!(order(&net, &line, &strangers, "b2", 0).unwrap_err().starts_with("409"));

    let is_named =
        |text: &str| ["10.0.10.150", "serial A1", "serial B2", BOX].iter().all(|part| text.contains(part));
    let trouble = || row(&net, "orders", "m1").to_string();
    eventually("the order fails", trouble, |row| is_named(row) && row.contains("\"failed\""));
    let status = ctl(&net, &["get", "status"]);
    assert!(is_named(&status), "{status}");
    assert_eq!(ctl(&net, &["get", "certificates", "-o", "json"]), "[]");
    daemon.murder();

    // Whichever speaks first after a restart is not believed for that.
    let daemon = Daemon::start(&net, &config, &root);
    for (session, boot_id) in [(&strangers, "b2"), (&own, "b1")] {
        let refused = order(&net, &line, session, boot_id, 0).unwrap_err();
        assert!(refused.starts_with("40"), "{boot_id}: {refused}");
    }
    assert!(is_named(&trouble()), "{}", trouble());
    assert_eq!(daemon.stop(), Some(0));
}

/// A machine with the card of another, alone on the wire, which is to be wiped: its serial number is another.
#[test]
fn a_machine_with_the_card_of_another_gets_no_order_of_that_one() {
    if !has("curl") {
        return;
    }
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let root = inventory_of(folder.path(), &format!("{MANIFEST}{POOL}"));
    let config = detect(&net, folder.path());
    let daemon = Daemon::start(&net, &config, &root);
    card(&net, "box", BOX, 150);
    let first = ctl(&net, &["claim", "ci"]);
    install(&net);
    ctl(&net, &["release", &first]);
    // Our agent has seen the machine once: it wipes it, and somebody has it again.
    let line = command_line(&script(&net, "box"));
    let session = greet(&net, &line, "b1");
    let wipe = order(&net, &line, &session, "b1", 0).unwrap();
    let failed = json!({ "order": wipe.id, "epoch": wipe.epoch, "result": "failed", "why": "a bad sector" });
    assert_eq!(post(&net, "box", &session, "agent/v1/report", &failed).0, "204");
    // What failed is kept, too.
    let kept = row(&net, "certificates", &wipe.epoch.to_string());
    assert!(
        kept["failed"].as_str().unwrap().contains("a bad sector") && kept["verified"].is_null(),
        "{kept:#}"
    );
    let id = "serial:D1:Disk:8589934592";
    ctl(&net, &["retry", "m1"]);
    let again = order(&net, &line, &session, "b1", 0).unwrap();
    let disk = json!({
        "id": id, "serial": "D1", "bytes": 8_u64 << 30, "asked": "clear", "reached": "clear",
        "methods": [{ "method": "zeroout", "status": "ok" }],
        "samples": { "seed": 7, "length": 512, "offsets": [0] }, "seconds": 1
    });
    let certificate =
        json!({ "agent": "0.3", "kernel": "6.1", "started": 1, "finished": 2, "disks": [disk] });
    let done =
        json!({ "order": again.id, "epoch": again.epoch, "result": "done", "certificate": certificate });
    assert_eq!(post(&net, "box", &session, "agent/v1/report", &done).0, "204");
    let kept = row(&net, "certificates", &wipe.epoch.to_string());
    assert!(kept.get("failed").is_none_or(Value::is_null), "{kept:#}");
    // Its disk looks otherwise now, which is no reason to wipe it again.
    let mut seen = hello("b1", 1);
    seen["facts"]["disks"][0]["blank"] = true.into();
    assert_eq!(post(&net, "box", &line.token, "agent/v1/hello", &seen).0, "200");
    let verify = order(&net, &line, &session, "b1", 0).unwrap();
    assert!(matches!(verify.task, Task::Verify { .. }), "{verify:?}");
    let done = json!({ "order": verify.id, "epoch": verify.epoch, "result": "done" });
    assert_eq!(post(&net, "box", &session, "agent/v1/report", &done).0, "204");
    // It waits in our agent, and somebody plugs in a disk.
    let state_of = |net: &Net| {
        let disks = row(net, "machines", "m1")["disks"].as_array().unwrap().clone();
        disks.iter().map(|disk| disk["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(state_of(&net), ["clean"]);
    let plugged =
        json!({ "path": "/dev/vdb", "serial": "D3", "model": "Disk", "bytes": 8_u64 << 30, "blank": false });
    seen["facts"]["disks"].as_array_mut().unwrap().push(plugged);
    assert_eq!(post(&net, "box", &line.token, "agent/v1/hello", &seen).0, "200");
    assert_eq!(state_of(&net), ["clean", "dirty"]);
    let second = ctl(&net, &["claim", "ci"]);
    install(&net);
    ctl(&net, &["release", &second]);

    // Another machine comes up in its place.
    let line = command_line(&script(&net, "box"));
    let mut other = hello("b2", 1);
    other["facts"]["serial"] = "B2".into();
    other["facts"]["disks"][0]["serial"] = "D2".into();
    let (status, body) = post(&net, "box", &line.token, "agent/v1/hello", &other);
    assert_eq!(status, "200", "{body}");
    let stranger = session_of(&body);
    let none = order(&net, &line, &stranger, "b2", 0).map(|order| order.task);
    assert!(!matches!(none, Ok(Task::Wipe { .. })), "{none:?}");
    let failed = row(&net, "orders", "m1");
    let trouble = failed["trouble"].as_str().unwrap();
    assert!(trouble.contains("its serial number was A1 and is B2"), "{failed:#}");
    // That a person has it tried again says nothing of which machine is meant.
    ctl(&net, &["retry", "m1"]);
    assert_eq!(post(&net, "box", &stranger, "agent/v1/hello", &other).0, "200");
    assert!(!matches!(order(&net, &line, &stranger, "b2", 0).map(|order| order.task), Ok(Task::Wipe { .. })));
    let machine = ctl(&net, &["get", "machines", "m1", "-o", "json"]);
    assert!(machine.contains(id) && !machine.contains("D2"), "{machine}");
    assert_eq!(daemon.stop(), Some(0));
}

fn ctl(net: &Net, words: &[&str]) -> String {
    net.server_output(&[&[VOLDEMORTCTL], words].concat()).trim().to_owned()
}

/// One row of a list.
fn row(net: &Net, kind: &str, name: &str) -> Value {
    let text = ctl(net, &["get", kind, name, "-o", "json"]);
    let rows: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    rows[0].clone()
}

/// The first URL in a text that has `part`.
fn path_in<'a>(text: &'a str, part: &str) -> &'a str {
    let words = text.split_whitespace().map(|word| word.trim_end_matches(';'));
    let found =
        words.filter(|word| word.contains(part)).find_map(|word| word.split_once("http://10.0.10.1/"));
    found.unwrap_or_else(|| panic!("{part}: {text}")).1
}

/// Installs what the claim on the machine asks for, as its installer would.
fn install(net: &Net) {
    let script = script(net, "box");
    let answers = ask(net, "box", &[], path_in(&script, "/answers/")).1;
    assert_eq!(ask(net, "box", &[], path_in(&answers, "/completed")).0, "200", "{answers}");
}

/// Says hello and returns the session.
fn greet(net: &Net, line: &CommandLine, boot_id: &str) -> String {
    let (status, body) = post(net, "box", &line.token, "agent/v1/hello", &hello(boot_id, 1));
    assert_eq!(status, "200", "{body}");
    session_of(&body)
}

/// From a claim to the next one: nothing is wiped before our agent runs under the order, and nobody gets the machine
/// before its disks were read back.
#[test]
fn a_machine_that_is_given_back_is_wiped_by_the_agent_and_goes_to_who_waits() {
    if !has("curl") {
        return;
    }
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let root = inventory_of(folder.path(), &format!("{MANIFEST}{POOL}"));
    let config = detect(&net, folder.path());
    let daemon = Daemon::start(&net, &config, &root);
    card(&net, "box", BOX, 150);
    let first = ctl(&net, &["claim", "ci"]);
    install(&net);
    assert_eq!(row(&net, "claims", &first)["state"], "installed");
    let second = ctl(&net, &["claim", "ci"]);
    ctl(&net, &["release", &first]);
    assert_eq!(row(&net, "machines", "m1")["state"], "releasing");
    daemon.murder();

    let daemon = Daemon::start(&net, &config, &root);
    let line = command_line(&script(&net, "box"));
    let session = greet(&net, &line, "b1");
    let wipe = order(&net, &line, &session, "b1", 0).unwrap();
    let Task::Wipe { disks, .. } = &wipe.task else { panic!("{wipe:?}") };
    assert_eq!(disks.iter().map(|disk| &*disk.id).collect::<Vec<_>>(), ["serial:D1:Disk:8589934592"]);
    let running = json!({ "order": wipe.id, "epoch": wipe.epoch, "result": "running", "disks": [] });
    assert_eq!(post(&net, "box", &session, "agent/v1/report", &running).0, "204");
    daemon.murder();

    // The power fails in the middle of it, too: the same order is there for the next start of the agent.
    let daemon = Daemon::start(&net, &config, &root);
    let line = command_line(&script(&net, "box"));
    let session = greet(&net, &line, "b2");
    let again = order(&net, &line, &session, "b2", 0).unwrap();
    assert_eq!((&again.id, again.epoch, &again.task), (&wipe.id, wipe.epoch, &wipe.task));
    let report = |order: &Order, result: &str| {
        let body = json!({ "order": order.id, "epoch": order.epoch, "result": result });
        post(&net, "box", &session, "agent/v1/report", &body)
    };
    // Whoever says that disks are wiped has to show it.
    let refused = report(&again, "done");
    assert!(refused.0 == "409" && refused.1.contains("there is no certificate"), "{refused:?}");
    let failed = row(&net, "orders", "m1");
    assert_eq!((&failed["condition"], &failed["work"]), (&"failed".into(), &"wiping".into()), "{failed:#}");
    ctl(&net, &["retry", "m1"]);
    let repeated = order(&net, &line, &session, "b2", 0).unwrap();
    assert_eq!(repeated.task, wipe.task);
    let shown = |bytes: u64| {
        let samples = json!({ "seed": 7, "length": 65536, "offsets": [0, bytes - 65536] });
        let disk = json!({
            "id": disks[0].id, "serial": disks[0].serial, "bytes": bytes, "asked": "clear", "reached": "clear",
            "methods": [{ "method": "zeroout", "status": "ok" }], "samples": samples, "seconds": 1
        });
        let certificate =
            json!({ "agent": "0.3", "kernel": "6.1", "started": 1, "finished": 2, "disks": [disk] });
        json!({ "order": wipe.id, "epoch": wipe.epoch, "result": "done", "certificate": certificate })
    };
    let reported = post(&net, "box", &session, "agent/v1/report", &shown(disks[0].bytes));
    assert_eq!(reported.0, "204", "{reported:?}");
    let number = wipe.epoch.to_string();
    let kept = row(&net, "certificates", &number);
    assert_eq!(
        (&kept["machine"], &kept["disks"][0]),
        (&"m1".into(), &disks[0].id.as_str().into()),
        "{kept:#}"
    );
    assert!(ctl(&net, &["describe", "certificate", &number]).contains("zeroout"));
    assert_eq!(row(&net, "claims", &second)["machine"], Value::Null, "its disks were not read back yet");
    let verify = order(&net, &line, &session, "b2", 0).unwrap();
    assert!(matches!(verify.task, Task::Verify { .. }), "{verify:?}");
    assert_ne!(report(&again, "done").0, "204", "this order is over");
    assert_eq!(report(&verify, "done").0, "204");

    assert_eq!(row(&net, "claims", &second)["machine"], "m1");
    assert_ne!(report(&verify, "done").0, "204", "the machine is somebody's");
    assert!(!matches!(order(&net, &line, &session, "b2", 0).map(|order| order.task), Ok(Task::Wipe { .. })));
    install(&net);
    assert_eq!(row(&net, "claims", &second)["state"], "installed");
    assert_eq!(daemon.stop(), Some(0));
}
