//! What a problem is about, by name and not by line: `deployment.web-1.mac[0]`. It stays the same
//! when lines move, so that services know an old problem from a new one.

use std::collections::BTreeMap;
use std::ops::Range;

use sha2::{Digest, Sha256};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Report;
use crate::manifest::{Mark, Problem, Sources, is_manifest, scan};

/// Addresses of the settings of some files, worked out once for each file.
pub(super) struct Addresses<'a> {
    sources: &'a Sources,
    files: BTreeMap<u32, Settings>,
    /// How often a fingerprint was given.
    given: BTreeMap<String, u32>,
}

impl<'a> Addresses<'a> {
    pub(super) fn new(report: &Report<'a>) -> Addresses<'a> {
        Addresses { sources: report.sources, files: BTreeMap::new(), given: BTreeMap::new() }
    }

    /// 64 hexadecimal digits from the code, the resource and the setting; the same for no two
    /// problems of a report.
    pub(super) fn fingerprint(&mut self, problem: &Problem) -> String {
        let seed = format!("{}\n{}", problem.code, self.address(problem.mark()));
        let given = self.given.entry(seed.clone()).or_insert(0);
        *given += 1;
        let digest = Sha256::digest(format!("{seed}\n{given}"));
        crate::model::hex(&digest)
    }

    /// The path of the setting a mark lies in. Outside of any, and in files that are no
    /// manifests, the file's name with the marked text.
    fn address(&mut self, mark: Mark) -> String {
        let sources = self.sources;
        let settings = self.files.entry(mark.file).or_insert_with(|| Settings::of(sources, mark.file));
        match settings.innermost(mark.start as usize) {
            Some(path) => path.to_owned(),
            None => format!("{}\n{}", sources.get(mark.file).path, sources.text_at(mark)),
        }
    }
}

/// The settings of a file by the bytes they take.
struct Settings {
    /// By their beginning, the longer ones first.
    ranges: Vec<(Range<usize>, String)>,
    /// For each the one before it that it lies in.
    outer: Vec<Option<usize>>,
}

impl Settings {
    fn of(sources: &Sources, file: u32) -> Settings {
        let mut ranges = settings(sources, file);
        // Of two that take the same bytes the first one found is the inner one.
        ranges.reverse();
        ranges.sort_by_key(|(range, _)| (range.start, std::cmp::Reverse(range.end)));
        let mut outer = Vec::with_capacity(ranges.len());
        let mut open: Vec<usize> = Vec::new();
        for (number, (range, _)) in ranges.iter().enumerate() {
            while open.pop_if(|before| ranges[*before].0.end < range.end).is_some() {}
            outer.push(open.last().copied());
            open.push(number);
        }
        Settings { ranges, outer }
    }

    /// The path of the shortest one that holds a byte.
    fn innermost(&self, at: usize) -> Option<&str> {
        let mut next = self.ranges.partition_point(|(range, _)| range.start <= at).checked_sub(1);
        while let Some(number) = next {
            let (range, path) = &self.ranges[number];
            if at < range.end {
                return Some(path);
            }
            next = self.outer[number];
        }
        None
    }
}

/// Every key and value of a manifest with its path; none for other files.
fn settings(sources: &Sources, file: u32) -> Vec<(Range<usize>, String)> {
    let source = sources.get(file);
    let mut found = Vec::new();
    let Some(text) = source.text().filter(|_| is_manifest(source.path.inside())) else { return found };
    // The parser recurses.
    if scan::scan(text).too_deep.is_none() {
        let (tree, _) = DeTable::parse_recoverable(text);
        table(tree.get_ref(), "", &mut found);
    }
    found
}

fn table(tree: &DeTable, above: &str, found: &mut Vec<(Range<usize>, String)>) {
    for (key, inner) in tree {
        let path = match above {
            "" => key.get_ref().to_string(),
            above => format!("{above}.{}", key.get_ref()),
        };
        found.push((key.span(), path.clone()));
        value(inner, path, found);
    }
}

fn value(inner: &Spanned<DeValue>, path: String, found: &mut Vec<(Range<usize>, String)>) {
    match inner.get_ref() {
        DeValue::Table(tree) => table(tree, &path, found),
        DeValue::Array(array) => {
            for (index, item) in array.iter().enumerate() {
                value(item, format!("{path}[{index}]"), found);
            }
        }
        _ => {}
    }
    found.push((inner.span(), path));
}
