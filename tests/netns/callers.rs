//! Who may ask the daemon for what: other users of its host, pages in a browser, daemons of other
//! network namespaces, callers that take their time.

use std::io::{BufRead, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::daemon::{Daemon, VOLDEMORTCTL, detect};
use super::net::{Net, has, within};

const API: &str = "127.0.0.1:12345";
const MANIFEST: &str = "[subnet.lab]\ncidr = '10.0.10.0/24'\n[boot.local]\nkernel = 'files/vmlinuz'\n\
                        [deployment.harry]\nmac = '00:11:22:33:44:55'\naddress = '10.0.10.30'\nboot = 'local'\n";
/// A user of this host that is nobody.
const NOBODY: &str = "65534";

/// A daemon whose socket lies in the test's folder, with an inventory; and its token.
pub(crate) struct House {
    pub net: Net,
    pub folder: tempfile::TempDir,
    pub daemon: Daemon,
    pub token: String,
}

impl House {
    fn new() -> Option<House> {
        House::behind(&[], "")
    }

    /// Its daemon is started by another program, with these settings of `[api]` besides.
    pub(crate) fn behind(before: &[&str], settings: &str) -> Option<House> {
        House::at(API, before, settings)
    }

    /// The same, which listens at this address of TCP.
    pub(crate) fn at(tcp: &str, before: &[&str], settings: &str) -> Option<House> {
        let net = Net::new()?;
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        std::fs::set_permissions(here, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir_all(here.join("inventory/files")).unwrap();
        std::fs::write(here.join("inventory/lab.toml"), MANIFEST).unwrap();
        std::fs::write(here.join("inventory/files/vmlinuz"), "the kernel").unwrap();
        let config = detect(&net, here);
        let text = std::fs::read_to_string(&config).unwrap();
        let listen = format!("unix:{}", here.join("run/api.sock").display());
        let ours = text.replace("unix:/run/voldemort/api.sock", &listen).replace(API, tcp);
        assert_ne!(ours, text);
        std::fs::write(&config, ours.replace("[api]\n", &format!("[api]\n{settings}\n"))).unwrap();
        let inventory = here.join("inventory").display().to_string();
        let daemon = Daemon::behind(&net, &config, &["--new-site", "--inventory", &inventory], before);
        assert!(daemon.said.contains(&format!("API  {listen}")), "{:?}", daemon.said);
        let house = House::of(net, folder, daemon);
        let metadata = std::fs::metadata(house.token_file()).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        Some(house)
    }

    /// The daemon that was started there last, which wrote a token of its own.
    pub(crate) fn of(net: Net, folder: tempfile::TempDir, daemon: Daemon) -> House {
        let mut house = House { net, folder, daemon, token: String::new() };
        house.token = std::fs::read_to_string(house.token_file()).unwrap().trim().to_owned();
        house
    }

    fn token_file(&self) -> PathBuf {
        let line = self.daemon.said.iter().find(|line| line.contains("token: ")).unwrap();
        PathBuf::from(line.split("token: ").nth(1).unwrap().trim_end_matches(')'))
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("run/api.sock")
    }

    /// `voldemortctl` as a user.
    fn ctl(&self, user: &str, words: &[&str]) -> Output {
        self.ctl_as(&["--reuid", user, "--regid", user, "--clear-groups"], words)
    }

    /// The same with what setpriv(1) sets.
    pub(crate) fn ctl_as(&self, who: &[&str], words: &[&str]) -> Output {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.net.server, "setpriv"]).args(who);
        command.arg(VOLDEMORTCTL).args(words).stdin(Stdio::null());
        command.output().unwrap()
    }

    /// One request in the daemon's namespace: status, head and body.
    pub(crate) fn ask(&self, head: &str, body: &str) -> (u16, String) {
        within(&self.net.server, || {
            let mut stream = TcpStream::connect(API).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let length = body.len();
            let text = format!("{head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
            let _ = stream.write_all(text.as_bytes());
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            let answer = String::from_utf8_lossy(&answer).into_owned();
            let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
            (status, answer)
        })
    }

    /// The head of a request with the token.
    fn head(&self, line: &str) -> String {
        format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json",
            self.token
        )
    }
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn another_user_of_the_host_reads_and_commands_nothing() {
    if !has("setpriv") {
        return;
    }
    let Some(house) = House::new() else { return };
    let socket = house.socket().display().to_string();
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    for words in
        [&["get", "status"][..], &["suspend"], &["update", "deployment", "harry", "--disk", "/dev/vda"]]
    {
        let by_socket = house.ctl(NOBODY, &[&["--server", &socket], words].concat());
        assert_eq!(by_socket.status.code(), Some(6), "{words:?}: {}", err(&by_socket));
        assert!(err(&by_socket).contains("usermod -aG voldemort"), "{}", err(&by_socket));
        let by_tcp = house.ctl(NOBODY, &[&["--server", API], words].concat());
        assert_eq!(by_tcp.status.code(), Some(6), "{words:?}: {}", err(&by_tcp));
        assert!(err(&by_tcp).contains("--token-file"), "{}", err(&by_tcp));
    }
    // Root may do both, and a wrong token is reported.
    for server in [&*socket, API] {
        let status = house.ctl("0", &["--server", server, "get", "status"]);
        assert!(status.status.success(), "{}", err(&status));
    }
    let wrong = house.folder.path().join("wrong");
    std::fs::write(&wrong, "wrong\n").unwrap();
    let refused = house.ctl("0", &["--token-file", wrong.to_str().unwrap(), "get", "status"]);
    assert_eq!(refused.status.code(), Some(6), "{}", err(&refused));
    assert!(err(&refused).contains("not one of this daemon"), "{}", err(&refused));
    assert_eq!(house.daemon.stop(), Some(0));
    assert!(!Path::new(&socket).exists());
    let away = Command::new(VOLDEMORTCTL).args(["--server", &socket, "get", "status"]).output().unwrap();
    assert_eq!(away.status.code(), Some(5), "{}", err(&away));
}

#[test]
fn every_error_has_one_form() {
    let Some(house) = House::new() else { return };
    let plain = |host: &str, line: &str| {
        let head = format!("{line} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}", house.token);
        house.ask(&head, "")
    };
    let tree = |more: &str| format!("{{\"revision\":\"x\",\"files\":{{\"a.toml\":\"x\"}}{more}}}");
    let cases = [
        (421, plain("rebound.example", "GET /v1/status")),
        (400, plain("localhost\r\nHost: localhost", "GET /v1/status")),
        (404, plain("localhost", "GET /v1/nothing")),
        (405, plain("localhost", "POST /v1/status")),
        (400, plain("localhost", "GET /v1/status?colour=red")),
        (400, plain("localhost", "GET /v1/events?after=x")),
        (410, plain("localhost", "GET /v1/events?after=500")),
        (410, plain("localhost", "GET /v1/events?after=1&lineage=another")),
        (404, plain("localhost", "GET /v1/deployments/nobody")),
        (404, plain("localhost", "GET /v1/why/nobody")),
        (400, plain("localhost", "GET /v1/deployments/%ff")),
        (415, plain("localhost", "POST /v1/plan")),
        (401, house.ask("GET /v1/status HTTP/1.1\r\nHost: localhost", "")),
        (401, house.ask("GET /metrics HTTP/1.1\r\nHost: localhost", "")),
        (400, house.ask("nonsense", "")),
        (400, house.ask("GET /v1/status HTTP/1.1\r\nHost: localhost\r\nno colon", "")),
        (400, house.ask("GET /v1/status HTTP/1.1\r\nHost: localhost\r\nA: b\r\n folded", "")),
        (400, house.ask("GET /v1/status HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: x", "")),
        (400, house.ask("GET /v1/status HTTP/1.1", "")),
        (414, house.ask(&format!("GET /{} HTTP/1.1\r\nHost: localhost", "x".repeat(70_000)), "")),
        (431, house.ask(&format!("GET / HTTP/1.1\r\nHost: localhost{}", "\r\na: b".repeat(200)), "")),
        (400, house.ask("GET /healthz?deep=1 HTTP/1.1\r\nHost: localhost", "")),
        (400, plain("localhost", "GET /v1/events?after=1&after=2")),
        (400, plain("localhost", "GET /v1/events?mac=00:11:22:33:44:55&mac=00:11:22:33:44:56")),
        (400, plain("localhost", "GET /v1/leases?stat=bound")),
        (400, plain("localhost", "GET /v1/leases?sort=stat")),
        (400, plain("localhost", "GET /v1/machines?label==")),
        (400, plain("localhost", "GET /v1/machines?continue=x")),
        (400, plain("localhost", "DELETE /v1/leases/10.0.10.30?force=true")),
        (404, plain("localhost", "DELETE /v1/leases/10.0.10.99")),
        (400, plain("localhost", "DELETE /v1/leases/nonsense")),
        (404, plain("localhost", "DELETE /v1/effects/99")),
        (400, plain("localhost", "DELETE /v1/effects/first")),
        (405, plain("localhost", "TRACE /v1/status")),
        (405, plain("localhost", "OPTIONS /v1/status")),
        (400, house.ask(&house.head("POST /v1/plan"), "{")),
        (400, house.ask(&house.head("POST /v1/plan"), &tree(",\"root\":\"/etc\""))),
        (422, house.ask(&house.head("POST /v1/plan"), &tree(""))),
        (422, house.ask(&house.head("POST /v1/plan"), &tree("").replace("a.toml", "../a.toml"))),
        (422, house.ask(&house.head("POST /v1/plan"), &tree("").replace("a.toml", ".base/.note.json"))),
        (409, house.ask(&house.head("POST /v1/orders"), "{\"order\":\"resume\"}")),
        (409, house.ask(&house.head("POST /v1/orders"), "{\"order\":\"approve-installs\"}")),
        (
            409,
            house.ask(
                &house.head("POST /v1/orders"),
                "{\"order\":\"approve-installs\",\"all\":true,\"deployments\":[\"harry\"]}",
            ),
        ),
        (
            400,
            house.ask(
                &house.head("POST /v1/orders"),
                "{\"order\":\"approve-installs\",\"all\":true,\"label\":{\"rack\":\"1\"}}",
            ),
        ),
        (
            400,
            house.ask(
                &house.head("POST /v1/orders"),
                "{\"order\":\"suspend\",\"reason\":\"x\",\"for\":\"ever\"}",
            ),
        ),
        (
            422,
            house.ask(
                &house.head("POST /v1/edits"),
                "{\"edit\":{\"verb\":\"update\",\"kind\":\"deployment\",\"name\":\"harry\",\
                 \"settings\":[{\"path\":[\"boot\"],\"value\":\"nothing\"}]}}",
            ),
        ),
    ];
    for (at, (code, (status, answer))) in cases.iter().enumerate() {
        assert_eq!(status, code, "{at}: {answer}");
        assert!(answer.to_lowercase().contains("content-type: application/problem+json"), "{at}: {answer}");
        let body = answer.split("\r\n\r\n").nth(1).unwrap();
        let body = body.trim_start_matches(|c: char| c != '{');
        let body: serde_json::Value =
            serde_json::Deserializer::from_str(body).into_iter().next().unwrap().unwrap();
        assert_eq!(body["status"], *code, "{at}");
        assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{at}: {answer}");
    }
    let (status, answer) = plain("localhost", "GET /v1/events");
    assert_eq!(status, 200);
    assert!(answer.contains("\"lineage\":\"") && answer.contains("\"oldest\":"), "{answer}");
    assert_eq!(house.daemon.stop(), Some(0));
}

#[test]
fn a_posted_tree_reaches_no_file_of_the_host() {
    let Some(house) = House::new() else { return };
    let secret = house.folder.path().join("secret");
    std::fs::write(&secret, "the age key").unwrap();
    let plan = |kernel: &str, more: &str| {
        let manifest = MANIFEST.replace("files/vmlinuz", kernel);
        let body = serde_json::json!({ "revision": "x", "files": { "lab.toml": manifest } }).to_string();
        let body = body.replacen('{', &format!("{{{more}"), 1);
        house.ask(&house.head("POST /v1/plan"), &body)
    };
    for kernel in [secret.to_str().unwrap(), "/etc/shadow", "/nowhere", "/etc/../etc/shadow", "../secret"] {
        let (status, answer) = plan(kernel, "");
        assert_eq!(status, 422, "{kernel}: {answer}");
    }
    let described = |sha256: &str| {
        let blob = serde_json::json!({ "length": 10, "mark": "x", "sha256": sha256 });
        plan("files/vmlinuz", &format!("\"media\":{{\"files/vmlinuz\":{blob}}},"))
    };
    let digest = "9b7e7b4a0e0b5ac36e7c9aef0e6d0e0e3f1c8bd4d2ce3f5a2b9b4ad0d5ad7d10";
    let (status, answer) = described(digest);
    assert_eq!(status, 422, "{answer}");
    assert!(answer.contains("[media] paths"), "{answer}");
    // What the source has is used, and what is sent.
    let command = |words: &[&str]| {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &house.net.server, super::daemon::VOLDEMORT]).args(words);
        command.stdin(Stdio::null()).output().unwrap()
    };
    let other = house.folder.path().join("other");
    std::fs::create_dir_all(other.join("files")).unwrap();
    std::fs::write(other.join("lab.toml"), MANIFEST.replace(".30", ".31")).unwrap();
    std::fs::write(other.join("files/vmlinuz"), [0xff; 1000]).unwrap();
    let server = house.socket().display().to_string();
    let apply = |directory: &Path| {
        command(&["apply", directory.to_str().unwrap(), "--auto-approve", "--server", &server])
    };
    let applied = apply(&other);
    assert!(applied.status.success(), "{}", err(&applied));
    house.net.client_ip(&["address", "add", "10.0.10.31/24", "dev", "cli"]);
    if has("curl") {
        let kernel = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code} %{size_download}"];
        let served =
            house.net.client_output(&[&kernel[..], &["http://10.0.10.1/local/files/vmlinuz"]].concat());
        assert_eq!(served, "200 1000");
    }
    // One that is too large to be sent, and is nowhere.
    std::fs::write(other.join("files/vmlinuz"), vec![0xff; (1 << 20) + 1]).unwrap();
    let refused = apply(&other);
    assert_eq!(refused.status.code(), Some(1), "{}", err(&refused));
    assert!(err(&refused).contains("[media] paths"), "{}", err(&refused));
    assert_eq!(house.daemon.stop(), Some(0));
}

