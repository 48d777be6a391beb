//! Built-in templates, rendered and compared with `tests/golden/render/<template>/<case>`.
//! `UPDATE_GOLDEN=1` rewrites the files; the difference is read in review like code.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use voldemort::render::{Kind, Text, Value, Values, builtin, installer};

fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

fn list(items: &[&str]) -> Value {
    Value::List(items.iter().map(|item| text(item)).collect())
}

fn table(members: &[(&str, Value)]) -> Value {
    Value::Table(members.iter().map(|(name, value)| (name.to_string(), value.clone())).collect())
}

fn secrets(name: &str) -> Option<String> {
    match name {
        "root-password" => Some("$6$salt$hashofroot/.".to_owned()),
        "disk-passphrase" => Some("it's a \"long\" $passphrase".to_owned()),
        _ => None,
    }
}

/// What is known of every machine.
fn known() -> Values {
    let base = "http://10.0.10.1/answers/5a1b/";
    BTreeMap::from(
        [
            ("name", text("web-1")),
            ("hostname", text("web-1")),
            ("domain", text("")),
            ("mac", text("52:54:00:aa:00:01")),
            ("address", text("10.0.10.21")),
            ("address6", text("")),
            ("prefix_length6", Value::Integer(0)),
            ("netmask", text("255.255.255.0")),
            ("prefix_length", Value::Integer(24)),
            ("gateway", text("")),
            ("dns", list(&[])),
            ("server_url", text("http://10.0.10.1")),
            ("media_url", text("http://10.0.10.1/rocky")),
            ("answers_url", text(&format!("{base}main"))),
            ("answers_base_url", text(base)),
            ("completed_url", text("http://10.0.10.1/report/5a1b/completed")),
            ("failed_url", text("http://10.0.10.1/report/5a1b/failed")),
            ("progress_url", text("http://10.0.10.1/report/5a1b/progress")),
            ("packages", list(&[])),
            ("users", list(&[])),
            ("ssh_keys", list(&[])),
            ("disk", text("")),
            ("disk_hints", table(&[])),
            ("timezone", text("")),
            // What Talos can't do without; certificates are base64.
            ("endpoint", text("https://10.0.10.10:6443")),
            ("machine_token", text("abcdef.0123456789abcdef")),
            ("machine_ca_crt", text("Y2VydGlmaWNhdGU=")),
            ("machine_ca_key", text("a2V5")),
            ("cluster_ca_crt", text("Y2VydGlmaWNhdGU=")),
            ("cluster_ca_key", text("a2V5")),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    )
}

fn full() -> Values {
    let mut values = known();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG o'ps@desk";
    let users = Value::List(vec![
        table(&[
            ("name", text("dev")),
            ("password_hash", text("$6$salt$hashofdev")),
            ("ssh_keys", list(&[key])),
            ("sudo", Value::Boolean(true)),
            ("groups", list(&["docker", "video"])),
            ("shell", text("/bin/zsh")),
        ]),
        table(&[("name", text("guest"))]),
        table(&[("name", text("bot")), ("password_hash", text("")), ("sudo", Value::Boolean(true))]),
    ]);
    for (name, value) in [
        ("domain", text("lab.example")),
        ("gateway", text("10.0.10.1")),
        ("dns", list(&["10.0.10.1"])),
        ("packages", list(&["nginx", "tmux"])),
        ("users", users),
        ("ssh_keys", list(&[key, "ssh-rsa AAAAB3NzaC1yc2E second"])),
        ("disk", text("/dev/sda")),
        ("timezone", text("Europe/Berlin")),
        ("user", text("ops")),
        ("root_hash", Value::Secret("root-password".to_owned())),
    ] {
        values.insert(name.to_owned(), value);
    }
    values
}

/// The common variables in use, each case with a name: what differs from `full`. A template gets those that it can
/// carry out.
fn variations(kind: Kind) -> Vec<(String, Vec<(&'static str, Value)>)> {
    let limits = kind.installer().template.as_ref().expect("built in").limits;
    let fixed = vec![
        ("network", text("static")),
        ("dns", list(&["10.0.10.1", "2001:db8::53"])),
        ("address6", text("2001:db8::21")),
        ("prefix_length6", Value::Integer(64)),
    ];
    let only6 = vec![
        ("network", text("static")),
        ("dns", list(&["2001:db8::53"])),
        ("address", text("2001:db8::21")),
        ("address6", text("2001:db8::21")),
        ("netmask", text("")),
        ("gateway", text("")),
        ("prefix_length", Value::Integer(64)),
        ("prefix_length6", Value::Integer(64)),
    ];
    let bond = [("bond", list(&["eno1", "eno2"])), ("bond_mode", text("802.3ad"))];
    let vlan = ("vlan", Value::Integer(42));
    let mut cases = vec![
        ("static".to_owned(), fixed.clone()),
        ("static-ipv6-only".to_owned(), only6),
        ("static-vlan".to_owned(), [&fixed[..], std::slice::from_ref(&vlan)].concat()),
        ("static-bond".to_owned(), [&fixed[..], &bond].concat()),
        ("static-bond-vlan".to_owned(), [&fixed[..], &bond, std::slice::from_ref(&vlan)].concat()),
        ("dhcp-bond-vlan".to_owned(), [&bond[..], &[vlan]].concat()),
    ];
    if !limits.can("network") {
        cases.clear();
    }
    if !limits.can("vlan") {
        cases.truncate(1);
    }
    let by_name = kind == Kind::Proxmox;
    let second = if by_name { "/dev/sdb" } else { "/dev/disk/by-id/nvme-eui.0025385b21404b2c" };
    let second = ("second_disk", text(second));
    for layout in limits.layouts {
        let mut values = vec![("layout", text(layout))];
        match *layout {
            "raid1" => values.push(second.clone()),
            "encrypted" => values.push(("disk_passphrase", Value::Secret("disk-passphrase".to_owned()))),
            _ => {}
        }
        cases.push((format!("layout-{layout}"), values));
    }
    let sources = [
        ("mirror", text("http://mirror.lab.example:8080/os/")),
        ("proxy", text("http://10.0.10.3:3128")),
        ("ntp", list(&["10.0.10.1", "ntp.lab.example"])),
    ];
    let hints = [
        ("serial", text("S64F NE0R-6")),
        ("wwn", text("0x5000c500a1b2c3d4")),
        ("model", text("MZQL2 960")),
        ("min-size", Value::Integer(200 << 30)),
        ("max-size", Value::Integer(2 << 40)),
        ("rotational", text("0")),
        ("transport", text("sata")),
    ];
    let hints = hints.into_iter().filter(|(name, _)| limits.hints.contains(name));
    let hints: BTreeMap<String, Value> = hints.map(|(name, value)| (name.replace('-', "_"), value)).collect();
    if !hints.is_empty() {
        cases.push(("hints".to_owned(), vec![("disk", text("")), ("disk_hints", Value::Table(hints))]));
    }
    if kind == Kind::Talos {
        let more = ["cluster_id", "cluster_secret", "bootstrap_token", "secretbox_secret"];
        let base64 =
            ["aggregator_ca_crt", "aggregator_ca_key", "service_account_key", "etcd_ca_crt", "etcd_ca_key"];
        let secrets = more.into_iter().chain(base64).map(|name| (name, text("c2VjcmV0")));
        let own = [("type", text("controlplane")), ("image", text("factory.talos.dev/installer/1:v1.10.0"))];
        cases.push(("controlplane".to_owned(), own.into_iter().chain(secrets).collect()));
    }
    let scripts = vec![
        ("post", text("set -u\necho \"it's\" > /etc/post\n%end\n")),
        ("first_boot", text("#!/bin/sh\necho '{{ x }}' \\\n  > /etc/first\n")),
    ];
    cases.push(("sources".to_owned(), sources.into_iter().filter(|(name, _)| limits.can(name)).collect()));
    if limits.can("post") {
        cases.push(("scripts".to_owned(), scripts));
    }
    cases
}

/// Sets the inputs of the template that have no value.
fn with_defaults(builtin: &builtin::Builtin, mut values: Values) -> Values {
    for input in &builtin.inputs {
        values.entry(input.name.to_owned()).or_insert_with(|| input.default.clone());
    }
    values
}

fn golden(path: &str, rendered: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/render").join(path);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().expect("below a folder")).expect("folder");
        std::fs::write(&path, rendered).expect("write");
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        wanted == rendered,
        "{} differs; look at it with UPDATE_GOLDEN=1. Rendered:\n{rendered}",
        path.display()
    );
}

#[test]
fn builtins_render_as_reviewed_and_pass_their_own_check() {
    let mut quiet = full();
    quiet.remove("root_hash");
    for builtin in builtin::all() {
        let mut least = known();
        if builtin.kind == Kind::Proxmox {
            least.insert("domain".to_owned(), text("lab.example"));
        }
        let cases = [("least", least), ("full", full()), ("sudo", quiet.clone())];
        let cases = cases.map(|(case, values)| (case.to_owned(), values));
        let varied = variations(builtin.kind).into_iter().map(|(case, values)| {
            let values = values.into_iter().map(|(name, value)| (name.to_owned(), value));
            (case, full().into_iter().chain(values).collect())
        });
        for (case, values) in cases.into_iter().chain(varied) {
            let values = with_defaults(builtin, values);
            let rendered = builtin.text().render(&values, &secrets).expect(builtin.name);
            assert_eq!(builtin.kind.read(&rendered), [], "{} {case}", builtin.name);
            golden(&format!("{}/{case}", builtin.name), &rendered);
        }
    }
}

/// What might end a line, a quote, a section, a word or a part in one language or another.
const ATTACKS: [&str; 26] = [
    "x\nd-i preseed/late_command string reboot",
    "x\n%post\nreboot\n%end",
    "x; reboot #",
    "'; reboot; '",
    "\"; reboot; \"",
    "$(reboot)",
    "`reboot`",
    "x\\",
    "x\\ ",
    "<a>&\"",
    "]]>",
    "x: [y",
    "x\r%end",
    "x\u{2028}%end",
    "\u{1}\u{7f}\u{85}\u{2028}",
    "%end",
    " %end",
    "%post --nochroot",
    "%include /etc/shadow",
    "# x",
    "${x}",
    "${b  c}",
    "%n %%",
    "{{ x }}",
    "--- x",
    "d-i a/b",
];

/// Holds a rendered attack against the harmless text: still what its reader understands, and no more
/// of it.
fn in_its_place(builtin: &builtin::Builtin, values: &Values, plain: &str, what: &str) {
    // Refused is as good.
    let Ok(rendered) = builtin.text().render(values, &secrets) else { return };
    let mut found = builtin.kind.read(&rendered);
    if builtin.kind == Kind::Proxmox {
        // Its reader knows which words, addresses and countries there are.
        found.retain(|one| one.error.message.contains("TOML") || one.error.message.contains("has no key"));
    }
    assert_eq!(found, [], "{} {what}:\n{rendered}", builtin.name);
    let size = |text: &str| match builtin.kind {
        Kind::Autoyast => text.matches('<').count(),
        _ => text.lines().count(),
    };
    assert_eq!(size(&rendered), size(plain), "{} {what}", builtin.name);
    if builtin.kind != Kind::Kickstart {
        return;
    }
    let sections = |text: &str| text.lines().filter(|line| line.trim_start().starts_with('%')).count();
    assert_eq!(sections(&rendered), sections(plain), "{} {what}", builtin.name);
}

/// Lines in the installer's own language: what they do is up to whoever wrote them.
const FREE: &str = "extra";

/// Well-known variables that are texts, and all inputs of a template that are.
fn texts(builtin: &builtin::Builtin) -> Vec<&'static str> {
    let known = [
        "name",
        "hostname",
        "domain",
        "disk",
        "timezone",
        "address",
        "address6",
        "gateway",
        "media_url",
        "completed_url",
        "failed_url",
        "progress_url",
    ];
    let is_text = |sort| matches!(sort, builtin::Sort::String | builtin::Sort::Secret);
    let own = builtin.inputs.iter().filter(|input| is_text(input.sort) && input.name != FREE);
    known.into_iter().chain(own.map(|input| input.name)).collect()
}

