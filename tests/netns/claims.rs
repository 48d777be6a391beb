//! A machine that is claimed, installs, is given back and goes to who waits for it; with the real daemon, which is
//! killed at every step.

use serde_json::Value;

use super::daemon::{Daemon, VOLDEMORTCTL, detect, eventually};
use super::machine::{get, inventory, udhcpc, url_in};
use super::net::{Net, has};

const FIRST: &str = "52:54:00:00:00:01";
const MANIFEST: &str = r#"
[subnet.lab]
cidr    = "10.0.10.0/24"
gateway = "10.0.10.1"
dynamic = "10.0.10.100-10.0.10.199"
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
mac    = "52:54:00:00:00:01"
labels = { size = "small" }
[machine.m2]
mac    = "52:54:00:00:00:02"
labels = { size = "large" }
[pool.ci]
profile   = "base"
select    = { size = "small" }
ttl       = "8h"
clean     = false
on-return = "keep"
"#;

fn ctl(net: &Net, words: &[&str]) -> String {
    net.server_output(&[&[VOLDEMORTCTL], words].concat())
}

/// One row of a list, as JSON.
fn row(net: &Net, kind: &str, name: &str) -> Value {
    let text = ctl(net, &["get", kind, name, "-o", "json"]);
    let rows: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    rows[0].clone()
}

/// What `mac` boots: the script that it is led to.
fn boot(net: &Net, mac: &str) -> String {
    let address = udhcpc(net, mac);
    net.client_ip(&["address", "flush", "dev", "cli"]);
    net.client_ip(&["address", "add", &format!("{address}/24"), "dev", "cli"]);
    get(net, &format!("http://10.0.10.1/ipxe/{}.ipxe", mac.replace(':', "-")))
}

