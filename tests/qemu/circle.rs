//! `examples/cloud/run` with two machines: from machines that nobody described to claims, a wipe, and a claim that waited.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::agent::parts;
use crate::kit::kit;

#[test]
fn machines_nobody_described_become_a_cloud() {
    let Some(_kit) = kit(true) else { return };
    let Some(parts) = parts() else { return };
    let programs = tempfile::tempdir().unwrap();
    let link = |from: &Path, name: &str| symlink(from, programs.path().join(name)).unwrap();
    link(Path::new(env!("CARGO_BIN_EXE_voldemort")), "voldemort");
    link(Path::new(env!("CARGO_BIN_EXE_voldemortctl")), "voldemortctl");
    link(&parts.program, "agent");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(root.join("examples/cloud/run"));
    command.env("PROGRAMS", programs.path()).env("MACHINES", "2");
    command.env("CARGO_TARGET_DIR", parts.folder.parent().unwrap());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    assert!(said.contains("nothing is left of what the first claim had on that disk"), "{said}");
}
