//! `voldemort check --fix`: what it corrects, and what it must never do.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use voldemort::cli::check::{Job, Scope, repair};
use voldemort::desired::{Media, Options};
use voldemort::inventory::{Depth, survey};
use voldemort::manifest::fix::{Files, Verdict, mend};
use voldemort::manifest::{Code, Level, explain};
use voldemort::media::Shelf;
use voldemort::source::directory;

use crate::golden::{assert_golden, cases};

const OPTIONS: Options = Options { media: Media::IfPresent, fallback: Vec::new() };

fn job<'a>(root: &'a Path, library: &'a Shelf) -> Job<'a> {
    Job { root, scope: Scope::All, library, options: OPTIONS }
}

fn check(files: &Files) -> Verdict {
    let checked = survey("test".into(), files, &Shelf::new(Vec::new(), None), &OPTIONS, Depth::OneFirmware);
    ((*checked.documents).clone(), checked.problems)
}

fn errors(verdict: &Verdict) -> usize {
    verdict.1.iter().filter(|problem| problem.level == Level::Error).count()
}

fn files_of(root: &Path) -> Files {
    directory::read(root).unwrap().inline()
}

fn from_texts(texts: &[(&str, &str)]) -> Files {
    texts.iter().map(|(name, text)| (Arc::from(*name), Bytes::from((*text).to_owned()))).collect()
}

