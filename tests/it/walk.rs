//! Rehearsed boots of whole inventories: every firmware, and what people read of them.

use std::path::Path;
use std::sync::Arc;

use voldemort::daemon::load::{Loaded, transcript};
use voldemort::desired::Media;
use voldemort::manifest::{Code, Level};
use voldemort::model::{Name, Time};
use voldemort::table::Stage;
use voldemort::walk::{self, Detail, End, Route, Walk};

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
"#;

const SECRET: &str = include_str!("../golden/inventory/tree/secrets/root-password.age");

fn inventory(site: &str) -> Loaded {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "site.toml", site);
    for file in ["files/vmlinuz", "files/initrd.gz", "files/more firmware.gz"] {
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

fn walks(loaded: &Loaded, name: &str) -> Vec<Walk> {
    let deployment = &loaded.desired.deployments[name];
    let table = walk::rehearsal(loaded.desired.clone(), &deployment.subnet);
    walk::walk_all(&table, deployment, Route::of(deployment.boot.cpu), Time(0))
}

fn names(walk: &Walk) -> Vec<&str> {
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
    assert_eq!(signed[..2], ["shimx64.efi", "grubx64.efi"]);
    assert!(signed[2].ends_with("grub.cfg"), "{signed:?}");
    assert_eq!(signed[3..5], ["/debian/files/vmlinuz", "/debian/files/initrd.gz"]);
    // All read the same answers, and end with the completion call and a boot from disk.
    for walk in &walks {
        assert_eq!(walk.answers, walks[0].answers);
        let completed = walk.steps.iter().position(|step| step.stage == Stage::Completed).unwrap();
        let local = walk.steps.iter().position(|step| step.stage == Stage::LocalBoot).unwrap();
        assert!(completed < local && local == walk.steps.len() - 1, "{}", walk.route);
    }
}

#[test]
fn walking_together_is_walking_alone() {
    let loaded = inventory(SITE);
    for name in ["web-1", "thin", "arm"] {
        let deployment = &loaded.desired.deployments[name];
        let table = walk::rehearsal(loaded.desired.clone(), &deployment.subnet);
        for together in walks(&loaded, name) {
            let alone = walk::walk(&table, deployment, together.route, Time(0));
            assert_eq!(together, alone, "{name} by {}", together.route);
        }
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
