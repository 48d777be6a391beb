//! Files that machines fetch, against the real daemon: whatever is read again, restarted or tried in
//! between, they are served, and what can't be read does not hold up anything else.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::callers::House;
use super::daemon::{Daemon, VOLDEMORT, VOLDEMORTCTL, eventually};
use super::fuse::{Away, NAME};
use super::net::{Net, Running, has};

const MANIFEST: &str = "[subnet.lab]\ncidr = '10.0.10.0/24'\n[boot.d]\nkernel = 'files/vmlinuz'\n\
    [deployment.k]\nboot = 'd'\nmac = '52:54:00:00:00:01'\naddress = '10.0.10.20'\n";

struct Lab {
    folder: tempfile::TempDir,
    net: Net,
}

impl Lab {
    fn new() -> Option<Lab> {
        if !has("git") || !has("curl") {
            return None;
        }
        let lab = Lab { net: Net::new()?, folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(lab.path("inventory/files")).unwrap();
        std::fs::write(lab.path("inventory/a.toml"), MANIFEST).unwrap();
        std::fs::write(lab.path("inventory/files/vmlinuz"), vec![7; 100_000]).unwrap();
        Some(lab)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self, inventory: &str) -> PathBuf {
        let path = self.path("voldemort.toml");
        let text = format!(
            "[network]\ninterface = 'srv'\naddress = '10.0.10.1'\n[dhcp]\nmode = 'off'\n[inventory]\n{inventory}\n\
             poll = '1s'\n[state]\ndirectory = '{}'\n",
            self.path("state").display()
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    fn git(&self, line: &str) {
        let line = format!("git -c user.name=t -c user.email=t@localhost -c commit.gpgsign=false {line}");
        let output =
            Command::new("sh").args(["-c", &line]).current_dir(self.path("inventory")).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn commit(&self, file: &str, text: &str) {
        std::fs::write(self.path("inventory").join(file), text).unwrap();
        self.git("add -A && git -c user.name=t -c user.email=t@localhost commit -q -m change");
    }

    /// HTTP's word on the kernel.
    fn kernel(&self) -> String {
        self.net.server_output(&[
            "curl",
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "http://10.0.10.1/d/files/vmlinuz",
        ])
    }

    fn sources(&self) -> String {
        self.net.server_output(&[VOLDEMORTCTL, "get", "status", "-o", "json"])
    }

    fn log(&self) -> Vec<String> {
        let events = self.net.server_output(&[VOLDEMORTCTL, "events", "-o", "json"]);
        events.lines().map(str::to_owned).collect()
    }

    /// Makes the image `web.iso`, which holds `linux`; its SHA-256.
    fn image(&self) -> String {
        std::fs::create_dir(self.path("tree")).unwrap();
        std::fs::write(self.path("tree/linux"), "a kernel").unwrap();
        let made = Command::new("xorriso")
            .args(["-as", "mkisofs", "-quiet", "-R", "-o", "web.iso", "tree"])
            .current_dir(self.folder.path())
            .output();
        assert!(made.unwrap().status.success());
        let sha256 = Command::new("sha256sum").arg(self.path("web.iso")).output().unwrap().stdout;
        String::from_utf8_lossy(&sha256[..64]).into_owned()
    }

    /// Serves that image on this port: the last byte when the file `go` is there.
    fn web(&self, port: u16, go: &Path) -> Running {
        let (image, go, number) = (self.path("web.iso"), go.display().to_string(), port.to_string());
        let web =
            self.net.run_beside(&["python3", "-c", SLOW_WEB, &image.display().to_string(), &go, &number]);
        let listens = || self.net.server_output(&["ss", "-Hltn", &format!("sport = :{port}")]);
        eventually("the web server listens", listens, |text| text.contains(&number));
        web
    }
}

fn until(lab: &Lab, words: &str) {
    eventually(words, || lab.sources(), |text| text.contains(words));
}

#[test]
fn files_of_a_repository_stay_served() {
    let Some(lab) = Lab::new() else { return };
    lab.git("init -q -b main .");
    lab.commit("b.toml", "");
    let config = lab.config(&format!("git = 'file://{}'", lab.path("inventory").display()));
    let daemon = Daemon::with(&lab.net, &config, &[]);
    until(&lab, "\"Ready\"");
    assert_eq!(lab.kernel(), "200", "at first");
    lab.net.server_output(&[VOLDEMORTCTL, "update", "deployment", "k", "--timezone", "Etc/UTC", "--dry-run"]);
    assert_eq!(lab.kernel(), "200", "after a verb that wrote nothing");
    lab.commit("bad.toml", "x = 1\n");
    until(&lab, "\"Invalid\"");
    assert_eq!(lab.kernel(), "200", "after a broken commit");
    lab.git("rm -q -f bad.toml");
    lab.commit("b.toml", "# a remark\n");
    until(&lab, "\"Ready\"");
    assert_eq!(lab.kernel(), "200", "after a good commit");
    let inventory = lab.path("inventory").display().to_string();
    let planned = Command::new("ip")
        .args(["netns", "exec", &lab.net.server, VOLDEMORT, "plan", &inventory, "--detailed-exitcode"])
        .output()
        .unwrap();
    assert_eq!(planned.status.code(), Some(0), "{}", String::from_utf8_lossy(&planned.stdout));
    assert_eq!(daemon.stop(), Some(0));
    let daemon = Daemon::with(&lab.net, &config, &[]);
    until(&lab, "\"Ready\"");
    assert_eq!(lab.kernel(), "200", "after a restart");
    daemon.signal(Signal::SIGHUP);
    // A copy that was removed or written to is restored from the repository.
    for harm in
        [|path: &Path| std::fs::remove_file(path).unwrap(), |path: &Path| std::fs::write(path, "x").unwrap()]
    {
        let copies = std::fs::read_dir(lab.path("state/git/copies")).unwrap();
        copies.for_each(|copy| harm(&copy.unwrap().path()));
        eventually("a copy that was harmed", || lab.kernel(), |code| code == "200");
    }
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn an_image_without_an_end_holds_up_nothing() {
    let Some(lab) = Lab::new() else { return };
    let iso = |file: &str| {
        let iso =
            format!("[boot.e]\niso = {{ file = '{file}', sha256 = '{}' }}\nkernel = 'k'\n", "0".repeat(64));
        std::fs::write(lab.path("inventory/b.toml"), iso).unwrap();
    };
    let fifo = lab.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let fifo = fifo.display().to_string();
    let inventory = lab.path("inventory").display().to_string();
    for (file, words) in [(&*fifo, "a FIFO"), ("/dev/zero", "a character device")] {
        iso(file);
        let checked =
            Command::new("timeout").args(["60", VOLDEMORT, "check", &inventory, "--with-media"]).output();
        let checked = checked.unwrap();
        let said = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert_eq!(checked.status.code(), Some(1), "{said}");
        assert!(said.contains("b.toml:2:") && said.contains(words), "{said}");
    }
    let config = lab.config(&format!("directory = '{inventory}'"));
    let daemon = Daemon::with(&lab.net, &config, &[]);
    until(&lab, "a character device");
    std::fs::remove_file(lab.path("inventory/b.toml")).unwrap();
    until(&lab, "\"Ready\"");
    assert_eq!(lab.kernel(), "200");
    iso(&fifo);
    until(&lab, "a FIFO");
    assert_eq!(lab.kernel(), "200", "what was served stays");
    let events = lab
        .log()
        .into_iter()
        .filter(|line| line.contains("a FIFO") || line.contains("can't be read"))
        .count();
    assert!(events <= 1, "it is reported once: {events}");
    assert_eq!(daemon.stop(), Some(0));
}

/// A web server for one file, which waits before the last byte until the file `go` is there; arguments: the
/// file, `go`, the port.
const SLOW_WEB: &str = "
import http.server, os, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        content = open(sys.argv[1], 'rb').read()
        self.send_response(200)
        self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        self.wfile.write(content[:-1])
        self.wfile.flush()
        while not os.path.exists(sys.argv[2]): time.sleep(0.05)
        self.wfile.write(content[-1:])
http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[3])), Handler).serve_forever()
";

#[test]
fn an_image_is_fetched_before_its_revision_is_adopted() {
    let Some(lab) = Lab::new() else { return };
    if !has("python3") || !has("xorriso") {
        return;
    }
    let (sha256, go) = (lab.image(), lab.path("go"));
    let serve = || lab.web(8099, &go);
    let web = serve();
    let inventory = lab.path("inventory").display().to_string();
    let config = lab.config(&format!("directory = '{inventory}'"));
    let daemon = Daemon::with(&lab.net, &config, &[]);
    until(&lab, "\"Ready\"");
    let boot = |sha256: &str| {
        let url = "http://127.0.0.1:8099/images/web.iso";
        let text = format!("[boot.w]\niso = {{ url = '{url}', sha256 = '{sha256}' }}\nkernel = 'linux'\n");
        std::fs::write(lab.path("inventory/b.toml"), text).unwrap();
    };
    let fetched = || lab.net.server_output(&["curl", "-s", "http://10.0.10.1/w/linux"]);

    boot(&sha256);
    until(&lab, "it is being fetched");
    assert_eq!((lab.kernel().as_str(), fetched().contains("a kernel")), ("200", false));
    // Whoever checks without the image learns so, and where the daemon will get it.
    let checked = Command::new(VOLDEMORT).args(["check", &inventory]).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success() && said.contains("the daemon fetches it"), "{said}");
    std::fs::write(&go, "").unwrap();
    eventually("the image is served", fetched, |text| text == "a kernel");
    until(&lab, "\"Ready\"");

    // It is there for good: neither the server nor the daemon's life matters.
    web.signal(Signal::SIGTERM);
    web.wait();
    assert_eq!(daemon.stop(), Some(0));
    let daemon = Daemon::with(&lab.net, &config, &[]);
    until(&lab, "\"Ready\"");
    assert_eq!(fetched(), "a kernel");
    let kept = lab.path(&format!("state/fetched/{sha256}.iso"));
    assert_eq!(std::fs::read(&kept).unwrap(), std::fs::read(lab.path("web.iso")).unwrap());

    // Nobody answers, then the wrong bytes come: what is served stays, and the reason is said.
    boot(&"1".repeat(64));
    until(&lab, "127.0.0.1:8099");
    assert_eq!((lab.kernel().as_str(), fetched().as_str()), ("200", "a kernel"));
    let web = serve();
    boot(&"2".repeat(64));
    until(&lab, &format!("what came has the sha256 {sha256}"));
    assert_eq!((lab.kernel().as_str(), fetched().as_str()), ("200", "a kernel"));
    assert!(!lab.path(&format!("state/fetched/{}.iso", "2".repeat(64))).exists());
    boot(&sha256);
    until(&lab, "\"Ready\"");
    web.signal(Signal::SIGTERM);
    web.wait();
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn one_image_is_fetched_from_two_addresses_at_once() {
    let Some(lab) = Lab::new() else { return };
    if !has("python3") || !has("xorriso") {
        return;
    }
    let sha256 = lab.image();
    let (first, second) = (lab.path("go-first"), lab.path("go-second"));
    let webs = [lab.web(8096, &first), lab.web(8097, &second)];
    let config = lab.config(&format!("directory = '{}'", lab.path("inventory").display()));
    let daemon = Daemon::with(&lab.net, &config, &[]);
    until(&lab, "\"Ready\"");
    let boot = |name: &str, port: u16| {
        let url = format!("http://127.0.0.1:{port}/web.iso");
        format!("[boot.{name}]\niso = {{ url = '{url}', sha256 = '{sha256}' }}\nkernel = 'linux'\n")
    };
    std::fs::write(lab.path("inventory/b.toml"), boot("v", 8096) + &boot("w", 8097)).unwrap();
    // Only the last byte of both is not there yet.
    let whole = std::fs::metadata(lab.path("web.iso")).unwrap().len();
    let parts = || {
        let entries = std::fs::read_dir(lab.path("state/fetched")).into_iter().flatten();
        let lengths = entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()));
        lengths.filter(|length| *length == whole - 1).count().to_string()
    };
    eventually("both are on their way", parts, |count| count == "2");
    let kept = lab.path(&format!("state/fetched/{sha256}.iso"));
    let inode = || std::fs::metadata(&kept).map_or(0, |found| std::os::unix::fs::MetadataExt::ino(&found));
    std::fs::write(&first, "").unwrap();
    eventually("the first has come", || inode().to_string(), |inode| inode != "0");
    let before = inode();
    std::fs::write(&second, "").unwrap();
    until(&lab, "\"Ready\"");
    let kernel = |name: &str| {
        let url = format!("http://10.0.10.1/{name}/linux");
        eventually(
            "its kernel is served",
            || lab.net.server_output(&["curl", "-s", &url]),
            |text| text == "a kernel",
        )
    };
    kernel("v");
    kernel("w");
    assert_eq!(inode(), before, "what is served was replaced");
    let names = std::fs::read_dir(lab.path("state/fetched")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), [format!("{sha256}.iso").as_str()]);
    let false_words = ["what came has", "No such file", "no such file"];
    let wrong = lab.log().into_iter().find(|line| false_words.iter().any(|words| line.contains(words)));
    assert_eq!(wrong, None);
    drop(webs);
    assert_eq!(daemon.stop(), Some(0));
}

