//! Expected output in files. `UPDATE_GOLDEN=1 cargo test` rewrites them; review them like code.

use std::path::{Path, PathBuf};

/// The cases of an area: the folders of `tests/golden/AREA`, by name.
pub(crate) fn cases(area: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(area);
    let entries = std::fs::read_dir(&root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
    let mut cases: Vec<PathBuf> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    cases.sort();
    assert!(!cases.is_empty(), "no cases in {}", root.display());
    cases
}

/// Compares `found` with a file, or rewrites the file.
pub(crate) fn assert_golden(expected: &Path, found: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(expected, found).unwrap();
        return;
    }
    let wanted = std::fs::read_to_string(expected).unwrap_or_default();
    assert!(
        wanted == found,
        "{} differs; UPDATE_GOLDEN=1 accepts this:\n--- expected\n{wanted}\n--- found\n{found}",
        expected.display()
    );
}
