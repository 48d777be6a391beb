//! `voldemort try` from power-on to the second boot, with each firmware; and that it leaves
//! nothing behind.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::kit::{Kit, kit};

fn voldemort_try(kit: &Kit, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voldemort"));
    command.arg("try").arg(&kit.inventory).arg("demo-1").arg("--media").arg(&kit.media).args(words);
    command
}

/// Boots demo-1 and expects `course` as a part of the stages, in this order.
fn installs(firmware: &str, course: &[&str]) {
    let Some(kit) = kit(false) else { return };
    let arguments = ["--firmware", firmware, "--timeout", "8m", "-o", "json"];
    let output = voldemort_try(&kit, &arguments).output().unwrap();
    let talk = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{talk}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["result"], "done");
    let timeline = report["timeline"].as_array().unwrap();
    let stages: Vec<&str> = timeline.iter().map(|entry| entry["stage"].as_str().unwrap()).collect();
    let mut rest = stages.iter();
    for stage in course {
        assert!(rest.any(|seen| seen == stage), "{stage} is missing or out of order in {stages:?}\n{talk}");
    }
    // A reset may be seen twice: SeaBIOS resets the machine once more when it comes up warm.
    for once in ["answers", "completed"] {
        assert_eq!(stages.iter().filter(|stage| **stage == once).count(), 1, "{once}: {stages:?}");
    }
    let greeting = timeline.iter().find(|entry| entry["stage"] == "greeting").unwrap();
    assert!(greeting["text"].as_str().unwrap().contains("demo-1 runs from its own disk"), "{greeting}");
}

const INSTALL: [&str; 10] =
    ["script", "kernel", "initrd", "answers", "completed", "reboot", "offer", "ack", "local-boot", "disk"];

#[test]
fn bios_installs_once_and_boots_its_disk() {
    installs("bios", &[&["power", "offer", "ack"], &INSTALL[..]].concat());
}

#[test]
fn uefi_pxe_installs_once_and_boots_its_disk() {
    installs("uefi", &[&["power", "offer", "ack", "loader", "offer", "ack"], &INSTALL[..]].concat());
}

#[test]
fn uefi_http_boot_installs_once_and_boots_its_disk() {
    installs("uefi-http", &[&["power", "offer", "ack", "loader", "offer", "ack"], &INSTALL[..]].concat());
}

/// Boots demo-1 until it has fetched its answers, and expects these texts in the timeline.
fn reaches_its_answers(firmware: &str, texts: &[&str]) {
    let Some(kit) = kit(false) else { return };
    let arguments = ["--firmware", firmware, "--until", "answers", "--timeout", "8m", "-o", "json"];
    let output = voldemort_try(&kit, &arguments).output().unwrap();
    let talk = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{talk}");
    for text in texts {
        assert!(talk.contains(text), "{text}: {talk}");
    }
}

#[test]
fn secure_boot_boots_the_signed_kernel_by_shim_and_grub() {
    reaches_its_answers("secure-boot", &["boot file shimx64.efi", "grubx64.efi", "kernel"]);
}

#[test]
fn uefi_with_ipxe_in_the_card_boots() {
    reaches_its_answers("uefi-ipxe", &["boot file http://", "kernel"]);
}

#[test]
fn an_interrupted_boot_leaves_nothing_behind() {
    let Some(kit) = kit(false) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut command = voldemort_try(&kit, &[]);
    let mut child =
        command.env("TMPDIR", folder.path()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("  offer  ")), "it never got to DHCP");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    lines.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_boot_that_takes_too_long_says_where_it_stopped() {
    let Some(kit) = kit(false) else { return };
    let output = voldemort_try(&kit, &["--timeout", "1s", "-o", "json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["result"], &report["last"]), (&"timed-out".into(), &"power".into()));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the usual cause"));
}