fn write(files: &Files, root: &Path) {
    for (name, bytes) in files {
        let path = root.join(&**name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// The corrections, one a line, and then every changed file in full.
fn transcript(root: &Path) -> String {
    let before = files_of(root);
    let shelf = Shelf::new(Vec::new(), None).with_directory(root.into());
    let repair = repair(&job(root, &shelf)).unwrap();
    let mut text = String::new();
    for fixed in &repair.fixed {
        text += &format!("{}: {}: {:?} -> {:?}\n", fixed.origin, fixed.code, fixed.before, fixed.after);
    }
    for (name, bytes) in files_of(root) {
        assert_eq!(before[&name] != bytes, repair.written.iter().any(|written| **written == *name));
        if before[&name] != bytes {
            text += &format!("\n--- {name}\n{}", std::str::from_utf8(&bytes).unwrap());
        }
    }
    text
}

#[test]
fn golden_fixes() {
    for case in cases("fix") {
        let folder = tempfile::tempdir().unwrap();
        write(&files_of(&case.join("inventory")), folder.path());
        assert_golden(&case.join("expected.txt"), &transcript(folder.path()));
        let again = transcript(folder.path());
        assert_eq!(again, "", "a second run finds nothing to do");
    }
}

#[test]
fn names_wait_until_everything_is_readable() {
    // `web` is hidden by the misspelt kind: `wed` must not be taken for it.
    let files = from_texts(&[
        ("a.toml", "[profiles.web]\nboot = \"b\"\n[profile.wed]\nboot = \"b\"\n[boot.b]\nkernel = \"k\"\n"),
        (
            "b.toml",
            "[deployment.d]\nprofile = \"web\"\nmac = \"52:54:00:aa:00:01\"\naddress = \"10.0.0.2\"\n",
        ),
    ]);
    let mended = mend(files.clone(), check);
    assert_eq!(mended.files["b.toml"], files["b.toml"]);
    assert!(mended.files["a.toml"].starts_with(b"[profile.web]"));
    assert_eq!(errors(&check(&mended.files)), 0);
}

#[test]
fn machines_are_never_guessed() {
    let files = from_texts(&[(
        "a.toml",
        "[boot.b]\nkernel = \"k\"\n[machine.rack1-u01]\nmac = \"52:54:00:aa:00:01\"\n\
         [deployment.d]\nboot = \"b\"\nmachine = \"rack1-u1\"\naddress = \"10.0.0.2\"\n",
    )]);
    assert!(
        check(&files).1.iter().any(|problem| problem.code == Code::UnknownName && problem.fix.is_empty())
    );
    assert!(mend(files, check).fixed.is_empty());
}

#[test]
fn nothing_is_named_twice() {
    for text in [
        "[machine.a]\nmac = \"52:54:00:aa:00:01\"\nprotect = true\nprotec = false\n",
        "[machine.a-b]\nmac = \"52:54:00:aa:00:01\"\n[machine.A_B]\nmac = \"52:54:00:aa:00:02\"\n",
        "[machine.a]\nmac = \"52:54:00:aa:00:01\"\nprotec = true\nprotekt = false\n",
    ] {
        let mended = mend(from_texts(&[("a.toml", text)]), check);
        let (documents, problems) = check(&mended.files);
        assert!(documents.unparsed.is_empty(), "{text}: {problems:?}");
        assert!(!problems.iter().any(|problem| problem.code == Code::Twice), "{text}");
    }
}

#[test]
fn links_and_permissions_are_respected() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("inventory");
    std::fs::create_dir_all(root.join("real")).unwrap();
    let wrong = |last: u8| {
        format!("[machine.m{last}]\nmac = \"52:54:00:aa:00:0{last}\"\nprotect = \"yes\" # a comment\n")
    };
    std::fs::write(root.join("own.toml"), wrong(1)).unwrap();
    std::fs::set_permissions(root.join("own.toml"), std::fs::Permissions::from_mode(0o604)).unwrap();
    std::fs::write(root.join("real/target.txt"), wrong(2)).unwrap();
    symlink("real/target.txt", root.join("link.toml")).unwrap();
    let shelf = Shelf::new(Vec::new(), None).with_directory(root.clone());
    let repair = repair(&job(&root, &shelf)).unwrap();
    assert_eq!(repair.written, ["own.toml"]);
    assert_eq!(std::fs::read_to_string(root.join("real/target.txt")).unwrap(), wrong(2));
    assert!(root.join("link.toml").is_symlink());
    let own = std::fs::read_to_string(root.join("own.toml")).unwrap();
    assert_eq!(own, wrong(1).replace("\"yes\"", "true"));
    assert_eq!(std::fs::metadata(root.join("own.toml")).unwrap().permissions().mode() & 0o777, 0o604);
    let left: Vec<PathBuf> = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn what_is_right_stays_as_it_is() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut rights: Vec<Files> = vec![files_of(&manifest.join("examples/inventory"))];
    for code in Code::ALL {
        let example = explain::example(code.page(), "Right:").into_iter();
        rights.push(example.map(|(name, text)| (Arc::from(name), Bytes::from(text))).collect());
    }
    for files in rights {
        let mended = mend(files.clone(), check);
        assert!(mended.fixed.is_empty() && mended.files == files, "{:?}", mended.fixed);
    }
}

/// A part of a text replaced by something else.
#[derive(Clone, Debug)]
struct Slip {
    file: prop::sample::Index,
    at: prop::sample::Index,
    eaten: usize,
    put: String,
}

fn slips() -> impl Strategy<Value = Vec<Slip>> {
    let put = prop_oneof![
        Just(String::new()),
        Just("\"".into()),
        Just("yes".into()),
        Just("X".into()),
        Just(", }".into()),
        Just("[".into()),
        Just("\n".into()),
        Just("1".into()),
        Just(" = ".into()),
        Just("é\u{1b}".into()),
    ];
    let slip = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4_usize, put)
        .prop_map(|(file, at, eaten, put)| Slip { file, at, eaten, put });
    prop::collection::vec(slip, 1..4)
}

fn slipped(files: &Files, slips: &[Slip]) -> Files {
    let mut files = files.clone();
    let manifests: Vec<Arc<str>> = files.keys().filter(|name| name.ends_with(".toml")).cloned().collect();
    for Slip { file, at, eaten, put } in slips {
        let name = file.get(&manifests);
        let mut letters: Vec<char> = std::str::from_utf8(&files[name]).unwrap().chars().collect();
        let at = at.index(letters.len() + 1);
        letters.splice(at..(at + eaten).min(letters.len()), put.chars());
        files.insert(name.clone(), letters.into_iter().collect::<String>().into());
    }
    files
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn fixing_never_breaks_what_was_right(slips in slips()) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/inventory");
        let files = slipped(&files_of(&root), &slips);
        let before = check(&files);
        let mended = mend(files.clone(), check);
        let after = check(&mended.files);
        let unparsed = |verdict: &Verdict| -> BTreeMap<Arc<str>, ()> {
            let name = |file: &u32| (verdict.0.sources.get(*file).path.shown().clone(), ());
            verdict.0.unparsed.iter().map(name).collect()
        };
        prop_assert!(unparsed(&after).keys().all(|name| unparsed(&before).contains_key(name)));
        if errors(&before) == 0 {
            prop_assert_eq!(errors(&after), 0);
        }
        prop_assert_eq!(mended.fixed.is_empty(), mended.files == files, "{:#?}", mended.fixed.iter().take(6).collect::<Vec<_>>());
        prop_assert!(mend(mended.files, check).fixed.is_empty(), "mending comes to an end");
    }
}
