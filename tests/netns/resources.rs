//! One resource at a time: as it is written, what it means, and writes that are held to what their writer has seen.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::callers::House;
use super::daemon::{VOLDEMORTCTL, eventually};
use super::net::has;

/// A request by the socket: status, head, and body as JSON.
fn ask(house: &House, arguments: &[&str], path: &str) -> (u16, String, Value) {
    let socket = house.socket().display().to_string();
    let output = Command::new("curl")
        .args(["-s", "-i", "--max-time", "60", "--unix-socket", &socket])
        .args(arguments)
        .arg(format!("http://localhost{path}"))
        .output()
        .unwrap();
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (status, head.to_owned(), serde_json::from_str(body).unwrap_or_default())
}

fn edit(house: &House, headers: &[&str], edit: &Value) -> (u16, String, Value) {
    let body = json!({ "edit": edit }).to_string();
    let mut arguments = vec!["-X", "POST", "-H", "Content-Type: application/json", "-d", body.as_str()];
    headers.iter().for_each(|header| arguments.extend(["-H", header]));
    ask(house, &arguments, "/v1/edits")
}

fn set(key: &str, value: &Value) -> Value {
    let setting = json!({ "path": [key], "value": value });
    json!({ "verb": "update", "kind": "deployment", "name": "harry", "settings": [setting] })
}

