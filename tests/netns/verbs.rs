//! The verbs of `voldemortctl` against the real daemon: the founding article's commands as they
//! are printed, every place that an inventory can be in, two writers at once.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::daemon::{Daemon, VOLDEMORT, VOLDEMORTCTL, detect, eventually};
use super::net::{Net, has};

/// A command line in the server's namespace, as a shell reads it.
fn shell(net: &Net, folder: &Path, line: &str) -> Output {
    let bin = Path::new(VOLDEMORTCTL).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &net.server, "sh", "-c", line]).current_dir(folder);
    command.env("PATH", path).env("USER", "hermione").stdin(Stdio::null());
    command.output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a line that must succeed; what it printed.
fn good(net: &Net, folder: &Path, line: &str) -> String {
    let output = shell(net, folder, line);
    assert!(output.status.success(), "{line}\n{}{}", out(&output), err(&output));
    out(&output)
}

/// Runs a line that must end with this code; returns its output.
fn bad(net: &Net, folder: &Path, line: &str, code: i32) -> String {
    let output = shell(net, folder, line);
    assert_eq!(output.status.code(), Some(code), "{line}\n{}{}", out(&output), err(&output));
    out(&output) + &err(&output)
}

const KERNEL: &str = "install/netboot/ubuntu-installer/amd64";

/// An image with an installer's files, and nothing else.
fn iso(folder: &Path) -> PathBuf {
    let tree = folder.join("tree").join(KERNEL);
    std::fs::create_dir_all(&tree).unwrap();
    std::fs::write(tree.join("linux"), "the kernel").unwrap();
    std::fs::write(tree.join("initrd.gz"), "the initrd").unwrap();
    let iso = folder.join("ubuntu.iso");
    let made = Command::new("xorriso")
        .args(["-as", "mkisofs", "-quiet", "-R", "-o"])
        .args([&iso, &folder.join("tree")])
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    iso
}