/// What of the common variables is in use together, so that attacks reach all of them.
fn busy(builtin: &builtin::Builtin) -> Vec<Values> {
    let cases = variations(builtin.kind).into_iter();
    let cases = cases.filter(|(case, _)| !case.starts_with("layout-p") && !case.starts_with("static-ipv6"));
    let all = cases.map(|(_, values)| {
        let values = values.into_iter().map(|(name, value)| (name.to_owned(), value));
        with_defaults(builtin, full().into_iter().chain(values).collect())
    });
    all.collect()
}

/// Whatever a manifest says, it stays in its place.
#[test]
fn values_can_not_break_out() {
    for builtin in builtin::all() {
        for (number, case) in busy(builtin).into_iter().enumerate() {
            for name in texts(builtin) {
                let with = |value: &str| {
                    let mut values = case.clone();
                    values.insert(name.to_owned(), text(value));
                    values
                };
                let plain = builtin.text().render(&with("x"), &secrets).expect("renders");
                // Each attack in every third case: all of them take a minute.
                for attack in ATTACKS.iter().skip(number % 3).step_by(3) {
                    in_its_place(builtin, &with(attack), &plain, &format!("{name} {attack:?}"));
                }
            }
        }
    }
}

/// What fifty deployments with odd values get: each text, and an item of each list, is something that might break out,
/// unless the template refuses it.
pub(crate) fn odd(kind: Kind) -> Vec<String> {
    /// Of these `check` refuses all but some words, or they are always addresses, or base64.
    const WORDS: [&str; 19] = [
        "network",
        "layout",
        "bond_mode",
        "partitioning",
        "method",
        "address",
        "address6",
        "gateway",
        "type",
        "endpoint",
        "machine_ca_crt",
        "machine_ca_key",
        "cluster_ca_crt",
        "cluster_ca_key",
        "aggregator_ca_crt",
        "aggregator_ca_key",
        "service_account_key",
        "etcd_ca_crt",
        "etcd_ca_key",
    ];
    let builtin = builtin::lookup(kind.name()).expect("built in");
    let cases = busy(builtin);
    let render = |values: &Values| builtin.text().render(values, &secrets);
    let one = |number: usize| {
        let attack = |at: usize| ATTACKS[(number + 7 * at) % ATTACKS.len()];
        let mut values = cases[number % cases.len()].clone();
        let lists = ["bond", "dns", "ntp", "tasks", "patterns", "packages", "ssh_keys"];
        let lists = lists.into_iter().filter(|name| builtin.text().uses(name));
        let items = lists.enumerate().map(|(at, name)| (name, list(&["x", attack(at)])));
        let names = texts(builtin).into_iter().filter(|name| !WORDS.contains(name));
        let texts = names.enumerate().map(|(at, name)| (name, text(attack(at))));
        for (name, value) in texts.chain(items) {
            let before = values.insert(name.to_owned(), value);
            if let (Err(_), Some(before)) = (render(&values), before) {
                values.insert(name.to_owned(), before);
            }
        }
        render(&values).expect("what can't be rendered was taken back")
    };
    (0..50).map(one).collect()
}

