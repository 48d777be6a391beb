//! State directories that earlier versions wrote (`tests/fixtures/state`, made by the `make.sh` there),
//! opened with today's code.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use voldemort::store::{History, Saved, Store};

use super::golden::assert_golden;

const NAMES: [&str; 7] = ["fresh", "working", "killed", "pinned", "suspended", "several", "own"];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/state/cb52119")
}

/// A state directory as it was left, in a folder of its own.
pub fn unpacked(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let archive = fixtures().join(format!("{name}.tar.gz"));
    let status = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(folder.path()).status().unwrap();
    assert!(status.success(), "{}", archive.display());
    folder
}

pub fn open(state: &Path) -> (Store, Saved) {
    Store::open(state, || [7; 48]).unwrap()
}

/// Everything that a state directory holds but its secrets, a line for each.
fn told(saved: &Saved, state: &Path) -> String {
    let mut text = format!("lineage {} serial {}\n", saved.lineage, saved.serial);
    let mut installs = saved.installs.clone();
    installs.sort_by(|one, other| one.deployment.cmp(&other.deployment));
    for install in &installs {
        let deployment = &install.deployment;
        assert!(install.epoch > 0 && install.plain_urls, "{install:?}");
        let (machine, redeploy, stage, since) =
            (&install.machine, install.redeploy, install.stage, install.since);
        text += &format!(
            "install {deployment} on {machine}: redeploy {redeploy} {stage} since {since}, again {}, {}\n",
            install.again, install.digest
        );
    }
    for (deployment, machine) in &saved.assignments {
        text += &format!("assigned {deployment} to {machine}\n");
    }
    for machine in &saved.protected {
        text += &format!("protected {machine}\n");
    }
    for lease in &saved.leases {
        let (address, mac, state) = (lease.address, lease.mac, lease.state);
        let id = lease.client_id.as_deref().map(|id| format!(" id {id:02x?}")).unwrap_or_default();
        text += &format!("lease {address} {mac} {state} until {}{id} {:?}\n", lease.expires, lease.hostname);
    }
    for lease in &saved.leases6 {
        let (address, mac, state) = (lease.address, lease.mac, lease.state);
        text +=
            &format!("lease {address} {mac} {state} until {} duid {:02x?}\n", lease.expires, &lease.duid[..]);
    }
    for (number, event) in &saved.events {
        let (at, stage, words) = (event.at, event.stage, &event.text);
        text += &format!("event {number} {at} {stage} {:?} {words}\n", event.mac.map(|mac| mac.to_string()));
    }
    if let Some(kept) = &saved.kept {
        text += &format!(
            "kept {} of {} in {:?} for {:?}\n",
            kept.revision, kept.source, kept.root, kept.environment
        );
        for (path, bytes) in &kept.files {
            text += &format!("  {path}: {} bytes\n", bytes.len());
        }
        for (path, copy) in &kept.copies {
            text += &format!("  {path}: copy {}\n", copy.display());
        }
    }
    for (name, note) in &saved.notes {
        text += &format!("note {name} {}\n", String::from_utf8_lossy(note));
    }
    for kept in History::new(state).all() {
        text += &format!("history {} with {} files\n", kept.revision, kept.files.len());
    }
    text
}

#[test]
fn what_earlier_versions_wrote_is_read_whole() {
    for name in NAMES {
        let state = unpacked(name);
        let (store, saved) = open(state.path());
        assert_golden(&fixtures().join(format!("{name}.txt")), &told(&saved, state.path()));
        drop(store);
        // What was upgraded is the same once more.
        let again = told(&open(state.path()).1, state.path());
        assert_golden(&fixtures().join(format!("{name}.txt")), &again);
    }
}
