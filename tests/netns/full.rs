//! A state directory whose file system is full for a while, or becomes read-only, under a real daemon.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;

use super::daemon::{Daemon, VOLDEMORT, VOLDEMORTCTL, detect, eventually};
use super::net::{Net, has, skipped};

const MANIFEST: &str = r#"
[subnet.lab]
cidr    = "10.0.10.0/24"
dynamic = "10.0.10.100-10.0.10.249"
"#;

/// A file system of the state directory's own; unmounted with this.
struct Disk(PathBuf);

impl Disk {
    fn mount(words: &[&str], at: &Path) -> Option<Disk> {
        let mounted = Command::new("mount").args(words).arg(at).status();
        mounted.is_ok_and(|status| status.success()).then(|| Disk(at.into()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

struct Site {
    net: Net,
    config: PathBuf,
    root: PathBuf,
    state: PathBuf,
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Option<Site> {
        let programs = has("busybox") && has("mount");
        let net = Net::new().filter(|_| programs)?;
        let folder = tempfile::tempdir().unwrap();
        let (root, state) = (folder.path().join("inventory"), folder.path().join("state"));
        std::fs::create_dir_all(&root).unwrap();
        std::fs::create_dir_all(&state).unwrap();
        std::fs::write(root.join("lab.toml"), MANIFEST).unwrap();
        let config = detect(&net, folder.path());
        Some(Site { net, config, root, state, folder })
    }

    fn start(&self) -> Daemon {
        Daemon::start(&self.net, &self.config, &self.root.display().to_string())
    }

    /// Whether the machine with this last byte gets a lease.
    fn leased(&self, number: usize) -> bool {
        self.net.client_mac(&mac(number));
        let id = "55".repeat(200);
        let ask =
            format!("busybox udhcpc -f -q -n -t 2 -T 1 -x 0x3d:{id}{number:02x} -i cli -s /bin/true 2>&1");
        self.net.client_output(&["sh", "-c", &ask]).contains("lease of")
    }

    fn status(&self) -> String {
        self.net.server_output(&[VOLDEMORTCTL, "get", "status"])
    }

    /// The leases of these machines, and of no others, are there.
    fn holds(&self, leased: &[usize]) {
        let leases = self.net.server_output(&[VOLDEMORTCTL, "get", "leases"]);
        let bound = |number: &usize| {
            leases.lines().any(|line| line.contains(&mac(*number)) && line.contains("bound"))
        };
        let known: Vec<usize> = (0..200).filter(bound).collect();
        assert_eq!(known, leased, "{leases}");
    }

    fn check(&self) {
        let check = [VOLDEMORT, "state", "check", "--directory", &self.state.display().to_string()];
        let said = self.net.server_output(&check);
        assert!(said.contains("ok: records.snapshot") && !said.contains("WRONG"), "{said}");
    }
}

fn mac(number: usize) -> String {
    format!("52:54:00:00:00:{number:02x}")
}

#[test]
fn a_full_disk_stops_leases_until_there_is_room_and_nothing_is_half_done() {
    let Some(site) = Site::new() else { return };
    let words = ["-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs"];
    let Some(disk) = Disk::mount(&words, &site.state) else {
        skipped::<()>("`mount -t tmpfs` does not work here");
        return;
    };
    let daemon = site.start();
    assert!(!site.status().contains("can't store"), "{}", site.status());
    let fill = format!("cat /dev/zero > {}/filler 2>/dev/null; true", site.state.display());
    Command::new("sh").args(["-c", &fill]).status().unwrap();

    // What the log has of zeros written ahead is used up first.
    let full = (0..200).find(|number| !site.leased(*number)).expect("the disk is full");
    let mut leased: Vec<usize> = (0..full).collect();
    let said = eventually("the condition", || site.status(), |text| text.contains("can't store"));
    assert!(said.contains("since"), "{said}");
    site.holds(&leased);
    // A revision that does not fit either is not adopted in part.
    let larger = format!("{MANIFEST}domain = \"full.example\"\n#{}\n", "x".repeat(400_000));
    std::fs::write(site.root.join("lab.toml"), larger).unwrap();
    let serial = |text: &str| text.lines().find(|line| line.contains("serial")).map(str::to_owned);
    let before = serial(&said);
    daemon.signal(Signal::SIGHUP);
    eventually("why it is not", || site.status(), |text| text.contains("condition    NotStored"));
    let said = eventually("it is still full", || site.status(), |text| text.contains("can't store"));
    assert_eq!(serial(&said), before);
    site.check();

    std::fs::remove_file(site.state.join("filler")).unwrap();
    eventually("the condition goes by itself", || site.status(), |text| !text.contains("can't store"));
    assert!(site.leased(full), "{}", site.status());
    leased.push(full);
    eventually("the revision is adopted by itself", || site.status(), |text| serial(text) != before);
    daemon.murder();
    site.check();
    let daemon = site.start();
    site.holds(&leased);
    assert!(!site.status().contains("doubtful"), "{}", site.status());
    assert_eq!(daemon.stop(), Some(0));
    drop(disk);
}

#[test]
fn a_disk_that_became_read_only_is_said_and_loses_nothing() {
    let Some(site) = Site::new() else { return };
    if !has("mkfs.ext4") || !has("e2fsck") {
        return;
    }
    let image = site.folder.path().join("image").display().to_string();
    std::fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    assert!(Command::new("mkfs.ext4").args(["-q", &image]).status().unwrap().success());
    let Some(disk) = Disk::mount(&["-o", "loop", &image], &site.state) else {
        skipped::<()>("`mount -o loop` does not work here");
        return;
    };
    let daemon = site.start();
    assert!(site.leased(1));
    // As ext4 does it by itself when it meets an error.
    let abort = Command::new("mount").args(["-o", "remount,abort"]).arg(&site.state).status();
    assert!(abort.unwrap().success());
    assert!(!site.leased(2), "what can't be stored is not acknowledged");
    let said = eventually("the condition", || site.status(), |text| text.contains("can't store"));
    assert!(said.contains("Read-only file system"), "{said}");
    site.holds(&[1]);
    assert!(site.leased(1) || site.status().contains("can't store"), "it still answers");
    assert_eq!(daemon.stop(), Some(0), "it ends as ever");

    drop(disk);
    // Namespaces of other tests may hold the mount for longer: a copy is what a crash left.
    let copy = site.folder.path().join("copy").display().to_string();
    std::fs::copy(&image, &copy).unwrap();
    let image = copy;
    let repaired = Command::new("e2fsck").args(["-fy", &image]).output().unwrap();
    assert!(repaired.status.code().is_some_and(|code| code < 4), "{repaired:?}");
    let disk = Disk::mount(&["-o", "loop", &image], &site.state).expect("it could be mounted before");
    site.check();
    let daemon = site.start();
    site.holds(&[1]);
    assert!(site.leased(2));
    assert!(!site.status().contains("can't store"));
    assert_eq!(daemon.stop(), Some(0));
    drop(disk);
}

/// A web server whose every file has 1 GiB, as it says.
const LARGE_WEB: &str = "
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Length', str(1 << 30))
        self.end_headers()
        self.wfile.write(bytes(1 << 20))
http.server.ThreadingHTTPServer(('127.0.0.1', 8098), Handler).serve_forever()
";

#[test]
fn an_image_that_does_not_fit_leaves_the_state_its_room() {
    let Some(site) = Site::new() else { return };
    if !has("python3") {
        return;
    }
    let words = ["-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs"];
    let Some(disk) = Disk::mount(&words, &site.state) else {
        skipped::<()>("`mount -t tmpfs` does not work here");
        return;
    };
    let web = site.net.run_beside(&["python3", "-c", LARGE_WEB]);
    let listens = || site.net.server_output(&["ss", "-Hltn", "sport = :8098"]);
    eventually("the web server listens", listens, |text| text.contains("8098"));
    let daemon = site.start();
    let iso = format!("iso = {{ url = 'http://127.0.0.1:8098/x.iso', sha256 = '{}' }}", "1".repeat(64));
    std::fs::write(site.root.join("boot.toml"), format!("[boot.w]\n{iso}\nkernel = 'linux'\n")).unwrap();
    daemon.signal(Signal::SIGHUP);
    let sources = || site.net.server_output(&[VOLDEMORTCTL, "get", "status", "-o", "json"]);
    eventually("why it is not fetched", sources, |text| text.contains("it has 1024 MiB, and "));
    assert_eq!(std::fs::read_dir(site.state.join("fetched")).unwrap().count(), 0);
    assert!(site.leased(1));
    assert!(!site.status().contains("can't store"), "{}", site.status());
    assert_eq!(daemon.stop(), Some(0));
    drop((web, disk));
}