/// cloud-init's network configuration stays JSON, whatever the values.
#[test]
fn network_config_is_one_mapping() {
    let builtin = builtin::lookup("cloud-init").expect("built in");
    let read = |values: &Values| {
        let rendered = installer::NETWORK_CONFIG.render(values, &secrets).expect("renders");
        serde_json::from_str::<serde_json::Value>(&rendered).map_err(|error| format!("{error}: {rendered}"))
    };
    assert_eq!(
        installer::NETWORK_CONFIG.render(&with_defaults(builtin, full()), &secrets).as_deref(),
        Ok("")
    );
    for (case, values) in variations(Kind::CloudInit) {
        let values = values.into_iter().map(|(name, value)| (name.to_owned(), value));
        let values = with_defaults(builtin, full().into_iter().chain(values).collect());
        if !case.contains("static") && !case.contains("dhcp") {
            continue;
        }
        let rendered = installer::NETWORK_CONFIG.render(&values, &secrets).expect("renders");
        golden(&format!("network-config/{case}"), &rendered);
        for attack in ATTACKS {
            for name in ["address", "address6", "gateway", "domain", "bond_mode", "mac"] {
                let mut values = values.clone();
                values.insert(name.to_owned(), text(attack));
                let read = read(&values).unwrap();
                assert_eq!(read["version"], 2, "{name} {attack:?}");
            }
            for name in ["bond", "dns"] {
                let mut values = values.clone();
                values.insert(name.to_owned(), list(&[attack, "x"]));
                assert!(read(&values).is_ok_and(|read| read["version"] == 2), "{name} {attack:?}");
            }
        }
    }
}

