//! The templates that come with the program. An inventory's own template of the same name
//! takes the place of a built-in one.

use std::sync::LazyLock;

use super::{Kind, Text, Value};

/// A template of ours.
#[derive(Debug)]
pub struct Builtin {
    pub name: &'static str,
    pub kind: Kind,
    pub text: Text,
    /// What it reads beside the well-known variables.
    pub inputs: Vec<Input>,
}

/// A variable that a built-in template declares.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// As the template spells it, with underscores.
    pub name: &'static str,
    pub sort: Sort,
    pub default: Value,
    pub meaning: &'static str,
}

/// What an input takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    String,
    Boolean,
    List,
    Secret,
}

static ALL: LazyLock<Vec<Builtin>> = LazyLock::new(|| {
    let mut all = vec![preseed(), kickstart(), autoinstall(), cloud_init(), ignition(), autoyast()];
    all.sort_by_key(|builtin| builtin.name);
    all
});

/// All built-in templates, by name.
pub fn all() -> &'static [Builtin] {
    &ALL
}

/// The built-in template of this name.
pub fn lookup(name: &str) -> Option<&'static Builtin> {
    ALL.iter().find(|builtin| builtin.name == name)
}

macro_rules! source {
    ($name:literal) => {
        include_str!(concat!("../../templates/", $name, ".liquid"))
    };
}

fn builtin(kind: Kind, source: &'static str, inputs: Vec<Input>) -> Builtin {
    let text = Text::parse(source).expect("a test parses every built-in template");
    Builtin { name: kind.name(), kind, text, inputs }
}

fn text(name: &'static str, default: &str, meaning: &'static str) -> Input {
    Input { name, sort: Sort::String, default: Value::String(default.to_owned()), meaning }
}

fn secret(name: &'static str, meaning: &'static str) -> Input {
    Input { name, sort: Sort::Secret, default: Value::String(String::new()), meaning }
}

fn list(name: &'static str, default: &[&str], meaning: &'static str) -> Input {
    let default = default.iter().map(|item| Value::String((*item).to_owned())).collect();
    Input { name, sort: Sort::List, default: Value::List(default), meaning }
}

/// Who may log in: the same for all kinds.
fn accounts() -> Vec<Input> {
    vec![
        text("user", "", "the first account, an administrator; it gets `ssh_keys`"),
        secret("user_hash", "crypt(3) hash of the first account's password; without one it is locked"),
        secret("root_hash", "crypt(3) hash of root's password; without one it is locked"),
    ]
}

/// Accounts, language and keyboard, then `more`.
fn inputs(keymap: &'static str, more: Vec<Input>) -> Vec<Input> {
    let mut inputs = accounts();
    inputs.push(text("locale", "en_US.UTF-8", "language and country"));
    inputs.push(text("keymap", keymap, "keyboard layout"));
    inputs.extend(more);
    inputs
}

fn preseed() -> Builtin {
    let more = vec![
        text("mirror_host", "deb.debian.org", "host of the Debian mirror, with a port if it needs one"),
        text("mirror_directory", "/debian", "the mirror's folder"),
        text("proxy", "", "HTTP proxy for the mirror, as a URL"),
        text("method", "regular", "how the disk is divided: regular, lvm or crypto"),
        text("recipe", "atomic", "which partitions: atomic, home or multi"),
        list("tasks", &["standard", "ssh-server"], "tasks of tasksel"),
        text("upgrade", "full-upgrade", "none, safe-upgrade or full-upgrade"),
        Input {
            name: "update_nvram",
            sort: Sort::Boolean,
            default: Value::Boolean(true),
            meaning: "whether GRUB may put the disk first in the boot order of UEFI",
        },
        text("extra", "", "more preseed lines; they win over those of the template"),
        text(
            "late_command",
            "",
            "one more shell command in the last hook; its failure is the installation's",
        ),
    ];
    builtin(Kind::Preseed, source!("preseed"), inputs("us", more))
}

fn kickstart() -> Builtin {
    let more = vec![
        text("url", "", "installation tree; without one that of the boot's ISO"),
        list("repos", &[], "more repositories, tables of name and url"),
        text("partitioning", "lvm", "how the disk is divided: lvm, plain, thinp or btrfs"),
        text("extra", "", "more kickstart commands"),
        text("post", "", "shell lines to run in the installed system; a failure is the installation's"),
    ];
    builtin(Kind::Kickstart, source!("kickstart"), inputs("us", more))
}

fn autoinstall() -> Builtin {
    let more = vec![text("layout", "lvm", "how the disk is divided: lvm, direct or zfs")];
    builtin(Kind::Autoinstall, source!("autoinstall"), inputs("us", more))
}

fn cloud_init() -> Builtin {
    let mut inputs = accounts();
    inputs.push(text("locale", "en_US.UTF-8", "language and country"));
    builtin(Kind::CloudInit, source!("cloud-init"), inputs)
}

fn ignition() -> Builtin {
    builtin(Kind::Ignition, source!("ignition"), accounts())
}

fn autoyast() -> Builtin {
    let more = vec![
        text("product", "", "which product of the media: SLES, openSUSE, …; needed where there are several"),
        list("patterns", &["base"], "software patterns"),
    ];
    builtin(Kind::Autoyast, source!("autoyast"), inputs("english-us", more))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::known::is_well_known;

    #[test]
    fn each_kind_but_plain_has_one() {
        for kind in Kind::ALL {
            assert_eq!(lookup(kind.name()).is_some(), kind != Kind::Plain, "{kind}");
        }
        assert!(lookup("nobody").is_none());
        assert!(all().is_sorted_by_key(|builtin| builtin.name));
    }

    #[test]
    fn each_declares_what_it_reads_and_no_more() {
        for builtin in all() {
            for found in builtin.text.variables() {
                let declared = builtin.inputs.iter().any(|input| input.name == found.name);
                assert!(declared || is_well_known(&found.name), "{} reads {found:?}", builtin.name);
            }
            for input in &builtin.inputs {
                assert!(builtin.text.uses(input.name), "{} does not read {}", builtin.name, input.name);
                assert!(!is_well_known(input.name), "{} is well known", input.name);
            }
            assert!(builtin.text.uses("completed_url"), "{} never ends", builtin.name);
        }
    }
}
