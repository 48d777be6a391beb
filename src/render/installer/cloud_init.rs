//! cloud-init, from its NoCloud source.

use super::{
    AnswerContent, AnswerFile, Completion, Installer, Kind, NOCLOUD_NEED, Proof, Template, main_file,
};
use crate::render::builtin::{Input, text};
use crate::render::common::{Limits, Unable};
use crate::render::syntax::cloud;

pub(super) static INSTALLER: Installer = Installer {
    kind: Kind::CloudInit,
    files: &[
        main_file("user-data"),
        AnswerFile { name: "meta-data", content: AnswerContent::MetaData },
        AnswerFile { name: "vendor-data", content: AnswerContent::Empty },
        AnswerFile { name: "network-config", content: AnswerContent::NetworkConfig },
    ],
    takes_folder: true,
    by_dhcp: false,
    check: |text| cloud::read(text).found,
    needs: &[NOCLOUD_NEED],
    cmdline: &[],
    passwords: cloud::passwords,
    image: None,
    completion: Completion::Hook,
    template: Some(Template {
        source: concat!(
            include_str!("../../../templates/part/scripts.liquid"),
            include_str!("../../../templates/cloud-init.liquid")
        ),
        inputs: template_inputs,
        proof: Proof::Installed,
        proven_by: "user, groups, keys, host name, post and report of a live Debian 12 with cloud-init 22.4 in a virtual machine; all else by cloud-init's schema",
        limits: &Limits {
            cannot: &[
                Unable { variable: "disk", why: DISK },
                Unable { variable: "layout", why: DISK },
                Unable { variable: "second_disk", why: DISK },
                Unable { variable: "disk_passphrase", why: DISK },
            ],
            hints: &[],
            takes_first: false,
            groups: false,
            layouts: &[],
            https_mirror: true,
            own_account: "",
            joins_scripts: true,
            every_disk: &[],
            vlan_needs_bond: false,
        },
    }),
};

const DISK: &str = "cloud-init runs in a system that is on its disk already";

/// What the built-in template reads beside the well-known and the common variables.
fn template_inputs() -> Vec<Input> {
    vec![text("keymap", "", "keyboard layout; the image's own where it is empty")]
}
