//! The whole path with the real daemon: two commands, a machine that installs once, `kill -9` at
//! every step, broken edits, git, garbage.

use std::net::UdpSocket;
use std::path::Path;

use nix::sys::signal::Signal;

use super::daemon::{Daemon, VOLDEMORT, VOLDEMORTCTL, detect, eventually};
use super::machine::{get, inventory, udhcpc, url_in};
use super::net::{Net, has, within};

const HARRY: &str = "00:11:22:33:44:55";
const STRANGER: &str = "52:54:00:00:00:99";
const SCRIPT: &str = "http://10.0.10.1/ipxe/00-11-22-33-44-55.ipxe";

const MANIFEST: &str = r#"
[subnet.lab]
cidr    = "10.0.10.0/24"
gateway = "10.0.10.1"
dns     = ["10.0.10.1"]
dynamic = "10.0.10.100-10.0.10.199"

[boot.debian-12]
kernel  = "files/vmlinuz"
initrd  = ["files/initrd.gz"]
cmdline = ["auto=true", "priority=critical", "url={{ answers_url }}"]

[deployment.harry]
mac      = "00:11:22:33:44:55"
address  = "10.0.10.30"
boot     = "debian-12"
template = "preseed"
packages = ["openssh-server"]
redeploy = 1
"#;

fn phase(net: &Net) -> String {
    net.server_output(&[VOLDEMORTCTL, "get", "deployments", "-o", "json"])
}

