//! Tokens that people create: who shows one by TCP has its role, until it expires or is revoked.

use std::io::Read;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::callers::{House, err};
use super::daemon::VOLDEMORT;
use super::net::has;

const API: &str = "127.0.0.1:12345";
const ROOT: [&str; 2] = ["--reuid", "0"];

/// A daemon, and root's way to it.
struct Site {
    house: House,
    socket: String,
}

impl Site {
    fn new() -> Option<Site> {
        if !has("setpriv") || !has("curl") {
            return None;
        }
        let house = House::behind(&[], "")?;
        let socket = house.socket().display().to_string();
        Some(Site { house, socket })
    }

    fn ctl(&self, words: &[&str]) -> Output {
        self.house.ctl_as(&ROOT, &[&["--server", &self.socket], words].concat())
    }

    /// `voldemortctl token create`, and the token.
    fn create(&self, words: &[&str]) -> String {
        let output = self.ctl(&[&["token", "create"], words].concat());
        assert!(output.status.success(), "{}", err(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A command by TCP with a token.
    fn with(&self, token: &str, words: &[&str]) -> Output {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.house.net.server, super::daemon::VOLDEMORTCTL, "--server", API]);
        command.args(words).env("VOLDEMORT_TOKEN", token).stdin(Stdio::null()).output().unwrap()
    }

    /// Status and answer of a request with a token.
    fn ask(&self, token: &str, line: &str, body: &str) -> (u16, String) {
        let head = format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json"
        );
        self.house.ask(&head, body)
    }

