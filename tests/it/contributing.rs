//! CONTRIBUTING.md and SECURITY.md name files, folders and test programs that exist.

use std::path::Path;

const PAGES: &[(&str, &str)] = &[
    ("CONTRIBUTING.md", include_str!("../../CONTRIBUTING.md")),
    ("SECURITY.md", include_str!("../../SECURITY.md")),
    ("CHANGELOG.md", include_str!("../../CHANGELOG.md")),
];

/// Folders whose files are named by their paths.
const FOLDERS: &[&str] =
    &["src/", "tests/", "templates/", "docs/", "schemas/", "fuzz/", "benches/", "packaging/", ".ci/"];

fn exists(path: &str) -> bool {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists()
}

#[test]
fn every_path_they_name_exists() {
    for (page, text) in PAGES {
        let words = text.split(|c: char| c.is_whitespace() || "`(),;:|\"".contains(c));
        let paths = words.filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder)));
        // `NUMBER.md` and the like stand for many files: the folder is there.
        let real = |path: &str| match path.rsplit_once('/') {
            Some((folder, file)) if file.starts_with("NUMBER") => exists(folder),
            _ => exists(path),
        };
        let gone: Vec<&str> =
            paths.map(|path| path.trim_end_matches('.')).filter(|path| !real(path)).collect();
        assert!(gone.is_empty(), "{page} names what does not exist: {gone:?}");
    }
}

#[test]
fn every_test_program_it_names_exists() {
    let (_, text) = PAGES[0];
    let programs = text
        .split("--test ")
        .skip(1)
        .map(|rest| rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default());
    let gone: Vec<&str> = programs
        .filter(|name| !exists(&format!("tests/{name}.rs")) && !exists(&format!("tests/{name}/main.rs")))
        .collect();
    assert!(gone.is_empty(), "CONTRIBUTING.md names test programs that do not exist: {gone:?}");
}

/// A name in the walk-throughs exists in the file that is named beside it.
#[test]
fn what_it_names_in_the_code_is_there() {
    let named = [
        ("pub enum Record", "src/state/record.rs"),
        ("pub trait Kind", "src/state/record.rs"),
        ("kinds! {", "src/state/record.rs"),
        ("kinds! {", "src/manifest/kind.rs"),
        ("macro_rules! table", "src/manifest/kind/table.rs"),
        ("pub enum Addition", "src/manifest/shape.rs"),
        ("pub enum Verb", "src/state/command.rs"),
        ("pub enum PowerKind", "src/model/power.rs"),
        ("pub trait Backend", "src/api/routes.rs"),
        ("pub enum Listed", "src/api/resource.rs"),
        ("pub trait Row", "src/api/resource.rs"),
        ("fn router", "src/api/routes.rs"),
        ("Role::Admin", "src/api/access.rs"),
        ("macro_rules! codes", "src/manifest/code.rs"),
    ];
    for (what, file) in named {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        assert!(text.contains(what), "{file} lacks {what}");
    }
}