/// The same within lists: packages, keys, and the accounts' names, hashes and keys.
#[test]
fn items_can_not_break_out() {
    for builtin in builtin::all() {
        let with = |item: &str| {
            let account = table(&[
                ("name", text(item)),
                ("password_hash", text(item)),
                ("ssh_keys", list(&[item])),
                ("sudo", Value::Boolean(true)),
                ("groups", list(&[item])),
                ("shell", text(item)),
            ]);
            let one = |name: &str, value: Value| {
                let mut values = with_defaults(builtin, full());
                values.insert(name.to_owned(), value);
                values
            };
            let lists = ["bond", "dns", "ntp", "tasks", "patterns", "packages", "ssh_keys"];
            let declared = lists.into_iter().filter(|name| builtin.text().uses(name));
            let mut all: Vec<Values> = declared.map(|name| one(name, list(&["y", item]))).collect();
            all.push(one("users", Value::List(vec![account])));
            all
        };
        for (at, harmless) in with("x").iter().enumerate() {
            let plain = builtin.text().render(harmless, &secrets).expect("renders");
            for attack in ATTACKS {
                in_its_place(builtin, &with(attack)[at], &plain, &format!("list {at} {attack:?}"));
            }
        }
    }
}

/// The same of what the disk is like.
#[test]
fn hints_can_not_break_out() {
    for builtin in builtin::all() {
        let with = |name: &str, hint: &str| {
            let mut values = with_defaults(builtin, full());
            values.insert("disk".to_owned(), text(""));
            values.insert("disk_hints".to_owned(), table(&[(name, text(hint))]));
            values
        };
        for name in ["serial", "wwn", "model"] {
            let plain = builtin.text().render(&with(name, "x"), &secrets).expect("renders");
            for attack in ATTACKS {
                in_its_place(builtin, &with(name, attack), &plain, &format!("{name} {attack:?}"));
            }
        }
    }
}

