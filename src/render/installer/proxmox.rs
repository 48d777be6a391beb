//! Proxmox VE's automated installer: one TOML file, which it posts a description of the machine for. It learns the URL
//! from its image, from DHCP (option 250) or from DNS; here from DHCP, because each machine has another.

mod keys;

use toml::de::DeTable;

use super::{
    AnswerContent, AnswerFile, Completion, Image, Installer, Kind, Need, Proof, Template, main_file,
};
use crate::render::builtin::{Input, text};
use crate::render::common::{Limits, Unable};
use crate::render::finding::{Finding, refused};

/// What `proxmox-auto-install-assistant` puts there.
const CMDLINE: &[&str] =
    &["ro", "ramdisk_size=16777216", "rw", "quiet", "splash=silent", "proxmox-start-auto-installer"];

const CARD: &str = "its installer sets up one card, untagged";

pub(super) static INSTALLER: Installer = Installer {
    kind: Kind::Proxmox,
    files: &[main_file("answer.toml"), AnswerFile { name: "first-boot", content: AnswerContent::FirstBoot }],
    takes_folder: false,
    by_dhcp: true,
    check: read,
    needs: &[Need {
        words: &["proxmox-start-auto-installer", "proxauto"],
        why: "without `proxmox-start-auto-installer` the installer shows its menu and waits",
        help: "add \"proxmox-start-auto-installer\"",
    }],
    cmdline: CMDLINE,
    passwords: |text| super::lines(text, passwords),
    image: Some(Image {
        recognises: |_, has| {
            has("proxmox/packages/Packages.gz") || has("pve-installer.squashfs") || has("boot/linux26")
        },
        cmdline: CMDLINE,
        wants_disc: |_| false,
        hint: "Proxmox looks for its image inside the initrd: `proxmox-auto-install-assistant prepare-iso --fetch-from \
               http --pxe` makes one",
    }),
    completion: Completion::Hook,
    template: Some(Template {
        source: include_str!("../../../templates/proxmox.liquid"),
        inputs: template_inputs,
        proof: Proof::Rendered,
        proven_by: "nothing but its keys, by a table of those that the installer knows",
        limits: &Limits {
            cannot: &[
                Unable {
                    variable: "locale",
                    why: "its installer takes a country, and the system speaks English",
                },
                Unable { variable: "vlan", why: CARD },
                Unable { variable: "bond", why: CARD },
                Unable { variable: "bond_mode", why: CARD },
                Unable { variable: "disk_passphrase", why: "its installer encrypts nothing" },
            ],
            hints: &["serial"],
            takes_first: false,
            groups: false,
            layouts: &["lvm", "xfs", "zfs", "btrfs", "raid1"],
            https_mirror: true,
            own_account: "",
            joins_scripts: false,
            every_disk: &["zfs", "btrfs"],
            vlan_needs_bond: false,
        },
    }),
};

/// What the built-in template reads beside the well-known and the common variables.
fn template_inputs() -> Vec<Input> {
    vec![
        text("keymap", "us", "keyboard layout, as Proxmox names it: de, de-ch, en-gb, fr, …"),
        text("country", "us", "two letters, as ISO 3166 has them"),
        text("mailto", "root@localhost.localdomain", "where the system sends mail about itself"),
        text(
            "layout",
            "lvm",
            "how the disk is divided: lvm (ext4 in LVM), xfs (in LVM), zfs, btrfs, or raid1 (ZFS over two disks)",
        ),
    ]
}

/// `root-password = "…"`, which is no hash.
fn passwords(line: &str) -> Vec<&str> {
    let key = ["root-password", "root_password"].into_iter().find_map(|key| line.strip_prefix(key));
    let value = key.and_then(|rest| rest.trim_start().strip_prefix('='));
    value.and_then(|value| value.split(['"', '\'']).nth(1)).into_iter().collect()
}

fn read(text: &str) -> Vec<Finding> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let place = |at: usize| {
        let before = &text[..at.min(text.len())];
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        (before.matches('\n').count() + 1, column)
    };
    let found: Vec<Finding> = errors
        .iter()
        .map(|error| {
            let (line, column) = place(error.span().map_or(0, |span| span.start));
            refused(line, column, format!("not TOML: {}", error.message()))
        })
        .collect();
    if !found.is_empty() {
        return found;
    }
    let wrong = keys::wrong(table.get_ref());
    let finding = |(at, message): (usize, String)| {
        let (line, column) = place(at);
        refused(line, column, message)
    };
    wrong.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "[global]\ncountry = \"at\"\nkeyboard = \"de\"\ntimezone = \"UTC\"\nfqdn = \"a.b\"\nmailto = \"a@b.c\"\n\
                         root-password-hashed = \"*\"\n[network]\nsource = \"from-dhcp\"\n[disk-setup]\nfilesystem = \"ext4\"\n\
                         disk-list = [\"sda\"]\n";

    #[test]
    fn what_the_installer_refuses_is_found_at_its_line() {
        assert_eq!(read(WHOLE), []);
        assert_eq!(read(&WHOLE.replace("root-password-hashed", "root_password_hashed")), []);
        for (from, to, line, words) in [
            ("keyboard", "keybord", 3, "did you mean `keyboard`?"),
            ("\"de\"", "\"german\"", 3, "`german`"),
            ("\"a.b\"", "\"a\"", 5, "domain"),
            ("\"at\"", "\"AT\"", 2, "two small letters"),
            ("root-password-hashed = \"*\"\n", "", 1, "`root-password-hashed`"),
            ("from-dhcp", "from-answer", 8, "`cidr`"),
            ("disk-list = [\"sda\"]\n", "", 10, "`disk-list`"),
            ("\"sda\"", "\"/dev/disk/by-id/x\"", 12, "`filter`"),
            ("\"ext4\"", "\"ext3\"", 11, "`ext3`"),
            ("\"ext4\"", "\"zfs\"", 10, "`zfs.raid`"),
            ("\"from-dhcp\"", "from-dhcp", 9, "TOML"),
            ("[network]\nsource = \"from-dhcp\"\n", "", 1, "`network`"),
        ] {
            let found = read(&WHOLE.replace(from, to));
            let said = found.iter().any(|one| one.error.line == line && one.error.message.contains(words));
            assert!(said, "{to}: {found:?}");
        }
    }

    #[test]
    fn passwords_in_clear_are_found() {
        assert_eq!(passwords("root-password = \"hunter2\""), ["hunter2"]);
        assert_eq!(passwords("root-password-hashed = \"$6$x\""), [""; 0]);
    }
}
