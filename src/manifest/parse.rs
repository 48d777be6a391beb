//! From files to documents.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::checker::form::resource_name;
use super::checker::{Checker, Subject, plain};
use super::document::Place;
use super::environment::{self, Environment};
use super::inventory::{self, Inventory};
use super::overlay::Tables;
use super::part::{Part, join, part};
use super::scan::{self, Scan};
use super::similar::{only_similar, similar};
use super::syntax::Syntax;
use super::{Code, Documents, Kind, Mark, Problem, Source, Sources, Table, syntax};
use crate::model::MANIFEST_MAX_BYTES;

/// Whether the file at this path is one of TOML.
pub fn is_manifest(path: &str) -> bool {
    path.ends_with(".toml")
}

/// Reads every TOML file among `files` (by path relative to the inventory's root) but those of
/// environments. The other files are kept in `Documents::sources`, where templates and secrets are
/// looked up.
pub fn parse(files: &BTreeMap<Arc<str>, Bytes>) -> (Documents, Vec<Problem>) {
    parse_in(files, &Environment::base())
}

/// The same with an environment laid over it.
pub(super) fn parse_in(
    files: &BTreeMap<Arc<str>, Bytes>,
    environment: &Environment,
) -> (Documents, Vec<Problem>) {
    let sources = Sources::new(files);
    let parts: Vec<Part> = base_manifests(&sources).map(|file| part(&sources, file)).collect();
    join(sources, parts.iter(), environment)
}

/// The numbers of the manifests that are no overlays.
pub fn base_manifests(sources: &Sources) -> impl Iterator<Item = u32> {
    let manifests =
        sources.iter().filter(|(_, source)| is_manifest(source.path.inside())).map(|(file, _)| file);
    manifests.filter(|file| environment::part(sources.inside(*file)).is_none())
}

/// The numbers of the manifests of an environment.
pub(super) fn overlays(sources: &Sources, environment: &Environment) -> Vec<u32> {
    let manifests =
        sources.iter().filter(|(_, source)| is_manifest(source.path.inside())).map(|(file, _)| file);
    manifests.filter(|file| environment.owns(sources.inside(*file))).collect()
}

/// Whether an environment has any.
pub fn is_overlaid(sources: &Sources, environment: &Environment) -> bool {
    !overlays(sources, environment).is_empty()
}

pub(super) fn unnameable(sources: &Sources) -> Vec<Problem> {
    let overlays = sources.iter().filter(|(_, source)| is_manifest(source.path.inside()));
    overlays
        .filter_map(|(file, _)| environment::unnameable(environment::part(sources.inside(file))?, file))
        .collect()
}

/// Files that look like manifests to people and are not read as such.
pub(super) fn misnamed(sources: &Sources) -> impl Iterator<Item = Problem> {
    let manifest = |name: &str| name.to_ascii_lowercase().ends_with(".toml");
    let files = sources.iter().map(|(file, source)| (file, source.path.inside()));
    files.filter(move |(_, path)| manifest(path) && !is_manifest(path)).map(|(file, path)| {
        let name = path.rsplit('/').next().unwrap_or_default();
        let message = format!("`{}` is not read as a manifest", plain(name));
        Problem::new(Code::Unread, Mark::new(file, 0..0), message, "the name does not end in .toml")
            .help("write the end of its name in lower case")
    })
}

/// Says what a file that is no TOML means for the others.
pub(super) fn others_were_checked(documents: &Documents, manifests: usize, problems: &mut [Problem]) {
    let others = manifests - documents.unparsed.len();
    let note = match others {
        0 => return,
        1 => "one other file was still checked; references to names in this file were not".to_owned(),
        _ => {
            format!("the other {others} files were still checked; references to names in this file were not")
        }
    };
    for file in &documents.unparsed {
        if let Some(problem) = problems.iter_mut().find(|problem| problem.mark().file == *file) {
            problem.notes.push(note.clone());
        }
    }
}

#[derive(Default)]
pub(super) struct Parser {
    pub(super) documents: Documents,
    pub(super) problems: Vec<Problem>,
    pub(super) tables: Tables,
    /// Whether the files are those of an environment.
    overlay: bool,
    /// Lines with syntax errors of the file that was read last.
    pub(super) faulty: BTreeSet<u32>,
}

