//! The scripts that build packages. `packaging/test` builds and installs them for real, as root.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::program::voldemort;

fn packaging(name: &str) -> String {
    format!("{}/packaging/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn scripts_can_be_read_by_sh() {
    let names = ["build", "firmware", "test", "deb/config", "deb/postinst", "deb/postrm", "deb/prerm"];
    for name in names {
        let read = Command::new("sh").args(["-n", &packaging(name)]).output().unwrap();
        assert!(read.status.success(), "{name}: {}", String::from_utf8_lossy(&read.stderr));
    }
}

/// The image has the programs with the capability that the kernel reads, and the same bytes each time.
#[test]
fn an_image_is_the_same_each_time_and_carries_the_capabilities() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_voldemortctl"), root.join("usr/bin/voldemort")).unwrap();
    let image = |name: &str| {
        let out = folder.path().join(name);
        let mut python = Command::new("python3");
        python.arg(packaging("oci.py")).arg(&root).args(["1.2.3", "x86_64"]).arg(&out);
        let made = python.env("SOURCE_DATE_EPOCH", "1700000000").output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        out
    };
    let (one, two) = (image("one.tar"), image("two.tar"));
    assert!(fs::read(&one).unwrap() == fs::read(&two).unwrap());
    let unpacked = folder.path().join("oci");
    fs::create_dir(&unpacked).unwrap();
    run(Command::new("tar").arg("-xf").arg(&one).arg("-C").arg(&unpacked));
    let json =
        |path: &Path| -> serde_json::Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let blob = |value: &serde_json::Value| {
        unpacked.join("blobs/sha256").join(value["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap())
    };
    let manifest = json(&blob(&json(&unpacked.join("index.json"))["manifests"][0]));
    let config = json(&blob(&manifest["config"]));
    assert_eq!(config["config"]["User"], "990:990");
    assert_eq!(config["architecture"], "amd64");
    let layer = blob(&manifest["layers"][0]);
    assert_eq!(fs::metadata(&layer).unwrap().len(), manifest["layers"][0]["size"]);
    let mut cat = Command::new("gzip");
    let tar = cat.args(["-dc"]).arg(&layer).output().unwrap().stdout;
    let header = b"SCHILY.xattr.security.capability=\x01\0\0\x02\0\x34\0\0";
    assert!(tar.windows(header.len()).any(|window| window == header));
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

/// What the package installs is what the program writes.
#[test]
fn completions_and_pages_are_made_for_packages() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["completions", "bash"][..], &["completions", "zsh", "--ctl"], &["man", "pages"]] {
        let made = voldemort(folder.path(), arguments);
        assert_eq!(made.code, 0, "{arguments:?}: {}", made.err);
    }
    for page in ["voldemort.1", "voldemortctl.1", "voldemort-check.1"] {
        assert!(folder.path().join("pages").join(page).is_file(), "{page}");
    }
}
