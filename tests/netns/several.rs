//! Verbs for several deployments at once, names that a shell proposes, and readers that go, against the real daemon.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::daemon::{Daemon, VOLDEMORTCTL, detect};
use super::net::{Net, has};

/// A daemon that follows a repository with `web-01 … web-12` and `db-1`.
struct Site {
    net: Net,
    folder: tempfile::TempDir,
    _daemon: Daemon,
}

impl Site {
    fn new() -> Option<Site> {
        if !has("git") {
            return None;
        }
        let net = Net::new()?;
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let mut manifest = "[subnet.lab]\ncidr = '10.0.10.0/24'\n\
            [template.t]\nkind = 'preseed'\nfile = 't.liquid'\n\
            [boot.debian]\nkernel = 'linux'\ninitrd = 'linux'\ncmdline = ['url={{ answers_url }}']\n"
            .to_owned();
        let names = (1..=12).map(|n| format!("web-{n:02}")).chain(["db-1".to_owned()]);
        for (at, name) in names.enumerate() {
            let role = name.split('-').next().unwrap();
            manifest += &format!(
                "[machine.m-{name}]\nmac = '52:54:00:00:00:{at:02x}'\nlabels = {{ role = '{role}' }}\n\
                 [deployment.{name}]\nmachine = 'm-{name}'\naddress = '10.0.10.{}'\nboot = 'debian'\ntemplate = 't'\n",
                20 + at
            );
        }
        std::fs::create_dir(here.join("inventory")).unwrap();
        std::fs::write(here.join("inventory/lab.toml"), manifest).unwrap();
        for (name, text) in [
            ("linux", "the kernel"),
            ("t.liquid", "d-i passwd/root-login boolean true\n"),
            ("voldemort.toml", "format = 1\n[safety]\nmax-reinstall = 100\n"),
        ] {
            std::fs::write(here.join("inventory").join(name), text).unwrap();
        }
        let config = detect(&net, here);
        let inventory = here.join("inventory").display().to_string();
        let _daemon = Daemon::start(&net, &config, &inventory);
        Some(Site { net, folder, _daemon })
    }

    /// A program in the daemon's namespace.
    fn command(&self, program: &str, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.net.server, program]).args(words);
        let bin = Path::new(VOLDEMORTCTL).parent().unwrap();
        command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
        command.env("HOME", self.folder.path()).env_remove("XDG_CONFIG_HOME").stdin(Stdio::null());
        command.current_dir(self.folder.path());
        command
    }

    fn ctl(&self, line: &str) -> (Option<i32>, String, String) {
        let words: Vec<&str> = line.split(' ').collect();
        let output = self.command(VOLDEMORTCTL, &words).output().unwrap();
        (output.status.code(), out(&output), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn verbs_take_patterns_and_labels_and_say_first_whom_they_mean() {
    let Some(site) = Site::new() else { return };
    // Nothing is installed yet: who is missing is named, folded.
    let (code, _, said) = site.ctl("wait web-* --timeout 1s");
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("0 of 12 are installed within 1s; missing:"), "{said}");
    assert!(said.contains("waiting (12): web-01 … web-12"), "{said}");
    // Without a terminal nothing is done for several without --yes.
    let (code, _, said) = site.ctl("adopt web-*");
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("12 deployments: web-01 … web-12") && said.contains("--yes"), "{said}");
    let (code, _, said) = site.ctl("adopt -l role=web --yes -m moved-in");
    assert_eq!(code, Some(0), "{said}");
    let (code, _, said) = site.ctl("wait -l role=web --timeout 30s");
    assert_eq!(
        (code, said.as_str()),
        (Some(0), "voldemort: installed now: 12 deployments: web-01 … web-12\n")
    );
    let (code, json, _) = site.ctl("wait web-01 db-1 --timeout 1s -o json");
    assert!(code == Some(5) && json.contains("\"db-1\""), "{json}");
    // A name or pattern that is wrong stops all.
    for line in [
        "adopt web-* nope-* --yes",
        "redeploy web-01 nope --yes",
        "wait nope-*",
        "redeploy -l role=nope --yes",
    ] {
        let (code, _, said) = site.ctl(line);
        assert!(
            code == Some(1) && (said.contains("nope") || said.contains("there are no")),
            "{line}: {said}"
        );
    }
    assert_eq!(site.ctl("redeploy web-* --where nope=1 --yes").0, Some(1), "an unknown field");
    for line in ["wait", "adopt"] {
        assert_eq!(site.ctl(line).0, Some(64), "{line}");
    }
    let (code, _, said) = site.ctl("redeploy web-0*");
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("Redeploy 9 deployments: web-01 … web-09; WIPES the disks of 9 machines"),
        "{said}"
    );
    assert!(site.ctl("get deployments --where redeploy=1 -o name").1.is_empty(), "nothing was done");
    let (code, _, said) = site.ctl("redeploy web-0* --yes --allow-reinstalls 9");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(site.ctl("get deployments --where redeploy=1 -o name").1.lines().count(), 9);
    let (code, _, said) = site.ctl("delete deployment web-1* --dry-run");
    assert_eq!(code, Some(0), "{said}");
    let (code, _, said) = site.ctl("release lease 10.0.10.*");
    assert!(code == Some(1) && said.contains("none of the leases"), "{said}");
    assert_eq!(site.ctl("release lease nonsense").0, Some(64));
}

