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
