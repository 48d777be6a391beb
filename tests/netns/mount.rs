//! Files on a file server that stops answering: transfers of them end with an error, nothing else waits for
//! them, the status names them, and the daemon can still be stopped.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::daemon::eventually;
use super::fuse::{Away, NAME};
use super::services::{BACK, Host, LAB, offer};

const SIZE: usize = 5_000_000;
/// The daemon's patience with a file system, and some time for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20 + 8);
/// The same for the last resort at its end.
const END: Duration = Duration::from_secs(15 + 3);
/// Calls into one file system at a time: of transfers, of whoever looks at media, and threads of other work.
const THREADS: usize = 16 + 16 + 8;

fn url(scheme: &str) -> String {
    format!("{scheme}://10.0.10.1/b/files/big")
}

/// A download in the client's namespace.
fn download(host: &Host, url: &str) -> Child {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &host.net.client, "curl", "-s", "-f", "-m", "60", "-o", "/dev/null", url]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// The names of a process's threads.
fn threads(pid: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let name =
        |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    tasks.flatten().map(name).collect()
}

#[test]
fn a_file_server_that_does_not_answer_holds_up_its_own_files_alone() {
    let Some(host) = Host::new() else { return };
    let away = host.folder.path().join("away");
    std::fs::create_dir(&away).unwrap();
    let bytes: Vec<u8> = (0..SIZE).map(|at| (at / 7) as u8).collect();
    let Some(server) = Away::mount(&away, bytes.clone()) else { return };
    std::os::unix::fs::symlink(away.join(NAME), Path::new(&host.root).join("files/big")).unwrap();
    let lab =
        LAB.replace("kernel = \"files/vmlinuz\"", "kernel = \"files/vmlinuz\"\ninitrd = [\"files/big\"]");
    std::fs::write(Path::new(&host.root).join("lab.toml"), lab).unwrap();
    let mut config = std::fs::read_to_string(&host.config).unwrap();
    config.push_str(&format!("\n[media]\npaths = [\"{}\"]\n", away.display()));
    std::fs::write(&host.config, config).unwrap();
    // The file server first ends to hang, then the daemon ends.
    let (daemon, server) = (host.start(), server);
    let copy = host.folder.path().join("copy");
    let is_whole = |scheme: &str| {
        let to = copy.display().to_string();
        host.net.client_output(&["curl", "-s", "-f", "-m", "30", "-o", &to, &url(scheme)]);
        std::fs::read(&copy).is_ok_and(|read| read == bytes)
    };
    assert!(is_whole("http") && is_whole("tftp"), "{}", host.status());

    let before = threads(daemon.pid());
    server.hang(true);
    let start = Instant::now();
    let mut waiting: Vec<Child> = (0..40).map(|_| download(&host, &url("http"))).collect();
    waiting.extend((0..20).map(|_| download(&host, &url("tftp"))));
    while start.elapsed() < Duration::from_secs(8) {
        host.served(BACK, "beside files that hang");
    }
    let now = threads(daemon.pid());
    assert!(now.len() <= before.len() + THREADS, "{} threads before, now {now:?}", before.len());
    let shown = |status: &str| status.contains("files/big does not answer since");
    eventually("the status names it", || host.status(), shown);
    for mut child in waiting {
        assert!(!child.wait().unwrap().success(), "a download that could not be read");
    }
    assert!(start.elapsed() < PATIENCE, "each ends with an error: {:?}", start.elapsed());
    // It is known by now.
    let late = Instant::now();
    assert!(!download(&host, &url("http")).wait().unwrap().success());
    assert!(late.elapsed() < BACK, "{:?}", late.elapsed());

    server.hang(false);
    eventually("it answers again", || format!("{}", is_whole("http")), |whole| whole == "true");
    assert!(is_whole("tftp"));
    eventually("it is over", || host.status(), |status| !shown(status));

    server.hang(true);
    let mut stuck: Vec<Child> = ["http", "tftp"].map(|scheme| download(&host, &url(scheme))).into();
    let start = Instant::now();
    assert!(offer(&host.net).is_some());
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended(), Some(0), "a file system that hangs is no error of the daemon");
    assert!(start.elapsed() < END, "{:?}", start.elapsed());
    stuck.iter_mut().for_each(|child| drop((child.kill(), child.wait())));
}
