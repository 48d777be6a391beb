//! Every crate that is linked in has a licence, a name and a source that `deny.toml` allows.

use std::collections::BTreeSet;

use serde_json::Value;

/// What `deny.toml` says of a list.
fn listed(rules: &toml::Table, section: &str, key: &str) -> BTreeSet<String> {
    let list = rules[section][key].as_array().unwrap();
    let name = |item: &toml::Value| {
        item.as_str()
            .or_else(|| item.get("crate")?.as_str())
            .expect("a text, or a table with `crate`")
            .to_owned()
    };
    list.iter().map(name).collect()
}

/// Whether an SPDX expression can be met with these licences: `AND` binds tighter than `OR`, and `/` is the
/// former spelling of `OR`.
fn is_met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &words[..];
    either(&mut rest, allowed) && rest.is_empty()
}

fn either(rest: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut met = all(rest, allowed);
    while let Some(("OR", after)) = rest.split_first().map(|(word, after)| (*word, after)) {
        *rest = after;
        // Read on in any case.
        met |= all(rest, allowed);
    }
    met
}

fn all(rest: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut met = one(rest, allowed);
    while let Some(("AND", after)) = rest.split_first().map(|(word, after)| (*word, after)) {
        *rest = after;
        met &= one(rest, allowed);
    }
    met
}

fn one(rest: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let Some((word, after)) = rest.split_first() else { return false };
    *rest = after;
    if *word == "(" {
        let met = either(rest, allowed);
        *rest = rest.split_first().map_or(&[], |(_, after)| after);
        return met;
    }
    let mut name = word.trim_end_matches('+').to_owned();
    if let [with @ "WITH", exception, after @ ..] = *rest {
        name = format!("{name} {with} {exception}");
        *rest = after;
    }
    allowed.contains(&name)
}

#[test]
fn every_crate_is_allowed() {
    let root = env!("CARGO_MANIFEST_DIR");
    let rules = std::fs::read_to_string(format!("{root}/deny.toml")).unwrap();
    let rules: toml::Table = rules.parse().unwrap();
    let licences = listed(&rules, "licenses", "allow");
    let banned = listed(&rules, "bans", "deny");
    let sources = listed(&rules, "sources", "allow-registry");
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", &platform])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let resolved = found["resolve"]["nodes"].as_array().unwrap();
    let linked: BTreeSet<&str> = resolved.iter().filter_map(|node| node["id"].as_str()).collect();
    let packages = found["packages"].as_array().unwrap();
    let mut wrong = Vec::new();
    for package in packages.iter().filter(|one| linked.contains(one["id"].as_str().unwrap())) {
        let name = package["name"].as_str().unwrap();
        let licence = package["license"].as_str().unwrap_or("none");
        if !is_met(licence, &licences) {
            wrong.push(format!("{name}: the licence {licence} is not in deny.toml"));
        }
        if banned.contains(name) {
            wrong.push(format!("{name} is banned by deny.toml"));
        }
        let source = package["source"].as_str().map(|source| source.trim_start_matches("registry+"));
        if source.is_some_and(|source| !sources.contains(source)) {
            wrong.push(format!("{name} comes from {source:?}"));
        }
    }
    assert!(packages.len() > 100 && wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn expressions_of_licences_are_read() {
    let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(String::from).into();
    for met in [
        "MIT",
        "GPL-3.0 OR MIT",
        "MIT/Apache-2.0",
        "MIT AND ISC",
        "GPL-2.0-only OR MIT AND ISC",
        "(GPL-2.0-only OR MIT) AND ISC",
        "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
    ] {
        assert!(is_met(met, &allowed), "{met}");
    }
    for not in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND GPL-3.0", "Apache-2.0", "MIT MIT"] {
        assert!(!is_met(not, &allowed), "{not}");
    }
}