impl Parser {
    /// What some files say before it is taken for resources, and what else there is of them.
    pub(super) fn tables(files: &[u32], sources: &Sources, overlay: bool) -> Parser {
        let mut parser = Parser { overlay, ..Parser::default() };
        files.iter().for_each(|file| parser.file(sources, *file));
        parser
    }

    pub(super) fn file(&mut self, sources: &Sources, file: u32) {
        let source = sources.get(file);
        let unusable = |parser: &mut Parser, problem: Problem| {
            parser.problems.push(problem);
            parser.documents.unparsed.push(file);
        };
        if source.bytes.len() > MANIFEST_MAX_BYTES {
            let message = format!("this manifest is larger than {} MiB", MANIFEST_MAX_BYTES >> 20);
            return unusable(self, Problem::new(Code::Bounds, Mark::new(file, 0..0), message, "not read"));
        }
        let Some(text) = source.text() else {
            return unusable(self, not_text(file, &source.bytes));
        };
        let scan = scan::scan(text);
        if let Some(at) = scan.too_deep {
            let message = format!("this nests deeper than {} levels", scan::DEPTH_MAX);
            let problem =
                Problem::new(Code::Bounds, Mark::new(file, at..at + 1), message, "one level too many");
            return unusable(self, problem);
        }
        let (tree, errors) = DeTable::parse_recoverable(text);
        let faults = (!errors.is_empty()).then(|| syntax::read(file, text, &scan, errors));
        let mended = faults.as_ref().map(|faults| DeTable::parse_recoverable(&faults.mended).0);
        let tree = mended.as_ref().unwrap_or(&tree).get_ref();
        let tainted = faults.as_ref().map(|faults| Tainted::by(text, &scan, faults)).unwrap_or_default();
        match &faults {
            None => self.modern(file, text, &scan),
            Some(faults) => {
                self.documents.unparsed.push(file);
                self.problems.extend(faults.problems.iter().cloned());
            }
        }
        let faulty: BTreeSet<u32> = tainted.places.iter().map(|at| source.position(*at).line).collect();
        let partial = self.overlay || !faulty.is_empty();
        let checker = Checker { sources, file, partial: self.overlay, problems: Vec::new() };
        let mut found = match sources.inside(file) {
            inventory::FILE if !self.overlay => self.inventory(Checker { partial, ..checker }, tree),
            _ => self.resources(checker, tree, &tainted),
        };
        // What is left of a faulty line says nothing.
        found.retain(|problem| faulty.is_empty() || !faulty.contains(&line(source, problem)));
        self.problems.append(&mut found);
        self.faulty = faulty;
    }

    fn modern(&mut self, file: u32, text: &str, scan: &Scan) {
        for (range, what) in &scan.modern {
            let mark = Mark::new(file, range.clone());
            let message = format!("{what} is valid in TOML 1.1 only");
            self.problems.push(
                Problem::new(Code::ModernToml, mark, message, "TOML 1.0 does not allow this")
                    .help("editors and other tools still read TOML 1.0")
                    .fix(mark, older(&text[range.clone()])),
            );
        }
    }

    fn resources(&mut self, mut checker: Checker, tree: &DeTable, tainted: &Tainted) -> Vec<Problem> {
        let partial = checker.partial;
        for (key, value) in tree {
            let word: &str = key.get_ref();
            let Some(kind) = Kind::named(word) else {
                if !word.starts_with("x-") {
                    let mark = checker.mark(key);
                    checker.problems.push(unknown_kind(word, mark, value.get_ref()));
                }
                continue;
            };
            let DeValue::Table(resources) = value.get_ref() else {
                let mark = checker.mark(key);
                checker.problems.push(nameless(kind, mark));
                continue;
            };
            for (name, body) in resources {
                let trust = tainted.trust(word, name.get_ref());
                checker.partial = partial || trust != Trust::Whole;
                self.resource(&mut checker, kind, name, body, trust);
            }
        }
        checker.problems
    }