#[test]
fn a_reader_that_goes_ends_every_reading_verb_quietly() {
    let Some(site) = Site::new() else { return };
    // What goes on for ever finds out that nobody reads when it prints: there is something to print.
    assert_eq!(site.ctl("token create ci --role viewer").0, Some(0));
    let mut lines: Vec<String> = Vec::new();
    for kind in [
        "deployments",
        "machines",
        "boots",
        "profiles",
        "templates",
        "subnets",
        "pools",
        "leases",
        "sources",
        "operations",
        "revisions",
        "drift",
        "effects",
        "tokens",
    ] {
        for form in ["table", "wide", "json", "jsonl", "yaml", "toml", "name"] {
            lines.push(format!("get {kind} -o {form}"));
        }
    }
    for line in [
        "get status",
        "get status -o json",
        "get plans",
        "get plans -o json",
        "get deployments --watch",
        "events",
        "events -o jsonl",
        "events -f",
        "audit",
        "audit -f",
        "audit verify",
        "token list",
        "describe deployment web-01",
        "describe machine m-db-1 -o json",
        "describe subnet lab",
        "describe boot debian -o json",
        "wait web-01 --timeout 0s -o json",
        "redeploy web-* --dry-run",
    ] {
        lines.push(line.to_owned());
    }
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let begun = Instant::now();
        let words = [&["60", VOLDEMORTCTL], &*words].concat();
        let output = site.command("timeout", &words).stdout(writer).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let may = if line.starts_with("wait") { Some(5) } else { Some(0) };
        assert_eq!(output.status.code(), may, "{line}: {said}");
        assert!(!said.contains("panicked") && !said.contains("Broken pipe"), "{line}: {said}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{line}");
    }
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = site.command(VOLDEMORTCTL, &["events", "-o", "jsonl"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What a shell proposes for a line that ends in a tab.
fn proposed(site: &Site, shell: &str, line: &str) -> Vec<String> {
    let program = line.split(' ').next().unwrap();
    let flag = if program == "voldemortctl" { "--ctl" } else { "" };
    let script = match shell {
        // The function that bash calls at a tab, with what bash sets before.
        "bash" => format!(
            "source <(voldemort completions bash {flag}); COMP_WORDS=({line}); \
             COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 )); COMP_TYPE=9; \
             f=$(complete -p {program} | sed 's/.*-F \\([^ ]*\\).*/\\1/'); \
             $f {program} \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        ),
        "fish" => format!("voldemort completions fish {flag} | source; complete -C '{line}'"),
        // zsh completes in its editor alone: here its function is called, and a stand-in prints what it describes.
        "zsh" => format!(
            "compdef() {{ completer=$1 }}; _describe() {{ print -l -- \"${{(@P)3}}\" }}; \
             eval \"$(voldemort completions zsh {flag})\"; words=({line}); CURRENT=${{#words}}; $completer"
        ),
        _ => unreachable!(),
    };
    let output = site.command(shell, &["-c", &script]).output().unwrap();
    let text = out(&output);
    let first = |line: &str| line.split(['\t', ':', ' ']).next().unwrap_or_default().to_owned();
    text.lines().map(first).filter(|word| !word.is_empty()).collect()
}

#[test]
fn shells_propose_the_names_that_the_daemon_has() {
    let Some(site) = Site::new() else { return };
    let made = site.ctl("token create ci --role viewer");
    assert_eq!(made.0, Some(0), "{}", made.2);
    assert_eq!(site.ctl("context set lab --server unix:/nowhere").0, Some(0));
    assert_eq!(site.ctl("context use --none").0, Some(0));
    for shell in ["bash", "zsh", "fish"] {
        if !has(shell) {
            continue;
        }
        for (line, wanted) in [
            ("voldemortctl wait web-1", &["web-10", "web-11", "web-12"][..]),
            ("voldemortctl redeploy d", &["db-1"]),
            ("voldemortctl get machines m-d", &["m-db-1"]),
            ("voldemortctl describe deployment db", &["db-1"]),
            ("voldemortctl delete deployment db", &["db-1"]),
            ("voldemortctl update deployment db-1 --boot d", &["debian"]),
            ("voldemortctl token revoke c", &["ci"]),
            ("voldemortctl get boots --context l", &["lab"]),
            ("voldemortctl approve in", &["installs"]),
            ("voldemortctl suspen", &["suspend"]),
            ("voldemort why m-d", &["m-db-1"]),
            ("voldemort plan --source inv", &["inventory"]),
        ] {
            assert_eq!(proposed(&site, shell, line), wanted, "{shell}: {line}");
        }
        // A daemon that is not there is waited for a moment, and not spoken of.
        let begun = Instant::now();
        let none = proposed(&site, shell, "voldemortctl --server 10.0.10.200:1 wait w");
        assert!(
            none.is_empty() && begun.elapsed() < Duration::from_secs(5),
            "{none:?} {:?}",
            begun.elapsed()
        );
    }
}
