//! `voldemort init`, `render` and `resolved`.

use std::fs;
use std::path::Path;

use crate::golden;
use crate::program::{voldemort, voldemort_with};

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
        let key = ["--ssh-key", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 you@desk"];
        let made = voldemort(root, &[&["init", at], &key[..], flags].concat());
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

/// A machine that nobody can log in to has to be installed again.
#[test]
fn a_new_inventory_has_a_key_or_check_says_that_it_needs_one() {
    let folder = tempfile::tempdir().unwrap();
    let (root, home) = (folder.path(), folder.path().join("home"));
    fs::create_dir_all(home.join(".ssh")).unwrap();
    let environment = [("HOME", home.to_str().unwrap())];
    let init = |at: &str, more: &[&str]| {
        let flags = ["init", at, "--mac", "52:54:00:12:34:57", "--subnet", "10.0.10.0/24"];
        voldemort_with(root, &[&flags, more].concat(), "", &environment)
    };
    let check = |at: &str| voldemort(root, &["check", at, "--format", "concise"]);

    let without = init("without", &[]);
    assert!(without.code == 0 && without.err.contains("nobody can log in"), "{}", without.err);
    let checked = check("without");
    assert!(
        checked.code == 0 && checked.out.contains("profiles.toml:3:10: warning[V0409]"),
        "{}",
        checked.out
    );

    let keys = "# mine\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMq me@desk\n";
    fs::write(home.join(".ssh/authorized_keys"), keys).unwrap();
    let found = init("found", &[]);
    assert!(found.code == 0 && !found.err.contains("nobody"), "{}", found.err);
    let profiles = fs::read_to_string(root.join("found/profiles.toml")).unwrap();
    assert!(
        profiles.contains("ssh-keys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMq me@desk\"]"),
        "{profiles}"
    );
    assert!(!check("found").out.contains("V0409"));

    let none = init("none", &["--ssh-key", "/dev/null"]);
    assert!(none.code == 64 && none.err.contains("no public ssh key"), "{}", none.err);
}

/// What is no key, or a hash that opens nothing, is no way in; a shell line may be one.
#[test]
fn who_can_log_in_is_known_for_every_template_of_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::write(root.join("kernel"), "k").unwrap();
    for kind in ["preseed", "kickstart", "autoinstall", "autoyast", "ignition", "cloud-init"] {
        for (settings, open) in [
            ("", false),
            ("vars = { root-hash = \"!\" }", false),
            ("vars = { user = \"amy\" }", false),
            ("users = [{ name = \"amy\" }]", false),
            ("ssh-keys = []", false),
            ("ssh-keys = [\"ssh-ed25519 AAAA amy\"]", true),
            ("vars = { root-hash = \"$6$salt$hash\" }", true),
            ("vars = { user = \"amy\", user-hash = { secret = \"amy\" } }", true),
            ("users = [{ name = \"amy\", ssh-keys = [\"ssh-ed25519 AAAA amy\"] }]", true),
        ] {
            let text = format!(
                "[subnet.lab]\ncidr = \"10.0.10.0/24\"\n[boot.b]\nkernel = \"kernel\"\ncmdline = [\"x={{{{ answers_url }}}}\"]\n\
                 [deployment.d]\nmac = \"52:54:00:12:34:57\"\naddress = \"10.0.10.9\"\nboot = \"b\"\n\
                 template = \"{kind}\"\n{settings}\n"
            );
            fs::write(root.join("site.toml"), text).unwrap();
            let checked = voldemort(root, &["check", ".", "--format", "concise"]);
            assert_eq!(checked.out.contains("V0409"), !open, "{kind} {settings}: {}", checked.out);
        }
    }
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
