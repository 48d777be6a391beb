//! `voldemort state` and the refusal to start on a damaged state directory, under the real programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::daemon::{Daemon, VOLDEMORT, VOLDEMORTCTL, detect, eventually};
use super::net::{Net, has};

const MANIFEST: &str = r#"
[subnet.lab]
cidr    = "10.0.10.0/24"
dynamic = "10.0.10.100-10.0.10.199"

[boot.b]
kernel  = "files/vmlinuz"
cmdline = ["url={{ answers_url }}"]

[deployment.done]
mac      = "52:54:00:00:00:01"
address  = "10.0.10.31"
boot     = "b"
template = "preseed"
redeploy = 1

[deployment.later]
mac      = "52:54:00:00:00:03"
address  = "10.0.10.33"
boot     = "b"
template = "preseed"
redeploy = 1

[deployment.midway]
mac      = "52:54:00:00:00:02"
address  = "10.0.10.32"
boot     = "b"
template = "preseed"
redeploy = 1
"#;

fn lease(net: &Net, number: u8) -> bool {
    net.client_mac(&format!("52:54:00:00:00:{number:02x}"));
    let ask = "busybox udhcpc -f -q -n -t 5 -i cli -s /bin/true 2>&1";
    net.client_output(&["sh", "-c", ask]).contains("lease of")
}

fn script(net: &Net, number: u8) -> String {
    let url = format!("http://10.0.10.1/ipxe/52-54-00-00-00-{number:02x}.ipxe");
    get(net, &url)
}

fn get(net: &Net, url: &str) -> String {
    net.client_output(&["curl", "-s", "--max-time", "10", url])
}

fn url_in(text: &str, part: &str) -> String {
    let found = text.split_whitespace().find(|word| word.contains(part)).expect(part);
    found[found.find("http://").unwrap()..].trim_end_matches(';').to_owned()
}

/// The machine gets its answers as its installer would, and the first one reports; the URL of the answers.
fn answers(net: &Net, number: u8) -> String {
    assert!(lease(net, number));
    let address = format!("10.0.10.{}/24", 30 + number);
    net.client_ip(&["address", "add", &address, "dev", "cli"]);
    let url = url_in(&script(net, number), "/answers/");
    let answers = get(net, &url);
    assert!(answers.contains("/completed"), "{answers}");
    if number == 1 {
        assert_eq!(get(net, &url_in(&answers, "/completed")), "");
    }
    net.client_ip(&["address", "del", &address, "dev", "cli"]);
    url
}