    fn resource(
        &mut self,
        checker: &mut Checker,
        kind: Kind,
        key: &Spanned<std::borrow::Cow<str>>,
        body: &Spanned<DeValue>,
        trust: Trust,
    ) {
        let mark = checker.mark(key);
        let DeValue::Table(tree) = body.get_ref() else {
            if trust != Trust::None && !key.get_ref().starts_with("x-") {
                checker.problems.push(match body.get_ref() {
                    DeValue::Array(_) => listed(kind, key.get_ref(), mark),
                    _ => nameless(kind, mark),
                });
            }
            return;
        };
        let name = match resource_name(kind, key.get_ref(), mark) {
            Ok(name) => name,
            Err(problem) => {
                checker.problems.push(*problem);
                let subject = format!("{} {}", kind.name(), plain(key.get_ref()));
                checker.table(Subject { fields: kind.fields(), name: &subject, mark }, tree);
                return;
            }
        };
        if trust != Trust::Whole || only_dotted(kind, checker, tree) {
            self.documents.unread.insert((kind, name.clone()));
        }
        if trust == Trust::None {
            return;
        }
        let known = checker.problems.len();
        let subject = format!("{} {name}", kind.name());
        let table = checker.table(Subject { fields: kind.fields(), name: &subject, mark }, tree);
        set_twice(checker, kind, &table);
        if trust == Trust::Part {
            return;
        }
        let whole = checker.problems.len() == known;
        match self.tables.entry((kind, name.clone())) {
            Entry::Vacant(entry) => drop(entry.insert(Place { name, mark, whole, table })),
            Entry::Occupied(first) => {
                let message = format!("there are two {} called `{name}`", kind.fields().plural);
                let problem = Problem::new(Code::Twice, mark, message, "second one");
                let help = match self.overlay {
                    true => "an environment changes each resource in one place: join the two",
                    false => "give one of them another name",
                };
                checker.problems.push(problem.also(first.get().mark, "first one").help(help));
            }
        }
    }

    fn inventory(&mut self, mut checker: Checker, tree: &DeTable) -> Vec<Problem> {
        let inventory = Inventory::read(&mut checker, tree);
        match checker.sources.source(checker.file) {
            source if source == checker.sources.leading() => self.documents.inventory = Some(inventory),
            source => self.documents.beside.extend(source.cloned().map(|source| (source, inventory))),
        }
        checker.problems
    }
}

/// How TOML 1.0 writes what only 1.1 has; `None` where it takes rewriting whole lines.
fn older(modern: &str) -> Option<String> {
    match modern {
        "," => Some(String::new()),
        "\\e" => Some("\\u001B".to_owned()),
        // The two digits follow.
        "\\x" => Some("\\u00".to_owned()),
        _ => None,
    }
}

pub(super) fn line(source: &Source, problem: &Problem) -> u32 {
    source.position(problem.mark().start as usize).line
}

/// A resource that consists only of parts with headers of their own that it can't have: its author wrote a
/// dotted name.
fn only_dotted(kind: Kind, checker: &Checker, tree: &DeTable) -> bool {
    let header = |value: &Spanned<DeValue>| {
        value.get_ref().is_table() && !checker.sources.text_at(checker.mark(value)).starts_with('{')
    };
    let known = |key: &str| kind.fields().key(key).is_some_and(|key| key.shape.is_table());
    !tree.is_empty() && tree.iter().all(|(key, value)| header(value) && !known(key.get_ref()))
}

/// A variable that has a setting of its own and is in `vars` as well.
fn set_twice(checker: &mut Checker, kind: Kind, table: &Table) {
    let fields = kind.fields();
    let Some(vars) = fields.variables_in(table) else { return };
    for known in fields.variables() {
        let Some(own) = table.0.get(known) else { continue };
        let Some(other) = vars.0.get(known).or_else(|| vars.0.get(&*known.replace('-', "_"))) else {
            continue;
        };
        let problem =
            Problem::new(Code::Exclusive, other.key, format!("`{known}` is set twice"), "once in `vars` …");
        checker.problems.push(problem.also(own.key, "… and once as a setting").help("remove one of them"));
    }
}