/// The function that chooses a disk, with a tree as the kernel's in its place: one that fits, and no other.
#[test]
fn a_shell_finds_the_disk_that_fits() {
    let folder = tempfile::tempdir().expect("folder");
    let disk = |name: &str, files: &[(&str, &str)]| {
        for (path, content) in files {
            let path = folder.path().join(name).join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("create");
            std::fs::write(path, content).expect("write");
        }
    };
    let gib = |number: u64| format!("{}\n", number << 21);
    disk("sda", &[("size", &gib(500)), ("queue/rotational", "1\n"), ("device/model", "ST500 DM002\n")]);
    disk("sda", &[("device/vpd_pg80", "\0P\0\x08  Z3T1ABC"), ("device/wwid", "naa.5000c500a1b2c3d4\n")]);
    disk("nvme0n1", &[("size", &gib(960)), ("queue/rotational", "0\n"), ("device/model", "MZQL2 960\n")]);
    disk("nvme0n1", &[("device/serial", "S64FNE0R600001     \n"), ("wwid", "eui.0025385b21404b2c\n")]);
    disk(
        "vda",
        &[("size", &gib(20)), ("queue/rotational", "1\n"), ("serial", "root"), ("device/vendor", "0x1af4\n")],
    );
    // The path to a disk with several, and a reader without a card.
    disk(
        "nvme0c0n1",
        &[("size", &gib(960)), ("device/serial", "S64FNE0R600001\n"), ("wwid", "eui.0025385b21404b2c\n")],
    );
    disk("sdb", &[("size", "0\n"), ("queue/rotational", "0\n"), ("device/model", "CARD\n")]);
    disk("sr0", &[("size", &gib(1)), ("device/model", "DVD\n")]);
    let part = Text::parse(concat!(include_str!("../../templates/part/disk.liquid"), "{{ hinted }}"))
        .expect("parses");
    let found = |hints: &[(&str, Value)]| {
        let values = BTreeMap::from([("disk_hints".to_owned(), table(hints))]);
        let function = part.render(&values, &secrets).expect("renders");
        let script = function.replace("/sys/block/", &format!("{}/", folder.path().display()));
        let output =
            Command::new("sh").args(["-e", "-c", &format!("{script}; hinted")]).output().expect("sh");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    for (hints, disk) in [
        (&[("serial", text("Z3T1ABC"))][..], "/dev/sda"),
        (&[("serial", text("S64FNE0R600001"))], "/dev/nvme0n1"),
        (&[("serial", text("root"))], "/dev/vda"),
        (&[("serial", text("S64F"))], ""),
        (&[("wwn", text("0x5000c500a1b2c3d4"))], "/dev/sda"),
        (&[("wwn", text("eui.0025385b21404b2c"))], "/dev/nvme0n1"),
        (&[("model", text("ST500 DM002"))], "/dev/sda"),
        (&[("min_size", Value::Integer(600 << 30))], "/dev/nvme0n1"),
        (&[("max_size", Value::Integer(100 << 30))], "/dev/vda"),
        (&[("rotational", text("0"))], "/dev/nvme0n1"),
        // Two fit.
        (&[("rotational", text("1"))], ""),
        (&[("rotational", text("1")), ("min_size", Value::Integer(100 << 30))], "/dev/sda"),
        (&[("transport", text("nvme"))], "/dev/nvme0n1"),
        (&[("transport", text("usb"))], ""),
    ] {
        assert_eq!(found(hints), disk, "{hints:?}");
    }
}

/// The hooks are shell: a shell must be able to read them.
#[test]
fn hooks_are_shell() {
    let preseed = builtin::lookup("preseed").expect("built in");
    for values in busy(preseed).into_iter().chain([known(), full()]) {
        let rendered = preseed.text().render(&with_defaults(preseed, values), &secrets).expect("renders");
        let late = rendered.split("preseed/late_command string").nth(1).expect("a last hook");
        shell_reads(&late.replace("\\\n", " "));
    }
    let kickstart = builtin::lookup("kickstart").expect("built in");
    for values in busy(kickstart).into_iter().chain([known(), full()]) {
        let rendered = kickstart.text().render(&with_defaults(kickstart, values), &secrets).expect("renders");
        for section in
            rendered.split("\n%").filter(|part| part.starts_with("p") && !part.starts_with("packages"))
        {
            shell_reads(section.split_once('\n').expect("a body").1);
        }
    }
}

/// What the last command of cloud-init asks apt-get for and tells the server, where `errors` is the end of its status and
/// apt-get ends with `status`.
fn end_of_cloud_init(values: &Values, errors: Option<&str>, status: u8) -> (String, String) {
    let cloud = builtin::lookup("cloud-init").expect("built in");
    let rendered = cloud.text().render(&with_defaults(cloud, values.clone()), &secrets).expect("renders");
    let last = rendered.split("runcmd:\n  - ").nth(1).expect("a last command").trim_end();
    let mut words: Vec<String> = serde_json::from_str(last).expect("a list of words");
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().display();
    let program = |name: &str, script: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("changed");
    };
    program("apt-get", format!("echo \"$*\" >{at}/asked; exit {status}"));
    program("curl", format!("for url; do :; done; echo \"$url\" >>{at}/told"));
    if let Some(errors) = errors {
        std::fs::write(folder.path().join("status.json"), errors).expect("written");
    }
    words[2] = words[2].replace("/var/lib/cloud/data/", &format!("{at}/"));
    let path = format!("{at}:/usr/bin:/bin");
    let done = Command::new(&words[0]).args(&words[1..]).env("PATH", path).status().expect("runs");
    assert!(done.success());
    let said = |name| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    (said("asked"), said("told"))
}