#[test]
fn two_daemons_of_one_host_are_two() {
    let (Some(one), Some(two)) = (Net::new(), Net::new()) else { return };
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let daemons = [&one, &two].into_iter().zip(&folders).map(|(net, folder)| {
        let root = folder.path().join("inventory");
        std::fs::create_dir_all(&root).unwrap();
        Daemon::start(net, &detect(net, folder.path()), &root.display().to_string())
    });
    let daemons: Vec<Daemon> = daemons.collect();
    for (net, folder) in [&one, &two].into_iter().zip(&folders) {
        let status = net.server_output(&[VOLDEMORTCTL, "get", "status"]);
        let own = folder.path().join("inventory").display().to_string();
        assert!(status.contains(&own), "{status}");
    }
    for daemon in daemons {
        assert_eq!(daemon.stop(), Some(0));
    }
}

#[test]
fn slow_callers_keep_nobody_out_and_a_closed_pipe_is_no_mistake() {
    // Who is kept out waits until a silent connection is given up, which takes longer than this.
    const PATIENCE: Duration = Duration::from_secs(9);
    let Some(house) = House::new() else { return };
    let connect = |text: &str, count: usize| {
        within(&house.net.server, || {
            let one = |_| {
                let mut stream = TcpStream::connect(API).unwrap();
                let _ = stream.write_all(text.as_bytes());
                stream
            };
            (0..count).map(one).collect::<Vec<_>>()
        })
    };
    let get = |server: &str| {
        let asked = Instant::now();
        let status = house.ctl("0", &["--server", server, "get", "status"]);
        assert!(status.status.success(), "{}", err(&status));
        asked.elapsed()
    };
    // Unknown and silent connections make room.
    let idle = connect("GET /v1/status HTTP/1.1\r\n", 700);
    assert!(get(API) < PATIENCE);
    drop(idle);
    // Known ones whose bodies do not come, who wait for what does not happen, or take no answer.
    let body = format!("{}\r\nContent-Length: 1000\r\n\r\n{{", house.head("POST /v1/apply"));
    let newest = house.ask(&house.head("GET /v1/events"), "").1;
    let newest = newest.split("\"next\":").nth(1).unwrap().split([',', '}']).next().unwrap().to_owned();
    let poll = format!("{}\r\n\r\n", house.head(&format!("GET /v1/events?wait=300&after={newest}")));
    let unread = format!("{}\r\n\r\n", house.head("GET /metrics")).repeat(5);
    for (what, text) in [("bodies", body), ("polls", poll), ("unread", unread)] {
        let slow = connect(&text, 600);
        assert!(get(&house.socket().display().to_string()) < PATIENCE, "{what}");
        let took = get(API);
        assert!(took < PATIENCE, "{what}: {took:?}");
        drop(slow);
    }
    if has("sh") {
        let line = format!("{VOLDEMORTCTL} --server {} get status | head -0", house.socket().display());
        let output = Command::new("sh").args(["-c", &line]).output().unwrap();
        assert_eq!(err(&output), "");
    }
    assert_eq!(house.daemon.stop(), Some(0));
}