#[test]
fn a_resource_is_shown_as_written_and_changed_as_seen() {
    if !has("curl") {
        return;
    }
    let Some(house) = House::behind(&[], "") else { return };
    let file = house.folder.path().join("inventory/lab.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    let more = "[pool.spare]\nprofile = 'base'\nselect = { rack = 'r1' }\n[profile.base]\nboot = 'local'\n\
                [profile.web]\nextends = 'base'\ntimezone = 'UTC'\n\
                [machine.ron]\nmac = '00:11:22:33:44:56'\nlabels = { rack = 'r1' }\n";
    std::fs::write(&file, before + more).unwrap();
    let status = || ask(&house, &[], "/v1/pools/spare").0.to_string();
    eventually("the pool is live", status, |status| status == "200");

    let (_, head, harry) = ask(&house, &[], "/v1/deployments/harry");
    let written = json!({ "mac": "00:11:22:33:44:55", "address": "10.0.10.30", "boot": "local" });
    assert_eq!((&harry["spec"], &harry["origin"]), (&written, &json!("lab.toml:5:13")), "{harry:#}");
    assert_eq!((&harry["resolved"]["subnet"], &harry["subnet"]["name"]), (&json!("lab"), &json!("lab")));
    assert_eq!(harry["status"]["phase"], harry["phase"]);
    assert_eq!(harry["status"]["conditions"][0]["type"], "assigned");
    let tag = harry["etag"].as_str().unwrap().to_owned();
    assert!(head.to_lowercase().contains(&format!("etag: {tag}")), "{head}");
    let known = format!("If-None-Match: \"x\", W/{tag}");
    assert_eq!(ask(&house, &["-H", &known], "/v1/deployments/harry").0, 304);

    let (_, _, pool) = ask(&house, &[], "/v1/pools/spare");
    assert_eq!(pool["spec"], json!({ "profile": "base", "select": { "rack": "r1" } }));
    assert_eq!(pool["status"]["conditions"][0]["status"], false, "{pool:#}");
    let (_, _, boot) = ask(&house, &[], "/v1/boots/local");
    assert_eq!(
        (&boot["spec"]["kernel"], &boot["resolved"]["prefix"]),
        (&json!("files/vmlinuz"), &json!("local"))
    );
    let (_, _, subnet) = ask(&house, &[], "/v1/subnets/lab");
    assert_eq!(subnet["resolved"]["cidr"], json!(["10.0.10.0/24"]));
    assert_eq!(ask(&house, &[], "/v1/profiles/base").2["spec"], json!({ "boot": "local" }));
    let web = ask(&house, &[], "/v1/profiles/web").2;
    assert_eq!((&web["extends"], &web["boot"]), (&json!(["base"]), &json!("local")), "inherited: {web:#}");
    assert_eq!(web["resolved"]["values"], json!({ "timezone": "UTC" }));
    assert_eq!((&pool["profile"], &pool["select"]), (&json!("base"), &json!({ "rack": "r1" })));
    // Each kind of the manifests has a list, whose rows are what one resource begins with.
    for (kind, name) in [
        ("deployments", "harry"),
        ("machines", "ron"),
        ("boots", "local"),
        ("subnets", "lab"),
        ("profiles", "web"),
        ("pools", "spare"),
    ] {
        let rows = ask(&house, &[], &format!("/v1/{kind}?name={name}")).2;
        let one = ask(&house, &[], &format!("/v1/{kind}/{name}")).2;
        let [Value::Object(row)] = rows.as_array().unwrap().as_slice() else { panic!("{kind}: {rows:#}") };
        assert!(row.iter().all(|(member, value)| one[member] == *value), "{kind}: {row:?} {one:#}");
    }
    assert_eq!(
        ask(&house, &[], "/v1/profiles?sort=-name&fields=name").2,
        json!([{ "name": "web" }, { "name": "base" }])
    );
    assert_eq!(ask(&house, &[], "/v1/subnets?gateway=192.*").2, json!([]));
    assert_eq!(ask(&house, &[], "/v1/templates").2, json!([]));
    let sources = ask(&house, &[], "/v1/sources?fields=name,condition").2;
    assert_eq!(sources, json!([{ "name": "inventory", "condition": "Ready" }]));
    let revisions = ask(&house, &[], "/v1/revisions").2;
    let live = &revisions[0];
    assert_eq!((&live["live"], &live["author"]), (&json!(true), &Value::Null), "{revisions:#}");
    assert!(live["effect"].as_str().unwrap().starts_with("Plan: ") && live["since"].is_string(), "{live:#}");
    assert_eq!(ask(&house, &[], "/v1/machines/ron").2["spec"]["labels"], json!({ "rack": "r1" }));
    // A machine that a deployment implies is written nowhere.
    let implied = ask(&house, &[], "/v1/machines/harry").2;
    assert!(implied["spec"].is_null() && implied["name"] == "harry", "{implied:#}");
    for path in ["/v1/templates/nobody", "/v1/profiles/..", "/v1/subnets/%2e%2e", "/v1/machines/NO BODY"] {
        let status = ask(&house, &["--path-as-is"], &path.replace(' ', "%20")).0;
        assert_eq!(status, 404, "{path}");
    }

    // Two writers that have seen the same: the later one has to look again.
    let held = format!("If-Match: {tag}");
    let disk = |disk: &str| set("disk", &json!(disk));
    let (status, _, written) = edit(&house, &[&held], &disk("/dev/vda"));
    assert_eq!((status, &written["outcome"]), (200, &json!("written")), "{written:#}");
    let (status, head, late) = edit(&house, &[&held], &disk("/dev/vdb"));
    let (_, _, now) = ask(&house, &[], "/v1/deployments/harry");
    assert_eq!((status, &late["outcome"], &late["etag"]), (412, &json!("changed"), &now["etag"]), "{late:#}");
    assert!(head.to_lowercase().contains("etag: "), "{head}");
    assert_eq!(now["spec"]["disk"], "/dev/vda");
    assert_eq!(edit(&house, &["If-Match: no-quotes"], &disk("/dev/vdb")).0, 400);
    let create = json!({ "verb": "create", "kind": "deployment", "name": "new", "mac": "00:11:22:33:44:57",
        "settings": [{ "path": ["mac"], "value": "00:11:22:33:44:57" }, { "path": ["boot"], "value": "local" }] });
    assert_eq!(edit(&house, &["If-Match: *"], &create).0, 412, "there is none yet");

    // Several at once: all or none, each held to what its writer has seen.
    let several = |edits: &Value| {
        let body = json!({ "edits": edits, "dry-run": false }).to_string();
        ask(&house, &["-X", "POST", "-H", "Content-Type: application/json", "-d", &body], "/v1/edits")
    };
    let with = |mut edit: Value, tag: &str| {
        edit["if_match"] = json!(tag);
        edit
    };
    let ron = json!({ "verb": "update", "kind": "machine", "name": "ron",
        "settings": [{ "path": ["labels", "row"], "value": "7" }] });
    let (_, _, now) = ask(&house, &[], "/v1/deployments/harry");
    let (tag, old) = (now["etag"].as_str().unwrap(), tag.as_str());
    let (status, head, late) = several(&json!([ron, with(disk("/dev/vdd"), old)]));
    assert_eq!(
        (status, &late["edit"]["index"], &late["edit"]["name"]),
        (412, &json!(1), &json!("harry")),
        "{late:#}"
    );
    assert!(head.to_lowercase().contains(&format!("etag: {tag}")), "{head}");
    assert!(ask(&house, &[], "/v1/machines/ron").2["spec"]["labels"]["row"].is_null());
    let (status, _, written) = several(&json!([ron, with(disk("/dev/vdd"), tag)]));
    assert_eq!(
        (status, written["change"]["resources"].as_array().map(Vec::len)),
        (200, Some(2)),
        "{written:#}"
    );
    assert_eq!(ask(&house, &[], "/v1/machines/ron").2["spec"]["labels"]["row"], "7");
    // What would be wrong is named by its rule, its place, and the edit.
    let wrong = json!({ "verb": "update", "kind": "deployment", "name": "harry",
        "settings": [{ "path": ["boot"], "value": "nothing" }] });
    let (status, _, invalid) = several(&json!([ron, wrong]));
    let first = &invalid["problems"][0];
    assert_eq!(
        (status, &invalid["code"], &first["path"]),
        (422, &json!("invalid"), &json!("lab.toml")),
        "{invalid:#}"
    );
    assert!(
        first["code"].as_str().unwrap().starts_with('V')
            && first["line"].is_u64()
            && first["column"].is_u64()
    );
    assert!(
        first["message"].as_str().unwrap().contains("nothing") && first["edit"]["index"] == 1,
        "{invalid:#}"
    );
    for (edits, wanted) in [
        (json!([]), 400),
        (json!([with(ron.clone(), "no quotes")]), 400),
        (json!(vec![ron.clone(); 1001]), 413),
        (json!([{ "verb": "update" }]), 400),
    ] {
        let (status, _, problem) = several(&edits);
        assert_eq!(status, wanted, "{problem:#}");
    }

    // Who does not wait finds the end later.
    let (status, head, begun) = edit(&house, &["Prefer: wait=0"], &disk("/dev/vde"));
    assert_eq!((status, &begun["state"]), (202, &json!("running")), "{begun:#}");
    let path = head.lines().find_map(|line| line.strip_prefix("location: ")).unwrap().trim().to_owned();
    let state = || ask(&house, &[], &path).2["state"].to_string();
    eventually("the operation ends", state, |state| state == "\"done\"");
    let (_, _, done) = ask(&house, &[], &path);
    assert_eq!((&done["status"], &done["result"]["outcome"]), (&json!(200), &json!("written")), "{done:#}");
    assert_eq!(ask(&house, &[], "/v1/deployments/harry").2["spec"]["disk"], "/dev/vde");
    let ended = || ask(&house, &[], "/v1/audit").2.to_string();
    let id = path.rsplit('/').next().unwrap();
    eventually("its end is audited", ended, |audit| audit.contains(&format!("operation {id}: ")));
    let listed = ask(&house, &[], "/v1/operations").2;
    assert_eq!((&listed[0]["id"], &listed[0]["result"]), (&json!(id), &Value::Null), "{listed:#}");
    // A plan, too, may be waited for elsewhere.
    let tree =
        json!({ "revision": "mine", "files": { "lab.toml": std::fs::read_to_string(&file).unwrap() } })
            .to_string();
    let arguments =
        ["-X", "POST", "-H", "Content-Type: application/json", "-H", "Prefer: wait=0", "-d", &tree];
    let (status, _, begun) = ask(&house, &arguments, "/v1/plan");
    assert_eq!((status, &begun["what"]), (202, &json!("plan revision mine")), "{begun:#}");
    let path = format!("/v1/operations/{}", begun["id"].as_str().unwrap());
    let state = || ask(&house, &[], &path).2["state"].to_string();
    eventually("the plan is made", state, |state| state == "\"done\"");
    assert_eq!(ask(&house, &[], "/v1/operations/00000000-1").0, 410);
    assert_eq!(edit(&house, &["Prefer: wait=soon"], &disk("/dev/vde")).0, 400);
    let (status, head, _) = edit(&house, &["Prefer: wait=60"], &disk("/dev/vdf"));
    assert!(status == 200 && head.to_lowercase().contains("preference-applied: wait=60"), "{head}");

    // The same request once more is not a second one.
    let raise = json!({ "verb": "redeploy", "kind": "deployment", "name": "harry" });
    let (status, _, first) = edit(&house, &["Idempotency-Key: k1"], &raise);
    assert_eq!(status, 200, "{first:#}");
    let number = || ask(&house, &[], "/v1/deployments/harry").2["redeploy"].clone();
    let once = number();
    let (status, head, again) = edit(&house, &["Idempotency-Key: k1"], &raise);
    assert_eq!((status, &again, number()), (200, &first, once), "done once");
    assert!(head.to_lowercase().contains("idempotency-replayed: true"), "{head}");
    assert_eq!(edit(&house, &["Idempotency-Key: k1"], &disk("/dev/vdc")).0, 422);
    assert_eq!(house.daemon.stop(), Some(0));
}

#[test]
fn viewers_see_no_credentials_that_are_written_plainly() {
    if !has("curl") {
        return;
    }
    let Some(house) = House::behind(&[], "") else { return };
    let file = house.folder.path().join("inventory/lab.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    let more = "[profile.base]\nboot = 'loud'\n[profile.base.vars]\nroot-hash = '$6$salt$hunter2hash'\n\
                admin = { password = 'hunter3', shell = 'bash' }\n\
                [boot.loud]\nkernel = 'files/vmlinuz'\ncmdline = ['quiet', 'inst.vncpassword=hunter4']\n\
                [deployment.ron]\nmac = '00:11:22:33:44:56'\naddress = '10.0.10.56'\nprofile = 'base'\n";
    std::fs::write(&file, before + more).unwrap();
    let status = || ask(&house, &[], "/v1/deployments/ron").0.to_string();
    eventually("the deployment is live", status, |status| status == "200");
    let wanted = json!({ "name": "reader", "role": "viewer" }).to_string();
    let (status, _, token) =
        ask(&house, &["-X", "POST", "-H", "Content-Type: application/json", "-d", &wanted], "/v1/tokens");
    assert!(status < 300, "{token:#}");
    let token = token["token"].as_str().unwrap();
    let paths = ["/v1/deployments/ron", "/v1/profiles/base", "/v1/boots/loud", "/v1/why/ron"];
    for path in paths {
        let (_, _, whole) = ask(&house, &[], path);
        assert!(whole.to_string().contains("hunter"), "an admin sees it: {path} {whole:#}");
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}");
        let (status, answer) = house.ask(&head, "");
        assert!(
            status == 200 && answer.contains("(masked)") && !answer.contains("hunter"),
            "{path}: {answer}"
        );
        let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(body["etag"], whole["etag"]);
    }
    // What people write besides is in events, and these in pages and streams.
    let order = json!({ "order": "suspend", "reason": "password=hunter5" }).to_string();
    let posted = ["-X", "POST", "-H", "Content-Type: application/json", "-d", &order];
    let (status, _, said) = ask(&house, &posted, "/v1/orders");
    assert_eq!(status, 200, "{said:#}");
    let socket = house.socket().display().to_string();
    for accept in ["Accept: application/json", "Accept: text/event-stream"] {
        let events = |through: &[&str]| {
            let mut words = vec!["curl", "-sN", "--max-time", "3", "-H", accept];
            words.extend(through);
            house.net.server_output(&words)
        };
        let bearer = format!("Authorization: Bearer {token}");
        let masked = events(&["-H", &bearer, "http://127.0.0.1:12345/v1/events"]);
        assert!(masked.contains("password=(masked)") && !masked.contains("hunter"), "{accept}: {masked}");
        let whole = events(&["--unix-socket", &socket, "http://localhost/v1/events"]);
        assert!(whole.contains("password=hunter5"), "an admin sees it: {whole}");
    }
    let (_, _, whole) = ask(&house, &[], "/v1/deployments/harry");
    let head =
        format!("GET /v1/deployments/harry HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}");
    let answer = house.ask(&head, "").1;
    let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body, whole, "what has none is the same");
    assert_eq!(house.daemon.stop(), Some(0));
}