/// cloud-init goes on after a package that it could not install: the machine is not installed then.
#[test]
fn cloud_init_reports_a_missing_package_as_a_failure() {
    for (status, end) in [(0, "completed"), (100, "failed")] {
        let (asked, told) = end_of_cloud_init(&full(), None, status);
        assert_eq!(asked, "-qy install nginx tmux\n");
        assert_eq!(told, format!("http://10.0.10.1/report/5a1b/{end}\n"));
    }
}

/// It also goes on after a user or a time zone that it could not set; its status tells of that, here as cloud-init 22.4
/// writes it and as later ones do.
#[test]
fn cloud_init_reports_an_error_of_an_earlier_stage_as_a_failure() {
    let stages = |errors: &str, more: &str| {
        format!(
            "{{\n \"v1\": {{\n  \"datasource\": \"DataSourceNoCloudNet\",\n  \"init\": {{\n   \"errors\": [],\n   \"finished\": 1.5{more}\n  }},\n  \
             \"modules-config\": {{\n   \"errors\": {errors},\n   \"finished\": 2.5{more}\n  }},\n  \
             \"modules-final\": {{\n   \"errors\": [],\n   \"finished\": null{more}\n  }},\n  \"stage\": \"modules-final\"\n }}\n}}\n"
        )
    };
    let failure = "[\n    \"('timezone', OSError('Invalid timezone Mars/Base, no file found'))\"\n   ]";
    let recoverable =
        ",\n   \"recoverable_errors\": {\n    \"WARNING\": [\n     \"no \\\"errors\\\": [\\\"\"\n    ]\n   }";
    let (whole, least) = (full(), known());
    for (values, packages) in [(&whole, "-qy install nginx tmux\n"), (&least, "")] {
        for (status, asked, end) in [
            (stages("[]", ""), packages, "completed"),
            (stages("[]", recoverable), packages, "completed"),
            (stages(failure, ""), "", "failed"),
            (stages(failure, recoverable), "", "failed"),
            (stages("[\"('users', 1)\"]", "").replace(['\n', ' '], ""), "", "failed"),
        ] {
            let told = format!("http://10.0.10.1/report/5a1b/{end}\n");
            assert_eq!(end_of_cloud_init(values, Some(&status), 0), (asked.to_owned(), told), "{status}");
        }
    }
}