#[test]
fn a_claim_gets_a_machine_that_installs_and_who_waits_gets_it_next() {
    if !has("busybox") || !has("curl") {
        return;
    }
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (config, root) = (detect(&net, folder.path()), inventory(folder.path(), MANIFEST));
    let daemon = Daemon::start(&net, &config, &root);
    assert_eq!(row(&net, "machines", "m1")["state"], "free");
    assert!(!boot(&net, FIRST).contains("kernel"), "nobody has it");

    let first = ctl(&net, &["claim", "ci", "--name", "web"]).trim().to_owned();
    assert_eq!(first, "web-1");
    daemon.murder();

    let daemon = Daemon::start(&net, &config, &root);
    let claim = row(&net, "claims", &first);
    assert_eq!((&claim["machine"], &claim["state"]), (&"m1".into(), &"waiting".into()), "{claim:#}");
    // Who asks next waits, and is told why.
    let second = ctl(&net, &["claim", "ci"]).trim().to_owned();
    assert_eq!(second, "ci-2");
    let reason = row(&net, "claims", &second)["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("number 1 in the queue: no machine is free (1 "), "{reason}");
    let why = ctl(&net, &["describe", "machine", "m1"]);
    assert!(why.contains("claim web-1 of ") && why.contains(" (admin): waiting"), "{why}");

    let script = boot(&net, FIRST);
    let answers = get(&net, url_in(&script, "/answers/"));
    assert!(answers.contains("web-1"), "the host name: {answers}");
    eventually("the claim", || row(&net, "claims", &first).to_string(), |row| row.contains("\"installing\""));
    daemon.murder();

    let daemon = Daemon::start(&net, &config, &root);
    assert_eq!(get(&net, url_in(&answers, "/completed")), "");
    assert_eq!(row(&net, "claims", &first)["state"], "installed");
    assert!(!boot(&net, FIRST).contains("kernel"), "it is installed");
    ctl(&net, &["extend", &first, "--for", "1h"]);
    daemon.murder();

    // It goes to the other, under which it installs again, with other URLs.
    let daemon = Daemon::start(&net, &config, &root);
    ctl(&net, &["release", &first]);
    let claim = row(&net, "claims", &second);
    assert_eq!(claim["machine"], "m1", "{claim:#}");
    let again = boot(&net, FIRST);
    assert!(again.contains("kernel") && again != script, "{again}");
    let stale = get(&net, url_in(&answers, "/completed"));
    assert!(stale.contains("nothing was changed"), "{stale}");
    assert_eq!(row(&net, "claims", &second)["state"], "installing");
    daemon.murder();

    // A machine that is held is not given out.
    let daemon = Daemon::start(&net, &config, &root);
    ctl(&net, &["hold", "m1", "-m", "it hums"]);
    assert!(!boot(&net, FIRST).contains("kernel"), "it is held");
    assert_eq!(row(&net, "claims", &second)["state"], "held");
    ctl(&net, &["release", &second]);
    let third = ctl(&net, &["claim", "ci"]).trim().to_owned();
    assert_eq!((third.as_str(), &row(&net, "claims", &third)["machine"]), ("ci-3", &Value::Null));
    ctl(&net, &["unhold", "m1"]);
    assert_eq!(row(&net, "claims", &third)["machine"], "m1");

    // It is kept: a manifest takes it over, and nothing is installed again.
    let script = boot(&net, FIRST);
    let answers = get(&net, url_in(&script, "/answers/"));
    assert_eq!(get(&net, url_in(&answers, "/completed")), "");
    ctl(&net, &["keep", &third]);
    let gone = || ctl(&net, &["get", "claims", "-o", "json"]);
    eventually("the claim is over", gone, |rows| !rows.contains("ci-3"));
    assert_eq!(row(&net, "machines", "m1")["deployment"], "ci-3");
    assert!(!boot(&net, FIRST).contains("kernel"), "it is installed");
    assert_eq!(daemon.stop(), Some(0));
}

/// A request that is sent again, because its answer was lost, has the answer of the first, though its claim is over by then.
#[test]
fn a_claim_that_is_released_twice_with_one_key_is_answered_twice() {
    if !has("curl") {
        return;
    }
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (config, root) = (detect(&net, folder.path()), inventory(folder.path(), MANIFEST));
    let socket = folder.path().join("api.sock").display().to_string();
    let settings = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, settings.replace("/run/voldemort/api.sock", &socket)).unwrap();
    let daemon = Daemon::start(&net, &config, &root);
    let post = |path: &str, key: Option<&str>, body: &str| {
        let key = key.map(|key| format!("Idempotency-Key: {key}"));
        let mut words = vec!["curl", "-s", "-i", "-X", "POST", "--unix-socket", &socket];
        key.iter().for_each(|key| words.extend(["-H", key]));
        if !body.is_empty() {
            words.extend(["-H", "Content-Type: application/json", "-d", body]);
        }
        let url = format!("http://localhost/v1/claims{path}");
        words.push(&url);
        let answer = net.server_output(&words);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let is_again = head.to_lowercase().contains("idempotency-replayed: true");
        (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned(), is_again)
    };
    let wanted = r#"{ "pool": "ci", "name": "web" }"#;
    let (status, made, _) = post("", Some("k1"), wanted);
    assert_eq!(status, "200", "{made}");
    for (path, key, body) in [
        ("/web-1/extend", "k2", r#"{ "ttl": "2h" }"#),
        ("/web-1/release", "k3", ""),
        // There is nothing of the first by then.
        ("/web-1/extend", "k2", r#"{ "ttl": "2h" }"#),
        ("/web-1/release", "k3", ""),
    ] {
        let (status, said, is_again) = post(path, Some(key), body);
        let is_over = !ctl(&net, &["get", "claims", "-o", "json"]).contains("web-1");
        assert_eq!((status.as_str(), is_over || path.ends_with("extend")), ("200", true), "{path}: {said}");
        let (_, again, replayed) = post(path, Some(key), body);
        assert!(said == again && replayed, "{path}: {said} {again} {is_again}");
    }
    assert_eq!(post("/web-1/release", None, "").0, "404");
    assert_eq!(post("/web-1/release", Some("k4"), "").0, "404");
    assert_eq!(post("/WEB 1/release".replace(' ', "%20").as_str(), Some("k5"), "").0, "404");
    assert_eq!(post("", Some("k6"), r#"{ "pool": "none" }"#).0, "404");
    assert_eq!(daemon.stop(), Some(0));
}

/// Machines that are given out run what their pool was when they were claimed.
#[test]
fn a_claim_runs_what_it_was_made_with_over_restarts_and_without_its_pool() {
    if !has("busybox") || !has("curl") {
        return;
    }
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (config, root) = (detect(&net, folder.path()), inventory(folder.path(), MANIFEST));
    let daemon = Daemon::start(&net, &config, &root);
    let claim = ctl(&net, &["claim", "ci"]).trim().to_owned();
    let script = boot(&net, FIRST);
    assert_eq!(get(&net, url_in(&script, "/initrd.gz")), "the initrd");

    // Its pool's profile, boot and files change while it is open.
    let other = MANIFEST
        .replace("boot     = \"debian-12\"", "boot     = \"debian-13\"\ntimezone = \"Etc/GMT+7\"")
        .replace("[boot.debian-12]", "[boot.debian-13]")
        .replace("files/initrd.gz", "files/other.gz");
    std::fs::write(folder.path().join("inventory/files/other.gz"), "another initrd").unwrap();
    std::fs::write(folder.path().join("inventory/lab.toml"), &other).unwrap();
    let boots = || ctl(&net, &["get", "boots", "-o", "json"]);
    eventually("the revision", boots, |rows| rows.contains("debian-13"));
    std::fs::remove_file(folder.path().join("inventory/files/initrd.gz")).unwrap();
    let mut daemon = daemon;
    for round in 0..4 {
        if round == 2 {
            // The pool goes as well.
            let without = other.split("[pool.ci]").next().unwrap();
            std::fs::write(folder.path().join("inventory/lab.toml"), without).unwrap();
            let pools = || ctl(&net, &["get", "pools", "-o", "json"]);
            eventually("the pool is gone", pools, |rows| rows.trim() == "[]");
        }
        let again = boot(&net, FIRST);
        assert!(again.contains("/debian-12/"), "round {round}: {again}");
        assert_eq!(get(&net, url_in(&again, "/initrd.gz")), "the initrd", "round {round}");
        daemon.murder();
        daemon = Daemon::start(&net, &config, &root);
    }
    let answers = get(&net, url_in(&boot(&net, FIRST), "/answers/"));
    assert!(answers.contains("Etc/UTC") && !answers.contains("GMT+7"), "{answers}");
    assert_eq!(get(&net, url_in(&answers, "/completed")), "");
    assert_eq!(row(&net, "claims", &claim)["state"], "installed");
    ctl(&net, &["release", &claim]);
    assert_ne!(get(&net, "http://10.0.10.1/debian-12/initrd.gz"), "the initrd", "nobody runs it any more");
    assert_eq!(daemon.stop(), Some(0));
}
