//! `examples/install/run`: a live system boots out of its own tree, cloud-init sets it up with what the daemon says and
//! reports, and the key logs in.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::kit::kit;

#[test]
fn cloud_init_sets_a_machine_up() {
    let Some(_kit) = kit(true) else { return };
    let programs = tempfile::tempdir().unwrap();
    let link = |from: &str, name: &str| symlink(from, programs.path().join(name)).unwrap();
    link(env!("CARGO_BIN_EXE_voldemort"), "voldemort");
    link(env!("CARGO_BIN_EXE_voldemortctl"), "voldemortctl");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut command = Command::new(root.join("examples/install/run"));
    command.env("PROGRAMS", programs.path()).env("CARGO_TARGET_DIR", target);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    assert!(said.contains("user, key, host name, time zone, package and script are there"), "{said}");
}