/// What a plan asks a file server that does not answer holds up no commit.
#[test]
fn a_plan_waits_alone_for_a_file_server_that_does_not_answer() {
    let Some(house) = House::behind(&[], "").filter(|_| has("curl")) else { return };
    let House { net, folder, daemon, token: _ } = house;
    assert_eq!(daemon.stop(), Some(0));
    let (away, media) = (folder.path().join("away"), folder.path().join("media"));
    for one in [&away, &media] {
        std::fs::create_dir(one).unwrap();
    }
    let Some(server) = Away::mount(&away, vec![7; 10]) else { return };
    let (config, inventory) = (folder.path().join("voldemort.toml"), folder.path().join("inventory"));
    let settings = std::fs::read_to_string(&config).unwrap();
    let paths = format!("\n[media]\npaths = ['{}', '{}']\n", away.display(), media.display());
    std::fs::write(&config, settings + &paths).unwrap();
    let daemon = Daemon::with(&net, &config, &["--inventory", inventory.to_str().unwrap()]);
    // The file server first ends to hang, then the daemon ends.
    let (house, server) = (House::of(net, folder, daemon), server);
    let socket = house.socket().display().to_string();
    let ask = |more: &[&str], path: &str| {
        let mut curl = Command::new("curl");
        curl.args(["-s", "--max-time", "60", "--unix-socket", &socket]).args(more);
        curl.arg(format!("http://localhost{path}")).stdin(Stdio::null()).stdout(Stdio::piped());
        curl.spawn().unwrap()
    };
    let said = |child: Child| String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let is_served = |name: &str| {
        let code = ["-o", "/dev/null", "-w", "%{http_code}"];
        said(ask(&code, &format!("/v1/deployments/{name}")))
    };
    eventually("the first revision", || is_served("harry"), |code| code == "200");
    let lab = inventory.join("lab.toml");
    let manifest = std::fs::read_to_string(&lab).unwrap();

    server.hang(true);
    let image = format!(
        "[boot.n]\niso = {{ file = '{}', sha256 = '{}' }}\n",
        away.join(NAME).display(),
        "0".repeat(64)
    );
    // By its place, and by its name: the same bytes may lie in a folder of media.
    for (boot, name) in
        [(image + "kernel = 'k'\n", "ron"), (format!("[boot.n]\nkernel = '{NAME}'\n"), "ginny")]
    {
        let files = serde_json::json!({ "lab.toml": format!("{manifest}{boot}"), NAME: "a kernel" });
        let tree = serde_json::json!({ "revision": "mine", "files": files }).to_string();
        let start = Instant::now();
        let plan = ask(&["-X", "POST", "-H", "Content-Type: application/json", "-d", &tree], "/v1/plan");
        std::thread::sleep(Duration::from_secs(1));
        let last = name.len();
        let more = format!(
            "[deployment.{name}]\nmac = '52:54:00:00:00:0{last}'\naddress = '10.0.10.4{last}'\nboot = 'local'\n"
        );
        std::fs::write(&lab, std::fs::read_to_string(&lab).unwrap() + &more).unwrap();
        eventually("a commit beside it", || is_served(name), |code| code == "200");
        let plan = said(plan);
        assert!(plan.contains(&format!("{NAME}` is still being read")), "{plan}");
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    }
    server.hang(false);
    assert_eq!(house.daemon.stop(), Some(0));
}