/// The daemon's own repository, as `git` sees it.
fn git(folder: &Path, repository: &Path, arguments: &str) -> String {
    let line = format!("git -c safe.directory='*' -C {} {arguments}", repository.display());
    let output = Command::new("sh").args(["-c", &line]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{line}: {}", err(&output));
    out(&output)
}

#[test]
fn the_founding_articles_commands_work_as_printed() {
    if !has("xorriso") || !has("git") || !has("curl") {
        return;
    }
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    for arguments in [
        &["link", "set", "srv", "down"][..],
        &["link", "set", "srv", "name", "eth0"],
        &["address", "flush", "dev", "eth0"],
        &["address", "add", "192.168.0.1/24", "dev", "eth0"],
        &["link", "set", "eth0", "up"],
    ] {
        net.server_ip(arguments);
    }
    good(&net, here, "voldemort config detect --interface eth0 > config.json");
    let text = std::fs::read_to_string(here.join("config.json")).unwrap();
    let state = here.join("state");
    std::fs::write(
        here.join("config.json"),
        text.replace("/var/lib/voldemort", &state.display().to_string()),
    )
    .unwrap();
    let daemon = Daemon::with(&net, &here.join("config.json"), &[]);
    let iso = iso(here);

    assert!(good(&net, here, "voldemortctl get deployments").starts_with("NAME"));
    let early = "voldemortctl create deployment --MAC 00:11:22:33:44:55 --address 192.168.0.100";
    assert!(bad(&net, here, early, 1).contains("the inventory has no boot yet"));
    good(
        &net,
        here,
        &format!(
            "voldemortctl create boot --name preseed --isoPath {} --isoPrefix ubuntu --kernel ubuntu/{KERNEL}/linux \
             --initrd ubuntu/{KERNEL}/initrd.gz",
            iso.display()
        ),
    );
    let line = "voldemortctl create boot --name x --isoPath /nfs/Operating Systems/x.iso --kernel k";
    let said = bad(&net, here, line, 64);
    assert!(said.contains("--isoPath '/nfs/Operating Systems/x.iso'"), "{said}");
    good(&net, here, early);
    let listed = good(&net, here, "voldemortctl get deployments");
    assert!(listed.contains("192.168.0.100") && listed.contains("preseed"), "{listed}");
    good(&net, here, "voldemortctl update deployment --MAC 00:11:22:33:44:55 --address 192.168.0.200");
    good(
        &net,
        here,
        "voldemortctl deploy --MAC 00:11:22:33:44:55 --address 192.168.0.100 --packages openssh, mariadb, docker \
         --deploymentType kickstart",
    );
    good(
        &net,
        here,
        &format!(
            "voldemortctl create boot --name diskless --cmdline root=nfs:server-ip:/exported/root rw \
             --kernel ubuntu/{KERNEL}/linux --initrd ubuntu/{KERNEL}/initrd.gz"
        ),
    );
    let deployments = good(&net, here, "voldemortctl get deployments -o json");
    let deployments: serde_json::Value = serde_json::from_str(&deployments).unwrap();
    assert_eq!(deployments[0]["address"], "192.168.0.100");
    assert_eq!(deployments[0]["template"], "kickstart");

    let own = state.join("inventory.git");
    let manifest = git(here, &own, "show main:deployments.toml");
    assert_eq!(
        manifest,
        "[deployment.00-11-22-33-44-55]\nmac      = \"00:11:22:33:44:55\"\naddress  = \"192.168.0.100\"\n\
         boot     = \"preseed\"\ntemplate = \"kickstart\"\npackages = [\"openssh\", \"mariadb\", \"docker\"]\n"
    );
    let boots = git(here, &own, "show main:boots.toml");
    assert!(boots.contains("cmdline = [\"root=nfs:server-ip:/exported/root\", \"rw\"]"), "{boots}");
    let log = git(here, &own, "log --format='%s|%an' main");
    assert_eq!(
        log.lines().collect::<Vec<_>>(),
        [
            "Create boot diskless|hermione",
            "Update deployment 00-11-22-33-44-55|hermione",
            "Update deployment 00-11-22-33-44-55|hermione",
            "Create deployment 00-11-22-33-44-55|hermione",
            "Create boot preseed|hermione",
            "Begin an empty inventory|voldemort",
        ]
    );
    net.client_ip(&["address", "add", "192.168.0.100/24", "dev", "cli"]);
    let script = "http://192.168.0.1/ipxe/00-11-22-33-44-55.ipxe";
    let script = net.client_output(&["curl", "-s", script]);
    assert!(script.contains("kernel"), "{script}");
    assert_eq!(daemon.stop(), Some(0));

    // The same file as JSON in truth.
    let toml: toml::Table = std::fs::read_to_string(here.join("config.json")).unwrap().parse().unwrap();
    std::fs::write(here.join("config.json"), serde_json::to_string_pretty(&toml).unwrap()).unwrap();
    let daemon = Daemon::with(&net, &here.join("config.json"), &[]);
    let listed = good(&net, here, "voldemortctl get deployments");
    assert!(listed.contains("192.168.0.100"), "{listed}");
    assert_eq!(daemon.stop(), Some(0));
}

const LAB: &str = r#"# Our lab.
[subnet.lab]
cidr    = "10.0.10.0/24"   # everything
gateway = "10.0.10.1"

[boot.debian-12]
kernel  = "files/vmlinuz"
initrd  = ["files/initrd.gz"]
cmdline = ["auto=true", "priority=critical", "url={{ answers_url }}"]

# By the window.
[deployment.harry]
mac      = "00:11:22:33:44:55"
address  = "10.0.10.30"    # fixed
boot     = "debian-12"
template = "preseed"
"#;

fn inventory(folder: &Path) -> PathBuf {
    let root = folder.join("inventory");
    std::fs::create_dir_all(root.join("files")).unwrap();
    std::fs::write(root.join("lab.toml"), LAB).unwrap();
    std::fs::write(root.join("files/vmlinuz"), "the kernel").unwrap();
    std::fs::write(root.join("files/initrd.gz"), "the initrd").unwrap();
    root
}

/// A bare repository with the same inventory, and settings that follow it.
fn repository(folder: &Path, config: &Path, write: &str) -> PathBuf {
    let root = inventory(folder);
    let bare = folder.join("inventory.git");
    let line = format!(
        "git init -q -b main . && git add -A && git -c user.name=t -c user.email=t@example.org commit -qm one && \
         git clone -q --bare . {}",
        bare.display()
    );
    assert!(Command::new("sh").args(["-c", &line]).current_dir(&root).status().unwrap().success());
    let text = std::fs::read_to_string(config).unwrap();
    let own = format!(
        "\n[inventory]\ngit = \"file://{}\"\nbranch = \"main\"\nwrite = \"{write}\"\n",
        bare.display()
    );
    std::fs::write(config, text + &own).unwrap();
    bare
}

#[test]
fn a_directory_is_edited_in_place() {
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let (config, root) = (detect(&net, here), inventory(here));
    let daemon = Daemon::start(&net, &config, &root.display().to_string());
    let lab = || std::fs::read_to_string(root.join("lab.toml")).unwrap();

    good(&net, here, "voldemortctl update deployment harry --address 10.0.10.31 -m 'the window moved'");
    assert_eq!(lab(), LAB.replace("10.0.10.30", "10.0.10.31"));
    assert!(good(&net, here, "voldemortctl get deployments").contains("10.0.10.31"), "live at once");
    let same = bad(&net, here, "voldemortctl update deployment harry --address 10.0.10.31", 0);
    assert!(same.contains("nothing to change"), "{same}");

    // Wrong edits: the same messages as `check`, and nothing is written.
    let before = lab();
    let said = bad(&net, here, "voldemortctl update deployment harry --boot debian-21", 1);
    let wrong = here.join("wrong");
    std::fs::create_dir_all(wrong.join("files")).unwrap();
    std::fs::write(
        wrong.join("lab.toml"),
        before.replace("\"debian-12\"\ntemplate", "\"debian-21\"\ntemplate"),
    )
    .unwrap();
    let checked = shell(&net, here, "voldemort check wrong");
    let checked = out(&checked);
    assert!(checked.contains("there is no boot called `debian-21`"), "{checked}");
    for line in checked.lines().filter(|line| line.contains("debian-21") || line.contains("similar name")) {
        assert!(said.contains(line.trim()), "{line}\n---\n{said}");
    }
    assert!(
        bad(&net, here, "voldemortctl update deployment harry --address 10.99.0.1", 1).contains("lab.toml")
    );
    let said = bad(&net, here, "voldemortctl update deployment hary --address 10.0.10.32", 1);
    assert!(said.contains("did you mean `harry` (lab.toml:12)?"), "{said}");
    let said =
        bad(&net, here, "voldemortctl update deployment --mac 00:11:22:33:44:56 --address 10.0.10.32", 1);
    assert!(said.contains("one typing mistake away is 00:11:22:33:44:55"), "{said}");
    assert!(
        bad(&net, here, "voldemortctl update deployment harry --adress 10.0.10.32", 64).contains("--address")
    );
    let said = bad(&net, here, "voldemortctl create deployment harry -o json", 1);
    let parsed: serde_json::Value = serde_json::from_str(said.split("voldemort:").next().unwrap()).unwrap();
    assert_eq!(parsed["outcome"], "refused");
    assert_eq!(lab(), before);

    // A new warning of `check` is shown.
    let said = bad(&net, here, "voldemortctl update deployment harry --vars unheard=of --dry-run", 0);
    assert!(said.contains("warning") && said.contains("unheard"), "{said}");
    let said = bad(&net, here, "voldemortctl delete deployment harry --mac 00:11:22:33:44:66 --yes", 1);
    assert!(said.contains("is not its hardware address"), "{said}");
    assert_eq!(lab(), before);

    // What takes away asks first; without a terminal it names the flag.
    assert!(bad(&net, here, "voldemortctl redeploy harry", 3).contains("--yes"));
    assert_eq!(lab(), before);
    let patch = good(&net, here, "voldemortctl redeploy harry --dry-run");
    assert!(patch.contains("\n+redeploy = 1\n"), "{patch}");
    good(&net, here, "voldemortctl adopt harry -m 'it was here before us'");
    let adopted = good(&net, here, "voldemortctl get deployments -o json");
    assert!(adopted.contains("\"installed\""), "{adopted}");
    assert!(good(&net, here, "voldemortctl events").contains("it was here before us"));
    good(&net, here, "voldemortctl wait harry --timeout 5s");
    good(&net, here, "voldemortctl redeploy --MAC 00:11:22:33:44:55 --yes");
    assert!(lab().ends_with("template = \"preseed\"\nredeploy = 1\n"), "{}", lab());
    assert!(bad(&net, here, "voldemortctl wait harry --timeout 1s", 5).contains("waiting"));

    good(&net, here, "voldemortctl create machine u01 --mac 52:54:00:00:00:01 --protect --labels rack=1");
    good(&net, here, "voldemortctl create deployment ron --machine u01 --address 10.0.10.40");
    assert!(bad(&net, here, "voldemortctl delete deployment ron --yes", 3).contains("is protected"));
    good(&net, here, "voldemortctl update machine u01 --protect false");
    good(&net, here, "voldemortctl delete deployment ron --yes");
    // A machine that has its system already is never offered an installer.
    let line = "voldemortctl create deployment luna --mac 52:54:00:00:00:02 --address 10.0.10.41 --template preseed --installed";
    good(&net, here, line);
    let luna = || good(&net, here, "voldemortctl get deployments luna -o json");
    assert!(luna().contains("\"installed\""), "{}", luna());
    good(&net, here, "voldemortctl delete deployment luna --yes");
    good(&net, here, "voldemortctl delete machine u01 --yes");
    assert_eq!(lab(), before.clone() + "redeploy = 1\n");
    // A page in a browser on this host may not write.
    let post = "curl -s -o /dev/null -w '%{http_code}' -H 'Origin: http://evil.example' \
                -H 'Content-Type: application/json' -d '{}' http://127.0.0.1:12345/v1/edits";
    assert!(!has("curl") || good(&net, here, post) == "403");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn why_names_lines_and_look_alikes() {
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let (config, root) = (detect(&net, here), inventory(here));
    let daemon = Daemon::start(&net, &config, &root.display().to_string());
    let text = good(&net, here, "voldemort why harry");
    for part in [
        "harry on machine harry: waiting",
        "10.0.10.30  (lab.toml:12:",
        "files/vmlinuz  (lab.toml:6:",
        "never seen",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let text = good(&net, here, "voldemort why 00:11:22:33:44:54");
    assert!(text.contains("in no manifest, and never seen"), "{text}");
    assert!(
        text.contains("one typing mistake away: 00:11:22:33:44:55 (machine harry, lab.toml:12:"),
        "{text}"
    );
    assert!(bad(&net, here, "voldemort why hary", 1).contains("did you mean harry?"));
    let text = good(&net, here, "voldemort why harry inventory");
    assert!(text.contains("\"10.0.10.30\"  (lab.toml:14:"), "{text}");
    let json = good(&net, here, "voldemortctl describe deployment harry -o json");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["deployment"]["phase"], "waiting");
    assert!(
        bad(&net, here, "voldemortctl describe machine ron", 1)
            .contains("no deployment, no claim and no machine called ron")
    );
    if has("busybox") && has("curl") {
        net.client_mac("00:11:22:33:44:55");
        net.client_output(&["sh", "-c", "busybox udhcpc -f -q -n -t 5 -i cli -s /bin/true 2>&1"]);
        net.client_ip(&["address", "add", "10.0.10.30/24", "dev", "cli"]);
        net.client_output(&["curl", "-s", "http://10.0.10.1/ipxe/00-11-22-33-44-55.ipxe"]);
        let why = || good(&net, here, "voldemort why harry");
        let text = eventually("the boot", why, |text| text.contains("it got its script"));
        assert!(text.contains("offer ") && text.contains("script "), "{text}");
    }
    assert_eq!(daemon.stop(), Some(0));
    assert!(bad(&net, here, "voldemort why harry -o json", 5).starts_with('{'));
}

#[test]
fn a_repository_is_written_to_as_the_settings_say() {
    if !has("git") {
        return;
    }
    let Some(net) = Net::new() else { return };
    for write in ["off", "branch", "direct"] {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let config = detect(&net, here);
        let bare = repository(here, &config, write);
        let daemon = Daemon::with(&net, &config, &[]);
        let first = git(here, &bare, "rev-parse main");
        let line = "voldemortctl update deployment harry --address 10.0.10.44 -m 'more light'";
        let now = || git(here, &bare, "rev-parse main");
        match write {
            "off" => {
                let output = shell(&net, here, line);
                assert_eq!(output.status.code(), Some(6), "{}", err(&output));
                std::fs::write(here.join("change.patch"), &output.stdout).unwrap();
                assert!(err(&output).contains("git apply --index < PATCH"), "{}", err(&output));
                assert_eq!(now(), first);
                git(here, &here.join("inventory"), "apply ../change.patch");
                let text = std::fs::read_to_string(here.join("inventory/lab.toml")).unwrap();
                assert_eq!(text, LAB.replace("10.0.10.30", "10.0.10.44"));
            }
            "branch" => {
                let branch = good(&net, here, line);
                let branch = branch.trim();
                assert!(branch.starts_with("voldemort/update-deployment-harry-"), "{branch}");
                assert_eq!(now(), first);
                assert_eq!(
                    git(here, &bare, &format!("show {branch}:lab.toml")),
                    LAB.replace("10.0.10.30", "10.0.10.44")
                );
                // By the socket it is a user; where another test's daemon has the socket, it is the token.
                let message = git(here, &bare, &format!("log -1 --format=%s%n%n%b {branch}"));
                let by =
                    message.trim().strip_prefix("Update deployment harry\n\nmore light\n\nRequested-by: ");
                assert!(matches!(by, Some("user 0 (admin)" | "token start (admin)")), "{message}");
                assert!(good(&net, here, "voldemortctl get deployments").contains("10.0.10.30"), "not live");
            }
            _ => {
                good(&net, here, line);
                assert_eq!(git(here, &bare, "show main:lab.toml"), LAB.replace("10.0.10.30", "10.0.10.44"));
                assert!(
                    good(&net, here, "voldemortctl get deployments").contains("10.0.10.44"),
                    "live at once"
                );
                assert_eq!(git(here, &bare, "log -1 --format=%an/%cn main").trim(), "hermione/voldemort");
            }
        }
        assert_eq!(daemon.stop(), Some(0));
    }
}

/// Pushes one more deployment by hand, again and again until it lands.
fn pusher(here: &Path, bare: &Path, rounds: usize) {
    let clone = here.join("clone");
    let script = format!(
        "set -e; git clone -q {} {clone}; cd {clone}; git config user.name p; git config user.email p@example.org
         for n in $(seq {rounds}); do
             while :; do
                 git fetch -q origin; git reset -q --hard origin/main
                 printf '\\n# by hand %s\\n[profile.hand-%s]\\ndisk = \"/dev/sda\"\\n' $n $n >> hand.toml
                 git add -A; git commit -qm \"hand $n\"; git push -q origin main 2>/dev/null && break
             done
         done",
        bare.display(),
        clone = clone.display()
    );
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
}

#[test]
fn two_writers_at_once_both_get_what_they_asked_for() {
    if !has("git") {
        return;
    }
    const ROUNDS: usize = 50;
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let config = detect(&net, here);
    let bare = repository(here, &config, "direct");
    let daemon = Daemon::with(&net, &config, &[]);
    std::thread::scope(|scope| {
        scope.spawn(|| pusher(here, &bare, ROUNDS));
        for writer in ["a", "b"] {
            let net = &net;
            scope.spawn(move || {
                for round in 1..=ROUNDS {
                    let line = match writer {
                        "a" => format!("voldemortctl create profile a-{round} --disk /dev/vda"),
                        _ => format!("voldemortctl update deployment harry --vars round={round}"),
                    };
                    // Three tries may all be overtaken; a person would say it again.
                    let overtaken = |output: &Output| err(output).contains("changed 3 times");
                    let mut output = shell(net, here, &line);
                    while overtaken(&output) {
                        output = shell(net, here, &line);
                    }
                    assert!(output.status.success(), "{line}: {}", err(&output));
                }
            });
        }
    });
    let commits = git(here, &bare, "log --format=%s main");
    assert_eq!(commits.lines().count(), 1 + 3 * ROUNDS, "{commits}");
    let bodies = git(here, &bare, "log '--format=%(trailers:key=Requested-by,valueonly)' main");
    let callers = bodies.lines().filter(|line| line.ends_with("(admin)")).count();
    assert_eq!(callers, 2 * ROUNDS, "each commit of the daemon says who asked for it: {bodies}");
    let (profiles, hand) =
        (git(here, &bare, "show main:profiles.toml"), git(here, &bare, "show main:hand.toml"));
    let all = profiles + &hand;
    for round in 1..=ROUNDS {
        assert!(all.contains(&format!("[profile.a-{round}]\n")), "{all}");
        assert!(
            all.contains(&format!("# by hand {round}\n[profile.hand-{round}]\ndisk = \"/dev/sda\"\n")),
            "{all}"
        );
    }
    assert_eq!(git(here, &bare, "show main:lab.toml"), format!("{LAB}vars     = {{ round = {ROUNDS} }}\n"));
    let last = git(here, &bare, "rev-parse main");
    let status = || good(&net, here, "voldemortctl get status");
    let status =
        eventually("the last commit", status, |text| text.contains(last.trim()) && text.contains("Ready"));
    assert!(status.contains(&format!("applied      main@sha1:{}", last.trim())), "{status}");
    git(here, &bare, "fsck --strict");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_push_to_another_host_is_compared_and_swapped_too() {
    if !has("git") {
        return;
    }
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let config = detect(&net, here);
    let bare = repository(here, &config, "direct");
    git(here, &bare, "config daemon.receivepack true");
    let text = std::fs::read_to_string(&config).unwrap();
    let remote = text.replace(&format!("file://{}", bare.display()), "git://127.0.0.1/inventory.git");
    std::fs::write(&config, remote.replace("write = \"direct\"", "write = \"direct\"\npoll = \"3600s\""))
        .unwrap();
    // Not through `git`, which would leave it running when it is killed itself.
    let place = Command::new("git").arg("--exec-path").output().unwrap();
    let (program, base) =
        (format!("{}/git-daemon", out(&place).trim()), format!("--base-path={}", here.display()));
    let anybodys = ["GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"];
    let words = [&program, "--export-all", "--listen=127.0.0.1", "--reuseaddr", &base];
    let server = net.run_beside(&[&["env"], &anybodys[..], &words[..]].concat());
    let daemon = Daemon::with(&net, &config, &[]);
    let status = || good(&net, here, "voldemortctl get status");
    let poked = || {
        daemon.signal(nix::sys::signal::Signal::SIGHUP);
        status()
    };
    eventually("the first commit", poked, |text| text.contains("Ready"));
    // A commit is pushed, and the daemon gets no notification.
    let clone = here.join("inventory");
    std::fs::write(clone.join("other.toml"), "[profile.other]\n").unwrap();
    git(here, &clone, "add -A");
    git(here, &clone, "-c user.name=t -c user.email=t@example.org commit -qm two");
    git(here, &clone, &format!("push -q {} main", bare.display()));
    good(&net, here, "voldemortctl update deployment harry --address 10.0.10.45");
    assert_eq!(git(here, &bare, "log --format=%s main").trim(), "Update deployment harry\ntwo\none");
    assert!(good(&net, here, "voldemortctl get deployments").contains("10.0.10.45"));
    // A hook's refusal is reported in its own words, and no retry helps.
    std::fs::write(bare.join("hooks/pre-receive"), "#!/bin/sh\necho 'not on a Friday' >&2\nexit 1\n")
        .unwrap();
    let set = Command::new("chmod").arg("+x").arg(bare.join("hooks/pre-receive")).status();
    assert!(set.unwrap().success());
    let said = bad(&net, here, "voldemortctl update deployment harry --address 10.0.10.46", 1);
    assert!(said.contains("refuses the commit") && said.contains("hook declined"), "{said}");
    drop(server);
    bad(&net, here, "voldemortctl update deployment harry --address 10.0.10.47", 5);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_wait_that_runs_out_says_so() {
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let (config, root) = (detect(&net, here), inventory(here));
    let daemon = Daemon::start(&net, &config, &root.display().to_string());
    let status = || good(&net, here, "voldemortctl get status");
    eventually("the inventory", status, |text| text.contains("Ready"));
    let next = here.join("next");
    std::fs::create_dir_all(next.join("files")).unwrap();
    for file in ["files/vmlinuz", "files/initrd.gz"] {
        std::fs::copy(root.join(file), next.join(file)).unwrap();
    }
    let luna = LAB[LAB.find("[deployment").unwrap()..].replace("harry", "luna");
    let luna = luna.replace("44:55", "44:66").replace("10.30", "10.31");
    std::fs::write(next.join("lab.toml"), format!("{LAB}{luna}")).unwrap();
    // Nobody switches the machine on.
    let line = format!("{VOLDEMORT} apply {} --auto-approve --wait=installed --timeout 1s", next.display());
    let said = bad(&net, here, &line, 5);
    assert!(said.contains("not installed in time: luna ("), "{said}");
    // It is live all the same, and there is nothing left to wait for.
    assert!(good(&net, here, "voldemortctl get deployments").contains("luna"));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn programs_get_json_and_nothing_else() {
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let json = |line: &str, code: i32| {
        let output = shell(&net, here, line);
        assert_eq!(output.status.code(), Some(code), "{line}: {}", err(&output));
        let parsed: Result<serde_json::Value, _> = serde_json::from_slice(&output.stdout);
        parsed.unwrap_or_else(|error| panic!("{line}: {error}: {}", out(&output)))
    };
    assert!(json("voldemortctl get deployments -o json", 5)["error"].as_str().unwrap().contains("no daemon"));
    assert!(json("voldemortctl create deployment x --adress 1 -o json", 64)["error"].is_string());
    let (config, root) = (detect(&net, here), inventory(here));
    let daemon = Daemon::start(&net, &config, &root.display().to_string());
    assert_eq!(json("voldemortctl update deployment harry --disk /dev/vda -o json", 0)["outcome"], "written");
    assert_eq!(
        json("voldemortctl update deployment harry --disk /dev/vda -o json", 0)["outcome"],
        "unchanged"
    );
    assert_eq!(json("voldemortctl update deployment harry --boot x -o json", 1)["outcome"], "invalid");
    assert_eq!(json("voldemortctl delete deployment harry --dry-run -o json", 0)["outcome"], "planned");
    assert!(
        json("voldemortctl delete deployment harry -o json", 3)["error"].as_str().unwrap().contains("--yes")
    );
    assert!(json("voldemortctl get deployment ron -o json", 1)["error"].is_string());
    for line in [
        "approve 0",
        "reject 0",
        "pin 0",
        "suspend",
        "resume",
        "unpin",
        "create profile p --disk /dev/sda",
        "deploy harry --disk /dev/sda",
    ] {
        let output = shell(&net, here, &format!("voldemortctl {line} -o json"));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{line}: {error}: {}{}", out(&output), err(&output)));
        assert!(json["outcome"].is_string() || json["error"].is_string(), "{line}: {json}");
        assert_eq!(json["error"].is_string(), output.status.code() == Some(1), "{line}: {json}");
    }
    assert_eq!(json("voldemortctl redeploy harry --yes -o json", 0)["outcome"], "written");
    assert!(json("voldemortctl adopt ron -o json", 1)["error"].is_string());
    assert!(json(&format!("{VOLDEMORT} why ron -o json"), 1)["error"].is_string());
    assert_eq!(daemon.stop(), Some(0));
}
