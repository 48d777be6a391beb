//! The keys that Proxmox's installer knows (its `Answer`, which refuses all others), and what it requires of them.
//! Keys of several words are written with hyphens, or with underscores as before 8.4.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::render::near;

type Table<'a> = DeTable<'a>;
/// Where in the text, in bytes, and a sentence without a full stop.
type Wrong = (usize, String);

const TOP: &[&str] = &["global", "network", "disk-setup", "post-installation-webhook", "first-boot"];
const SECTIONS: [(&str, &[&str]); 5] = [
    (
        "global",
        &[
            "country",
            "fqdn",
            "keyboard",
            "mailto",
            "timezone",
            "root-password",
            "root-password-hashed",
            "reboot-on-error",
            "reboot-mode",
            "root-ssh-keys",
            "subscription-key",
        ],
    ),
    ("network", &["source", "cidr", "dns", "gateway", "filter", "interface-name-pinning"]),
    ("disk-setup", &["filesystem", "disk-list", "filter", "filter-match", "zfs", "lvm", "btrfs"]),
    ("post-installation-webhook", &["url", "cert-fingerprint"]),
    ("first-boot", &["source", "ordering", "url", "cert-fingerprint"]),
];
const NEEDED: [&str; 5] = ["country", "fqdn", "keyboard", "mailto", "timezone"];
const KEYBOARDS: [&str; 25] = [
    "de", "de-ch", "dk", "en-gb", "en-us", "es", "fi", "fr", "fr-be", "fr-ca", "fr-ch", "hu", "is", "it",
    "jp", "lt", "mk", "nl", "no", "pl", "pt", "pt-br", "se", "si", "tr",
];
const FILESYSTEMS: [&str; 4] = ["ext4", "xfs", "zfs", "btrfs"];

/// Everything that is wrong.
pub(super) fn wrong(answer: &Table) -> Vec<Wrong> {
    let mut found = Vec::new();
    unknown(answer, TOP, "the answer file", &mut found);
    for (name, keys) in SECTIONS {
        let Some((at, section)) = section(answer, name) else { continue };
        unknown(section, keys, &format!("`{name}`"), &mut found);
        match name {
            "global" => global(at, section, &mut found),
            "network" => network(at, section, &mut found),
            "disk-setup" => disks(at, section, &mut found),
            _ => {}
        }
    }
    for name in &TOP[..3] {
        if get(answer, name).is_none() {
            found.push((0, format!("the table `{name}` is missing")));
        }
    }
    found.sort();
    found
}

fn get<'a, 'b>(table: &'a Table<'b>, name: &str) -> Option<&'a Spanned<DeValue<'b>>> {
    let is_it = |key: &str| key.replace('_', "-") == name;
    table.iter().find(|(key, _)| is_it(key.get_ref())).map(|(_, value)| value)
}

fn section<'a, 'b>(answer: &'a Table<'b>, name: &str) -> Option<(usize, &'a Table<'b>)> {
    let (key, value) = answer.iter().find(|(key, _)| key.get_ref().replace('_', "-") == name)?;
    Some((key.span().start, value.get_ref().as_table()?))
}

/// A text and where it stands.
fn text<'a>(table: &'a Table, name: &str) -> Option<(usize, &'a str)> {
    let value = get(table, name)?;
    Some((value.span().start, value.get_ref().as_str()?))
}

fn unknown(table: &Table, keys: &[&str], of: &str, found: &mut Vec<Wrong>) {
    for (key, _) in table {
        let name = key.get_ref().replace('_', "-");
        if !keys.contains(&name.as_str()) {
            let hint = near::hint(&name, keys.iter().copied());
            found.push((key.span().start, format!("{of} has no key `{}`{hint}", key.get_ref())));
        }
    }
}

/// What is wrong with a value.
type Rule = fn(&str) -> Option<String>;

