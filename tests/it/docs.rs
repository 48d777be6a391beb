//! The pages in `docs/` are true: links resolve, every page is in the contents, every command is one, every manifest
//! passes the check, and the reference is what the code says (`UPDATE_GOLDEN=1 cargo test --test it docs` writes it).

mod reference;
mod session;
mod site;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use voldemort::cli::check::check;
use voldemort::cli::{Arguments, ctl::Ctl};
use voldemort::config::Config;
use voldemort::desired::{Media, Options};
use voldemort::media::Shelf;

use crate::golden::assert_golden;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

/// Every page below `docs/` by its path there. `evidence` has no pages.
fn pages() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("evidence") {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                let name = path.strip_prefix(root().join("docs")).unwrap().display().to_string();
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// The daemon's authority has these files and no others.
#[test]
fn files_of_the_authority_are_named_as_they_are() {
    let state = tempfile::tempdir().unwrap();
    voldemort::daemon::tls::Authority::open(state.path()).unwrap();
    let mut named = 0;
    for (page, text) in pages() {
        for rest in text.split("tls/").skip(1) {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len());
            let name = &rest[..end];
            named += usize::from(!name.is_empty());
            assert!(state.path().join("tls").join(name).exists(), "{page}: tls/{name}");
        }
    }
    assert_ne!(named, 0);
}

/// Targets of the links in a text, those in code left out.
fn links(text: &str) -> Vec<String> {
    let prose: String = text.split("```").step_by(2).collect();
    let prose: String = prose.split('`').step_by(2).collect();
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).map(str::to_owned).collect()
}