#[test]
fn a_machine_installs_once_whatever_happens_to_the_daemon() {
    if !has("busybox") || !has("curl") {
        return;
    }
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (config, root) = (detect(&net, folder.path()), inventory(folder.path(), MANIFEST));
    let daemon = Daemon::start(&net, &config, &root);
    assert!(
        daemon.said.iter().any(|line| line.starts_with("API") && line.contains("12345")),
        "{:?}",
        daemon.said
    );
    assert!(daemon.said.iter().any(|line| line.contains("10.0.10.1:67")), "{:?}", daemon.said);

    let dynamic = udhcpc(&net, STRANGER);
    assert_eq!(udhcpc(&net, HARRY), "10.0.10.30");
    net.client_ip(&["address", "add", "10.0.10.30/24", "dev", "cli"]);
    let script = get(&net, SCRIPT);
    daemon.murder();

    // Nothing was destroyed yet: the same machine may start over.
    let daemon = Daemon::start(&net, &config, &root);
    assert_eq!(udhcpc(&net, STRANGER), dynamic, "the lease survives kill -9");
    assert_eq!(udhcpc(&net, HARRY), "10.0.10.30");
    assert_eq!(get(&net, SCRIPT), script);
    assert_eq!(get(&net, "http://10.0.10.1/debian-12/files/vmlinuz"), "the kernel");
    assert_eq!(get(&net, "tftp://10.0.10.1/debian-12/files/initrd.gz"), "the initrd");
    let answers = get(&net, url_in(&script, "/answers/"));
    assert!(answers.contains("openssh-server"), "{answers}");
    daemon.murder();

    // The answers are out and the report may be lost: no second installation.
    let daemon = Daemon::start(&net, &config, &root);
    assert!(!get(&net, SCRIPT).contains("kernel"), "an unreported installation is not repeated");
    eventually("the phase", || phase(&net), |text| text.contains("\"unreported\""));
    assert_eq!(get(&net, url_in(&answers, "/completed")), "");
    assert!(phase(&net).contains("\"installed\""));
    daemon.murder();

    let daemon = Daemon::start(&net, &config, &root);
    assert!(!get(&net, SCRIPT).contains("kernel"), "installed");
    assert_ne!(get(&net, url_in(&script, "/answers/")), answers, "the answers are gone");
    std::fs::write(Path::new(&root).join("lab.toml"), MANIFEST.replace("redeploy = 1", "redeploy = 2"))
        .unwrap();
    let again = eventually("raising redeploy", || get(&net, SCRIPT), |text| text.contains("kernel"));
    assert_ne!(again, script, "another installation has other URLs");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_broken_edit_changes_nothing_and_garbage_does_no_harm() {
    if !has("busybox") || !has("curl") {
        return;
    }
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (config, root) = (detect(&net, folder.path()), inventory(folder.path(), MANIFEST));
    let daemon = Daemon::start(&net, &config, &root);
    let manifest = Path::new(&root).join("lab.toml");
    let status = || net.server_output(&[VOLDEMORTCTL, "get", "status", "-o", "json"]);
    for broken in
        [MANIFEST.replace("boot     = \"debian-12\"", "boot = \"debian\""), "[[[".into(), String::new()]
    {
        std::fs::write(&manifest, broken).unwrap();
        daemon.signal(Signal::SIGHUP);
        let refused = |text: &str| text.contains("\"Invalid\"") || text.contains("\"Held\"");
        eventually("the refusal", status, refused);
        assert_eq!(udhcpc(&net, HARRY), "10.0.10.30");
        std::fs::write(&manifest, MANIFEST).unwrap();
        eventually("the recovery", status, |text| text.contains("\"Ready\""));
    }
    net.client_ip(&["address", "add", "10.0.10.30/24", "dev", "cli"]);
    within(&net.client, || {
        let socket = UdpSocket::bind("10.0.10.30:0").unwrap();
        for size in 0..600usize {
            let junk: Vec<u8> = (0..size).map(|at| (at * 31 + size * 17) as u8).collect();
            for port in [67, 69, 4011] {
                socket.send_to(&junk, ("10.0.10.1", port)).unwrap();
            }
        }
    });
    let junk = "head -c 20000 /dev/urandom | busybox nc -w 1 10.0.10.1 80 >/dev/null 2>&1; true";
    net.client_output(&["sh", "-c", junk]);
    assert_eq!(udhcpc(&net, HARRY), "10.0.10.30");
    assert!(get(&net, SCRIPT).starts_with("#!ipxe"));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn commits_of_a_repository_go_live() {
    if !has("git") || !has("busybox") || !has("curl") {
        return;
    }
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (config, root) = (detect(&net, folder.path()), inventory(folder.path(), MANIFEST));
    let git = |arguments: &str| {
        let script = format!("cd {root} && git -c user.name=t -c user.email=t@example.org {arguments}");
        assert!(
            std::process::Command::new("sh").args(["-c", &script]).status().unwrap().success(),
            "{script}"
        );
    };
    git("init -q -b main . && git add -A && git -c user.name=t -c user.email=t@example.org commit -qm one");
    let bare = folder.path().join("inventory.git");
    git(&format!("clone -q --bare . {}", bare.display()));
    let daemon = Daemon::start(&net, &config, &format!("file://{}", bare.display()));
    assert_eq!(udhcpc(&net, HARRY), "10.0.10.30");
    std::fs::write(Path::new(&root).join("lab.toml"), MANIFEST.replace("10.0.10.30", "10.0.10.31")).unwrap();
    git("commit -qam two");
    git(&format!("push -q {} main", bare.display()));
    eventually("the second commit", || udhcpc(&net, HARRY), |address| address == "10.0.10.31");
    let status = net.server_output(&[VOLDEMORTCTL, "get", "status", "-o", "json"]);
    assert!(status.contains("main@sha1:"), "{status}");
    assert_eq!(daemon.stop(), Some(0));

    // The same repository by its plain path.
    let daemon = Daemon::start(&net, &config, &bare.display().to_string());
    assert_eq!(udhcpc(&net, HARRY), "10.0.10.31");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_start_serves_the_last_good_state_and_forgets_no_safety_rule() {
    if !has("busybox") {
        return;
    }
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (config, root) = (detect(&net, folder.path()), inventory(folder.path(), MANIFEST));
    let manifest = Path::new(&root).join("lab.toml");
    let status = || net.server_output(&[VOLDEMORTCTL, "get", "status", "-o", "json"]);
    let daemon = Daemon::start(&net, &config, &root);
    assert_eq!(udhcpc(&net, HARRY), "10.0.10.30");
    daemon.murder();

    // Every deployment goes while nobody looks.
    let without = MANIFEST.split("[deployment.harry]").next().unwrap();
    std::fs::write(&manifest, without).unwrap();
    let daemon = Daemon::start(&net, &config, &root);
    let held = eventually("the refusal", status, |text| text.contains("\"Held\""));
    assert!(held.contains("--allow-removals 1"), "{held}");
    assert_eq!(udhcpc(&net, HARRY), "10.0.10.30");
    daemon.murder();

    // The source is gone.
    std::fs::rename(&root, folder.path().join("elsewhere")).unwrap();
    let daemon = Daemon::start(&net, &config, &root);
    eventually("the reason", status, |text| text.contains("\"Unreachable\""));
    let state = net.server_output(&[VOLDEMORTCTL, "get", "deployments"]);
    assert!(state.contains("harry"), "{state}");
    daemon.murder();

    // A person agrees to the exact number.
    std::fs::rename(folder.path().join("elsewhere"), &root).unwrap();
    let daemon = Daemon::start(&net, &config, &root);
    eventually("the refusal", status, |text| text.contains("\"Held\""));
    let apply = |extra: &[&str]| {
        net.server_output(&[&[VOLDEMORT, "apply", &root, "-y", "-o", "json"], extra].concat())
    };
    assert!(apply(&[]).contains("\"held\""));
    assert!(apply(&["--allow-removals", "2"]).contains("\"held\""));
    assert!(apply(&["--allow-removals", "1"]).contains("\"applied\""));
    eventually("the agreement", status, |text| text.contains("\"Ready\""));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_daemon_serves_its_environment_and_no_other() {
    if !has("busybox") {
        return;
    }
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (config, root) = (detect(&net, folder.path()), inventory(folder.path(), MANIFEST));
    let environments = Path::new(&root).join("environments");
    std::fs::create_dir(&environments).unwrap();
    for (name, last) in [("staging", 41), ("prod", 42)] {
        let text = format!("[deployment.harry]\naddress = \"10.0.10.{last}\"\n");
        std::fs::write(environments.join(format!("{name}.toml")), text).unwrap();
    }
    let settings = std::fs::read_to_string(&config).unwrap();
    let serve = |environment: &str| {
        let table = format!("\n[inventory]\ndirectory = {root:?}\nenvironment = \"{environment}\"\n");
        std::fs::write(&config, settings.clone() + &table).unwrap();
        Daemon::start(&net, &config, &root)
    };
    let daemon = serve("staging");
    assert!(daemon.said.iter().any(|line| line.ends_with("(environment staging)")), "{:?}", daemon.said);
    eventually("staging", || udhcpc(&net, HARRY), |address| address == "10.0.10.41");
    let run = |words: &[&str]| net.server_output(&[&[VOLDEMORT], words].concat());
    assert!(run(&["plan", &root]).contains("No changes"), "{}", run(&["plan", &root]));
    assert!(run(&["plan", &root, "--env", "prod"]).contains("10.0.10.42"));
    let refused = run(&["apply", &root, "--env", "prod", "-y", "-o", "json"]);
    assert!(refused.contains("serves environment `staging`, not `prod`"), "{refused}");
    std::fs::write(environments.join("staging.toml"), "[deployment.harry]\naddress = \"10.0.10.43\"\n")
        .unwrap();
    eventually("an edit of the overlay", || udhcpc(&net, HARRY), |address| address == "10.0.10.43");
    assert_eq!(daemon.stop(), Some(0));

    // The same files, another environment.
    let daemon = serve("prod");
    eventually("prod", || udhcpc(&net, HARRY), |address| address == "10.0.10.42");
    assert_eq!(daemon.stop(), Some(0));
}
