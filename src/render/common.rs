//! Variables that mean the same in all built-in templates, and what a template can't make of them.

mod names;

use super::builtin::{Input, Sort, list, secret, text};
use super::known::WELL_KNOWN;
use super::near;
use super::{Value, Values};

/// A common or well-known variable that a built-in template does not carry out.
#[derive(Debug)]
pub struct Unable {
    /// As templates spell it.
    pub variable: &'static str,
    /// A sentence without a full stop.
    pub why: &'static str,
}

/// What a built-in template does not carry out.
#[derive(Debug)]
pub struct Limits {
    pub cannot: &'static [Unable],
    /// What of `disk` as a table it can choose a disk by, as manifests spell it.
    pub hints: &'static [&'static str],
    /// Whether its installer takes the first disk that fits, where several do.
    pub takes_first: bool,
    /// Whether `packages` may have groups (`@core`) and exclusions (`-bash`).
    pub groups: bool,
    /// The values of `layout`, besides the empty one.
    pub layouts: &'static [&'static str],
    /// Whether `mirror` may begin with `https://`.
    pub https_mirror: bool,
    /// The account that it makes an administrator where `user` is empty; empty where it makes none.
    pub own_account: &'static str,
    /// Whether `post` and `first_boot` are in one argument of a program.
    pub joins_scripts: bool,
    /// The values of `layout` with which its installer takes every disk of the machine where `disk` is empty.
    pub every_disk: &'static [&'static str],
    /// Whether a VLAN needs a bond, because its installer finds what lies below by the name of its interface.
    pub vlan_needs_bond: bool,
}

impl Limits {
    /// Whether a template with these limits reads the variable.
    pub fn can(&self, variable: &str) -> bool {
        !self.cannot.iter().any(|unable| unable.variable == variable)
    }
}

/// Well-known variables that manifests set, with a setting of their own, and their meaning.
pub fn known() -> impl Iterator<Item = (&'static str, &'static str)> {
    const NAMES: [&str; 7] = ["packages", "users", "ssh_keys", "disk", "timezone", "hostname", "domain"];
    WELL_KNOWN.iter().copied().filter(|(name, _)| NAMES.contains(name))
}

/// The common variables that manifests set in `vars`.
pub fn inputs() -> Vec<Input> {
    let number = |name, meaning| Input { name, sort: Sort::Integer, default: Value::Integer(0), meaning };
    vec![
        text("user", "", "the first account, an administrator; it gets `ssh_keys`"),
        secret("user_hash", "crypt(3) hash of the first account's password; without one it is locked"),
        secret("root_hash", "crypt(3) hash of root's password; without one it is locked"),
        text("locale", "en_US.UTF-8", "language and country"),
        text("keymap", "us", "keyboard layout"),
        text(
            "layout",
            "",
            "how the disk is divided: plain, lvm, raid1 or encrypted; empty is the template's own choice",
        ),
        text("second_disk", "", "the other disk of layout raid1, as `disk` is the first"),
        secret("disk_passphrase", "passphrase of layout encrypted; it is asked for at every start"),
        text(
            "network",
            "dhcp",
            "dhcp, or static: the machine's address, router and name servers, written down",
        ),
        number("vlan", "number of the VLAN that the address is in; 0 is none"),
        list("bond", &[], "names of the interfaces that are bonded, as eno1; empty is no bond"),
        text("bond_mode", "active-backup", "mode of the bond, as the kernel's bonding driver names it"),
        text(
            "mirror",
            "",
            "URL that packages come from; without one the image's tree or the distribution's own",
        ),
        text("proxy", "", "HTTP proxy for packages, as a URL"),
        list("ntp", &[], "time servers; empty leaves those of the distribution"),
        text("post", "", "shell script for the installed system, as root; a failure is the installation's"),
        text("first_boot", "", "shell script for the first start of the installed system, as root"),
    ]
}

/// Everything that `disk` as a table may have.
pub const HINTS: &[&str] = &["serial", "wwn", "model", "min-size", "max-size", "rotational", "transport"];

