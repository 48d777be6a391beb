//! Operations of the API over a restart of the daemon: who asked for one learns what became of it.

use std::net::TcpListener;

use serde_json::{Value, json};

use super::callers::House;
use super::daemon::{Daemon, eventually};
use super::net::within;

impl House {
    /// One request with its token: status, head and body.
    fn request(&self, line: &str, headers: &[&str], body: &Value) -> (u16, String, Value) {
        let token = format!("Authorization: Bearer {}", self.token);
        let first = format!("{line} HTTP/1.1");
        let mut head = vec![first.as_str(), "Host: localhost", &token, "Content-Type: application/json"];
        head.extend(headers);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, answer) = self.ask(&head.join("\r\n"), &body);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        (status, head.to_owned(), serde_json::from_str(body).unwrap_or_default())
    }

    /// An edit that nobody waits for: the path of its operation.
    fn edit_later(&self, disk: &str) -> String {
        let edit = json!({ "verb": "update", "kind": "deployment", "name": "harry",
            "settings": [{ "path": ["disk"], "value": disk }] });
        let (status, head, begun) =
            self.request("POST /v1/edits", &["Prefer: wait=0"], &json!({ "edit": edit }));
        assert_eq!((status, &begun["state"]), (202, &json!("running")), "{begun:#}");
        head.lines().find_map(|line| line.strip_prefix("location: ")).unwrap().to_owned()
    }

    fn operation(&self, path: &str) -> (u16, Value) {
        let (status, _, operation) = self.request(&format!("GET {path}"), &[], &Value::Null);
        (status, operation)
    }
}

#[test]
fn what_became_of_an_operation_is_known_after_a_restart() {
    let Some(house) = House::behind(&[], "") else { return };
    let done = house.edit_later("/dev/vdb");
    let id = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    let state = || house.operation(&done).1["state"].to_string();
    eventually("the operation ends", state, |state| state == "\"done\"");
    let audited = || house.request("GET /v1/audit", &[], &Value::Null).2.to_string();
    let end = format!("operation {}: update deployment harry (disk): written to lab.toml", id(&done));
    eventually("its end is audited", audited, |audit| audit.contains(&end));
    let house = house.again();
    let (status, shown) = house.operation(&done);
    assert_eq!((status, &shown["state"], &shown["status"]), (200, &json!("done"), &json!(200)), "{shown:#}");
    assert_eq!(shown["what"], "update deployment harry (disk)");
    assert_eq!(shown["noted"], "update deployment harry (disk): written to lab.toml");
    assert!(shown["by"].as_str().unwrap().contains("token"), "{shown:#}");
    assert!(shown["ended"].is_string() && shown["result"].is_null(), "{shown:#}");
    // None of these ever was, or nothing is left of it.
    let (start, _) = id(&done).split_once('-').map(|(start, n)| (start.to_owned(), n.to_owned())).unwrap();
    assert_eq!(house.operation(&format!("/v1/operations/{start}-99")).0, 410);
    assert_eq!(house.operation("/v1/operations/x").0, 404);

    // An edit waits for a repository that does not answer, and then the daemon is killed.
    let House { net, folder, daemon, .. } = house;
    assert_eq!(daemon.stop(), Some(0));
    let silent = within(&net.server, || TcpListener::bind("127.0.0.1:9418").unwrap());
    let config = folder.path().join("voldemort.toml");
    let before = std::fs::read_to_string(&config).unwrap();
    let git =
        "\n[inventory]\ngit = \"git://127.0.0.1/inventory.git\"\nbranch = \"main\"\nwrite = \"direct\"\n";
    std::fs::write(&config, before.clone() + git).unwrap();
    let daemon = Daemon::with(&net, &config, &[]);
    let house = House::of(net, folder, daemon);
    let cut = house.edit_later("/dev/vdc");
    drop(silent);
    std::fs::write(&config, before).unwrap();
    let house = house.again();
    let shown = || house.operation(&cut).1.to_string();
    let shown = eventually("the cut is entered", shown, |shown| shown.contains("it has no end"));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["state"], &shown["status"]), (&json!("cut"), &Value::Null), "{shown:#}");
    assert_eq!(shown["what"], "update deployment harry (disk)");
    assert_eq!(house.operation(&done).1["state"], "done");
    assert_eq!(house.daemon.stop(), Some(0));
}
