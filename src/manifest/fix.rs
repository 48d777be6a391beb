//! Corrects mechanical mistakes in the text itself: comments and blanks stay as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::{Code, Documents, Edit, Level, Problem, Sources, is_manifest};
use crate::model::Origin;

/// The files of an inventory by their path.
pub type Files = BTreeMap<Arc<str>, Bytes>;

/// Correcting one mistake may reveal another; so often at most.
const ROUNDS_MAX: usize = 1000;
/// Where a round of edits does harm, so many of them are tried one by one.
const SINGLES_MAX: usize = 100;

/// One mistake that was corrected.
#[derive(Clone, Debug, PartialEq)]
pub struct Fixed {
    pub code: Code,
    /// Where it stood in the round it was found in.
    pub origin: Origin,
    pub before: String,
    pub after: String,
}

/// The result of the corrections.
#[derive(Debug)]
pub struct Mended {
    /// Every file, corrected or not.
    pub files: Files,
    pub fixed: Vec<Fixed>,
}

/// What a check says of some files.
pub type Verdict = (Documents, Vec<Problem>);

/// Corrects `files` round by round until `check` finds nothing more to correct. An edit that would make a
/// valid file invalid, or define something a second time, is left out.
pub fn mend(files: Files, check: impl Fn(&Files) -> Verdict) -> Mended {
    let mut verdict = check(&files);
    let mut mended = Mended { files, fixed: Vec::new() };
    for _ in 0..ROUNDS_MAX {
        let wanted = wanted(&verdict.1);
        let Some((files, next, made)) = round(&mended.files, &verdict, &wanted, &check) else { break };
        mended.fixed.extend(made.into_iter().map(|problem| fixed(problem, &verdict.0.sources)));
        mended.files = files;
        verdict = next;
    }
    mended
}

/// Problems to be corrected now. An unknown name may only look unknown while other files are misread: names
/// come last.
fn wanted(problems: &[Problem]) -> Vec<&Problem> {
    let misread = problems.iter().any(|problem| hides(problem.code));
    let ripe =
        |problem: &&Problem| !problem.fix.is_empty() && (!misread || problem.code != Code::UnknownName);
    problems.iter().filter(ripe).collect()
}

/// Whether a resource may not be seen because of such a mistake.
fn hides(code: Code) -> bool {
    use Code::{BadName, Bounds, Encoding, Syntax, Twice, UnknownKind};
    matches!(code, Syntax | Encoding | Bounds | UnknownKind | BadName | Twice)
}

type Round<'a> = (Files, Verdict, Vec<&'a Problem>);

/// All edits at once or, where that does harm, those that do none.
fn round<'a>(
    files: &Files,
    before: &Verdict,
    wanted: &[&'a Problem],
    check: &impl Fn(&Files) -> Verdict,
) -> Option<Round<'a>> {
    let attempt = |problems: &[&'a Problem], newest: &[&'a Problem]| {
        let (after, made) = applied(files, &before.0.sources, problems);
        if made.is_empty() {
            return None;
        }
        let verdict = check(&after);
        let renamed = newest.iter().any(|problem| renames(problem.code));
        (!worse(before, &verdict, renamed)).then_some((after, verdict, made))
    };
    if let Some(done) = attempt(wanted, wanted) {
        return Some(done);
    }
    let mut good: Option<Round> = None;
    for problem in wanted.iter().take(SINGLES_MAX) {
        let mut more = good.as_ref().map_or_else(Vec::new, |(_, _, made)| made.clone());
        more.push(*problem);
        let longer = |round: &Round| round.2.len() == more.len();
        if let Some(done) = attempt(&more, &[problem]).filter(longer) {
            good = Some(done);
        }
    }
    good
}

/// Whether correcting such a mistake may give something the name of something else.
fn renames(code: Code) -> bool {
    matches!(code, Code::UnknownKind | Code::UnknownKey | Code::BadName)
}

/// Whether a round did harm: it may bring hidden mistakes to light, but make none.
fn worse(before: &Verdict, after: &Verdict, renamed: bool) -> bool {
    let unparsed = |(documents, _): &Verdict| -> BTreeSet<Arc<str>> {
        documents.unparsed.iter().map(|file| documents.sources.get(*file).path.shown().clone()).collect()
    };
    let count =
        |verdict: &Verdict, bad: fn(&Problem) -> bool| verdict.1.iter().filter(|one| bad(one)).count();
    let twice = |problem: &Problem| problem.code == Code::Twice;
    let error = |problem: &Problem| problem.level == Level::Error;
    !unparsed(after).is_subset(&unparsed(before))
        || (renamed && count(after, twice) > count(before, twice))
        || (count(before, error) == 0 && count(after, error) > 0)
}

/// The files with as many of the edits as do not lie in each other's way, and whose edits those were.
fn applied<'a>(files: &Files, sources: &Sources, problems: &[&'a Problem]) -> (Files, Vec<&'a Problem>) {
    let mut edits: BTreeMap<u32, Vec<&Edit>> = BTreeMap::new();
    let mut made = Vec::new();
    for problem in problems {
        if problem.fix.iter().all(|edit| fits(edit, sources, edits.get(&edit.mark.file))) {
            problem.fix.iter().for_each(|edit| edits.entry(edit.mark.file).or_default().push(edit));
            made.push(*problem);
        }
    }
    let mut files = files.clone();
    for (file, mut edits) in edits {
        let source = sources.get(file);
        let mut text = source.text().unwrap_or_default().to_owned();
        edits.sort_by_key(|edit| std::cmp::Reverse(edit.mark.start));
        edits.iter().for_each(|edit| text.replace_range(edit.mark.range(), &edit.text));
        files.insert(source.path.shown().clone(), text.into());
    }
    (files, made)
}

/// Whether an edit changes something inside a manifest, on whole characters, and clear of the others.
fn fits(edit: &Edit, sources: &Sources, others: Option<&Vec<&Edit>>) -> bool {
    let source = sources.get(edit.mark.file);
    let inside =
        source.text().and_then(|text| text.get(edit.mark.range())).is_some_and(|old| old != edit.text);
    let clear = |other: &&Edit| other.mark.end <= edit.mark.start || edit.mark.end <= other.mark.start;
    inside && is_manifest(source.path.inside()) && others.is_none_or(|others| others.iter().all(clear))
}

fn fixed(problem: &Problem, sources: &Sources) -> Fixed {
    let written = |edit: &Edit| sources.text_at(edit.mark).to_owned();
    let join = |parts: Vec<String>| parts.join(" … ");
    Fixed {
        code: problem.code,
        origin: sources.origin(problem.mark()),
        before: join(problem.fix.iter().map(written).collect()),
        after: join(problem.fix.iter().map(|edit| edit.text.clone()).collect()),
    }
}