/// Lines of a stream of events, as they come.
struct Watch {
    curl: std::process::Child,
    lines: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
}

impl Watch {
    fn new(house: &House, query: &str, more: &[&str]) -> Watch {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &house.net.server, "curl", "-sN", "--max-time", "30", "--unix-socket"])
            .arg(house.socket());
        command
            .args(["-H", "Accept: text/event-stream"])
            .args(more)
            .arg(format!("http://localhost/v1/events{query}"));
        let mut curl = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = std::io::BufReader::new(curl.stdout.take().unwrap()).lines();
        Watch { curl, lines }
    }

    /// The id and the data of the next event.
    fn next(&mut self) -> Option<(String, serde_json::Value)> {
        let mut id = String::new();
        loop {
            let line = self.lines.next()?.unwrap();
            if let Some(text) = line.strip_prefix("id: ") {
                id = text.to_owned();
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some((id, serde_json::from_str(data).unwrap()));
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.curl.kill();
        let _ = self.curl.wait();
    }
}

#[test]
fn events_are_streamed_and_a_stream_goes_on_where_it_was_cut() {
    if !has("curl") {
        return;
    }
    let Some(house) = House::new() else { return };
    let order = |order: &str| {
        let output = house.ctl("0", &["--server", house.socket().to_str().unwrap(), order]);
        assert!(output.status.success(), "{}", err(&output));
    };
    let mut all = Watch::new(&house, "", &[]);
    let (first, event) = all.next().unwrap();
    assert_eq!(event["stage"], "daemon", "{event}");
    order("suspend");
    let (second, _) = std::iter::from_fn(|| all.next())
        .find(|(_, event)| event["text"].as_str().unwrap().contains("Suspended"))
        .unwrap();
    assert_ne!(first, second);
    drop(all);
    order("resume");
    order("suspend");
    // What happened between the two streams is in the second, and nothing twice.
    let mut again = Watch::new(&house, "", &["-H", &format!("Last-Event-ID: {second}")]);
    let (third, event) = again.next().unwrap();
    assert!(event["text"].as_str().unwrap().contains("Suspended"), "{event}");
    let number = |id: &str| id.rsplit('.').next().unwrap().parse::<u64>().unwrap();
    assert!(number(&third) > number(&second));
    // Only what is wanted comes.
    let mut none = Watch::new(&house, "?stage=ack,offer&machine=harry", &[]);
    order("resume");
    order("suspend");
    again.next().unwrap();
    assert_eq!(house.daemon.stop(), Some(0), "no stream holds the daemon up");
    assert!(none.next().is_none() && std::iter::from_fn(|| again.next()).count() < 10);
}

#[test]
fn a_stream_that_would_have_a_gap_is_refused() {
    let Some(house) = House::new() else { return };
    let ask = |query: &str, more: &str| {
        let head = house.head(&format!("GET /v1/events{query}"));
        house.ask(&format!("{head}\r\nAccept: text/event-stream{more}"), "").0
    };
    assert_eq!(ask("?after=500", ""), 410);
    assert_eq!(ask("", "\r\nLast-Event-ID: another.1"), 410);
    assert_eq!(ask("", "\r\nLast-Event-ID: one"), 400);
    assert_eq!(ask("?stage=sleeping", ""), 400);
    assert_eq!(ask("?label==", ""), 400);
    assert_eq!(house.daemon.stop(), Some(0));
}
