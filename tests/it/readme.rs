//! What the README shows is true.

use std::collections::BTreeSet;
use std::path::Path;

use voldemort::cli::check::check;
use voldemort::desired::{Media, Options};
use voldemort::media::Shelf;

const README: &str = include_str!("../../README.md");

/// The texts of the fenced blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    README.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn every_manifest_passes_the_check() {
    let manifests = blocks("toml");
    assert!(!manifests.is_empty());
    for manifest in manifests {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("readme.toml"), manifest).unwrap();
        let options = Options { media: Media::IfPresent, fallback: Vec::new() };
        let loaded = check(folder.path(), &Shelf::new(Vec::new(), None), &options).unwrap();
        assert_eq!(loaded.errors(), 0, "{}\n{manifest}", loaded.report());
    }
}

/// The first words of every command in the README are commands of voldemort.
#[test]
fn every_command_exists() {
    let commands = README.split('`').filter_map(|text| text.strip_prefix("voldemort "));
    let named: BTreeSet<&str> = commands.filter_map(|text| text.split_whitespace().next()).collect();
    assert!(named.len() > 5, "{named:?}");
    for command in named {
        let help = std::process::Command::new(env!("CARGO_BIN_EXE_voldemort"))
            .args([command, "--help"])
            .output()
            .unwrap();
        assert!(help.status.success(), "voldemort {command}: {}", String::from_utf8_lossy(&help.stderr));
    }
}

#[test]
fn every_file_it_names_exists() {
    let links = README.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
    for link in links.filter(|link| !link.contains("://")) {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(link).exists(), "{link}");
    }
    for script in ["examples/demo/run", "examples/cloud/run", "examples/install/run", "tests/run"] {
        assert!(README.contains(script), "{script}");
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(script).is_file(), "{script}");
    }
}
