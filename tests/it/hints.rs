//! `disk` that says what the disk is like, and other settings that depend on what an installer can write down.

use crate::program::voldemort;

const SUBNET: &str = "[subnet.lab]\ncidr = \"10.0.10.0/24\"\ngateway = \"10.0.10.1\"\ndns = [\"10.0.10.1\"]\ndomain = \"lab.example\"\n";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl you@desk";

/// The exit status and the report of a check of one deployment with these words of its command line, this template and
/// these settings, and its rendered answers.
fn checked(subnet: &str, words: &str, template: &str, settings: &str) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::write(root.join("kernel"), "kernel").unwrap();
    std::fs::write(root.join("names.liquid"), "disk {{ disk }}\n").unwrap();
    std::fs::write(
        root.join("hints.liquid"),
        "disk {{ disk }} {{ disk_hints.serial }} {{ disk_hints.min_size }}\n",
    )
    .unwrap();
    let address = if settings.starts_with("address = ") { "" } else { "address = \"10.0.10.21\"\n" };
    let site = format!(
        "{SUBNET}{subnet}[template.names]\nkind = \"plain\"\nfile = \"names.liquid\"\n[template.hints]\nkind = \"plain\"\n\
         file = \"hints.liquid\"\n[boot.b]\nkernel = \"kernel\"\ncmdline = [\"{words}\"]\n[deployment.web-1]\n\
         mac = \"52:54:00:aa:00:01\"\n{address}subnet = \"lab\"\nboot = \"b\"\ntemplate = \"{template}\"\n\
         unproven = true\nssh-keys = \"{KEY}\"\n{settings}\n"
    );
    std::fs::write(root.join("site.toml"), site).unwrap();
    let ran = voldemort(root, &["check"]);
    let rendered = voldemort(root, &["render", "web-1"]);
    (ran.code, ran.out + &ran.err, rendered.out + &rendered.err)
}

const KICKSTART: &str = "inst.ks={{ answers_url }}";

#[test]
fn a_disk_may_be_described_and_the_description_reaches_the_answers() {
    let disk =
        "disk = { serial = \"S64FNE0R6\", min-size = \"200 GiB\", rotational = false, transport = \"nvme\" }";
    let (code, report, rendered) = checked("", KICKSTART, "kickstart", disk);
    assert_eq!(code, 0, "{report}");
    for part in [
        "*\"|\"S64FNE0R6\"|\"*",
        "-ge 419430400 ]",
        "/queue/rotational\")\" = 0 ]",
        "*/nvme*",
        "drive=$(hinted",
    ] {
        assert!(rendered.contains(part), "{part}:\n{rendered}");
    }
    let (code, report, rendered) =
        checked("", "answers={{ answers_url }}", "hints", "disk = { serial = \"S6\", min-size = \"1 GiB\" }");
    assert_eq!(code, 0, "{report}");
    assert!(rendered.contains("disk  S6 1073741824"), "{rendered}");
    let (code, report, rendered) = checked("", KICKSTART, "kickstart", "disk = \"/dev/sda\"");
    assert!(
        code == 0 && rendered.contains("--only-use=sda") && !rendered.contains("hinted"),
        "{report}{rendered}"
    );
}

#[test]
fn a_description_that_can_not_be_carried_out_is_refused() {
    let answers = "answers={{ answers_url }}";
    for (words, template, settings, wanted) in [
        (KICKSTART, "kickstart", "disk = {}", "it says nothing of the disk"),
        (KICKSTART, "kickstart", "disk = { serial = \" \" }", "`serial` is empty"),
        (
            KICKSTART,
            "kickstart",
            "disk = { min-size = \"2 TiB\", max-size = \"1 TiB\" }",
            "`min-size` is more than",
        ),
        (KICKSTART, "kickstart", "disk = { seria = \"x\" }", "did you mean `serial`?"),
        (KICKSTART, "kickstart", "disk = { transport = \"ide\" }", "transport"),
        (KICKSTART, "kickstart", "disk = { rotational = \"no\" }", "rotational"),
        (KICKSTART, "kickstart", "disk = 5", "text in quotes or a table"),
        (
            KICKSTART,
            "kickstart",
            "disk = { serial = \"x\" }\nvars = { layout = \"raid1\", second-disk = \"/dev/sdb\" }",
            "raid1 needs the name",
        ),
        (
            "inst.auto={{ answers_url }}",
            "agama",
            "disk = { serial = \"x\" }",
            "its installer takes the name of a disk",
        ),
        (
            "proxmox-start-auto-installer",
            "proxmox",
            "disk = { wwn = \"x\" }",
            "chooses a disk by serial, not by wwn",
        ),
        (
            "proxmox-start-auto-installer",
            "proxmox",
            "vars = { layout = \"zfs\" }",
            "zfs takes every disk of the machine",
        ),
        (
            "inst.ks={{ answers_url }} disk={{ disk }}",
            "kickstart",
            "disk = { serial = \"x\" }",
            "command line needs the name",
        ),
        (answers, "names", "disk = { serial = \"x\" }", "reads `disk`, a name, and not `disk_hints`"),
    ] {
        let (code, report, _) = checked("", words, template, settings);
        assert!(code == 1 && report.contains(wanted), "{settings}, wanted {wanted:?}:\n{report}");
    }
}