/// The archive of Alpine's live system, as tar reads it.
#[test]
fn the_overlay_is_an_archive_of_the_script() {
    let script = "#!/bin/sh\necho \"it's\"\n";
    let folder = tempfile::tempdir().expect("folder");
    let packed = folder.path().join("alpine.apkovl.tar.gz");
    std::fs::write(&packed, installer::overlay(script)).expect("write");
    let output = Command::new("tar").args(["-zxf"]).arg(&packed).arg("-C").arg(folder.path()).output();
    let output = output.expect("tar");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let file = |path: &str| folder.path().join("etc").join(path);
    assert_eq!(std::fs::read_to_string(file("local.d/install.start")).expect("the script"), script);
    let mode = std::fs::metadata(file("local.d/install.start")).expect("the script").permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o755);
    let link = std::fs::read_link(file("runlevels/default/local")).expect("a link");
    assert_eq!(link, Path::new("/etc/init.d/local"));
    assert!(file(".default_boot_services").exists());
}

/// The script of Proxmox's first start: what a manifest says stays in its place.
#[test]
fn the_script_of_the_first_start_is_shell() {
    let builtin = builtin::lookup("proxmox").expect("built in");
    let cases = [("least", known()), ("full", full())].map(|(case, values)| (case.to_owned(), values));
    let varied = variations(builtin.kind).into_iter().filter(|(case, _)| case.starts_with('s'));
    let varied = varied.map(|(case, values)| {
        let values = values.into_iter().map(|(name, value)| (name.to_owned(), value));
        (case, full().into_iter().chain(values).collect())
    });
    for (case, values) in cases.into_iter().chain(varied) {
        let values = with_defaults(builtin, values);
        let render = |values: &Values| installer::FIRST_BOOT.render(values, &secrets);
        let rendered = render(&values).expect("renders");
        golden(&format!("proxmox-first-boot/{case}"), &rendered);
        shell_reads(&rendered);
        for attack in ATTACKS {
            let mut odd = values.clone();
            for name in ["user", "user_hash", "proxy", "mirror", "completed_url", "failed_url"] {
                odd.insert(name.to_owned(), text("x"));
            }
            for list_of in ["packages", "ntp", "ssh_keys"] {
                odd.insert(list_of.to_owned(), list(&["x"]));
            }
            let plain = render(&odd).expect("renders");
            for name in ["user", "user_hash", "proxy", "mirror", "completed_url", "failed_url"] {
                let odd: Values = odd.clone().into_iter().chain([(name.to_owned(), text(attack))]).collect();
                let Ok(rendered) = render(&odd) else { continue };
                assert_eq!(rendered.lines().count(), plain.lines().count(), "{name} {attack:?}");
                shell_reads(&rendered);
            }
            for name in ["packages", "ntp", "ssh_keys"] {
                let odd: Values =
                    odd.clone().into_iter().chain([(name.to_owned(), list(&[attack]))]).collect();
                let Ok(rendered) = render(&odd) else { continue };
                assert_eq!(rendered.lines().count(), plain.lines().count(), "{name} {attack:?}");
                shell_reads(&rendered);
            }
        }
    }
}