    fn events(&self) -> String {
        let output = self.ctl(&["events"]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

#[test]
fn a_token_has_its_role_by_name_until_it_is_revoked() {
    let Some(site) = Site::new() else { return };
    let tokens =
        ["viewer", "editor", "admin"].map(|role| site.create(&[&format!("by-{role}"), "--role", role]));
    for (token, codes) in tokens.iter().zip([[0, 6, 6], [0, 0, 6], [0, 0, 0]]) {
        assert!(token.starts_with("vdm_") && token.len() == 4 + 8 + 1 + 64, "{token}");
        let words = [&["get", "status"][..], &["suspend"], &["token", "list"]];
        for (words, code) in words.into_iter().zip(codes) {
            let output = site.with(token, words);
            assert_eq!(output.status.code(), Some(code), "{token} {words:?}: {}", err(&output));
        }
    }
    let refused = site.with(&tokens[0], &["suspend"]);
    assert!(err(&refused).contains("token by-viewer (viewer)"), "{}", err(&refused));
    // The list says who made them and when they were used, and nothing of what they are.
    let list = site.ctl(&["get", "tokens", "-o", "json"]);
    let text = String::from_utf8(list.stdout).unwrap();
    let rows: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 3, "{text}");
    assert_eq!((&rows[0]["name"], &rows[0]["by"]), (&"by-admin".into(), &"user 0 (admin)".into()));
    assert!(rows[0]["used"].is_string() && rows[0]["expires"].is_null(), "{text}");
    for token in &tokens {
        let id = rows.as_array().unwrap().iter().any(|row| row["id"] == token[4..12]);
        assert!(id && !text.contains(&token[13..]), "{text}");
    }
    // Names are unique, and what is wrong is said.
    for (words, code, why) in [
        (&["token", "create", "by-admin", "--role", "viewer"][..], 1, "there is a token by-admin already"),
        (&["token", "create", "start", "--role", "viewer"], 1, "the daemon's own"),
        (&["token", "create", "New", "--role", "viewer"], 1, "name: `New`"),
        (&["token", "create", "new", "--role", "viewer", "--expires", "0s"], 1, "no time"),
        (&["token", "create", "new", "--role", "root"], 64, "viewer"),
        (&["token", "revoke", "nobody"], 1, "there is no token nobody"),
    ] {
        let output = site.ctl(words);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", err(&output));
        assert!(err(&output).contains(why), "{words:?}: {}", err(&output));
    }
    // An admin's token creates others, which go on when it is revoked.
    let (status, answer) =
        site.ask(&tokens[2], "POST /v1/tokens", "{\"name\":\"second\",\"role\":\"viewer\"}");
    assert_eq!(status, 200, "{answer}");
    assert!(answer.to_lowercase().contains("cache-control: no-store"), "{answer}");
    let second = answer.split("\"token\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    assert!(site.ctl(&["token", "revoke", "by-admin"]).status.success());
    for _ in 0..2 {
        let gone = site.with(&tokens[2], &["get", "status"]);
        assert_eq!(gone.status.code(), Some(6), "{}", err(&gone));
        assert!(err(&gone).contains("is not one of this daemon, or was revoked"), "{}", err(&gone));
        // A token of the same name is another.
        site.ctl(&["token", "create", "by-admin", "--role", "admin"]);
    }
    assert!(site.with(&second, &["get", "status"]).status.success());
    let events = site.events();
    for said in [
        "token second (viewer, number ",
        ") was created by token by-admin (admin), until it is revoked",
        ") was revoked by user 0 (admin)",
    ] {
        assert!(events.contains(said), "{said}: {events}");
    }
    assert_eq!(site.house.daemon.stop(), Some(0));
}

/// Ends when the daemon ends it, or after 30 seconds with status 28.
fn watch(site: &Site, token: &str, query: &str, accept: &str) -> std::process::Child {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &site.house.net.server, "curl", "-sN", "--max-time", "30"]);
    command.args(["-H", &format!("Authorization: Bearer {token}"), "-H", &format!("Accept: {accept}")]);
    command.arg(format!("http://{API}/v1/events{query}")).stdout(Stdio::piped()).spawn().unwrap()
}

#[test]
fn what_a_token_watches_ends_with_it() {
    let Some(site) = Site::new() else { return };
    let stays = site.create(&["stays", "--role", "viewer"]);
    let revoked = site.create(&["revoked", "--role", "viewer"]);
    let short = site.create(&["short", "--role", "viewer", "--expires", "4s"]);
    let newest = site.ask(&stays, "GET /v1/events", "").1;
    let newest = newest.split("\"next\":").nth(1).unwrap().split([',', '}']).next().unwrap().to_owned();
    let stream = |token: &str| watch(&site, token, "", "text/event-stream");
    let (mut one, mut two, mut other) = (stream(&revoked), stream(&short), stream(&stays));
    let poll = watch(&site, &revoked, &format!("?wait=300&after={newest}&stage=ack"), "application/json");
    // Each watches before anything ends.
    let first = |child: &mut std::process::Child| {
        let mut begun = [0; 10];
        child.stdout.as_mut().unwrap().read_exact(&mut begun).unwrap();
    };
    [&mut one, &mut two, &mut other].into_iter().for_each(first);
    let began = Instant::now();
    assert!(site.ctl(&["token", "revoke", "revoked"]).status.success());
    let one = one.wait_with_output().unwrap();
    assert_eq!(one.status.code(), Some(0), "the daemon ended it");
    assert!(began.elapsed() < Duration::from_secs(10));
    let said = String::from_utf8_lossy(&one.stdout).into_owned();
    assert!(!said.contains("was revoked by"), "{said}");
    let poll = poll.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&poll.stdout).into_owned();
    assert!(said.contains("\"status\":401") && said.contains("revoked or has expired meanwhile"), "{said}");
    // Nothing happens when a token expires: the stream ends by the clock.
    assert_eq!(two.wait_with_output().unwrap().status.code(), Some(0), "the daemon ended it");
    let (status, said) = site.ask(&short, "GET /v1/status", "");
    assert_eq!(status, 401, "{said}");
    assert!(said.contains("the token short expired at "), "{said}");
    let list = site.ctl(&["token", "list"]);
    assert!(String::from_utf8_lossy(&list.stdout).contains("(expired)"));
    assert!(other.try_wait().unwrap().is_none(), "this token is good");
    assert_eq!(site.house.daemon.stop(), Some(0));
    let rest = other.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&rest.stdout).contains("was revoked by user 0 (admin)"));
}

/// Two pools, each with two machines, and a deployment on one of each.
const POOLS: &str = "[profile.base]\nboot = 'local'\n\
    [pool.blue]\nprofile = 'base'\nselect = { team = 'blue' }\n\
    [pool.red]\nprofile = 'base'\nselect = { team = 'red' }\n\
    [machine.b1]\nmac = '00:11:22:33:44:01'\nlabels = { team = 'blue' }\n\
    [machine.b2]\nmac = '00:11:22:33:44:02'\nlabels = { team = 'blue', rack = 'x' }\n\
    [machine.r1]\nmac = '00:11:22:33:44:03'\nlabels = { team = 'red' }\n\
    [machine.r2]\nmac = '00:11:22:33:44:04'\nlabels = { team = 'red', rack = 'x' }\n\
    [boot.loud]\nkernel = 'files/vmlinuz'\ncmdline = ['inst.vncpassword=hunter4']\n\
    [deployment.on-blue]\nmachine = 'b1'\nboot = 'local'\naddress = '10.0.10.41'\n\
    [deployment.on-red]\nmachine = 'r1'\nboot = 'local'\naddress = '10.0.10.42'\n";