/// Its installer takes one address.
#[test]
fn proxmox_refuses_a_static_address_of_either_family() {
    let ipv6 = "ipv6 = { cidr = \"2001:db8::/64\" }\n";
    let words = "proxmox-start-auto-installer";
    let fixed = "address6 = \"2001:db8::21\"\nvars = { network = \"static\" }";
    let (code, report, _) = checked(ipv6, words, "proxmox", fixed);
    assert!(code == 1 && report.contains("error[V0410]") && report.contains("IPv4 alone"), "{report}");
    for (subnet, settings) in [(ipv6, "address6 = \"2001:db8::21\""), ("", "vars = { network = \"static\" }")]
    {
        let (_, report, _) = checked(subnet, words, "proxmox", settings);
        // Its firmware may boot by IPv6; the installer asks by IPv4 in any case.
        assert!(!report.contains("error["), "{settings}:\n{report}");
    }
    let (code, report, _) = checked(ipv6, KICKSTART, "kickstart", fixed);
    assert_eq!(code, 0, "{report}");
}

/// Where another server gives the addresses, none is known that could be written down.
#[test]
fn a_static_network_needs_an_address_that_is_known() {
    let proxy = "mode = \"proxy\"\n";
    let fixed = "vars = { network = \"static\" }";
    let lent = format!("address = \"auto\"\n{fixed}");
    let (code, report, _) = checked(proxy, KICKSTART, "kickstart", &lent);
    assert!(code == 0 && report.contains("warning[V0410]"), "{report}");
    assert!(report.contains("the address is another server's to give"), "{report}");
    for (subnet, settings) in [(proxy, fixed), ("dynamic = \"10.0.10.100-10.0.10.199\"\n", lent.as_str())] {
        let (_, report, _) = checked(subnet, KICKSTART, "kickstart", settings);
        assert!(!report.contains("V0410"), "{settings}:\n{report}");
    }
}

/// NetworkManager, which Agama hands it to, finds what a VLAN lies on by the name of an interface.
#[test]
fn a_vlan_of_agama_lies_on_a_bond() {
    let words = "inst.auto={{ answers_url }}";
    let (code, report, _) = checked("", words, "agama", "vars = { vlan = 42 }");
    assert!(code == 0 && report.contains("warning[V0410]"), "{report}");
    assert!(report.contains("by the name of its interface"), "{report}");
    for (template, words, settings) in [
        ("agama", words, "vars = { vlan = 42, bond = [\"eno1\"] }"),
        ("agama", words, "vars = { vlan = 0 }"),
        ("kickstart", KICKSTART, "vars = { vlan = 42 }"),
    ] {
        let (_, report, _) = checked("", words, template, settings);
        assert!(!report.contains("V0410"), "{settings}:\n{report}");
    }
}

#[test]
fn a_disk_is_named_by_the_path_of_the_whole_disk() {
    let checked = |settings: &str| checked("", KICKSTART, "kickstart", settings);
    for (name, meant) in [
        ("sda", "/dev/sda"),
        ("dev/nvme0n1", "/dev/nvme0n1"),
        ("/sda", "/dev/sda"),
        ("/dev/sda1", "/dev/sda"),
        ("/dev/nvme0n1p2", "/dev/nvme0n1"),
        ("disk/by-id/wwn-0x5000", "/dev/disk/by-id/wwn-0x5000"),
        ("by-path/pci-0000:00:1f.2-ata-1", "/dev/disk/by-path/pci-0000:00:1f.2-ata-1"),
    ] {
        let settings = [
            format!("disk = \"{name}\""),
            format!("vars = {{ disk = \"{name}\" }}"),
            format!("disk = \"/dev/sdx\"\nvars = {{ layout = \"raid1\", second-disk = \"{name}\" }}"),
        ];
        for settings in settings {
            let (code, report, _) = checked(&settings);
            let wanted = [format!("no disk is called `{name}`"), format!("write \"{meant}\"")];
            assert!(code == 0 && report.contains("warning[V0412]"), "{settings}:\n{report}");
            assert!(wanted.iter().all(|wanted| report.contains(wanted)), "{settings}:\n{report}");
        }
    }
    for (name, wanted) in [
        ("the first one", "write its path"),
        ("/dev/", "write its path"),
        ("{ serial = 'S1' }", "without quotes around it"),
    ] {
        let (_, report, _) = checked(&format!("disk = \"{name}\""));
        assert!(report.contains("warning[V0412]") && report.contains(wanted), "{name}:\n{report}");
    }
    for name in ["", "/dev/sda", "/dev/md126", "/dev/disk/by-id/wwn-0x5000-part1", "/dev/mapper/mpatha"] {
        let (code, report, _) = checked(&format!("disk = \"{name}\""));
        assert!(code == 0 && !report.contains("V0412"), "{name}:\n{report}");
    }
}

