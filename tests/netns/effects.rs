//! What follows from a change is done also where the daemon is killed before it is: here the fetch that a webhook
//! asks for, of a forge that answers late.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering::SeqCst;

use super::daemon::{VOLDEMORT, VOLDEMORTCTL, detect, eventually};
use super::forge::Forge;
use super::net::{Net, has};

/// A daemon that is not ready, because a source was not read yet; its API answers.
struct Unready(Child);

impl Unready {
    fn start(net: &Net, config: &Path) -> Unready {
        let mut command = Command::new("ip");
        command.args([
            "netns",
            "exec",
            &net.server,
            VOLDEMORT,
            "start",
            "services",
            "--new-site",
            "--config",
        ]);
        command.arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Unready(command.spawn().unwrap())
    }
}

/// `kill -9`.
impl Drop for Unready {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn settings(net: &Net, folder: &Path, port: u16) -> std::path::PathBuf {
    let root = folder.join("inventory");
    std::fs::create_dir_all(&root).unwrap();
    std::fs::write(root.join("lab.toml"), "[subnet.lab]\ncidr = '10.0.10.0/24'\n").unwrap();
    let secret = folder.join("hook.secret");
    std::fs::write(&secret, "word").unwrap();
    let config = detect(net, folder);
    let text = std::fs::read_to_string(&config).unwrap();
    let sources = format!(
        "[inventory.lab]\ndirectory = \"{}\"\n[inventory.forge]\ngit = \"http://127.0.0.1:{port}/x.git\"\n\
         poll = \"1h\"\nwebhook-secret = \"{}\"\n",
        root.display(),
        secret.display()
    );
    std::fs::write(&config, text + "\n" + &sources).unwrap();
    config
}

/// The status of the answer to a webhook.
fn call(net: &Net) -> String {
    let url = "http://127.0.0.1:12345/hooks/forge";
    let words = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST"];
    net.server_output(&[&words[..], &["-H", "X-Gitlab-Token: word", url]].concat())
}

/// What is not done yet; `None` while the API does not answer.
fn effects(net: &Net) -> Option<Vec<serde_json::Value>> {
    let text =
        net.server_output(&["sh", "-c", &format!("{VOLDEMORTCTL} get effects -o json 2>/dev/null; true")]);
    serde_json::from_str(&text).ok()
}

#[test]
fn a_fetch_that_was_acknowledged_outlives_kill_9_before_it_and_during_it() {
    if !has("curl") {
        return;
    }
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (forge, port) = Forge::start(&net, None);
    let config = settings(&net, folder.path(), port);
    let daemon = Unready::start(&net, &config);
    eventually(
        "the forge is asked at the start",
        || forge.asked.load(SeqCst).to_string(),
        |text| text != "0",
    );
    // The look that is under way began before the call, so that another one is due.
    eventually("the call is taken", || call(&net), |code| code == "202");
    assert_eq!(call(&net), "202");
    assert_eq!(call(&net), "202");
    let caused = effects(&net).unwrap();
    assert!(
        matches!(caused.len(), 1 | 2),
        "one waits for the look, another one may wait behind it: {caused:?}"
    );
    let first = caused[0].clone();
    assert_eq!((first["task"].as_str(), first["subject"].as_str()), (Some("fetch"), Some("forge")));
    drop(daemon);
    for round in 0..2 {
        let _daemon = Unready::start(&net, &config);
        let oldest = || {
            let effects = effects(&net).unwrap_or_default();
            effects
                .first()
                .map_or("none".to_owned(), |one| format!("{} {} {}", one["id"], one["since"], one["begun"]))
        };
        let begun = format!("{} {} \"", first["id"], first["since"]);
        eventually(&format!("the same effect is begun again, {round}"), oldest, |text| {
            text.starts_with(&begun)
        });
    }
    let daemon = Unready::start(&net, &config);
    let table = || net.server_output(&["sh", "-c", &format!("{VOLDEMORTCTL} get effects; true")]);
    eventually("it is shown", table, |text| {
        text.contains("fetch") && text.contains("forge") && text.contains("a webhook")
    });
    // A person cancels it while its executor waits for the forge.
    let id = &first["id"];
    let cancel =
        || net.server_output(&["sh", "-c", &format!("{VOLDEMORTCTL} cancel effect {id} 2>&1; echo $?")]);
    let said = cancel();
    assert!(
        said.contains(&format!("effect {id} (fetch of forge) is cancelled; its executor had begun")),
        "{said}"
    );
    assert!(said.ends_with("\n0\n"), "{said}");
    let again = cancel();
    assert!(again.contains("is not pending") && again.ends_with("\n1\n"), "{again}");
    let events = net.server_output(&["sh", "-c", &format!("{VOLDEMORTCTL} events; true")]);
    // By the socket it is the user, by TCP the token.
    let event = format!("effect {id}, to read the source forge, caused by a webhook, was cancelled by ");
    assert!(events.contains(&event), "{events}");
    forge.let_answer();
    let left = || effects(&net).map_or("unknown".to_owned(), |effects| effects.len().to_string());
    eventually("each is looked at and over", left, |text| text == "0");
    // What is over stays over.
    drop(daemon);
    let _daemon = Unready::start(&net, &config);
    eventually("nothing is left", left, |text| text == "0");
}