/// As web sites make the name of a heading's place.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings =
        text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| -> String {
        let kept = heading
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .collect::<String>();
        kept.replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_resolves() {
    let mut wrong = Vec::new();
    for (name, text) in pages() {
        let page = root().join("docs").join(&name);
        for link in links(&text) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            if !target.exists() {
                wrong.push(format!("docs/{name}: {link}"));
            } else if !target.canonicalize().unwrap().starts_with(root().join("docs").canonicalize().unwrap())
            {
                wrong.push(format!("docs/{name}: {link}: the site has the pages of docs/ alone"));
            } else if !anchor.is_empty()
                && !anchors(&std::fs::read_to_string(&target).unwrap()).contains(anchor)
            {
                wrong.push(format!("docs/{name}: {link}: there is no such heading"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_page_is_in_the_contents() {
    let contents = std::fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    let listed: Vec<String> = links(&contents);
    let once: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(once.len(), listed.len(), "a page is listed twice");
    let there: BTreeSet<String> =
        pages().into_iter().map(|(name, _)| name).filter(|name| name != "SUMMARY.md").collect();
    assert_eq!(once, there);
}

/// Lines of code: those of fenced blocks with their language, and indented ones.
fn code(text: &str) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    let mut fence: Option<String> = None;
    for line in text.lines() {
        match (line.trim_start().strip_prefix("```"), &fence) {
            (Some(_), Some(_)) => fence = None,
            (Some(language), None) => fence = Some(language.to_owned()),
            (None, Some(language)) => lines.push((language.clone(), line.to_owned())),
            (None, None) if line.starts_with("    ") => lines.push((String::new(), line.to_owned())),
            (None, None) => {}
        }
    }
    lines
}

/// Commands of ours on a line: what follows a prompt, `sudo`, a pipe or `&&`.
fn commands(line: &str) -> Vec<Vec<String>> {
    let line = line.trim().trim_start_matches("$ ").trim_start_matches("# ");
    let line = line.split(" # ").next().unwrap().split("   ").next().unwrap();
    let parts = line.split(['|', ';']).flat_map(|part| part.split("&&"));
    let words = |part: &str| -> Vec<String> {
        part.split_whitespace().map(|word| word.trim_matches('\\').to_owned()).collect()
    };
    let ours =
        |words: &Vec<String>| matches!(words.first().map(String::as_str), Some("voldemort" | "voldemortctl"));
    parts.map(|part| words(part.trim().trim_start_matches("sudo "))).filter(ours).collect()
}

/// What is wrong with a command line: a command or flag that does not exist.
fn unknown(words: &[String]) -> Option<String> {
    let mut command: Command = if words[0] == "voldemort" { Arguments::command() } else { Ctl::command() };
    command.build();
    let mut rest = words[1..].iter().peekable();
    while let Some(word) = rest.peek() {
        let Some(below) = command.find_subcommand(word.as_str()).cloned() else { break };
        command = below;
        rest.next();
    }
    if let Some(word) = rest.peek()
        && command.has_subcommands()
        && !word.starts_with(['-', '<', '…', '['])
        && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
        && command.get_positionals().next().is_none()
    {
        return Some(format!("{word} is no command of {}", command.get_name()));
    }
    let known = |flag: &str| {
        let name = flag.trim_start_matches("--").split('=').next().unwrap();
        let is_one = |argument: &clap::Arg| {
            argument.get_long() == Some(name)
                || argument.get_all_aliases().is_some_and(|all| all.contains(&name))
        };
        name == "help" || name == "version" || command.get_arguments().any(is_one)
    };
    let mut flags = rest
        .map(|word| word.trim_matches(['[', ']']))
        .filter(|word| word.starts_with("--") && word.len() > 2);
    flags.find(|flag| !known(flag)).map(|flag| format!("{} has no {flag}", command.get_name()))
}

#[test]
fn every_command_exists() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (name, text) in pages() {
        for (_, line) in code(&text) {
            for words in commands(&line) {
                count += 1;
                wrong.extend(unknown(&words).map(|why| format!("docs/{name}: {}: {why}", words.join(" "))));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 50, "{count}");
    let words = |text: &str| commands(text).remove(0);
    assert!(unknown(&words("$ voldemort chekc --format json")).is_some());
    assert!(unknown(&words("sudo voldemortctl get machines --bogus")).is_some());
}

/// The texts of the fenced blocks whose language is exactly this.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut is_open = false;
    for line in text.lines() {
        match line.trim_start().strip_prefix("```") {
            Some(said) => {
                is_open = !is_open && said == language;
                found.extend(is_open.then(String::new));
            }
            None if is_open => found.iter_mut().last().unwrap().push_str(&format!("{line}\n")),
            None => {}
        }
    }
    found
}

/// The names of the tables in the daemon's file.
fn sections() -> Vec<String> {
    let text = format!("{NETWORK}zzz = 1\n");
    let error = Config::parse(&text, "f").unwrap_err().to_string();
    let known = error.split("known here: ").nth(1).unwrap_or_else(|| panic!("{error}"));
    known.trim().split(", ").map(str::to_owned).collect()
}

const NETWORK: &str = "network = { interface = 'e', address = '10.0.0.1' }\n";

/// What is wrong with a block: sections of the daemon's file are read as it is, everything else is an inventory.
fn wrong(block: &str) -> Option<String> {
    let header = block.lines().find_map(|line| line.trim().strip_prefix('[')).unwrap_or_default();
    let first = header.trim_start_matches('[').split([']', '.']).next().unwrap();
    if sections().iter().any(|section| section == first) {
        let whole = if first == "network" { block.to_owned() } else { format!("{NETWORK}{block}") };
        return Config::parse(&whole, "page").err().map(|error| error.to_string());
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("page.toml"), block).unwrap();
    // Secrets that a page names are files beside it.
    std::fs::create_dir(folder.path().join("secrets")).unwrap();
    for name in block.split("{ secret = \"talos-").skip(1).filter_map(|rest| rest.split('"').next()) {
        let secret = include_str!("../golden/inventory/tree/secrets/root-password.age");
        std::fs::write(folder.path().join(format!("secrets/talos-{name}.age")), secret).unwrap();
    }
    let options = Options { media: Media::IfPresent, fallback: Vec::new() };
    let loaded = check(folder.path(), &Shelf::new(Vec::new(), None), &options).unwrap();
    (loaded.errors() > 0).then(|| loaded.report().to_string())
}

/// ```` ```toml ```` is an inventory that passes the check, or sections of the daemon's file; ```` ```toml part ```` is a
/// part of either that needs the rest.
#[test]
fn every_manifest_passes_the_check() {
    let (mut bad, mut count) = (Vec::new(), 0);
    for (name, text) in pages() {
        for block in blocks(&text, "toml") {
            count += 1;
            bad.extend(wrong(&block).map(|why| format!("docs/{name}: {why}\n{block}")));
        }
        for block in blocks(&text, "toml part") {
            let parsed: Result<toml::Table, _> = toml::from_str(&block);
            bad.extend(parsed.err().map(|why| format!("docs/{name}: {why}\n{block}")));
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    assert!(count > 20, "{count}");
    assert!(wrong("[deployment.x]\nboto = 1\n").is_some() && wrong("[api]\nlisten = 7\n").is_some());
}

/// What the code says itself stands in pages that are written from it.
#[test]
fn the_reference_is_fresh() {
    for (name, text) in reference::pages() {
        assert_golden(&root().join("docs/reference").join(name), &text);
    }
}

/// The page of the daemon's file has every section that the daemon knows.
#[test]
fn every_section_of_the_daemons_file_is_described() {
    let page = std::fs::read_to_string(root().join("docs/reference/daemon-file.md")).unwrap();
    for section in sections() {
        assert!(page.contains(&format!("`{section}`")), "{section} is not described");
    }
}