/// Talos takes the first of several disks that fit.
#[test]
fn hints_that_may_fit_several_disks_are_a_warning_where_the_first_is_taken() {
    let check = |template: &str, words: &str, hints: &str| {
        checked("", words, template, &format!("disk = {hints}"))
            .1
            .contains("first disk that fits this `disk`")
    };
    let talos = "talos.platform=metal talos.config={{ answers_url }}";
    assert!(check("talos", talos, "{ model = \"ACME\", min-size = \"8 GiB\" }"));
    assert!(!check("talos", talos, "{ model = \"ACME\", serial = \"S1\" }"));
    assert!(!check("talos", talos, "{ wwn = \"0x5000c500a1b2c3d4\" }"));
    assert!(!check("kickstart", KICKSTART, "{ model = \"ACME\" }"));
    // A warning about one deployment says nothing of another, which nobody could log in to.
    let locked = "vars = { layout = \"encrypted\", disk-passphrase = \"hunter2\" }\n[deployment.web-2]\n\
                  mac = \"52:54:00:aa:00:02\"\naddress = \"10.0.10.22\"\nsubnet = \"lab\"\nboot = \"b\"\n\
                  template = \"kickstart\"\n";
    let (_, report, _) = checked("", KICKSTART, "kickstart", locked);
    assert!(report.contains("V0508") && report.contains("V0409"), "{report}");
}

/// Names that no installer can use stop a deployment before its machine boots.
#[test]
fn names_that_no_installer_can_use_are_refused() {
    let user = |name: &str| format!("users = [{{ name = \"{name}\", ssh-keys = \"{KEY}\" }}]");
    for (settings, wanted) in [
        (user("root"), "`users` has an account `root`: root is there already"),
        (user("web admin"), "no blanks"),
        (user("ops") + "\nvars = { user = \"ops\" }", "`users` has an account `ops`: so is `user`"),
        ("vars = { user = \"root\" }".to_owned(), "`user` can't be `root`"),
        ("packages = [\"vim git\"]".to_owned(), "`packages` can't have `vim git`"),
        ("packages = [\"\"]".to_owned(), "`packages` can't have ``"),
        ("vars = { locale = \"en-US\" }".to_owned(), "`locale` is written as `en_US.UTF-8`"),
        ("vars = { ntp = [\"ntp://a\"] }".to_owned(), "`ntp` has host names and addresses"),
        ("vars = { bond = [\"eno1\", \"eno1\"] }".to_owned(), "`bond` can't have `eno1`: it is there twice"),
    ] {
        for (words, template) in [(KICKSTART, "kickstart"), ("auto=true url={{ answers_url }}", "preseed")] {
            let (code, report, _) = checked("", words, template, &settings);
            let is_refused = code == 1 && report.contains("error[V0410]") && report.contains(wanted);
            assert!(is_refused, "{template}, {settings}:\n{report}");
        }
    }
    let (code, report, _) =
        checked("", KICKSTART, "kickstart", "packages = [\"@^minimal environment\", \"-bash\"]");
    assert_eq!(code, 0, "{report}");
    let (code, report, _) = checked("", "url={{ answers_url }}", "preseed", "packages = [\"-bash\"]");
    assert!(code == 1 && report.contains("its installer excludes no packages"), "{report}");
}

