//! `voldemort init`, `render` and `resolved`.

use std::fs;
use std::path::Path;

use crate::golden;
use crate::program::voldemort;

#[test]
fn a_new_inventory_passes_check_and_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (at, flags) in [
        ("plain", &[][..]),
        ("first", &["--mac", "52:54:00:12:34:57"]),
        ("small", &["--subnet", "192.168.7.0/29", "--gateway", "192.168.7.6", "--mac", "52:54:00:12:34:57"]),
        ("middle", &["--subnet", "192.168.7.0/29", "--gateway", "192.168.7.4", "--mac", "52:54:00:12:34:57"]),
        ("second", &["--subnet", "10.0.0.0/8", "--gateway", "10.0.0.2", "--mac", "52:54:00:12:34:57"]),
    ] {
        let made = voldemort(root, &[&["init", at], flags].concat());
        assert_eq!(made.code, 0, "{at}: {}", made.err);
        let checked = voldemort(root, &["check", at, "--format", "concise"]);
        assert_eq!(checked.code, 0, "{at}: {}", checked.out);
        assert!(checked.err.contains("0 warnings"), "{at}: {}{}", checked.out, checked.err);
        let wanted = if flags.is_empty() { "0 deployments" } else { "1 deployment" };
        assert!(checked.err.contains(wanted), "{at}: {}", checked.err);
    }
    fs::remove_file(root.join("plain/boots.toml")).unwrap();
    let again = voldemort(root, &["init", "plain"]);
    assert!(again.code == 1 && again.err.contains("nothing was written"), "{}", again.err);
    assert!(!root.join("plain/boots.toml").exists());
    assert_eq!(voldemort(root, &["init", "x", "--subnet", "10.0.0.0/30"]).code, 64);
    assert_eq!(voldemort(root, &["init", "x", "--gateway", "10.9.9.9"]).code, 64);
}

#[test]
fn what_a_machine_gets_is_shown_with_secrets_masked() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/inventory");
    for (file, arguments) in [
        ("answers.txt", &["render", "web-1", "tree"][..]),
        ("ipxe.txt", &["render", "web-1", "tree", "--script", "ipxe"]),
        ("grub.txt", &["render", "web-1", "tree", "--script", "grub"]),
        ("resolved.txt", &["resolved", "web-1", "tree"]),
        ("resolved-origin.txt", &["resolved", "web-1", "tree", "--origin"]),
        ("resolved.json", &["resolved", "web-1", "tree", "--origin", "-o", "json"]),
        ("built-in.txt", &["resolved", "web-2", "tree", "--origin"]),
    ] {
        let ran = voldemort(&root, arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.err);
        golden::assert_golden(&root.join(file), &ran.out);
        if file.starts_with("resolved") && file.ends_with("txt") {
            assert!(toml_reads(&ran.out), "{}", ran.out);
        }
    }
    let unknown = voldemort(&root, &["render", "web-9", "tree"]);
    assert!(unknown.code == 1 && unknown.err.contains("there are: web-1, web-2"), "{}", unknown.err);
    let no_file = voldemort(&root, &["render", "web-1", "tree", "--file", "user-data"]);
    assert!(no_file.code == 1 && no_file.err.contains("it has: "), "{}", no_file.err);
}

/// The text form is TOML that may stand in a manifest.
fn toml_reads(text: &str) -> bool {
    text.parse::<toml::Table>().is_ok()
}