/// What is wrong with `disk` as a table for a template with these limits.
pub fn wrong_hints(limits: &Limits, disk: &Value) -> Option<String> {
    let Value::Table(table) = disk else { return None };
    let size = |key: &str| match table.get(key) {
        Some(Value::Integer(size)) => Some(*size),
        _ => None,
    };
    let keys = table.keys().map(|key| key.replace('_', "-"));
    let foreign: Vec<String> = keys.filter(|key| !limits.hints.contains(&key.as_str())).collect();
    let is_blank = |value: &Value| matches!(value, Value::String(text) if text.trim().is_empty());
    if limits.hints.is_empty() {
        return Some("its installer takes the name of a disk".to_owned());
    }
    if !foreign.is_empty() {
        let (known, foreign) = (limits.hints.join(", "), foreign.join(", "));
        return Some(format!("its installer chooses a disk by {known}, not by {foreign}"));
    }
    if table.is_empty() {
        return Some("it says nothing of the disk".to_owned());
    }
    if let Some((key, _)) = table.iter().find(|(_, value)| is_blank(value)) {
        return Some(format!("`{key}` is empty"));
    }
    let none = size("min_size").zip(size("max_size")).is_some_and(|(least, most)| least > most);
    none.then(|| "`min-size` is more than `max-size`".to_owned())
}

/// Whether an installer with these limits would choose one disk of several by chance: only a serial number or a World
/// Wide Name is one disk's alone.
pub fn is_chance(limits: &Limits, disk: &Value) -> bool {
    let Value::Table(table) = disk else { return false };
    limits.takes_first && !table.contains_key("serial") && !table.contains_key("wwn")
}

/// Whether an installer with these limits would not find the card that a VLAN lies on.
pub fn lacks_bond(limits: &Limits, values: &Values) -> bool {
    let has = |name: &str| values.get(name).is_some_and(is_set);
    limits.vlan_needs_bond && has("vlan") && !has("bond")
}

/// Modes of the kernel's bonding driver (Documentation/networking/bonding.rst), as netplan takes them too.
const BOND_MODES: [&str; 7] =
    ["balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"];

/// Some installers get the scripts in base64, both together, in one argument of a program, which Linux bounds
/// (MAX_ARG_STRLEN, 128 KiB).
const LONGEST_SCRIPT: usize = 64 * 1024;
/// Base64 makes 107 KiB of it. Debian's installer has the accounts with their keys in the same argument.
const LONGEST_SCRIPTS: usize = 80 * 1024;

/// A variable and what is wrong with its value, if anything, as the end of a sentence that begins with its
/// name.
type Rule = (&'static str, fn(&Limits, &Values) -> Option<String>);

/// The rules for values. The types are right, or something else was reported.
pub const RULES: [Rule; 19] = [
    ("user", names::user),
    ("users", names::users),
    ("packages", names::packages),
    ("locale", names::locale),
    ("ntp", names::ntp),
    ("bond", names::bond),
    ("layout", layout),
    ("second_disk", second_disk),
    ("network", |_, values| one_of(get(values, "network"), &["dhcp", "static"])),
    ("vlan", vlan),
    // Of kickstart and of preseed alone.
    ("partitioning", |_, values| one_of(get(values, "partitioning"), &["lvm", "plain", "thinp", "btrfs"])),
    ("method", |_, values| one_of(get(values, "method"), &["regular", "lvm", "crypto", "raid"])),
    // Of Talos alone.
    ("type", machine_type),
    ("endpoint", |_, values| url(get(values, "endpoint"), &["https://"])),
    ("bond_mode", |_, values| one_of(get(values, "bond_mode"), &BOND_MODES)),
    ("mirror", mirror),
    ("proxy", |_, values| url(get(values, "proxy"), &["http://", "https://"])),
    ("post", |_, values| script(get(values, "post"))),
    ("first_boot", first_boot),
];

fn get<'a>(values: &'a Values, name: &str) -> &'a str {
    match values.get(name) {
        Some(Value::String(text)) => text,
        _ => "",
    }
}

/// Whether a variable has a value that means something.
pub fn is_set(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.is_empty(),
        Value::Integer(number) => *number != 0,
        Value::Boolean(flag) => *flag,
        Value::List(items) => !items.is_empty(),
        Value::Table(_) | Value::Secret(_) => true,
    }
}

