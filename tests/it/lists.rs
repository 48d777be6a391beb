//! `check` without the images: lists of their names, and sources of which one alone can't be judged.

use std::path::Path;

use crate::program::voldemort;

const BOOT: &str =
    "[boot.live]\niso = { file = \"live.iso\" }\nkernel = \"casper/vmlinuz\"\ninitrd = \"casper/initrd\"\n";

fn write(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[test]
fn a_wrong_path_in_an_image_that_is_not_here_is_an_error_with_a_list_of_its_names() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for name in ["casper/vmlinuz", "casper/initrd"] {
        write(root, &format!("media/live.iso/{name}"), name);
    }
    write(root, "inventory/a.toml", BOOT);
    let check = |arguments: &[&str]| voldemort(root, &[&["check", "inventory"][..], arguments].concat());
    let without = check(&[]);
    assert!(without.code == 0 && without.out.contains("note[V0302]"), "{}", without.out);
    assert!(without.out.contains("iso inspect IMAGE --lock INVENTORY"), "{}", without.out);

    let made = voldemort(root, &["iso", "inspect", "media/live.iso", "--lock", "inventory"]);
    assert_eq!((made.code, made.out.as_str()), (0, "inventory/locks/live.iso.json: 2 files\n"));
    let listed = check(&[]);
    assert!(listed.code == 0 && listed.out.is_empty(), "{}", listed.out);
    assert!(check(&["--media", "media"]).out.is_empty());

    write(root, "inventory/a.toml", &BOOT.replace("vmlinuz", "vmlinux"));
    let wrong = check(&["--format", "concise"]);
    assert_eq!(wrong.code, 1);
    assert!(
        wrong.out.starts_with("inventory/a.toml:3:10: error[V0301] `casper/vmlinux` is not in live.iso"),
        "{}",
        wrong.out
    );
    // The image itself is asked for, whatever is listed.
    write(root, "inventory/a.toml", BOOT);
    let required = check(&["--with-media"]);
    assert!(required.code == 1 && required.out.contains("error[V0302]"), "{}", required.out);
    // A list that was forgotten when the image changed.
    write(root, "media/live.iso/casper/initrd", "longer than before");
    let stale = check(&["--media", "media"]);
    assert!(
        stale.code == 1 && stale.out.contains("`locks/live.iso.json` can't stand for the image `live.iso`"),
        "{}",
        stale.out
    );
    write(root, "inventory/locks/live.iso.json", "{");
    let damaged = check(&[]);
    assert!(damaged.code == 1 && damaged.out.contains("error[V0303]"), "{}", damaged.out);
    let nowhere = voldemort(root, &["iso", "inspect", "media/live.iso", "--lock", "nowhere"]);
    assert!(nowhere.code == 1 && nowhere.err.contains("there is no such inventory"), "{}", nowhere.err);
}

#[test]
fn one_source_of_several_is_checked_with_the_others_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(
        root,
        "net/net.toml",
        "[subnet.lab]\ncidr = \"10.0.10.0/24\"\n[boot.live]\nkernel = \"files/vmlinuz\"\n",
    );
    write(root, "net/files/vmlinuz", "kernel");
    let deployment =
        "[deployment.web]\nmac = \"52:54:00:aa:00:01\"\naddress = \"10.0.10.9\"\nboot = \"live\"\n";
    write(root, "lab/lab.toml", deployment);
    let check =
        |arguments: &[&str]| voldemort(root, &[&["check", "lab", "-o", "concise"][..], arguments].concat());
    assert_eq!(check(&[]).code, 1);
    let beside = ["--source", "lab", "--beside", "net=net"];
    let both = check(&beside);
    assert!(both.code == 0 && both.out.is_empty(), "{}{}", both.out, both.err);
    assert!(both.err.contains("1 deployment"), "{}", both.err);
    write(root, "lab/lab.toml", &deployment.replace("live", "lives"));
    let wrong = check(&beside);
    assert!(wrong.code == 1 && wrong.out.starts_with("lab/lab.toml:4:8: error[V0101]"), "{}", wrong.out);

    write(root, "lab/lab.toml", deployment);
    let settings = "[network]\ninterface = \"eth0\"\naddress = \"10.0.10.1\"\n[inventory.lab]\ngit = \"https://git.example/lab.git\"\n\
        [inventory.net]\ndirectory = \"net\"\n";
    write(root, "v.toml", settings);
    let alone = check(&["--config", "v.toml"]);
    assert!(alone.code == 1 && alone.err.contains("follows several sources (lab, net)"), "{}", alone.err);
    let named = check(&["--config", "v.toml", "--source", "lab"]);
    assert!(named.code == 0, "{}{}", named.out, named.err);
    for (arguments, wanted) in [
        (vec!["--source", "lab"], "name the others by --beside"),
        (vec!["--source", "lab", "--beside", "lab=net"], "the one that is checked"),
        (vec!["--config", "v.toml", "--source", "net"], "source lab of v.toml is no directory"),
        (vec!["--config", "v.toml", "--source", "x", "--beside", "lab=lab"], "has no source x"),
    ] {
        let refused = check(&arguments);
        assert!(refused.code == 1 && refused.err.contains(wanted), "{arguments:?}: {}", refused.err);
    }
}
