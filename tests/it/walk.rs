//! Simulated boots of whole inventories: every firmware, and the transcripts of them.

use std::path::Path;
use std::sync::Arc;

use voldemort::desired::Media;
use voldemort::inventory::{Loaded, transcript};
use voldemort::manifest::{Code, Level};
use voldemort::model::{Name, Time};
use voldemort::state::Stage;
use voldemort::walk::{self, Detail, End, Route, SimulatedBoot};

use crate::check::checked;

const SITE: &str = r#"
[subnet.lab]
cidr    = "10.0.10.0/24"
gateway = "10.0.10.1"
dns     = ["10.0.10.1"]
dynamic = "10.0.10.100-10.0.10.199"
[boot.debian]
kernel  = "files/vmlinuz"
initrd  = ["files/initrd.gz", "files/more firmware.gz"]
cmdline = ["auto=true", "url={{ answers_url }}"]
[boot.diskless]
kernel  = "files/vmlinuz"
cmdline = ["root=/dev/nfs"]
[boot.arm]
kernel  = "files/vmlinuz"
cmdline = ["autoinstall", "ds=nocloud;s={{ answers_url }}"]
arch    = "aarch64"
[deployment.web-1]
mac      = "52:54:00:aa:00:01"
address  = "10.0.10.21"
boot     = "debian"
template = "preseed"
vars     = { root-hash = { secret = "root-password" } }
[deployment.thin]
mac      = "52:54:00:aa:00:02"
address  = "auto"
boot     = "diskless"
[deployment.arm]
mac      = "52:54:00:aa:00:03"
address  = "auto"
boot     = "arm"
template = "autoinstall"
ssh-keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 you@desk"]
"#;

const SECRET: &str = include_str!("../golden/inventory/tree/secrets/root-password.age");

fn inventory(site: &str) -> Loaded {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "site.toml", site);
    for file in ["files/vmlinuz", "files/initrd.gz", "files/more firmware.gz", "files/a,b.gz"] {
        write(root.path(), file, "content");
    }
    write(root.path(), "secrets/root-password.age", SECRET);
    checked(root.path(), Media::Required)
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn walks(loaded: &Loaded, name: &str) -> Vec<SimulatedBoot> {
    let deployment = &loaded.desired.deployments[name];
    let state = walk::initial_state(loaded.desired.clone(), &deployment.subnet);
    walk::simulate_all(&state, deployment, &Route::of(deployment), Time(0))
}

fn names(walk: &SimulatedBoot) -> Vec<&str> {
    let name = |detail| match detail {
        &Detail::Text { ref name, .. } | &Detail::File { ref name, .. } => Some(name.as_str()),
        _ => None,
    };
    walk.steps.iter().filter_map(|step| name(&step.detail)).collect()
}

#[test]
fn every_firmware_comes_to_the_end() {
    // GRUB can't ask for the name with a space, which is no error for the others.
    let loaded = inventory(&SITE.replace("more firmware", "initrd"));
    let errors: Vec<_> = loaded.problems.iter().filter(|problem| problem.level > Level::Note).collect();
    assert!(errors.is_empty(), "{errors:?}");
    for (name, end, count) in
        [("web-1", End::Installed, 6), ("thin", End::NetworkBoots, 6), ("arm", End::Installed, 4)]
    {
        let walks = walks(&loaded, name);
        assert_eq!(walks.len(), count);
        for walk in walks {
            assert_eq!(walk.end, end, "{name} by {}", walk.route);
        }
    }
}

#[test]
fn each_route_fetches_what_that_firmware_would() {
    let loaded = inventory(&SITE.replace("more firmware", "initrd"));
    let walks = walks(&loaded, "web-1");
    let by = |route| names(walks.iter().find(|walk| walk.route == route).unwrap());
    assert_eq!(by(Route::BiosPxe)[0], "undionly.kpxe");
    assert_eq!(by(Route::UefiPxe)[0], "snponly.efi");
    assert_eq!(by(Route::UefiHttp)[0], "http://10.0.10.1/loader/snponly.efi");
    for rom in [Route::BiosIpxe, Route::UefiIpxe] {
        assert_eq!(by(rom)[0], "http://10.0.10.1/ipxe/52-54-00-aa-00-01.ipxe", "{rom}");
    }
    let signed = by(Route::SecureBoot);
    assert_eq!(signed[..3], ["shimx64.efi", "//grubx64.efi", "/grub/x86_64-efi/grub.cfg"]);
    assert_eq!(signed[3..5], ["/debian/files/vmlinuz", "/debian/files/initrd.gz"]);
    // All fetch the same answers, and end with the completion call and a boot from disk.
    for walk in &walks {
        assert_eq!(walk.answers, walks[0].answers);
        let completed = walk.steps.iter().position(|step| step.stage == Stage::Completed).unwrap();
        let local = walk.steps.iter().position(|step| step.stage == Stage::LocalBoot).unwrap();
        assert!(completed < local && local == walk.steps.len() - 1, "{}", walk.route);
    }
}