fn one_of(value: &str, known: &[&str]) -> Option<String> {
    if value.is_empty() || known.contains(&value) {
        return None;
    }
    Some(format!("can't be `{value}` here{}", near::hint(value, known.iter().copied())))
}

fn layout(limits: &Limits, values: &Values) -> Option<String> {
    let layout = get(values, "layout");
    let lacks = |name: &str| !values.get(name).is_some_and(is_set);
    one_of(layout, limits.layouts).or_else(|| match layout {
        "raid1" if matches!(values.get("disk"), Some(Value::Table(_))) => {
            Some("raid1 needs the name of its first disk in `disk`".to_owned())
        }
        "raid1" if lacks("disk") => Some("raid1 needs `disk`, the first of its two disks".to_owned()),
        "raid1" if lacks("second_disk") => {
            Some("raid1 needs `second-disk`, the other of its two disks".to_owned())
        }
        "encrypted" if lacks("disk_passphrase") => {
            Some("encrypted needs `disk-passphrase`, a secret".to_owned())
        }
        name if limits.every_disk.contains(&name) && lacks("disk") => {
            Some(format!("{name} takes every disk of the machine where `disk` names none: set `disk`"))
        }
        _ => None,
    })
}

fn machine_type(_: &Limits, values: &Values) -> Option<String> {
    let kind = get(values, "type");
    let lacks = |name: &str| !values.get(name).is_some_and(is_set);
    one_of(kind, &["worker", "controlplane"]).or_else(|| match kind {
        "controlplane" if lacks("machine_ca_key") || lacks("cluster_ca_key") => {
            Some("controlplane needs `machine-ca-key` and `cluster-ca-key`".to_owned())
        }
        _ => None,
    })
}

fn second_disk(_: &Limits, values: &Values) -> Option<String> {
    let second = get(values, "second_disk");
    match get(values, "layout") {
        _ if second.is_empty() => None,
        "raid1" if second == get(values, "disk") => Some(format!("is `{second}`, and so is `disk`")),
        "raid1" => None,
        _ => Some("is used by `layout = \"raid1\"` alone".to_owned()),
    }
}

fn vlan(_: &Limits, values: &Values) -> Option<String> {
    match values.get("vlan") {
        Some(Value::Integer(number)) if !(0..=4094).contains(number) => {
            Some(format!("is a number from 1 to 4094, not {number}"))
        }
        _ => None,
    }
}

fn mirror(limits: &Limits, values: &Values) -> Option<String> {
    let schemes: &[&str] = if limits.https_mirror { &["http://", "https://"] } else { &["http://"] };
    url(get(values, "mirror"), schemes)
}

fn url(value: &str, schemes: &[&str]) -> Option<String> {
    if value.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Some(format!("is a URL, which has no blanks, not `{}`", value.escape_debug()));
    }
    if value.is_empty()
        || schemes.iter().any(|scheme| value.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()))
    {
        return None;
    }
    Some(format!("is a URL that begins with {}, not `{value}`", schemes.join(" or ")))
}

fn script(value: &str) -> Option<String> {
    let too_long = value.len() > LONGEST_SCRIPT;
    too_long.then(|| format!("is a script of at most 64 KiB; this one has {} KiB", value.len() / 1024))
}