fn global(at: usize, global: &Table, found: &mut Vec<Wrong>) {
    for name in NEEDED.into_iter().filter(|name| get(global, name).is_none()) {
        found.push((at, format!("`global` needs `{name}`")));
    }
    let passwords = ["root-password", "root-password-hashed"];
    if passwords.into_iter().filter(|name| get(global, name).is_some()).count() != 1 {
        found.push((at, "`global` needs one of `root-password` and `root-password-hashed`".to_owned()));
    }
    let rules: [(&str, Rule); 4] = [
        ("country", |country| {
            let fine = country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_lowercase());
            (!fine).then(|| format!("`country` is two small letters, as `at`, not `{country}`"))
        }),
        ("keyboard", |keyboard| {
            let hint = near::hint(keyboard, KEYBOARDS.iter().copied());
            (!KEYBOARDS.contains(&keyboard)).then(|| format!("there is no keyboard `{keyboard}`{hint}"))
        }),
        ("fqdn", |name| {
            let message = "needs a domain behind the host name: set `domain` in the subnet or the deployment";
            (!name.contains('.')).then(|| format!("`fqdn` {message}"))
        }),
        ("mailto", |address| {
            (!address.contains('@')).then(|| format!("`mailto` is an address with @, not `{address}`"))
        }),
    ];
    for (name, rule) in rules {
        let value = text(global, name);
        found.extend(value.and_then(|(at, value)| Some((at, rule(value)?))));
    }
}

fn network(at: usize, network: &Table, found: &mut Vec<Wrong>) {
    let own = ["cidr", "dns", "gateway", "filter"];
    let is_empty = |name: &str| text(network, name).is_some_and(|(_, value)| value.is_empty());
    match text(network, "source").map_or("from-dhcp", |(_, source)| source) {
        "from-answer" => {
            let missing = own.into_iter().filter(|name| get(network, name).is_none() || is_empty(name));
            found.extend(missing.map(|name| (at, format!("`source = \"from-answer\"` needs `{name}`"))));
        }
        "from-dhcp" => {
            let set = own.into_iter().filter_map(|name| Some((name, get(network, name)?.span().start)));
            found.extend(set.map(|(name, at)| (at, format!("`source = \"from-dhcp\"` takes no `{name}`"))));
        }
        other => found.push((at, format!("`source` is from-dhcp or from-answer, not `{other}`"))),
    }
}

fn disks(at: usize, disks: &Table, found: &mut Vec<Wrong>) {
    let listed = get(disks, "disk-list").and_then(|list| list.get_ref().as_array());
    let listed = listed.filter(|list| !list.is_empty());
    if listed.is_some() == get(disks, "filter").is_some() {
        found.push((at, "`disk-setup` needs one of `disk-list` and `filter`".to_owned()));
    }
    for disk in listed.into_iter().flatten() {
        let by_link = disk.get_ref().as_str().filter(|name| name.starts_with("/dev/disk/"));
        let message =
            |name: &str| format!("the installer looks for no `{name}`: `filter` finds links, by DEVLINKS");
        found.extend(by_link.map(|name| (disk.span().start, message(name))));
    }
    match text(disks, "filesystem") {
        None => found.push((at, "`disk-setup` needs `filesystem`".to_owned())),
        Some((place, kind)) if !FILESYSTEMS.contains(&kind) => {
            found.push((place, format!("there is no filesystem `{kind}`: {}", FILESYSTEMS.join(", "))));
        }
        Some((_, kind)) if ["zfs", "btrfs"].contains(&kind) => {
            let options = get(disks, kind).and_then(|options| options.get_ref().as_table());
            if options.and_then(|options| get(options, "raid")).is_none() {
                found.push((at, format!("`filesystem = \"{kind}\"` needs `{kind}.raid`")));
            }
        }
        Some(_) if listed.is_some_and(|list| list.len() > 1) => {
            found.push((at, "ext4 and xfs take one disk".to_owned()));
        }
        Some(_) => {}
    }
}
