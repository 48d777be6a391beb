//! Long texts on a terminal.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::kit::has;

const BEFORE: &str = "[subnet.lab]\ncidr = \"10.0.10.0/24\"\n[boot.b]\nkernel = \"k\"\n\
                      [deployment.web-1]\nmac = \"52:54:00:aa:00:01\"\nboot = \"b\"\naddress = \"10.0.10.21\"\n";

fn git(folder: &Path, arguments: &[&str]) {
    let named = ["-c", "user.name=t", "-c", "user.email=t@localhost"];
    let run = Command::new("git").args(named).args(arguments).current_dir(folder).output().unwrap();
    assert!(run.status.success(), "git {arguments:?}: {run:?}");
}

/// What `voldemort plan` prints on a terminal of its own, which script(1) makes.
fn planned(folder: &Path, pager: &str) -> String {
    let command = format!("{} plan --against HEAD", env!("CARGO_BIN_EXE_voldemort"));
    let run = Command::new("script")
        .args(["-q", "-e", "-c", &command, "/dev/null"])
        .current_dir(folder)
        .env("VOLDEMORT_PAGER", pager)
        .env("TERM", "dumb")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout).replace('\r', "");
    assert!(run.status.success(), "{pager}: {said}");
    said
}

#[test]
fn a_plan_on_a_terminal_goes_through_the_pager() {
    if !has("script") {
        assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI: there is no script(1)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    std::fs::write(here.join("a.toml"), BEFORE).unwrap();
    std::fs::write(here.join("k"), "kernel").unwrap();
    git(here, &["init", "-q"]);
    git(here, &["add", "-A"]);
    git(here, &["commit", "-q", "-m", "one"]);
    std::fs::write(here.join("a.toml"), BEFORE.replace("10.0.10.21", "10.0.10.22")).unwrap();

    let paged = planned(here, "sed 's/^/> /'");
    assert!(paged.contains("> ") && paged.contains("10.0.10.22"), "{paged}");
    assert!(paged.lines().filter(|line| line.contains("10.0.10.22")).all(|line| line.starts_with("> ")));
    // One that is not there, none, and one that is left early: nothing is lost that was not let go.
    for pager in ["no-such-pager-anywhere", "", "cat"] {
        let plain = planned(here, pager);
        assert!(plain.contains("10.0.10.22") && !plain.contains("> address"), "{pager}: {plain}");
    }
    assert!(!planned(here, "head -1").contains("10.0.10.22"));
}
