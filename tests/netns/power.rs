//! Machines are switched by a real daemon, as a person orders it; and what was sent before the daemon was killed is not
//! sent again.

use std::process::{Command, Output, Stdio};

use super::bmc::{Bmc, Fake, Turn};
use super::callers::err;
use super::daemon::{Daemon, VOLDEMORTCTL, detect, eventually};
use super::net::{Net, within};

fn ctl(net: &Net, words: &[&str]) -> Output {
    let mut command = Command::new("ip");
    command
        .args(["netns", "exec", &net.server, VOLDEMORTCTL, "--server", "127.0.0.1:12345"])
        .args(words)
        .stdin(Stdio::null());
    command.output().unwrap()
}

#[test]
fn a_person_switches_machines_and_a_killed_daemon_sends_nothing_twice() {
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let inventory = folder.path().join("inventory");
    std::fs::create_dir(&inventory).unwrap();
    let fake = within(&net.server, || Fake::start(Bmc { login: None, ..Bmc::default() }));
    let manifests = format!(
        "[subnet.lab]\ncidr = '10.0.10.0/24'\n[machine.m1]\nmac = '52:54:00:aa:00:01'\n\
         power = {{ kind = 'redfish', url = '{0}' }}\n[machine.m2]\nmac = '52:54:00:aa:00:02'\nprotect = true\n\
         power = {{ kind = 'redfish', url = '{0}' }}\n[machine.m3]\nmac = '52:54:00:aa:00:03'\n",
        fake.url()
    );
    std::fs::write(inventory.join("lab.toml"), manifests).unwrap();
    let config = detect(&net, folder.path());
    let inventory = inventory.display().to_string();
    let start = || Daemon::with(&net, &config, &["--inventory", &inventory]);
    let daemon = start();
    let on = ctl(&net, &["power", "on", "m1", "--reason", "a test", "--wait", "60s"]);
    assert!(on.status.success() && fake.get().on, "{}", err(&on));
    let status = String::from_utf8(ctl(&net, &["power", "status", "m1"]).stdout).unwrap();
    assert!(status.contains("on ") && status.contains("switch on machine m1 (a test): done at"), "{status}");
    // What ends what runs wants a person's word, and says what is refused.
    let unasked = ctl(&net, &["power", "cycle", "m1"]);
    assert!(unasked.status.code() == Some(3) && fake.resets() == ["On"], "{}", err(&unasked));
    for (machine, words) in [("m2", "m2 is protected"), ("m3", "m3 has no `power`"), ("m4", "m4 is none of")]
    {
        let refused = ctl(&net, &["power", "off", "-y", machine]);
        assert!(!refused.status.success() && err(&refused).contains(words), "{}", err(&refused));
    }
    // The request is out, nobody knows what becomes of it, and the daemon is killed.
    fake.get().turns = [Turn::Hangs].into();
    let off = ctl(&net, &["power", "off", "-y", "m1", "-o", "json"]);
    let order: serde_json::Value = serde_json::from_slice(&off.stdout).unwrap();
    assert_eq!((order["task"].as_str(), order["subject"].as_str()), (Some("power"), Some("m1")));
    let resets = || fake.resets().join(" ");
    eventually("it is sent", resets, |resets| resets == "On ForceOff");
    daemon.murder();
    fake.changes();
    let daemon = start();
    let readings = || (fake.get().log.len() > 4).to_string();
    eventually("the machine is read", readings, |read| read == "true");
    let effects = || String::from_utf8(ctl(&net, &["get", "effects"]).stdout).unwrap();
    eventually("what was sent is shown", effects, |text| text.contains("off at "));
    assert_eq!(fake.changes(), [] as [&str; 0]);
    fake.get().on = false;
    eventually("it is off after all", effects, |text| !text.contains("power  m1"));
    assert_eq!(fake.changes(), [] as [&str; 0]);
    assert_eq!(daemon.stop(), Some(0));
}

/// How a wait for an order ends is told apart by its exit code, and the order's number is printed.
#[test]
fn a_wait_for_an_order_ends_in_time_and_says_how() {
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let inventory = folder.path().join("inventory");
    std::fs::create_dir(&inventory).unwrap();
    let fake = within(&net.server, || Fake::start(Bmc { login: None, ..Bmc::default() }));
    let manifests = format!(
        "[subnet.lab]\ncidr = '10.0.10.0/24'\n[machine.m1]\nmac = '52:54:00:aa:00:01'\n\
         power = {{ kind = 'redfish', url = '{}' }}\n",
        fake.url()
    );
    std::fs::write(inventory.join("lab.toml"), manifests).unwrap();
    let config = detect(&net, folder.path());
    let inventory = inventory.display().to_string();
    let daemon = Daemon::with(&net, &config, &["--inventory", &inventory]);
    fake.get().turns = [Turn::Hangs].into();
    let late = ctl(&net, &["power", "on", "m1", "--wait", "1s", "-o", "json"]);
    let order: serde_json::Value = serde_json::from_slice(&late.stdout).unwrap();
    assert_eq!((late.status.code(), order["subject"].as_str()), (Some(5), Some("m1")), "{}", err(&late));
    assert!(err(&late).contains("it is not done after 1s"), "{}", err(&late));
    ctl(&net, &["cancel", "effect", &order["id"].to_string()]);
    // What the controller can't do is given up at once.
    fake.get().resets = vec!["On"];
    fake.get().on = true;
    let no = ctl(&net, &["power", "off", "-y", "m1", "--wait", "60s", "-o", "json"]);
    assert_eq!(no.status.code(), Some(1), "{} {}", err(&no), String::from_utf8_lossy(&no.stdout));
    assert!(err(&no).contains("m1: given up: "), "{}", err(&no));
    assert_eq!(daemon.stop(), Some(0));
}
