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
    let names =
        ["build", "firmware", "release", "test", "deb/config", "deb/postinst", "deb/postrm", "deb/prerm"];
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

/// A release of what is not ready is refused before anything is built.
#[test]
fn a_release_of_a_tree_that_is_not_ready_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path();
    let write = |name: &str, text: &str| {
        let path = tree.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    fs::create_dir(tree.join("packaging")).unwrap();
    fs::copy(packaging("release"), tree.join("packaging/release")).unwrap();
    let git = |words: &[&str]| {
        let mut git = Command::new("git");
        git.current_dir(tree).args(["-c", "user.name=t", "-c", "user.email=t@example.org"]).args(words);
        let done = git.output().unwrap();
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let refused = |version: &str| {
        let mut release = Command::new("sh");
        let out = release
            .arg(tree.join("packaging/release"))
            .arg(version)
            .env_remove("SIGNING_KEY")
            .output()
            .unwrap();
        assert!(!out.status.success());
        String::from_utf8(out.stderr).unwrap()
    };
    let commit = || git(&["commit", "-q", "--allow-empty", "-am", "x"]);
    git(&["init", "-q"]);
    for name in
        ["Cargo.toml", "Cargo.lock", "CHANGELOG.md", "schemas/openapi.json", "schemas/released/openapi.json"]
    {
        write(name, "x\n");
    }
    assert!(refused("0.2").contains("0.2 is no version"));
    assert!(refused("0.2.0").contains("not committed"));
    git(&["add", "-A"]);
    commit();
    let steps = [
        ("Cargo.toml", "version = \"0.2.0\"\n", "Cargo.toml has another version"),
        ("Cargo.lock", "name = \"voldemort\"\nversion = \"0.2.0\"\n", "Cargo.lock has another version"),
        ("CHANGELOG.md", "## 0.2.0 (1 December 2026)\n", "no heading"),
        ("tests/fixtures/state/new/VERSION", "voldemort 0.2.0\n", "no state directories of 0.2.0"),
        ("schemas/openapi.json", "{}\n", "SIGNING_KEY names no file"),
    ];
    for (name, text, why) in steps {
        if name == "schemas/openapi.json" {
            write(name, text);
            git(&["add", "-A"]);
            commit();
            assert!(refused("0.2.0").contains("not the contract"), "{}", refused("0.2.0"));
            write("schemas/released/openapi.json", text);
        } else {
            assert!(refused("0.2.0").contains(why), "{why}: {}", refused("0.2.0"));
            write(name, text);
        }
        git(&["add", "-A"]);
        commit();
    }
    assert!(refused("0.2.0").contains("SIGNING_KEY names no file"));
    git(&["tag", "v0.2.0"]);
    assert!(refused("0.2.0").contains("is there already"));
}