/// `SITE` with IPv6, and programs that the usual rules would not choose.
fn odd_site() -> String {
    let ipv6 =
        "ipv6 = { cidr = \"fd00:10::/64\", dynamic = \"fd00:10::1000-fd00:10::1fff\", ra = \"managed\" }";
    SITE.replace("more firmware", "initrd").replace("[boot.debian]", &format!("{ipv6}\n[boot.debian]"))
        + r#"
[boot.old]
kernel  = "files/vmlinuz"
initrd  = ["files/initrd.gz"]
cmdline = ["auto=true", "url={{ answers_url }}"]
loader  = ["pxelinux.0"]
arch    = "i386"
[machine.own]
mac     = "52:54:00:aa:00:05"
loader  = ["realtek.efi", "realtek.kpxe"]
[machine.grub]
mac     = "52:54:00:aa:00:06"
loader  = ["grubx64.efi"]
[deployment.old]
mac      = "52:54:00:aa:00:04"
address  = "10.0.10.24"
boot     = "old"
template = "preseed"
vars     = { root-hash = { secret = "root-password" } }
[deployment.own]
machine  = "own"
address  = "10.0.10.25"
address6 = "fd00:10::25"
boot     = "debian"
template = "preseed"
vars     = { root-hash = { secret = "root-password" } }
[deployment.grub]
machine  = "grub"
address  = "auto"
boot     = "debian"
template = "preseed"
vars     = { root-hash = { secret = "root-password" } }
"#
}

#[test]
fn walking_together_is_walking_alone() {
    together_as_alone(SITE, &["web-1", "thin", "arm"]);
    together_as_alone(&odd_site(), &["web-1", "thin", "arm", "old", "own", "grub"]);
}

fn together_as_alone(site: &str, names: &[&str]) {
    let loaded = inventory(site);
    for name in names.iter().copied() {
        let deployment = &loaded.desired.deployments[name];
        let state = walk::initial_state(loaded.desired.clone(), &deployment.subnet);
        for together in walks(&loaded, name) {
            let alone = walk::simulate(&state, deployment, together.route, Time(0));
            assert_eq!(together, alone, "{name} by {}", together.route);
        }
    }
}

#[test]
fn every_odd_way_comes_to_the_end() {
    let loaded = inventory(&odd_site());
    let errors: Vec<_> = loaded.problems.iter().filter(|problem| problem.level > Level::Note).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let counts = [("web-1", 10), ("thin", 10), ("arm", 8), ("old", 8), ("own", 10), ("grub", 10)];
    for (name, count) in counts {
        let walks = walks(&loaded, name);
        assert_eq!(walks.len(), count, "{name}");
        for walk in walks {
            let end = if name == "thin" { End::NetworkBoots } else { End::Installed };
            assert_eq!(walk.end, end, "{name} by {}", walk.route);
        }
    }
}

