//! Metadata of machines that run, read by cloud-init's own NoCloud source, as `examples/metadata` leads to it.

use std::path::Path;
use std::process::Command;

use super::daemon::{Daemon, VOLDEMORTCTL, detect, eventually};
use super::net::{Net, has, skipped};

const WEB: &str = "52:54:00:00:00:21";
const NODE: &str = "52:54:00:00:00:22";
const CLOUD: &str = include_str!("metadata/cloud.py");

/// The example, with files in the place of a kernel and an initrd.
fn example(folder: &Path) -> String {
    let root = folder.join("inventory");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/metadata");
    assert!(Command::new("cp").arg("-r").arg(from).arg(&root).status().unwrap().success());
    std::fs::create_dir(root.join("files")).unwrap();
    std::fs::write(root.join("files/vmlinuz"), "the kernel").unwrap();
    std::fs::write(root.join("files/initrd.gz"), "the initrd").unwrap();
    root.display().to_string()
}

/// A card of a machine, with its address.
fn card(net: &Net, name: &str, mac: &str, address: &str) {
    net.client_ip(&["link", "add", "link", "cli", name, "address", mac, "type", "macvlan", "mode", "bridge"]);
    net.client_ip(&["link", "set", name, "up"]);
    net.client_ip(&["address", "add", &format!("{address}/24"), "dev", name]);
}

fn curl(net: &Net, card: &str, url: &str) -> (String, String) {
    let words = ["curl", "-s", "--max-time", "10", "--interface", card, "-w", "\n%{http_code}", url];
    let said = net.client_output(&words);
    let (body, status) = said.rsplit_once('\n').unwrap_or_else(|| panic!("{card} {url}: {said}"));
    (status.to_owned(), body.to_owned())
}

fn url_in(text: &str, part: &str) -> String {
    let at = text.find(part).unwrap_or_else(|| panic!("{part}: {text}"));
    let start = text[..at].rfind("http://").unwrap();
    let end =
        text[start..].find(|c: char| c.is_whitespace() || "\"'".contains(c)).unwrap_or(text.len() - start);
    text[start..start + end].to_owned()
}

/// What the example's installer writes into the installed system: the first command of its `late_command`, run on
/// a folder in the place of `/target`.
fn configure(answers: &str, target: &Path) {
    std::fs::create_dir_all(target.join("etc/cloud/cloud.cfg.d")).unwrap();
    let (_, command) = answers.split_once("late_command string").unwrap();
    let command = command.replace("\\\n", " ");
    let first = command.split(';').next().unwrap().replace("/target", &target.display().to_string());
    assert!(Command::new("sh").args(["-c", &first]).status().unwrap().success(), "{first}");
}

/// What cloud-init makes of it, as JSON; `None` where it is not installed.
fn cloud_init(net: &Net, target: &Path, kernel: &str) -> Option<serde_json::Value> {
    let target = target.display().to_string();
    let kernel = format!("DEBUG_PROC_CMDLINE={kernel}");
    let words = ["env", "-u", "PYTHONPATH", &kernel, "/usr/bin/python3", "-c", CLOUD, &target];
    let said = net.client_output(&words);
    if said.is_empty() {
        return skipped("cloud-init is not installed (package cloud-init)");
    }
    Some(serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}")))
}

#[test]
fn cloud_init_of_an_installed_machine_reads_its_metadata() {
    if !has("curl") {
        return;
    }
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (config, root) = (detect(&net, folder.path()), example(folder.path()));
    let _daemon = Daemon::start(&net, &config, &root);
    card(&net, "web", WEB, "10.0.10.21");
    let script = || curl(&net, "web", "http://10.0.10.1/ipxe/52-54-00-00-00-21.ipxe").1;
    let answers = curl(&net, "web", &url_in(&script(), "/answers/")).1;
    let (target, completed) = (folder.path().join("target"), url_in(&answers, "/completed"));
    configure(&answers, &target);
    let seed = url_in(&answers, "/nocloud/");
    assert_eq!(curl(&net, "web", &completed).0, "200");

    let expected = serde_json::json!({
        "instance-id": "web-0", "hostname": "web", "network": null,
        "keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHNo0LmUGM6LnGPVmqkHqkJ0gkBrW9w5Hg1vDhJjS0vC admin"],
        "config": {
            "hostname": "web", "preserve_hostname": false,
            "write_files": [{ "path": "/etc/motd", "content": "web server" }],
        },
    });
    for start in 0..2 {
        let Some(found) = cloud_init(&net, &target, "quiet") else { return };
        assert_eq!(found, expected, "start {start}");
    }
    // Others don't get it.
    card(&net, "laptop", "52:54:00:00:00:66", "10.0.10.166");
    card(&net, "node", NODE, "10.0.10.22");
    for other in ["laptop", "node"] {
        assert_eq!(curl(&net, other, &format!("{seed}user-data")).0, "403", "{other}");
    }
    let why = net.server_output(&[VOLDEMORTCTL, "events", "-o", "jsonl"]);
    assert!(why.contains("nocloud/user-data of web"), "{why}");

    // What changes is live; installed again it is another instance at another URL.
    let manifest = Path::new(&root).join("lab.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let raised = text.replace("greeting = \"web server\" }", "greeting = \"new\" }\nredeploy = 1");
    std::fs::write(&manifest, raised).unwrap();
    let user_data = || curl(&net, "web", &format!("{seed}user-data")).1;
    eventually("the new text", user_data, |text| text.contains("\"new\""));
    assert!(curl(&net, "web", &format!("{seed}meta-data")).1.contains("\"web-0\""));
    let again = curl(&net, "web", &url_in(&script(), "/answers/")).1;
    assert_ne!(url_in(&again, "/nocloud/"), seed);
    configure(&again, &target);
    assert_eq!(curl(&net, "web", &format!("{seed}meta-data")).0, "403");
    let found = cloud_init(&net, &target, "quiet").unwrap();
    assert_eq!(
        (&found["instance-id"], &found["config"]["write_files"][0]["content"]),
        (&"web-1".into(), &"new".into())
    );
}

#[test]
fn a_system_that_runs_from_the_network_is_led_there_by_its_kernel_line() {
    if !has("curl") {
        return;
    }
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (config, root) = (detect(&net, folder.path()), example(folder.path()));
    let _daemon = Daemon::start(&net, &config, &root);
    card(&net, "node", NODE, "10.0.10.22");
    let script = curl(&net, "node", "http://10.0.10.1/ipxe/52-54-00-00-00-22.ipxe").1;
    let word =
        script.split_whitespace().find(|word| word.contains("ds=nocloud-net;s=")).expect("the kernel line");
    let kernel = word.trim_matches('"');
    let Some(found) = cloud_init(&net, folder.path(), kernel) else { return };
    assert_eq!((&found["instance-id"], &found["hostname"]), (&"node-0".into(), &"node".into()));
    assert_eq!(found["config"]["write_files"][0]["content"], "set up by cloud-init");
}
