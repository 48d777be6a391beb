//! `voldemort secret`, and what `check` says of secrets without any key.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::program::{voldemort, voldemort_with};

/// Every file below a folder that holds these bytes.
fn holding(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, text));
        } else if fs::read(&path).unwrap().windows(text.len()).any(|part| part == text.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn a_secret_is_made_changed_and_handed_over() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let (one, two) = (
        voldemort(root, &["secret", "keygen", "one.key"]),
        voldemort(root, &["secret", "keygen", "two.key"]),
    );
    assert_eq!(fs::metadata(root.join("one.key")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(one.out.starts_with("age1") && !one.err.contains("AGE-SECRET-KEY"));
    let again = voldemort(root, &["secret", "keygen", "one.key"]);
    assert_eq!(again.code, 1, "a key is never overwritten");

    let add = |text: &str| voldemort_with(root, &["secret", "add", "root-password"], text, &[]);
    let nobody = add("hunter2\n");
    assert!(
        nobody.code == 1 && nobody.err.contains("secrets/recipients.txt does not exist"),
        "{}",
        nobody.err
    );
    fs::create_dir(root.join("secrets")).unwrap();
    fs::write(root.join("secrets/recipients.txt"), &one.out).unwrap();
    assert_eq!(add("").code, 1, "no text");
    let added = add("hunter2\n");
    assert_eq!(added.code, 0, "{}", added.err);
    assert!(!added.err.contains("hunter2") && added.out.is_empty());
    assert!(add("other").err.contains("exists already"));

    let edit = ["secret", "edit", "root-password", "--identity", "one.key"];
    let editor = |script: &'static str| [("EDITOR", script)];
    let same = voldemort_with(root, &edit, "", &editor("true"));
    assert!(same.err.contains("was not changed"), "{}", same.err);
    let failed = voldemort_with(root, &edit, "", &editor("false"));
    assert_eq!(failed.code, 1, "{}", failed.err);
    // The editor sees the text, in a place in memory that is gone afterwards.
    let changed = voldemort_with(
        root,
        &edit,
        "",
        &editor("readlink -f \"$1\" > where; grep -q hunter2 \"$1\" && sed -i s/2/3/"),
    );
    assert_eq!(changed.code, 0, "{}", changed.err);
    let place = fs::read_to_string(root.join("where")).unwrap();
    assert!(place.starts_with("/dev/shm/") && !Path::new(place.trim()).exists(), "{place}");
    assert!(holding(root, "hunter").is_empty(), "no plain text is left anywhere");

    fs::write(root.join("secrets/recipients.txt"), &two.out).unwrap();
    let stranger = voldemort(root, &["secret", "rotate", "--identity", "two.key"]);
    assert!(stranger.code == 1 && stranger.err.contains("nothing was changed"), "{}", stranger.err);
    let keyless = voldemort(root, &["secret", "rotate"]);
    assert!(keyless.err.contains("VOLDEMORT_IDENTITY"), "{}", keyless.err);
    let rotated = voldemort_with(root, &["secret", "rotate"], "", &[("VOLDEMORT_IDENTITY", "one.key")]);
    assert_eq!(rotated.code, 0, "{}", rotated.err);
    let locked = voldemort_with(root, &edit, "", &editor("true"));
    assert!(locked.err.contains("not encrypted to this host's key"), "{}", locked.err);
}

/// An inventory with a key of its own, `key`, and these secrets.
fn with_secrets(secrets: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let public = voldemort(root, &["secret", "keygen", "key"]).out;
    fs::create_dir(root.join("secrets")).unwrap();
    fs::write(root.join("secrets/recipients.txt"), public).unwrap();
    for name in secrets {
        let added = voldemort_with(root, &["secret", "add", name], "hunter2", &[]);
        assert_eq!(added.code, 0, "{}", added.err);
    }
    folder
}

/// Every file of the folder, hidden ones too.
fn state(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut state: Vec<_> = entries
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    state.sort();
    state
}

const ROTATE: [&str; 4] = ["secret", "rotate", "--identity", "key"];

#[test]
fn all_secrets_are_rotated_or_none() {
    let folder = with_secrets(&["a", "b", "y"]);
    let secrets = folder.path().join("secrets");
    let before = state(&secrets);
    type Plant = fn(&Path);
    let odd: [(Plant, &str); 6] = [
        (|at| nix::unistd::mkfifo(at, nix::sys::stat::Mode::S_IRWXU).unwrap(), "no ordinary file"),
        (|at| fs::create_dir(at).unwrap(), "no ordinary file"),
        (|at| std::os::unix::fs::symlink("/dev/zero", at).unwrap(), "no ordinary file"),
        (|at| std::os::unix::fs::symlink("/nowhere", at).unwrap(), "no such file"),
        (|at| fs::write(at, "hunter2").unwrap(), "not encrypted"),
        (|at| fs::write(at, vec![b'a'; 2 << 20]).unwrap(), "longer than"),
    ];
    for (plant, why) in odd {
        let at = secrets.join("m.age");
        plant(&at);
        let ran = voldemort(folder.path(), &ROTATE);
        assert_eq!(ran.code, 1, "{why}");
        let matches =
            ran.err.contains("m.age") && ran.err.contains(why) && ran.err.contains("nothing was changed");
        assert!(matches, "{why}: {}", ran.err);
        if at.is_dir() {
            fs::remove_dir(&at).unwrap()
        } else {
            fs::remove_file(&at).unwrap()
        }
        assert_eq!(state(&secrets), before, "{why}");
    }
    assert_eq!(voldemort(folder.path(), &ROTATE).code, 0);
    let (names, after): (Vec<_>, Vec<_>) = state(&secrets).into_iter().unzip();
    assert_eq!(names, ["a.age", "b.age", "recipients.txt", "y.age"], "no drafts are left");
    assert!(before.iter().zip(after).all(|((name, old), new)| (*old == new) == (name == "recipients.txt")));
}

#[test]
fn a_secret_keeps_its_permissions_and_its_link() {
    let folder = with_secrets(&["a"]);
    let root = folder.path();
    let real = root.join("real.age");
    fs::rename(root.join("secrets/a.age"), &real).unwrap();
    std::os::unix::fs::symlink("../real.age", root.join("secrets/a.age")).unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    let edit = ["secret", "edit", "a", "--identity", "key"];
    for command in [&ROTATE[..], &edit] {
        let old = fs::read(&real).unwrap();
        let ran = voldemort_with(root, command, "", &[("EDITOR", "sed -i s/2/22/")]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert_ne!(fs::read(&real).unwrap(), old, "what the link leads to is rewritten");
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
    }
}

#[test]
fn what_is_no_text_is_no_secret() {
    let folder = with_secrets(&["a"]);
    let root = folder.path();
    let nul = voldemort_with(root, &["secret", "add", "nul"], "a\0b", &[]);
    assert!(nul.code == 1 && nul.err.contains("NUL"), "{}", nul.err);
    let before = state(&root.join("secrets"));
    let edit = ["secret", "edit", "a", "--identity", "key"];
    for (editor, why) in [
        ("rm", "no such file"),
        ("no-such-editor", "the editor failed"),
        ("truncate -s 0", "no text left"),
        ("printf '\\377' >", "not UTF-8"),
    ] {
        let ran = voldemort_with(root, &edit, "", &[("EDITOR", editor)]);
        assert_eq!(ran.code, 1, "{editor}");
        assert!(ran.err.contains(why) && ran.err.contains("changed"), "{editor}: {}", ran.err);
        assert_eq!(state(&root.join("secrets")), before, "{editor}");
    }
}
