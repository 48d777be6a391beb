//! mdBook makes a site of `docs/` without a warning, and no link in the site is dead.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use crate::kit::has;

/// The values of the attributes with this name.
fn attributes<'a>(html: &'a str, name: &str) -> Vec<&'a str> {
    let start = format!("{name}=\"");
    html.split(start.as_str()).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

/// Every page of the site by its path.
fn pages(folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "html") {
            found.insert(path.clone(), std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// `a/b/../c` is `a/c`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

#[test]
fn the_site_is_made_and_no_link_is_dead() {
    if !has("mdbook") {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "missing: mdbook, which tests/run fetches");
        eprintln!("SKIPPED, missing: mdbook, which tests/run fetches");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let site = folder.path().join("site");
    let mut mdbook = Command::new("mdbook");
    mdbook.args(["build", "docs", "-d"]).arg(&site).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = mdbook.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("WARN") && !said.contains("ERROR"), "{said}");

    let mut all = BTreeMap::new();
    pages(&site, &mut all);
    let mut dead = Vec::new();
    // The page of all pages repeats their links; that of a missing page has the site's root for its links.
    for (page, html) in
        all.iter().filter(|(page, _)| !page.ends_with("print.html") && !page.ends_with("404.html"))
    {
        for link in attributes(html, "href").into_iter().chain(attributes(html, "src")) {
            if link.is_empty() || link.contains(':') {
                continue;
            }
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { plain(&page.with_file_name(file)) };
            let has_place = |html: &String| attributes(html, "id").contains(&place);
            let is_there = target.starts_with(&site) && target.exists();
            if !is_there || !place.is_empty() && !all.get(&target).is_some_and(has_place) {
                dead.push(format!("{}: {link}", page.strip_prefix(&site).unwrap().display()));
            }
        }
    }
    assert!(all.len() > 50, "{} pages", all.len());
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}