/// What is asked for by one route, up to the answers.
fn asked(loaded: &Loaded, name: &str, route: Route) -> Vec<String> {
    let walks = walks(loaded, name);
    let names = names(walks.iter().find(|walk| walk.route == route).unwrap());
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn pxelinux_finds_the_rest_of_itself_and_its_configuration() {
    let loaded = inventory(&odd_site());
    let asked = asked(&loaded, "old", Route::BiosPxe);
    let id = "pxelinux.cfg/00000000-0000-0000-0000-525400aa0004";
    assert_eq!(asked[..3], ["pxelinux.0", "ldlinux.c32", id]);
    assert_eq!(asked[3..5], ["old/files/vmlinuz", "old/files/initrd.gz"]);
    assert!(asked[5].starts_with("http://10.0.10.1/answers/old/"), "{asked:?}");
    let last = asked.len() - 3;
    assert_eq!(asked[last..], ["pxelinux.0", "ldlinux.c32", id], "the second boot");
}

#[test]
fn ipv6_firmware_gets_everything_over_ipv6() {
    let loaded = inventory(&odd_site());
    let by = |route| asked(&loaded, "web-1", route);
    let script = "http://[fd00:10::1]/ipxe/52-54-00-aa-00-01.ipxe";
    assert_eq!(by(Route::UefiPxe6)[..2], ["tftp://[fd00:10::1]/snponly.efi", script]);
    assert_eq!(by(Route::UefiHttp6)[..2], ["http://[fd00:10::1]/loader/snponly.efi", script]);
    assert_eq!(by(Route::UefiIpxe6)[..2], [script, "http://[fd00:10::1]/debian/files/vmlinuz"]);
    let signed = by(Route::SecureBoot6);
    assert_eq!(
        signed[..4],
        [
            "tftp://[fd00:10::1]/shimx64.efi",
            "tftp://[fd00:10::1]//grubx64.efi",
            "/grub/x86_64-efi/grub.cfg",
            "/debian/files/vmlinuz"
        ]
    );
    for route in Route::IPV6 {
        let asked = by(route);
        assert!(asked.iter().all(|name| !name.contains("10.0.10.1")), "{route}: {asked:?}");
        assert!(
            asked.iter().any(|name| name.starts_with("http://[fd00:10::1]/hooks/")),
            "{route}: {asked:?}"
        );
    }
}

#[test]
fn a_loader_of_its_own_is_given_and_goes_on_as_what_it_is() {
    let loaded = inventory(&odd_site());
    assert_eq!(asked(&loaded, "own", Route::BiosPxe)[0], "realtek.kpxe");
    let uefi = asked(&loaded, "own", Route::UefiPxe);
    assert_eq!(uefi[..2], ["realtek.efi", "http://10.0.10.1/ipxe/52-54-00-aa-00-05.ipxe"]);
    let grub = asked(&loaded, "grub", Route::UefiPxe);
    assert_eq!(grub[..3], ["grubx64.efi", "/grub/x86_64-efi/grub.cfg", "/debian/files/vmlinuz"]);
    let http = asked(&loaded, "grub", Route::UefiHttp6);
    assert_eq!(http[..2], ["http://[fd00:10::1]/loader/grubx64.efi", "/grub/x86_64-efi/grub.cfg"]);
}

/// The routes on which a deployment of a changed site does not boot.
fn stopped(site: &str, name: &str) -> Vec<Route> {
    let loaded = inventory(site);
    let walks = walks(&loaded, name).into_iter();
    walks.filter(|walk| matches!(walk.end, End::Stopped(_))).map(|walk| walk.route).collect()
}

#[test]
fn each_way_finds_what_no_other_does() {
    let site = odd_site();
    assert_eq!(stopped(&site, "old"), []);
    // PXELINUX takes a comma for the end of a name.
    let (before, old) = site.split_once("[boot.old]").unwrap();
    let comma = format!("{before}[boot.old]{}", old.replacen("files/initrd.gz", "files/a,b.gz", 1));
    assert_eq!(stopped(&comma, "old"), [Route::BiosPxe]);
    // An address of IPv6 is longer than one of IPv4, and the kernel keeps 2047 bytes.
    let line = |length: usize| site.replacen("\"auto=true\"", &format!("\"x={}\"", "y".repeat(length)), 1);
    let fits = |length: &usize| {
        let stopped = stopped(&line(*length), "web-1");
        Route::IPV4.iter().all(|route| !stopped.contains(route))
    };
    let lengths: Vec<usize> = (1_000..2_047).collect();
    let longest = lengths[lengths.partition_point(fits) - 1];
    assert_eq!(stopped(&line(longest), "web-1"), Route::IPV6);
    // GRUB can't pass an apostrophe on; this matters only to a machine that is given GRUB, and with Secure
    // Boot.
    let quote = site.replacen("\"auto=true\"", "\"motd=that's-all\"", 1);
    let signed = [Route::SecureBoot, Route::SecureBoot6];
    assert_eq!(stopped(&quote, "web-1"), signed);
    let given = [Route::UefiPxe, Route::UefiHttp, Route::SecureBoot, Route::UefiPxe6, Route::UefiHttp6];
    assert_eq!(stopped(&quote, "grub"), [&given[..], &[Route::SecureBoot6]].concat());
}

#[test]
fn only_ipxe_makes_its_own_address() {
    let site = odd_site()
        .replace(", dynamic = \"fd00:10::1000-fd00:10::1fff\", ra = \"managed\"", ", ra = \"slaac\"");
    let loaded = inventory(&site);
    let walks = walks(&loaded, "web-1");
    assert_eq!(walks[6..].iter().map(|walk| walk.route).collect::<Vec<_>>(), [Route::UefiIpxe6]);
    assert_eq!(walks[6].end, End::Installed);
    assert!(walks[6].steps[0].text.ends_with("fd00:10::5054:ff:feaa:1"), "{}", walks[6].steps[0].text);
    assert_eq!(self::walks(&loaded, "own").len(), 10, "address6 is given by DHCPv6");
}

#[test]
fn golden_transcripts() {
    let loaded = inventory(&odd_site());
    for name in ["web-1", "old", "own", "grub"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/walk/{name}.txt"));
        let name: Name = name.parse().unwrap();
        crate::golden::assert_golden(&file, &transcript(&Arc::clone(&loaded.desired), &[&name]));
    }
}

#[test]
fn secrets_are_stood_in_for() {
    let loaded = inventory(SITE);
    let walks = walks(&loaded, "web-1");
    let (file, text) = &walks[0].answers[0];
    assert_eq!(*file, "preseed.cfg");
    assert!(String::from_utf8_lossy(text).contains("SECRET-root-password"));
}

#[test]
fn what_only_grub_can_not_do_is_a_warning() {
    let loaded = inventory(SITE);
    let problems: Vec<_> = loaded.problems.iter().map(|problem| (problem.code, problem.level)).collect();
    assert_eq!(problems, [(Code::SignedWalk, Level::Warning)]);
    let label = &loaded.problems[0].labels[0];
    assert!(
        loaded.documents.sources.text_at(label.mark).contains("vmlinuz")
            || label.text.contains("command line")
    );
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "site.toml", SITE);
    write(root.path(), "voldemort.toml", "format = 1\n[check]\nV0306 = \"off\"\n");
    for file in ["files/vmlinuz", "files/initrd.gz", "files/more firmware.gz"] {
        write(root.path(), file, "content");
    }
    write(root.path(), "secrets/root-password.age", SECRET);
    let left = checked(root.path(), Media::Required).problems;
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_transcript_tells_the_whole_boot() {
    let loaded = inventory(SITE);
    let name: Name = "web-1".parse().unwrap();
    let text = transcript(&Arc::clone(&loaded.desired), &[&name]);
    for part in [
        "deployment web-1 on machine web-1 (52:54:00:aa:00:01), boot debian",
        "== BIOS PXE",
        "== UEFI Secure Boot",
        "address 10.0.10.21, netmask 255.255.255.0, router 10.0.10.1, dns 10.0.10.1",
        "boot file undionly.kpxe",
        "| #!ipxe",
        "| d-i passwd/root-password-crypted password SECRET-root-password",
        "the same text as above (BIOS PXE)",
        "=> installed; the second boot goes to its own disk",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    assert!(!text.contains("deployment thin"));
}

/// Where another server gives the addresses none need be lent here, and the boots are simulated as if this
/// daemon gave them.
#[test]
fn a_subnet_that_is_left_to_another_server_is_rehearsed() {
    let site = SITE.replace("dynamic = \"10.0.10.100-10.0.10.199\"", "mode    = \"proxy\"");
    let loaded = inventory(&site);
    let errors: Vec<_> = loaded.problems.iter().filter(|problem| problem.level == Level::Error).collect();
    assert!(errors.is_empty(), "{errors:?}");
    // Its second initrd has a name that GRUB can't pass.
    let plain = |walk: &&SimulatedBoot| walk.route != Route::SecureBoot;
    assert!(walks(&loaded, "web-1").iter().filter(plain).all(|walk| walk.end == End::Installed));
    assert!(walks(&loaded, "thin").iter().all(|walk| walk.end == End::NetworkBoots));
    assert_eq!(loaded.desired.subnets["lab"].mode, voldemort::model::Mode::Proxy);
}
