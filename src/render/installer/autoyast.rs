//! AutoYaST profiles: XML as libxml2 reads it, one `<profile>`, and an installation that needs no
//! confirmation.

use super::{Completion, Image, Installer, Kind, Need, Proof, Template, main_file};
use crate::render::builtin::{Input, list, text};
use crate::render::common::{HINTS, Limits, Unable};
use crate::render::finding::{Finding, asks, doubtful, refused};
use crate::render::syntax::xml;

/// AutoYaST's guide.
const CMDLINE: &[&str] = &["install={{ media_url }}", "autoyast={{ answers_url }}", "ifcfg=*=dhcp"];

pub(super) static INSTALLER: Installer = Installer {
    kind: Kind::Autoyast,
    files: &[main_file("autoinst.xml")],
    takes_folder: false,
    by_dhcp: false,
    check: read,
    needs: &[Need {
        words: &["autoyast=", "autoyast2=", "inst.auto="],
        why: "the installer looks for its answers at `autoyast=`",
        help: "add \"autoyast={{ answers_url }}\"",
    }],
    cmdline: CMDLINE,
    passwords,
    image: Some(Image {
        recognises: |folder, has| {
            folder.ends_with("/loader") || (folder.starts_with("boot/") && has("content")) || has("CHECKSUMS")
        },
        cmdline: CMDLINE,
        wants_disc: |_| false,
        hint: "",
    }),
    completion: Completion::Hook,
    template: Some(Template {
        source: concat!(
            include_str!("../../../templates/part/scripts.liquid"),
            include_str!("../../../templates/part/disk.liquid"),
            include_str!("../../../templates/autoyast.liquid")
        ),
        inputs: template_inputs,
        proof: Proof::Validated,
        proven_by: "libxml2, as XML; the meaning of its elements by no program",
        limits: &Limits {
            cannot: &[Unable {
                variable: "mirror",
                why: "the installer takes its tree from `install=` of the command line",
            }],
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

/// What the built-in template reads beside the well-known variables.
fn template_inputs() -> Vec<Input> {
    vec![
        text("product", "", "which product of the media: SLES, openSUSE, …; needed where there are several"),
        list("patterns", &["base"], "software patterns"),
    ]
}

/// `<user_password>` of a user whose password is not said to be encrypted.
fn passwords(text: &str) -> Vec<&str> {
    const BEGIN: &str = "<user_password>";
    let users = text.split("<user>").skip(1).filter_map(|user| user.split("</user>").next());
    let clear = users.filter(|user| {
        let encrypted = user.split("<encrypted").nth(1).and_then(|rest| rest.split_once('>'));
        !encrypted.is_some_and(|(_, rest)| rest.trim_start().starts_with("true"))
    });
    clear.filter_map(|user| user.split_once(BEGIN)?.1.split('<').next().map(str::trim)).collect()
}

fn read(text: &str) -> Vec<Finding> {
    let document = xml::read(text);
    let place = |at: usize| {
        let before = &text[..at.min(text.len())];
        let line = before.matches('\n').count() + 1;
        (line, before.chars().rev().take_while(|&c| c != '\n').count() + 1)
    };
    let wrong = document.errors.into_iter().map(|(at, message)| {
        let (line, column) = place(at);
        refused(line, column, message)
    });
    let mut found: Vec<Finding> = wrong.collect();
    if !found.is_empty() {
        return found;
    }
    let (line, column) = place(document.root_at);
    if document.root != "profile" {
        found.push(doubtful(
            line,
            column,
            format!("the root element is `<{}>` and should be `<profile>`", document.root),
        ));
    }
    // SUSE's AutoYaST guide, "General options".
    if !document.unconfirmed {
        found.push(asks(
            line,
            "the installer shows its plan and waits: `<confirm>` in `<mode>` must be false",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Verdict;

    #[test]
    fn waits_unless_confirmation_is_off() {
        let asked = |inner: &str| {
            let text = format!("<?xml version=\"1.0\"?>\n<profile>{inner}</profile>\n");
            let found = read(&text).into_iter().find(|found| found.verdict == Verdict::Asks);
            found.map(|found| found.error.line)
        };
        assert_eq!(asked("<mode><confirm config:type=\"boolean\">false</confirm></mode>"), None);
        assert_eq!(asked("<mode><confirm><![CDATA[false]]></confirm></mode>"), None);
        assert_eq!(asked(""), Some(2));
        assert_eq!(asked("<confirm t=\"boolean\">true</confirm>"), Some(2));
        assert_eq!(asked("<!-- <confirm>false</confirm> -->"), Some(2));
        assert_eq!(asked("<confirmation>false</confirmation>"), Some(2));
    }

    #[test]
    fn a_profile_has_another_name_than_profil() {
        let found = read("\n<profil><confirm>false</confirm></profil>");
        assert_eq!((found[0].verdict, found[0].error.line), (Verdict::Doubtful, 2));
        let found = read("<profile>\n<users>\n</drive>\n &x;\n</users></profile>");
        let lines: Vec<u32> = found.iter().map(|found| found.error.line).collect();
        assert_eq!(lines, [3, 4], "{found:?}");
    }
}