/// NetworkManager listens to no router where the method is `manual` (`ipv6` of nm-settings(5)).
#[test]
fn a_static_address_of_ipv6_does_not_keep_the_router_from_being_learnt() {
    let fixed = "address6 = \"2001:db8::21\"\nvars = { network = \"static\" }";
    let (_, report, rendered) =
        checked("ipv6 = { cidr = \"2001:db8::/64\" }\n", KICKSTART, "kickstart", fixed);
    let script =
        rendered.split("# NetworkManager learns no router").nth(1).and_then(|rest| rest.split_once('\n'));
    let (_, script) = script.unwrap_or_else(|| panic!("{report}{rendered}"));
    let script: Vec<&str> = script.lines().take(6).collect();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let keyfile = |method: &str| {
        format!(
            "[ipv4]\nmethod=manual\n\n[ipv6]\naddress1=2001:db8::21/64\nmethod={method}\n\n[proxy]\nmethod=manual\n"
        )
    };
    write("NetworkManager/system-connections/eno1.nmconnection", &keyfile("manual"));
    write("sysconfig/network-scripts/ifcfg-eno1", "IPV6_AUTOCONF=no\nIPV6ADDR=2001:db8::21/64\n");
    let script = script.join("\n").replace("/etc/", &format!("{}/", root.display()));
    let ran = std::process::Command::new("sh").args(["-e", "-c", &script]).output().unwrap();
    assert!(ran.status.success(), "{ran:?}\n{script}");
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    assert_eq!(read("NetworkManager/system-connections/eno1.nmconnection"), keyfile("auto"));
    assert_eq!(read("sysconfig/network-scripts/ifcfg-eno1"), "IPV6_AUTOCONF=yes\nIPV6ADDR=2001:db8::21/64\n");
    // The installer keeps the route that it has where there is no other than IPv6's.
    assert!(rendered.contains(" --activate"), "{rendered}");
}

fn json(rendered: &str) -> serde_json::Value {
    let ends = (rendered.find('{').unwrap(), rendered.rfind('}').unwrap());
    serde_json::from_str(&rendered[ends.0..=ends.1]).unwrap_or_else(|error| panic!("{error}: {rendered}"))
}

#[test]
fn core_os_learns_its_ipv6_router_and_has_its_domain() {
    let words = "ignition.config.url={{ answers_url }}";
    let subnet = "ipv6 = { cidr = \"2001:db8::/64\" }\n";
    let fixed = "address6 = \"2001:db8::21\"\nvars = { network = \"static\" }";
    let (code, report, rendered) = checked(subnet, words, "ignition", fixed);
    assert_eq!(code, 0, "{report}");
    let found = json(&rendered);
    let files = found["storage"]["files"].as_array().unwrap();
    let place = "/etc/NetworkManager/system-connections/boot.nmconnection";
    let file = files.iter().find(|file| file["path"] == place).unwrap();
    let source = file["contents"]["source"].as_str().unwrap().strip_prefix("data:;base64,").unwrap();
    let text = String::from_utf8(voldemort::model::from_base64(source).unwrap()).unwrap();
    let (four, six) = text.split_once("[ipv6]\n").unwrap();
    assert!(six.contains("method=auto\naddress1=2001:db8::21/64\n"), "{text}");
    // It is in one of the two sections.
    assert!(four.contains("dns-search=lab.example;\n") && !six.contains("dns-search"), "{text}");
}

/// Ignition refuses two accounts of one name; of cloud-init's the first wins, an administrator.
#[test]
fn the_account_that_a_template_makes_is_not_made_twice() {
    let user =
        |name: &str, more: &str| format!("users = [{{ name = \"{name}\", ssh-keys = \"{KEY}\" }}]\n{more}");
    let ignition = "ignition.config.url={{ answers_url }}";
    let autoinstall = "autoinstall\", \"ds=nocloud-net;s={{ answers_base_url }}";
    for (words, template, name) in [(ignition, "ignition", "core"), (autoinstall, "autoinstall", "ubuntu")] {
        let (code, report, _) = checked("", words, template, &user(name, ""));
        assert!(code == 1 && report.contains("without `user`"), "{report}");
        let (code, report, _) = checked("", words, template, &user(name, "vars = { user = \"ops\" }"));
        assert_eq!(code, 0, "{report}");
    }
    let sudo = "users = [{ name = \"dev\", groups = [\"sudo\"], sudo = true }, { name = \"b\", groups = [], sudo = true }]";
    let (code, report, rendered) = checked("", ignition, "ignition", sudo);
    assert_eq!(code, 0, "{report}");
    let found = json(&rendered);
    let groups = |at: usize| found["passwd"]["users"][at]["groups"].to_string();
    assert_eq!([groups(1), groups(2)], ["[\"sudo\"]", "[\"sudo\"]"]);
}