fn first_boot(limits: &Limits, values: &Values) -> Option<String> {
    let script_of = |name: &str| get(values, name);
    let both = script_of("first_boot").len() + script_of("post").len();
    script(script_of("first_boot")).or_else(|| {
        let most = LONGEST_SCRIPTS / 1024;
        (limits.joins_scripts && both > LONGEST_SCRIPTS).then(|| {
            format!("and `post` are scripts of at most {most} KiB together; these have {} KiB", both / 1024)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::installer;

    fn said(values: &[(&str, Value)], rule: &str) -> Option<String> {
        let limits = Limits {
            cannot: &[],
            hints: HINTS,
            takes_first: false,
            groups: false,
            layouts: &["plain", "raid1", "encrypted"],
            https_mirror: false,
            own_account: "",
            joins_scripts: true,
            every_disk: &[],
            vlan_needs_bond: false,
        };
        let values: Values = values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let (_, rule) = RULES.iter().find(|(name, _)| *name == rule).unwrap();
        rule(&limits, &values)
    }

    fn text(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    #[test]
    fn values_that_no_installer_takes_are_refused() {
        for (rule, values, words) in [
            ("layout", vec![("layout", text("raid5"))], "`raid5`"),
            ("layout", vec![("layout", text("raid1"))], "`disk`"),
            ("layout", vec![("layout", text("raid1")), ("disk", text("/dev/sda"))], "`second-disk`"),
            ("layout", vec![("layout", text("encrypted"))], "`disk-passphrase`"),
            ("second_disk", vec![("second_disk", text("/dev/sdb"))], "raid1"),
            (
                "second_disk",
                vec![
                    ("layout", text("raid1")),
                    ("disk", text("/dev/sda")),
                    ("second_disk", text("/dev/sda")),
                ],
                "so is `disk`",
            ),
            ("network", vec![("network", text("statik"))], "did you mean `static`?"),
            ("vlan", vec![("vlan", Value::Integer(4095))], "4095"),
            ("vlan", vec![("vlan", Value::Integer(-1))], "-1"),
            ("bond_mode", vec![("bond_mode", text("lacp"))], "802.3ad"),
            ("mirror", vec![("mirror", text("https://deb.example/debian"))], "http://"),
            ("proxy", vec![("proxy", text("proxy.example:3128"))], "`proxy.example:3128`"),
            ("proxy", vec![("proxy", text("http://"))], "`http://`"),
            ("mirror", vec![("mirror", text("http://deb.example/deb ian"))], "has no blanks"),
            ("post", vec![("post", text(&"x".repeat(65 * 1024)))], "65 KiB"),
        ] {
            let said = said(&values, rule);
            assert!(said.as_ref().is_some_and(|said| said.contains(words)), "{rule}: {said:?}");
        }
    }

    /// Both are in one argument of `sh`, with what the template puts around them.
    #[test]
    fn scripts_fit_into_one_argument_together() {
        let script = |kibibytes: usize| text(&"x".repeat(kibibytes * 1024));
        let both = |post, first| said(&[("post", script(post)), ("first_boot", script(first))], "first_boot");
        assert_eq!((both(40, 40), both(0, 64), both(64, 0)), (None, None, None));
        assert!(both(50, 50).unwrap().contains("these have 100 KiB"));
        assert!(both(0, 65).unwrap().contains("at most 64 KiB"));
        assert!(LONGEST_SCRIPTS.div_ceil(3) * 4 < (128 - 16) * 1024);
    }

    #[test]
    fn values_that_mean_nothing_or_something_pass() {
        for rule in RULES.map(|(name, _)| name) {
            assert_eq!(said(&[], rule), None, "{rule}");
            assert_eq!(said(&[(rule, text(""))], rule), None, "{rule}");
        }
        let raid = [("layout", text("raid1")), ("disk", text("/dev/sda")), ("second_disk", text("/dev/sdb"))];
        assert_eq!((said(&raid, "layout"), said(&raid, "second_disk")), (None, None));
        let secret = Value::Secret("disk".to_owned());
        assert_eq!(said(&[("layout", text("encrypted")), ("disk_passphrase", secret)], "layout"), None);
        assert_eq!(said(&[("mirror", text("http://deb.example/debian"))], "mirror"), None);
    }

    /// Every common variable is read by every built-in template, or refused for it.
    #[test]
    fn no_common_variable_is_ignored() {
        let known = || known().map(|(name, _)| name);
        for installer in installer::all() {
            let Some(template) = &installer.template else { continue };
            let builtin = crate::render::builtin::lookup(installer.kind.name()).unwrap();
            for name in inputs().iter().map(|input| input.name).chain(known()) {
                assert_eq!(builtin.reads(name), template.limits.can(name), "{} {name}", installer.kind);
            }
            // `disk` as a table, if any of it can be carried out.
            assert_eq!(builtin.reads("disk_hints"), !template.limits.hints.is_empty(), "{}", installer.kind);
            for unable in template.limits.cannot {
                let is_common = inputs().iter().any(|input| input.name == unable.variable);
                assert!(is_common || known().any(|name| name == unable.variable), "{}", unable.variable);
            }
        }
    }
}