fn unknown_kind(word: &str, mark: Mark, value: &DeValue) -> Problem {
    let kinds = Kind::ALL.map(Kind::name);
    let shown = plain(word);
    let message = match value {
        DeValue::Table(_) | DeValue::Array(_) => format!("there is no kind of resource called `{shown}`"),
        _ => format!("the setting `{shown}` stands outside of any resource"),
    };
    if let Some(near) = similar(word, kinds) {
        let only = only_similar(word, kinds).map(str::to_owned);
        return Problem::new(Code::UnknownKind, mark, message, format!("did you mean `{near}`?"))
            .fix(mark, only);
    }
    let label = match value {
        DeValue::Table(_) | DeValue::Array(_) => "unknown kind",
        _ => "a table's header must come first, as in [deployment.web-1]",
    };
    let problem = Problem::new(Code::UnknownKind, mark, message, label);
    match word {
        "format" | "safety" | "check" => {
            problem.help("this belongs into voldemort.toml at the inventory's root")
        }
        _ => problem.help(format!("the kinds are: {}", kinds.join(", "))),
    }
}

fn nameless(kind: Kind, mark: Mark) -> Problem {
    let name = kind.name();
    let message = format!("a {name} needs a name of its own");
    let problem = Problem::new(Code::BadName, mark, message, "the name is missing here");
    problem.help(format!("write the header as [{name}.NAME]"))
}

fn listed(kind: Kind, key: &str, mark: Mark) -> Problem {
    let (kind, key) = (kind.name(), plain(key));
    let message = format!("`[[{kind}.{key}]]` begins a list, and a {kind} is one table");
    Problem::new(Code::WrongType, mark, message, "two brackets where one is meant")
        .help(format!("write the header as [{kind}.{key}]"))
}

fn not_text(file: u32, bytes: &Bytes) -> Problem {
    let valid = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
    let line = bytes[..valid].iter().filter(|byte| **byte == b'\n').count() + 1;
    let message = format!("this file is not UTF-8 text (line {line}, byte {valid})");
    Problem::new(Code::Encoding, Mark::new(file, 0..0), message, "not read")
        .help("save the file as UTF-8 in your editor")
}

/// How much of a resource can be read.
#[derive(Clone, Copy, PartialEq)]
enum Trust {
    Whole,
    /// All but the lines with syntax errors.
    Part,
    /// An error in it hides where it ends.
    None,
}

/// The resources that syntax errors lie in, by the header before each.
#[derive(Default)]
struct Tainted {
    /// Where the errors are.
    places: Vec<usize>,
    part: BTreeSet<(String, String)>,
    none: BTreeSet<(String, String)>,
}

impl Tainted {
    fn by(text: &str, scan: &Scan, faults: &Syntax) -> Tainted {
        let reported = faults.problems.iter().map(|problem| problem.mark().start as usize);
        let places: Vec<usize> = reported.chain(faults.lines.iter().copied()).collect();
        // An open bracket hides the headers behind it, and a correction the one that it removes.
        let mended = scan::scan(&faults.mended);
        let headers: BTreeSet<usize> = scan.headers.iter().chain(&mended.headers).copied().collect();
        let named = |at: usize| header_before(text, &headers, at);
        let part = places.iter().filter_map(|at| named(*at)).collect();
        let none = faults.left.iter().filter_map(|mark| named(mark.start as usize)).collect();
        Tainted { places, part, none }
    }

    fn trust(&self, kind: &str, name: &str) -> Trust {
        let names = |set: &BTreeSet<(String, String)>| {
            !set.is_empty() && set.contains(&(kind.to_owned(), name.to_owned()))
        };
        match () {
            () if names(&self.none) => Trust::None,
            () if names(&self.part) => Trust::Part,
            () => Trust::Whole,
        }
    }
}

/// The first two parts of the header before a place.
fn header_before(text: &str, headers: &BTreeSet<usize>, at: usize) -> Option<(String, String)> {
    let start = *headers.range(..=at).next_back()?;
    let line = text[start..].lines().next()?;
    let path = line.trim_start_matches('[').split(']').next()?;
    let mut parts = path.split('.').map(|part| part.trim().trim_matches(['"', '\'']).to_owned());
    Some((parts.next()?, parts.next()?))
}
