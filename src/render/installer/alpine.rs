//! Alpine Linux: a script of the live system's service `local`, in an overlay that the initramfs unpacks.

mod overlay;

use super::{
    AnswerContent, AnswerFile, Completion, Image, Installer, Kind, Need, Proof, Template, main_file,
};
use crate::render::builtin::{Input, text};
use crate::render::common::{HINTS, Limits, Unable};
use crate::render::finding::{Finding, asks, doubtful, refused};

pub use overlay::pack;

/// The boot parameters of mkinitfs's initramfs. `modloop` is named after the kernel's flavour.
const CMDLINE: &[&str] = &[
    "ip=dhcp",
    "modules=loop,squashfs",
    "alpine_repo={{ media_url }}/apks",
    "modloop={{ media_url }}/boot/modloop-lts",
    "apkovl={{ answers_base_url }}alpine.apkovl.tar.gz",
];

pub(super) static INSTALLER: Installer = Installer {
    kind: Kind::Alpine,
    files: &[
        main_file("install.sh"),
        // The initramfs knows by the name's end how to unpack it.
        AnswerFile { name: "alpine.apkovl.tar.gz", content: AnswerContent::Overlay },
    ],
    takes_folder: false,
    by_dhcp: false,
    check: read,
    needs: &[Need {
        words: &["apkovl="],
        why: "the live system takes its script from the overlay that `apkovl=` names",
        help: "add \"apkovl={{ answers_base_url }}alpine.apkovl.tar.gz\"",
    }],
    cmdline: CMDLINE,
    // Its tools take hashes, or ask.
    passwords: |_| Vec::new(),
    image: Some(Image {
        recognises: |_, has| has(".alpine-release") || has("boot/modloop-lts") || has("boot/modloop-virt"),
        cmdline: CMDLINE,
        wants_disc: |_| false,
        hint: "modloop is named after the kernel's flavour; the initramfs of an ISO has drivers of virtual network \
               cards alone, that of the netboot archive has all",
    }),
    completion: Completion::Hook,
    template: Some(Template {
        source: concat!(
            include_str!("../../../templates/part/disk.liquid"),
            include_str!("../../../templates/alpine.liquid")
        ),
        inputs: template_inputs,
        proof: Proof::Rendered,
        proven_by: "nothing but its form, shell, by the shell of BusyBox, which Alpine has",
        limits: &Limits {
            cannot: &[Unable { variable: "locale", why: "its C library, musl, has no locales" }],
            hints: HINTS,
            takes_first: false,
            groups: false,
            layouts: &["plain", "lvm", "raid1", "encrypted"],
            https_mirror: true,
            own_account: "",
            joins_scripts: false,
            every_disk: &[],
            vlan_needs_bond: false,
        },
    }),
};

/// What the built-in template reads beside the well-known and the common variables.
fn template_inputs() -> Vec<Input> {
    vec![
        text(
            "keymap",
            "us",
            "keyboard layout, with its variant if that has another name: de, or de/de-nodeadkeys",
        ),
        text("mirror", "", "URL above `v3.20/main`; without one the `alpine_repo=` of the command line"),
    ]
}

/// The script is up to its author. Its first line is the kernel's to read, and two of Alpine's tools ask a person.
fn read(text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let first = text.split('\n').next().unwrap_or_default();
    if first.starts_with("#!") && first.ends_with('\r') {
        found.push(refused(
            1,
            first.len(),
            "no shell is called like this: the line ends with a carriage return",
        ));
    }
    if text.trim().is_empty() {
        found.push(doubtful(1, 1, "the script is empty: the live system would install nothing"));
    }
    let erases = text.contains("ERASE_DISKS");
    for (line, at) in text.lines().zip(1..) {
        let words = || line.split_whitespace().take_while(|word| !word.starts_with('#'));
        let calls = |tool: &str| words().any(|word| word == tool || word.ends_with(&format!("/{tool}")));
        let has_answers = || words().any(|word| word.starts_with('-') && word.contains(['f', 'c', 'h', 'q']));
        if calls("setup-alpine") && !has_answers() {
            found.push(asks(at, "`setup-alpine` asks its questions: `-f` names a file with answers"));
        } else if calls("setup-disk") && !erases {
            found.push(asks(at, "`setup-disk` asks before it erases a disk, unless `ERASE_DISKS` names it"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Verdict;

    #[test]
    fn what_asks_a_person_is_found() {
        for (text, wanted) in [
            ("#!/bin/sh\nsetup-alpine -e -f /root/answers\n", None),
            ("#!/bin/sh\n# setup-alpine\n", None),
            ("export ERASE_DISKS=/dev/sda\nsetup-disk -m sys /dev/sda\n", None),
            ("#!/bin/sh\nsetup-alpine -e\n", Some((Verdict::Asks, 2))),
            ("#!/bin/sh\n\n/sbin/setup-disk -m sys /dev/sda\n", Some((Verdict::Asks, 3))),
            ("#!/bin/sh\r\nsetup-alpine -f x\r\n", Some((Verdict::Refused, 1))),
            (" \n", Some((Verdict::Doubtful, 1))),
        ] {
            let found = read(text).first().map(|found| (found.verdict, found.error.line));
            assert_eq!(found, wanted, "{text}");
        }
    }
}
