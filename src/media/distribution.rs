//! Which distribution and release an image holds: by its volume name, or by the small texts that distributions
//! put on their media. The rules are data: `distribution/rules.rs`.

mod pattern;
mod rules;

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::{Entry, Index};
use crate::model::Cpu;
use pattern::Found;

/// What an image says that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    pub name: &'static str,
    /// As the medium writes it, with dots between its parts; `None` where it names no release.
    pub release: Option<String>,
    /// The architecture in the medium's own word: `amd64`, `ppc64le`.
    pub arch: Option<String>,
    /// Memory that a machine needs at least to install from it, in MiB, by the distribution's own documents.
    pub memory: Option<u32>,
    /// What starts from it, where that is no Linux kernel that this program could offer.
    pub other: Option<&'static str>,
    /// Where this was read.
    pub read_in: Source,
}

/// Where a distribution was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    VolumeName,
    /// A file of the medium.
    File(&'static str),
}

impl System {
    pub fn cpu(&self) -> Option<Cpu> {
        self.arch.as_deref().and_then(pattern::cpu)
    }
}

/// Files whose text names the system, and how a line for the rules is made of it. Debian and Ubuntu write
/// `.disk/info` (debian-cd, `CDIMAGE` documents), the Red Hat family `.treeinfo` (productmd), Alpine
/// `.alpine-release` (mkimage.sh), Arch `arch/version` (archiso).
type Line = fn(&str) -> Option<String>;
const TEXTS: [(&str, Line); 4] = [
    (".disk/info", |text| first_line(text).map(str::to_owned)),
    (".treeinfo", tree_info),
    (".alpine-release", |text| Some(format!("alpine-release {}", first_line(text)?))),
    ("arch/version", |text| Some(format!("Arch Linux {}", first_line(text)?))),
];
/// These texts have a few hundred bytes; what is longer is something else.
const MOST_TEXT: usize = 16 * 1024;

/// The system on an image; `None` where no rule knows it. A text is asked before the volume name: a medium that
/// was made anew keeps its files, while its name is often that of the tool.
pub fn of(index: &Index) -> Option<System> {
    let texts = TEXTS.iter().filter_map(|(path, line)| {
        let text = read(index.lookup(path)?)?;
        by(&line(&text)?, Source::File(path))
    });
    let named = by(&index.label, Source::VolumeName);
    let written = texts.fold(None, |best: Option<System>, next| best.or(Some(next)));
    match (written, named) {
        (Some(written), Some(named)) if written.name == named.name => Some(System {
            release: longer(written.release, named.release),
            arch: written.arch.or(named.arch),
            ..written
        }),
        (written, named) => written.or(named).or_else(|| by_files(index)),
    }
}

/// The more exact of two releases: `9.4.0` says more than `9.4`.
fn longer(left: Option<String>, right: Option<String>) -> Option<String> {
    match (left, right) {
        (Some(left), Some(right)) if right.starts_with(&left) => Some(right),
        (left, right) => left.or(right),
    }
}

fn by(text: &str, read_in: Source) -> Option<System> {
    rules::RULES.iter().find_map(|rule| {
        let found = rule.names.iter().find_map(|name| pattern::matches(name, text))?;
        Some(system(rule, found, read_in))
    })
}

fn by_files(index: &Index) -> Option<System> {
    let rule = rules::RULES.iter().find(|rule| !rule.file.is_empty() && index.lookup(rule.file).is_some())?;
    Some(system(rule, Found::default(), Source::File(rule.file)))
}

fn system(rule: &rules::Rule, found: Found, read_in: Source) -> System {
    System {
        name: rule.system,
        release: found.release,
        arch: found.arch,
        memory: (rule.memory > 0).then_some(rule.memory),
        other: (!rule.other.is_empty()).then_some(rule.other),
        read_in,
    }
}

fn first_line(text: &str) -> Option<&str> {
    text.lines().next().map(str::trim).filter(|line| !line.is_empty())
}

/// `[general]` of `.treeinfo`: family, version and architecture.
fn tree_info(text: &str) -> Option<String> {
    let general = text.split("[general]").nth(1)?;
    let value = |key: &str| {
        let lines = general.lines().skip(1).take_while(|line| !line.starts_with('['));
        let mut pairs = lines.filter_map(|line| line.split_once('='));
        pairs.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned())
    };
    Some(format!("{} {} {}", value("family")?, value("version")?, value("arch")?))
}

/// The text of a small file; `None` where it can't be read.
fn read(entry: &Entry) -> Option<String> {
    let file = File::open(&entry.path).ok()?;
    let mut bytes = Vec::new();
    for extent in entry.extents.iter() {
        let from = bytes.len();
        let length = usize::try_from(extent.length).ok()?.min(MOST_TEXT.saturating_sub(from));
        bytes.resize(from + length, 0);
        file.read_exact_at(&mut bytes[from..], extent.offset).ok()?;
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(label: &str) -> Option<(&'static str, Option<String>, Option<String>)> {
        let index = Index { label: label.into(), ..Index::default() };
        of(&index).map(|system| (system.name, system.release, system.arch))
    }

    #[test]
    fn what_no_rule_knows_has_no_name() {
        for label in
            ["", "CDROM", "DATA 2024", "backup-debian", "x".repeat(10_000).as_str(), "Debian", "Ubuntu-"]
        {
            assert_eq!(named(label), None, "{label:.40}");
        }
    }

    #[test]
    fn the_texts_of_media_are_read() {
        let lines = [
            (
                0,
                "Debian GNU/Linux 12.7.0 \"Bookworm\" - Official amd64 NETINST with firmware 20240831-10:38",
                "Debian 12.7.0 amd64",
            ),
            (
                0,
                "Ubuntu-Server 24.04.1 LTS \"Noble Numbat\" - Release amd64 (20240827)",
                "Ubuntu Server 24.04.1 amd64",
            ),
            (
                1,
                "[checksums]\nx = y\n\n[general]\narch = x86_64\nfamily = Rocky Linux\nname = Rocky Linux 9.4\nversion = 9.4\n\n[header]\nversion = 1.2\n",
                "Rocky Linux 9.4 x86_64",
            ),
            (1, "[general]\narch = aarch64\nfamily = Fedora\nversion = 41\n", "Fedora 41 aarch64"),
            (2, "alpine-standard-3.20.3 240906\n", "Alpine Linux 3.20.3 "),
            (2, "3.20.3\n", "Alpine Linux 3.20.3 "),
            (3, "2024.09.01\n", "Arch Linux 2024.09.01 "),
        ];
        for (text, content, expected) in lines {
            let line = (TEXTS[text].1)(content).unwrap();
            let system = by(&line, Source::VolumeName).unwrap_or_else(|| panic!("{line}"));
            let release = system.release.unwrap_or_default();
            assert_eq!(format!("{} {release} {}", system.name, system.arch.unwrap_or_default()), expected);
        }
    }
}
