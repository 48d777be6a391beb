//! The unit file for systemd.

use std::process::Command;

use super::kit::has;

#[test]
fn the_unit_is_one_that_systemd_takes() {
    if !has("systemd-analyze") {
        return assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI");
    }
    let unit = include_str!("../../packaging/voldemort.service");
    let program = env!("CARGO_BIN_EXE_voldemort");
    let here = unit.replace("/usr/bin/voldemort", program);
    assert_ne!(here, unit);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("voldemort.service");
    std::fs::write(&path, here).unwrap();
    let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    // Remarks about other units of this host do not matter here.
    let ours = said.lines().filter(|line| line.contains("voldemort")).collect::<Vec<_>>();
    assert!(verified.status.success() && ours.is_empty(), "{said}");
}
