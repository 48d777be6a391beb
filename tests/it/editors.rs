//! `voldemort schema --install`, and what the editors' tools make of it.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use voldemort::desired::Media;
use voldemort::manifest::{Code, schema};

use crate::check::checked;

fn example() -> tempfile::TempDir {
    // Tombi overlooks folders whose names begin with a dot.
    let folder = tempfile::Builder::new().prefix("editors-").tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/inventory/.");
    assert!(Command::new("cp").arg("-r").arg(from).arg(folder.path()).status().unwrap().success());
    folder
}

fn install(root: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voldemort"));
    command.args(["schema", "--install"]).current_dir(root).stdin(Stdio::null()).output().unwrap()
}

fn stale(root: &Path) -> usize {
    let problems = checked(root, Media::IfPresent).problems;
    problems.iter().filter(|problem| problem.code == Code::StaleSchema).count()
}

#[test]
fn an_installed_schema_is_fresh_until_it_is_not() {
    let folder = example();
    let root = folder.path();
    assert!(install(root).status.success());
    for (name, schema) in schema::FILES {
        let text = std::fs::read_to_string(root.join(schema::INSTALLED).join(name)).unwrap();
        assert_eq!(text, schema::text(&schema()));
    }
    assert_eq!(stale(root), 0);
    std::fs::write(root.join(schema::INSTALLED).join("inventory.json"), "{}").unwrap();
    assert_eq!(stale(root), 1);
    assert!(install(root).status.success(), "a second time");
    assert_eq!(stale(root), 0);
}

#[test]
fn settings_of_their_own_are_kept() {
    let folder = example();
    let own = "[formatting]\nindent_tables = true\n";
    std::fs::write(folder.path().join(".taplo.toml"), own).unwrap();
    let output = install(folder.path());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(folder.path().join(".taplo.toml")).unwrap(), own);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(".taplo.toml exists already") && said.contains("[[rule]]"), "{said}");
}

#[test]
fn links_are_not_printed() {
    let folder = example();
    let root = folder.path();
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "a secret").unwrap();
    std::fs::create_dir_all(root.join(schema::INSTALLED)).unwrap();
    std::os::unix::fs::symlink(secret.path(), root.join(schema::INSTALLED).join("inventory.json")).unwrap();
    assert_eq!(stale(root), 0);
}

/// Every setting says what it is for: editors show that beside the cursor.
#[test]
fn everything_has_a_description() {
    fn look(at: &str, schema: &Value) {
        let Some(properties) = schema["properties"].as_object() else { return };
        for (name, inner) in properties {
            let at = format!("{at}.{name}");
            // The two ways to write a selector.
            if at.ends_with("select.labels") || at.ends_with("credentials.secret") {
                continue;
            }
            assert!(inner["description"].as_str().is_some_and(|text| !text.is_empty()), "{at}");
            look(&at, inner);
        }
    }
    for (name, schema) in schema::FILES {
        let schema = schema();
        look(name, &schema);
        for (kind, definition) in schema["definitions"].as_object().into_iter().flatten() {
            look(kind, definition);
        }
    }
}

/// Runs an editor's tool over the example, as it is and with a mistake.
fn judged_by(tool: &str, command: &[&str]) {
    if Command::new(tool).arg("--version").stdin(Stdio::null()).output().is_err() {
        eprintln!("SKIPPED: `{tool}` is not installed: nobody looked whether it takes the schemas");
        return;
    }
    let folder = example();
    let root = folder.path();
    assert!(install(root).status.success());
    let judge = || Command::new(tool).args(command).current_dir(root).stdin(Stdio::null()).output().unwrap();
    let right = judge();
    assert!(right.status.success(), "{tool}: {right:?}");
    for wrong in ["[deployment.bad]\nprofil = \"web\"\n", "[machine.bad]\nmac = \"52:54\"\n"] {
        std::fs::write(root.join("bad.toml"), wrong).unwrap();
        let judged = judge();
        assert!(!judged.status.success(), "{tool} takes {wrong}: {judged:?}");
    }
    std::fs::remove_file(root.join("bad.toml")).unwrap();
    std::fs::write(root.join("voldemort.toml"), "format = \"1\"\n").unwrap();
    assert!(!judge().status.success(), "{tool} checks voldemort.toml too");
}

#[test]
fn taplo_uses_the_schemas() {
    judged_by("taplo", &["check"]);
}

#[test]
fn tombi_uses_the_schemas() {
    judged_by("tombi", &["lint", "."]);
}