#[test]
fn a_list_is_watched_until_its_reader_is_gone() {
    let Some(house) = House::behind(&[], "") else { return };
    let server = house.socket().display().to_string();
    let out = house.folder.path().join("out");
    let mut watch = Command::new(VOLDEMORTCTL)
        .args(["--server", &server, "get", "deployments", "--watch", "-o", "jsonl"])
        .stdout(std::fs::File::create(&out).unwrap())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let rows = || -> Vec<Value> {
        let text = std::fs::read_to_string(&out).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    let addresses = || rows().iter().map(|row| row["address"].to_string()).collect::<Vec<_>>().join(" ");
    eventually("the list is shown", addresses, |found| found == "\"10.0.10.30\"");
    let file = house.folder.path().join("inventory/lab.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("10.0.10.30", "10.0.10.31")).unwrap();
    eventually("the row that changed is shown", addresses, |found| found == "\"10.0.10.30\" \"10.0.10.31\"");
    let _ = watch.kill();
    let _ = watch.wait();
    // A pipe that is closed ends it, without a panic.
    let line = format!("'{VOLDEMORTCTL}' --server '{server}' get deployments --watch | head -n 1");
    let piped =
        Command::new("sh").args(["-c", &line]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    std::fs::write(&file, text).unwrap();
    let output = piped.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("NAME"), "{output:?}");
    assert_eq!(house.daemon.stop(), Some(0));
}