fn shell_reads(script: &str) {
    let output = Command::new("sh").args(["-n", "-c", script]).output().expect("sh");
    assert!(output.status.success(), "{}\n{script}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_shell_agrees_with_shq() {
    let template = Text::parse("{{ word | shq }}").expect("parses");
    for word in ["a b", "$HOME `id` \\", "'\"'", "*?[x]", "-n", "#x", "ü→", "", "~", "a;b"] {
        let values = BTreeMap::from([("word".to_owned(), text(word))]);
        let quoted = template.render(&values, &secrets).expect("renders");
        let output = Command::new("sh").args(["-c", &format!("printf %s {quoted}")]).output().expect("sh");
        assert_eq!(String::from_utf8_lossy(&output.stdout), word);
    }
}

/// GRUB's own parser reads what is written for it.
#[test]
fn grub_understands() {
    use voldemort::render::grub;
    let words = ["ds=nocloud;s=http://10.0.10.1/a/", "a=\"b $c\"", "{x}", "---"];
    let script = grub::Script {
        server: [10, 0, 10, 1].into(),
        kernel: "debian/vmlinuz".to_owned(),
        initrds: vec!["debian/initrd.gz".to_owned(), "debian/fir$mware.cpio".to_owned()],
        cmdline: words.map(str::to_owned).to_vec(),
        comment: "it's web-1; reboot".to_owned(),
        unfinished: false,
    };
    let folder = tempfile::tempdir().expect("folder");
    for text in [grub::install(&script).expect("fits"), grub::local_boot("it's done")] {
        let file = folder.path().join("grub.cfg");
        std::fs::write(&file, &text).expect("write");
        let Ok(output) = Command::new("grub-script-check").arg(&file).output() else {
            eprintln!("skipped: grub-script-check (package grub-common) is not installed");
            return;
        };
        assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    }
}
