//! Ignition's configuration: JSON with a version that some release of Ignition reads.

use serde_json::Value;

use super::{Completion, Installer, Kind, Need, Proof, Template, main_file};
use crate::render::builtin::{Input, text};
use crate::render::common::{Limits, Unable};
use crate::render::finding::{Finding, refused};

pub(super) static INSTALLER: Installer = Installer {
    kind: Kind::Ignition,
    files: &[main_file("config.ign")],
    takes_folder: false,
    by_dhcp: false,
    check: read,
    needs: &[Need {
        words: &[
            "ignition.config.url=",
            "flatcar.config.url=",
            "coreos.config.url=",
            "coreos.inst.ignition_url=",
        ],
        why: "nothing names the configuration to Ignition",
        help: "add \"ignition.config.url={{ answers_url }}\"",
    }],
    cmdline: &[],
    // It takes hashes alone.
    passwords: |_| Vec::new(),
    image: None,
    completion: Completion::Hook,
    template: Some(Template {
        source: include_str!("../../../templates/ignition.liquid"),
        inputs: template_inputs,
        proof: Proof::Validated,
        proven_by: "Ignition's own parser",
        limits: &Limits {
            cannot: &[
                Unable { variable: "packages", why: "the system is an image that takes no packages" },
                Unable { variable: "mirror", why: "the system is an image that takes no packages" },
                Unable { variable: "locale", why: "the image has no other locales" },
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
            own_account: "core",
            joins_scripts: false,
            every_disk: &[],
            vlan_needs_bond: false,
        },
    }),
};

const DISK: &str =
    "the image brings its partitions; `coreos.inst.install_dev=` of the command line names the disk";

/// What the built-in template reads beside the well-known and the common variables.
fn template_inputs() -> Vec<Input> {
    vec![text("keymap", "", "keyboard layout; the image's own where it is empty")]
}

/// The newest minor version of each specification (docs/specs.md of Ignition; Flatcar reads 2.x).
const NEWEST: [(u64, u64); 2] = [(2, 4), (3, 6)];

fn read(text: &str) -> Vec<Finding> {
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => {
            // What people write and `butane` turns into this.
            let butane = text.lines().any(|line| line.starts_with("variant:"));
            let hint = if butane { "; this is Butane's YAML: `butane` makes JSON of it" } else { "" };
            return vec![refused(error.line(), error.column(), format!("{error}{hint}"))];
        }
    };
    // In JSON that its author wrote on several lines the version stands on one of them.
    let line = text.lines().position(|line| line.to_ascii_lowercase().contains("\"version\""));
    let wrong = member(&value, "ignition").and_then(|ignition| member(ignition, "version"));
    if let Err(message) = version(wrong) {
        return vec![refused(line.map_or(1, |at| at + 1), 1, message)];
    }
    let is_third = wrong.and_then(Value::as_str).is_some_and(|version| version.starts_with("3."));
    let twice = if is_third { twice(&value) } else { None };
    twice.map(|message| refused(1, 1, message)).into_iter().collect()
}

/// Two accounts of one name, or a group or key of an account twice: Ignition refuses lists with two entries that mean one
/// thing.
fn twice(value: &Value) -> Option<String> {
    let list = |of: &Value, name: &str| member(of, name)?.as_array().cloned();
    let repeated = |texts: Vec<&str>| {
        let again = texts.iter().enumerate().find(|(at, text)| texts[..*at].contains(text));
        again.map(|(_, text)| text.chars().take(40).collect::<String>())
    };
    let users = list(member(value, "passwd")?, "users")?;
    let name = |user: &Value| member(user, "name").and_then(Value::as_str).map(str::to_owned);
    let names: Vec<String> = users.iter().filter_map(name).collect();
    if let Some(name) = repeated(names.iter().map(String::as_str).collect()) {
        return Some(format!("there are two accounts `{name}`"));
    }
    users.iter().find_map(|user| {
        ["groups", "sshAuthorizedKeys"].iter().find_map(|part| {
            let texts = list(user, part)?;
            let text = repeated(texts.iter().filter_map(Value::as_str).collect())?;
            Some(format!("`{part}` of account `{}` have `{text}` twice", name(user).unwrap_or_default()))
        })
    })
}

/// A member of an object. Go's `encoding/json`, which Ignition reads by, does not mind the case of
/// names.
fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let object = value.as_object()?;
    object.get(name).or_else(|| {
        let found = object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    })
}

fn version(value: Option<&Value>) -> Result<(), String> {
    let text = match value {
        Some(Value::String(text)) => text,
        Some(Value::Null) | None => return Err("`ignition.version` is missing".to_owned()),
        Some(_) => return Err("`ignition.version` must be a text".to_owned()),
    };
    let (numbers, suffix) = text.split_once('-').unwrap_or((text, ""));
    let parts: Vec<Option<u64>> = numbers.split('.').map(|part| part.parse().ok()).collect();
    if let [Some(_), Some(_)] = parts[..] {
        return Err(format!("Ignition's versions have three numbers, as in `{text}.0`"));
    }
    let known = match parts[..] {
        [Some(major), Some(minor), Some(0)] => NEWEST.iter().any(|(of, newest)| {
            // The version after the newest exists as an experiment.
            *of == major
                && (suffix.is_empty() && minor <= *newest || suffix == "experimental" && minor <= *newest + 1)
        }),
        _ => false,
    };
    match known {
        true => Ok(()),
        false => Err(format!(
            "Ignition does not know the version `{text}`; 3.0.0 to 3.6.0 and 2.0.0 to 2.4.0 exist"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Option<(u32, u32, String)> {
        read(text).into_iter().next().map(|found| (found.error.line, found.error.column, found.error.message))
    }

    #[test]
    fn json_with_a_version_is_read() {
        for text in [
            r#"{"ignition": {"version": "3.4.0"}}"#,
            r#"{"Ignition": {"Version": "2.3.0"}}"#,
            r#"{"ignition": {"version": "3.7.0-experimental"}}"#,
        ] {
            assert_eq!(said(text), None, "{text}");
        }
    }

    #[test]
    fn what_ignition_refuses_is_found_at_its_line() {
        for (text, line, words) in [
            ("{\n \"a\": }", 2, "expected value"),
            ("{}", 1, "missing"),
            ("[]", 1, "missing"),
            (r#"{"ignition": {"version": "9"}}"#, 1, "`9`"),
            (r#"{"ignition": {"version": "3.9.0"}}"#, 1, "`3.9.0`"),
            (r#"{"ignition": {"version": "3.4.1"}}"#, 1, "`3.4.1`"),
            (r#"{"ignition": {"version": 3}}"#, 1, "text"),
            ("{\n\"ignition\": {\n\"version\": \"3.4\"}}", 3, "`3.4.0`"),
            ("variant: fcos\nversion: 1.5.0\n", 1, "Butane"),
            (
                r#"{"ignition": {"version": "3.3.0"}, "passwd": {"users": [{"name": "a"}, {"name": "a"}]}}"#,
                1,
                "two accounts `a`",
            ),
            (
                r#"{"ignition": {"version": "3.3.0"}, "passwd": {"users": [{"name": "a", "groups": ["b", "b"]}]}}"#,
                1,
                "`b` twice",
            ),
        ] {
            let (at, _, message) = said(text).unwrap();
            assert!(at == line && message.contains(words), "{text}: {at} {message}");
        }
    }
}