#[test]
fn a_token_of_a_pool_changes_its_deployments_and_nothing_else() {
    let Some(site) = Site::new() else { return };
    let unknown = site.ctl(&["token", "create", "early", "--role", "editor", "--pool", "blue"]);
    assert!(err(&unknown).contains("has no pool blue"), "{}", err(&unknown));
    let inventory = site.house.folder.path().join("inventory");
    let secret = |words: &str| {
        let line = format!("cd '{}' && '{VOLDEMORT}' secret {words}", inventory.display());
        let output = Command::new("sh").args(["-c", &line]).output().unwrap();
        assert!(output.status.success(), "{}", err(&output));
    };
    std::fs::create_dir(inventory.join("secrets")).unwrap();
    std::fs::write(inventory.join("../bmc"), "ADMIN:hunter2").unwrap();
    secret("keygen ../age.key > secrets/recipients.txt");
    secret("add bmc < ../bmc");
    let file = inventory.join("pools.toml");
    std::fs::write(&file, POOLS).unwrap();
    let admin = site.create(&["all", "--role", "admin"]);
    let end = Instant::now() + Duration::from_secs(30);
    while site.ask(&admin, "GET /v1/pools/red", "").0 != 200 {
        assert!(Instant::now() < end, "the pools are live");
        std::thread::sleep(Duration::from_millis(100));
    }
    let viewer = site.ctl(&["token", "create", "odd", "--role", "viewer", "--pool", "blue"]);
    assert!(err(&viewer).contains("a viewer changes nothing"), "{}", err(&viewer));
    let blue = site.create(&["blue", "--role", "editor", "--pool", "blue"]);
    // Even an admin's is bound.
    let chief = site.create(&["chief", "--role", "admin", "--pool", "blue"]);
    let claimer = site.create(&["taker", "--role", "claimer", "--pool", "blue"]);
    let list = site.ctl(&["token", "list", "-o", "json"]);
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    let of = |name: &str| {
        list.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap()["pools"].clone()
    };
    assert_eq!((of("blue"), of("all")), (serde_json::json!(["blue"]), serde_json::json!([])));

    let one = |verb: &str, kind: &str, name: &str, settings: &[(&str, &str)]| {
        let setting = |(key, value): &(&str, &str)| serde_json::json!({ "path": [key], "value": value });
        let settings: Vec<serde_json::Value> = settings.iter().map(setting).collect();
        serde_json::json!({ "verb": verb, "kind": kind, "name": name, "settings": settings })
    };
    let edit = |token: &str, edit: serde_json::Value| {
        site.ask(token, "POST /v1/edits", &serde_json::json!({ "edit": edit }).to_string())
    };
    let before = std::fs::read_to_string(&file).unwrap();
    let here = ("address", "10.0.10.53");
    let mut select = one("create", "deployment", "any-x", &[("boot", "local"), here]);
    let rack = serde_json::json!({ "path": ["select"], "value": { "rack": "x" } });
    select["settings"].as_array_mut().unwrap().push(rack);
    for (what, edit_of) in [
        ("another pool's", one("update", "deployment", "on-red", &[("address", "10.0.10.52")])),
        ("a deletion there", one("delete", "deployment", "on-red", &[])),
        ("a new installation there", one("redeploy", "deployment", "on-red", &[])),
        ("away from the pool", one("update", "deployment", "on-blue", &[("machine", "r2")])),
        ("into the pool", one("update", "deployment", "on-red", &[("machine", "b2")])),
        ("one that is of no pool", one("update", "deployment", "harry", &[("address", "10.0.10.52")])),
        (
            "a new one elsewhere",
            one("create", "deployment", "new", &[("machine", "r2"), ("boot", "local"), here]),
        ),
        (
            "a machine of its own",
            one("create", "deployment", "new", &[("mac", "00:11:22:33:44:99"), here, ("boot", "local")]),
        ),
        ("whatever has a label", select),
        ("a machine", one("update", "machine", "b1", &[("mac", "00:11:22:33:44:77")])),
        ("a machine's labels", one("create", "machine", "b9", &[("mac", "00:11:22:33:44:78")])),
        ("a boot", one("delete", "boot", "local", &[])),
        ("a profile", one("update", "profile", "base", &[("boot", "local"), ("template", "x")])),
    ] {
        for token in [&blue, &chief] {
            let (status, said) = edit(token, edit_of.clone());
            // Some would be wrong for everybody; none is done.
            assert!(status == 403 || status == 422, "{what}: {status} {said}");
            assert!(status == 403 || !said.contains("written\""), "{what}: {said}");
        }
    }
    let (status, said) = edit(&blue, one("update", "deployment", "on-red", &[("address", "10.0.10.52")]));
    assert!(
        status == 403 && said.contains("out-of-scope") && said.contains("not certainly of them"),
        "{said}"
    );
    // On a machine of the pool the holder is root, and reads what the machine is sent: no other secret is named there,
    // however that is written, and what is masked is not written back.
    let bmc = serde_json::json!({ "secret": "bmc" });
    for (path, value, why) in [
        (&["vars", "user"][..], bmc.clone(), "would name the secret bmc"),
        (&["vars"], serde_json::json!({ "user": [{ "of": bmc }] }), "would name the secret bmc"),
        (&["vars", "user", "secret"], "bmc".into(), "would name the secret bmc"),
        (&["users"], serde_json::json!([{ "name": "a", "password-hash": bmc }]), "would name the secret bmc"),
        (&["vars", "user"], "(masked)".into(), "a credential that it is not shown"),
    ] {
        let mut naming = one("update", "deployment", "on-blue", &[]);
        naming["settings"] = serde_json::json!([{ "path": path, "value": value }]);
        let (status, said) = edit(&blue, naming);
        assert!(status == 403 && said.contains("out-of-scope") && said.contains(why), "{path:?}: {said}");
    }
    let loud = |token: &str| site.ask(token, "GET /v1/boots/loud", "").1;
    assert!(loud(&admin).contains("inst.vncpassword=hunter4"));
    for token in [&blue, &chief, &claimer] {
        let said = loud(token);
        assert!(said.contains("inst.vncpassword=(masked)") && !said.contains("hunter4"), "{said}");
    }
    // One of several is enough, also only to see what it would do.
    let good = one("update", "deployment", "on-blue", &[("address", "10.0.10.51")]);
    let bad = one("update", "deployment", "on-red", &[("address", "10.0.10.52")]);
    for body in [
        serde_json::json!({ "edits": [good, bad] }),
        serde_json::json!({ "edit": bad, "dry_run": true }),
        serde_json::json!({ "edit": good, "installed": true }),
    ] {
        let (status, said) = site.ask(&blue, "POST /v1/edits", &body.to_string());
        assert_eq!(status, 403, "{body}: {said}");
    }
    let consent = serde_json::json!({ "edit": good, "consent": { "removals": 1 } });
    let (status, said) = site.ask(&chief, "POST /v1/edits", &consent.to_string());
    assert!(status == 403 && said.contains("consents to nothing"), "others may have changed more: {said}");
    assert_eq!(edit(&claimer, good.clone()).0, 403, "a claimer edits nothing");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before, "nothing of all this was written");

    // Every route that changes something is closed, except those that judge; reading is not bound.
    let contract =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/openapi.json")).unwrap();
    let contract: serde_json::Value = serde_json::from_str(&contract).unwrap();
    let mut closed = 0;
    for (path, operations) in contract["paths"].as_object().unwrap() {
        let path = match path.split_once('{') {
            Some((before, _)) => format!("{before}nobody"),
            None => path.clone(),
        };
        for (method, operation) in operations.as_object().unwrap() {
            let (role, method) = (operation["x-role"].as_str(), method.to_uppercase());
            let judges = path == "/v1/edits" || path.starts_with("/v1/claims");
            let Some(role) = role.filter(|_| !judges) else { continue };
            let (status, said) = site.ask(&chief, &format!("{method} {path}"), "");
            let is_change = method != "GET" && role != "viewer";
            assert_eq!(status == 403, is_change, "{method} {path}: {status} {said}");
            closed += usize::from(is_change);
        }
    }
    assert!(closed >= 8, "{closed}");

    // What is of the pool it changes, makes and takes away.
    let mut new = one("create", "deployment", "new", &[("boot", "local"), ("address", "10.0.10.53")]);
    let team = serde_json::json!({ "path": ["select"], "value": { "team": "blue" } });
    new["settings"].as_array_mut().unwrap().push(team);
    for edit_of in [good, new, one("delete", "deployment", "on-blue", &[])] {
        let (status, said) = edit(&blue, edit_of.clone());
        assert_eq!(status, 200, "{edit_of}: {said}");
    }
    let after = std::fs::read_to_string(&file).unwrap();
    assert!(after.contains("on-red") && !after.contains("on-blue"), "{after}");
    assert_eq!(site.house.daemon.stop(), Some(0));
}