/// What `voldemort` says, and whether it succeeded.
fn voldemort(words: &[&str]) -> (bool, String) {
    let output = Command::new(VOLDEMORT).args(words).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn bed(programs: &[&str]) -> Option<(Net, tempfile::TempDir, PathBuf, String)> {
    let programs = programs.iter().all(|program| has(program));
    let net = Net::new().filter(|_| programs)?;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("inventory");
    std::fs::create_dir_all(root.join("files")).unwrap();
    std::fs::write(root.join("lab.toml"), MANIFEST).unwrap();
    std::fs::write(root.join("files/vmlinuz"), "the kernel").unwrap();
    let config = detect(&net, folder.path());
    Some((net, folder, config, root.display().to_string()))
}

#[test]
fn a_backup_made_under_writes_is_restored_with_its_installations_in_doubt() {
    let Some((net, folder, config, root)) = bed(&["busybox", "curl"]) else { return };
    let (state, copy) = (folder.path().join("state"), folder.path().join("copy"));
    let daemon = Daemon::start(&net, &config, &root);
    answers(&net, 1);
    // The second machine has begun, and has not asked for its answers yet.
    assert!(lease(&net, 2));
    net.client_ip(&["address", "add", "10.0.10.32/24", "dev", "cli"]);
    let midway = url_in(&script(&net, 2), "/answers/");
    net.client_ip(&["address", "del", "10.0.10.32/24", "dev", "cli"]);
    // Copies are made while leases are written.
    std::thread::scope(|scope| {
        let leases = scope.spawn(|| (0x10..0x1a).all(|number| lease(&net, number)));
        let mut copies = 0;
        while !leases.is_finished() {
            let to = folder.path().join(format!("copy{copies}"));
            let (is_done, said) = voldemort(&["state", "backup", text(&to), "--directory", text(&state)]);
            assert!(is_done, "{said}");
            let (is_well, said) = voldemort(&["state", "check", "--directory", text(&to)]);
            assert!(is_well && !said.contains("WRONG"), "{said}");
            copies += 1;
        }
        assert!(leases.join().unwrap() && copies > 2, "{copies}");
    });
    let (is_done, said) = voldemort(&["state", "backup", text(&copy), "--directory", text(&state)]);
    assert!(is_done, "{said}");
    let (is_done, said) = voldemort(&["state", "backup", text(&copy), "--directory", text(&state)]);
    assert!(!is_done && said.contains("nothing is overwritten"), "{said}");
    assert_eq!(daemon.stop(), Some(0));
    let (is_done, said) = voldemort(&["state", "restore", text(&copy), "--directory", text(&state)]);
    assert!(!is_done && said.contains("nothing is overwritten"), "{said}");
    let (is_well, said) = voldemort(&["state", "check", "--directory", text(&state)]);
    assert!(is_well, "{said}");

    std::fs::rename(&state, folder.path().join("lost")).unwrap();
    let (is_done, said) = voldemort(&["state", "restore", text(&copy), "--directory", text(&state)]);
    assert!(is_done && said.contains("doubtful"), "{said}");
    let daemon = Daemon::start(&net, &config, &root);
    let deployments = net.server_output(&[VOLDEMORTCTL, "get", "deployments", "-o", "json"]);
    // One that had begun, and one that had not; both may have been installed since the backup.
    assert_eq!(deployments.matches("\"phase\": \"doubtful\"").count(), 2, "{deployments}");
    assert_eq!(deployments.matches("\"phase\": \"installed\"").count(), 1, "{deployments}");
    let leases = net.server_output(&[VOLDEMORTCTL, "get", "leases"]);
    assert_eq!(leases.matches("52:54:00:00:00:1").count(), 10, "{leases}");
    for number in [1u8, 2, 3] {
        let address = format!("10.0.10.{}/24", 30 + number);
        net.client_mac(&format!("52:54:00:00:00:{number:02x}"));
        net.client_ip(&["address", "add", &address, "dev", "cli"]);
        let said = script(&net, number);
        assert!(said.contains("#!ipxe") && !said.contains("vmlinuz"), "its disk is booted: {said}");
        assert!(!get(&net, &midway).contains("/completed"), "URLs of before open nothing");
        net.client_ip(&["address", "del", &address, "dev", "cli"]);
    }
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_lost_part_refuses_the_start_until_somebody_agrees() {
    let Some((net, folder, config, root)) = bed(&["busybox", "curl"]) else { return };
    let state = folder.path().join("state");
    let daemon = Daemon::start(&net, &config, &root);
    answers(&net, 1);
    daemon.murder();
    for (file, loss) in [("records.1.log", "records"), ("records.snapshot", "records"), ("state.key", "key")]
    {
        std::fs::write(state.join(file), "").unwrap();
        let start = [VOLDEMORT, "start", "services", "--config", text(&config), "--inventory", &root];
        let shell = format!("{} 2>&1; echo code $?", start.join(" "));
        let said = net.server_output(&["sh", "-c", &shell]);
        assert!(said.contains(file) && said.contains(&format!("--accept-loss {loss}")), "{said}");
        assert!(!said.contains("ready") && !said.contains("code 0"), "{said}");
        let (is_well, said) = voldemort(&["state", "check", "--directory", text(&state)]);
        assert!(!is_well && said.contains(file), "{said}");
        let daemon = Daemon::with(&net, &config, &["--inventory", &root, "--accept-loss", loss]);
        net.client_mac("52:54:00:00:00:01");
        net.client_ip(&["address", "replace", "10.0.10.31/24", "dev", "cli"]);
        eventually("it serves", || script(&net, 1), |text| text.contains("#!ipxe"));
        assert!(!script(&net, 1).contains("vmlinuz"), "an installed machine boots its disk");
        assert_eq!(daemon.stop(), Some(0));
        let (is_well, said) = voldemort(&["state", "check", "--directory", text(&state)]);
        assert!(is_well, "{said}");
    }
}

/// What the system does not let the daemon read is not lost: agreeing to a loss changes nothing, and nothing is
/// changed. With the rights given back it goes on as it was.
#[test]
fn a_file_that_may_not_be_read_refuses_the_start_and_stays_as_it_is() {
    use std::os::unix::fs::chown;
    const NOBODY: u32 = 65_534;
    let Some((net, folder, config, root)) = bed(&["busybox", "curl", "setpriv"]) else { return };
    let state = folder.path().join("state");
    let daemon = Daemon::start(&net, &config, &root);
    answers(&net, 1);
    assert_eq!(daemon.stop(), Some(0));
    // Root without its privilege to read everything.
    let without = "setpriv --bounding-set=-dac_override,-dac_read_search,-fowner,-chown --inh-caps=-all";
    for file in ["state.key", "records.snapshot", "records.1.log", "state.last", "events.redb"] {
        let path = state.join(file);
        let before = std::fs::read(&path).unwrap();
        chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        for agreed in ["", " --accept-loss records", " --accept-loss leases", " --accept-loss key"] {
            let start =
                format!("{VOLDEMORT} start services --config {} --inventory {root}{agreed}", text(&config));
            let shell = format!("timeout 60 {without} {start} 2>&1; echo code $?");
            let said = net.server_output(&["sh", "-c", &shell]);
            assert!(said.contains(file) && said.contains("Permission denied"), "{file}{agreed}: {said}");
            let is_refused =
                !said.contains("ready") && !said.contains("code 0") && !said.contains("code 124");
            assert!(is_refused && !said.contains("agree to the loss"), "{file}{agreed}: {said}");
            assert_eq!(std::fs::read(&path).unwrap(), before, "{file}{agreed}");
        }
        chown(&path, Some(0), Some(0)).unwrap();
    }
    let (is_well, said) = voldemort(&["state", "check", "--directory", text(&state)]);
    assert!(is_well, "{said}");
    let daemon = Daemon::start(&net, &config, &root);
    let deployments = net.server_output(&[VOLDEMORTCTL, "get", "deployments", "-o", "json"]);
    assert_eq!(deployments.matches("\"phase\": \"installed\"").count(), 1, "{deployments}");
    assert_eq!(daemon.stop(), Some(0));
}

/// Flips one bit in each record of an installation in the log's first segment.
fn damage_installs(state: &Path) -> usize {
    const INSTALLS: [u8; 2] = [3, 0];
    let path = state.join("records.1.log");
    let mut bytes = std::fs::read(&path).unwrap();
    // Kind, flag, length of the key, of the value, then the key twice.
    let key = b"donedone";
    let is_record = |at: &usize| bytes[*at..].starts_with(&INSTALLS) && bytes[at + 8..].starts_with(key);
    let places: Vec<usize> = (0..bytes.len() - 16).filter(is_record).collect();
    for at in &places {
        bytes[at + 8 + key.len() + 2] ^= 1;
    }
    std::fs::write(&path, bytes).unwrap();
    places.len()
}

#[test]
fn a_damaged_record_of_an_installation_boots_the_local_disk() {
    let Some((net, folder, config, root)) = bed(&["busybox", "curl"]) else { return };
    let state = folder.path().join("state");
    let daemon = Daemon::start(&net, &config, &root);
    answers(&net, 1);
    assert_eq!(daemon.stop(), Some(0));
    // Each step of the installation is one.
    assert!(damage_installs(&state) > 1);
    let (is_well, said) = voldemort(&["state", "check", "--directory", text(&state)]);
    assert!(!is_well && said.contains("does not fit its digest"), "{said}");
    let daemon = Daemon::start(&net, &config, &root);
    net.client_mac("52:54:00:00:00:01");
    net.client_ip(&["address", "add", "10.0.10.31/24", "dev", "cli"]);
    let said = script(&net, 1);
    assert!(said.contains("#!ipxe") && !said.contains("vmlinuz"), "{said}");
    let status = net.server_output(&[VOLDEMORTCTL, "get", "status"]);
    assert!(status.contains("digest"), "{status}");
    assert_eq!(daemon.stop(), Some(0));
}
