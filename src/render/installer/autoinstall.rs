//! Ubuntu's installer, Subiquity, which cloud-init hands a part of its user data.

use super::{Completion, Image, Installer, Kind, NOCLOUD_FILES, NOCLOUD_NEED, Need, Proof, Template};
use crate::render::Verdict;
use crate::render::builtin::{Input, text};
use crate::render::common::{HINTS, Limits};
use crate::render::finding::{Finding, asks, doubtful, refused};
use crate::render::near;
use crate::render::syntax::cloud::{self, Document, Key, Value};

pub(super) static INSTALLER: Installer = Installer {
    kind: Kind::Autoinstall,
    files: NOCLOUD_FILES,
    takes_folder: true,
    by_dhcp: false,
    check: read,
    needs: &[
        Need {
            words: &["autoinstall"],
            why: "without the word `autoinstall` the installer asks before it touches a disk",
            help: "add \"autoinstall\"",
        },
        NOCLOUD_NEED,
    ],
    cmdline: &["ip=dhcp", "autoinstall", "ds=nocloud-net;s={{ answers_base_url }}", "---"],
    passwords: cloud::passwords,
    image: Some(Image {
        recognises: |folder, _| folder.starts_with("casper"),
        cmdline: &[
            "ip=dhcp",
            "cloud-config-url=/dev/null",
            "autoinstall",
            "ds=nocloud-net;s={{ answers_base_url }}",
            "---",
        ],
        wants_disc: |_| false,
        hint: "casper also needs url=URL-OF-THE-WHOLE-ISO, and 5 GB of memory",
    }),
    completion: Completion::Hook,
    template: Some(Template {
        source: concat!(
            include_str!("../../../templates/part/finish.liquid"),
            include_str!("../../../templates/part/netplan.liquid"),
            include_str!("../../../templates/part/disk.liquid"),
            include_str!("../../../templates/autoinstall.liquid")
        ),
        inputs: template_inputs,
        proof: Proof::Validated,
        proven_by: "cloud-init's schema (the installed system) and its reader of networks; the storage and the packages by no program",
        limits: &Limits {
            cannot: &[],
            hints: HINTS,
            takes_first: false,
            groups: false,
            layouts: &["plain", "lvm", "raid1", "encrypted", "direct", "zfs"],
            https_mirror: true,
            own_account: "ubuntu",
            joins_scripts: true,
            every_disk: &[],
            vlan_needs_bond: false,
        },
    }),
};

/// What the built-in template reads beside the well-known variables.
fn template_inputs() -> Vec<Input> {
    vec![text("layout", "lvm", "how the disk is divided: plain (or direct), lvm, raid1, encrypted or zfs")]
}

fn read(text: &str) -> Vec<Finding> {
    let mut reading = cloud::read(text);
    if reading.whole && !reading.found.iter().any(|found| found.verdict == Verdict::Refused) {
        reading.found.extend(installer(&reading.documents));
    }
    reading.found
}

/// What Subiquity says of the configuration that cloud-init hands to it.
fn installer(documents: &[Document]) -> Vec<Finding> {
    let keys = || documents.iter().flat_map(|document| &document.keys);
    let find = |wanted: &str| keys().find(|key| key.path == wanted);
    let merges = documents.iter().any(|document| document.merges);
    let Some(whole) = find("autoinstall") else {
        if merges {
            return Vec::new();
        }
        let tops = || keys().filter(|key| !key.path.contains('.'));
        let near = near::nearest("autoinstall", tops().map(|key| key.path.as_str()));
        return vec![match near.and_then(|near| tops().find(|key| key.path == near)) {
            Some(key) => {
                doubtful(key.line, 1, format!("`{}` is not read: it is called `autoinstall`", key.path))
            }
            None => asks(1, "the installer asks everything: the key `autoinstall` is missing"),
        }];
    };
    let mut found = Vec::new();
    match find("autoinstall.version") {
        None if merges => {}
        None => found.push(refused(whole.line, 1, "`autoinstall` needs `version: 1`")),
        Some(version) if !is_one(version) => {
            found.push(refused(version.line, 1, "the `version` of `autoinstall` is the number 1"));
        }
        Some(_) => {}
    }
    if let Some(key) = find("autoinstall.interactive-sections").filter(|key| key.value != Value::NoItems) {
        found.push(asks(key.line, "the installer shows the pages of `interactive-sections` and waits"));
    }
    // Without any key it is no mapping, of which everything else only follows.
    if !keys().any(|key| key.path.starts_with("autoinstall.")) {
        return found;
    }
    let accounts = ["identity", "user-data", "reset-partition-only", "interactive-sections"];
    if !merges && !accounts.iter().any(|key| find(&format!("autoinstall.{key}")).is_some()) {
        let message = "the installer stops: `autoinstall` has neither `identity` nor `user-data`";
        found.push(asks(whole.line, message));
    }
    found
}

/// The number 1 in the ways of YAML 1.1.
fn is_one(version: &Key) -> bool {
    let Value::Plain(text) = &version.value else { return false };
    matches!(text.as_str(), "1" | "+1" | "01" | "0x1" | "0b1" | "1_")
}
