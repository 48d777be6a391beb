//! Profiles of Agama, the installer of SUSE Linux Enterprise 16 and openSUSE Leap 16: one JSON object.

use serde_json::Value;

use super::{Completion, Installer, Kind, Need, Proof, Template, main_file};
use crate::render::builtin::{Input, list, text};
use crate::render::common::Limits;
use crate::render::finding::{Finding, asks, refused};

/// Agama's documentation, "boot options".
const CMDLINE: &[&str] = &[
    "root=live:{{ media_url }}/LiveOS/squashfs.img",
    "ip=dhcp",
    "rd.neednet=1",
    "inst.auto={{ answers_url }}",
];

pub(super) static INSTALLER: Installer = Installer {
    kind: Kind::Agama,
    files: &[main_file("profile.json")],
    takes_folder: false,
    by_dhcp: false,
    check: read,
    needs: &[Need {
        words: &["inst.auto=", "agama.auto="],
        why: "the installer looks for its answers at `inst.auto=`",
        help: "add \"inst.auto={{ answers_url }}\"",
    }],
    cmdline: CMDLINE,
    passwords,
    image: None,
    completion: Completion::Hook,
    template: Some(Template {
        source: concat!(
            include_str!("../../../templates/part/finish.liquid"),
            include_str!("../../../templates/agama.liquid")
        ),
        inputs: template_inputs,
        limits: &Limits {
            cannot: &[],
            hints: &[],
            takes_first: false,
            groups: false,
            layouts: &["plain", "lvm", "raid1", "encrypted"],
            https_mirror: true,
            own_account: "",
            joins_scripts: false,
            every_disk: &[],
            vlan_needs_bond: true,
        },
        proof: Proof::Rendered,
        proven_by: "nothing but its form, JSON, by a test",
    }),
};

/// What the built-in template reads beside the well-known and the common variables.
fn template_inputs() -> Vec<Input> {
    vec![
        text(
            "product",
            "",
            "which product of the image: SLES, openSUSE_Leap, …; needed where there are several",
        ),
        list("patterns", &[], "software patterns beside those of the product"),
    ]
}

/// `password` of an account beside which no `hashedPassword` is true.
fn passwords(text: &str) -> Vec<&str> {
    const KEY: &str = "\"password\"";
    let tables = text.split(['{', '}']);
    let clear = tables.filter(|table| {
        let hashed = table
            .split("\"hashedPassword\"")
            .nth(1)
            .map(|rest| rest.trim_start_matches([':', ' ', '\n', '\t']));
        !hashed.is_some_and(|rest| rest.starts_with("true"))
    });
    clear.filter_map(|table| table.split_once(KEY)?.1.split('"').nth(1)).collect()
}

fn read(text: &str) -> Vec<Finding> {
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => return vec![refused(error.line(), error.column(), error.to_string())],
    };
    let Some(profile) = value.as_object() else {
        return vec![refused(1, 1, "a profile is an object in braces")];
    };
    // A profile that names neither is a part of one, which a person completes.
    let has_account = ["root", "user"].iter().any(|name| profile.contains_key(*name));
    if has_account || profile.contains_key("legacyAutoyastStorage") {
        return Vec::new();
    }
    vec![asks(1, "the installer waits for an account: the profile has neither `root` nor `user`")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Verdict;

    #[test]
    fn json_with_an_account_is_read() {
        assert_eq!(read("{\"root\": {}}"), []);
        for (text, verdict, line) in
            [("{\n \"a\": }", Verdict::Refused, 2), ("[]", Verdict::Refused, 1), ("{}", Verdict::Asks, 1)]
        {
            let found = read(text);
            assert_eq!((found[0].verdict, found[0].error.line), (verdict, line), "{text}");
        }
    }

    #[test]
    fn passwords_in_clear_are_found() {
        let text = "{\"user\": {\"password\": \"hunter2\"}, \"root\": {\"password\": \"$6$x\", \"hashedPassword\": true}}";
        assert_eq!(passwords(text), ["hunter2"]);
    }
}
