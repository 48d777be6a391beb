//! Keeping the text as it was: line ends, alignment, and the proof that nothing else changed.

use toml::Value;

use crate::manifest::Kind;

const MARK: char = '\u{feff}';

/// The text behind a byte order mark.
pub(super) fn without_mark(text: &str) -> &str {
    text.strip_prefix(MARK).unwrap_or(text)
}

/// `edited` (with plain line ends and without byte order mark, as the TOML writer makes it) with
/// the mark and the line ends of the text it was made from.
pub(super) fn restore(original: &str, edited: &str) -> String {
    let mut text = String::with_capacity(edited.len());
    text.extend(original.starts_with(MARK).then_some(MARK));
    let original = without_mark(original);
    if !original.contains('\r') {
        return text + edited;
    }
    let old: Vec<&str> = original.split_inclusive('\n').collect();
    let new: Vec<&str> = edited.split_inclusive('\n').collect();
    let same = |(old, new): &(&&str, &&str)| plain(old) == plain(new);
    let head = old.iter().zip(&new).take_while(same).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(same).count();
    let (middle, rest) = (&new[head..new.len() - tail], &old[old.len() - tail..]);
    let mut known = old[head..old.len() - tail].iter();
    text.extend(old[..head].iter().copied());
    for line in middle {
        match known.clone().position(|known| plain(known) == plain(line)) {
            Some(at) => text.extend(known.nth(at).copied()),
            None => text.push_str(&plain(line).replace('\n', line_end(original))),
        }
    }
    text.extend(rest.iter().copied());
    text
}

fn plain(line: &str) -> String {
    line.replace('\r', "")
}

/// The line end that most lines have.
pub(super) fn line_end(text: &str) -> &'static str {
    let (all, carriage) = (text.matches('\n').count(), text.matches("\r\n").count());
    if carriage * 2 > all { "\r\n" } else { "\n" }
}

/// Of each of these resources whether two texts say something else of it; `None` if they do of anything besides.
pub(super) fn differing(before: &str, after: &str, own: &[(Kind, &str)]) -> Option<Vec<bool>> {
    let apart = |text: &str| {
        let mut tree: toml::Table = without_mark(text).parse().ok()?;
        let mut take = |(kind, name): &(Kind, &str)| {
            let Some(Value::Table(resources)) = tree.get_mut(kind.name()) else { return None };
            let resource = resources.remove(*name);
            if resources.is_empty() {
                tree.remove(kind.name());
            }
            resource
        };
        let resources: Vec<Option<Value>> = own.iter().map(&mut take).collect();
        Some((resources, tree))
    };
    let ((old, rest), (new, other)) = (apart(before)?, apart(after)?);
    (rest == other).then(|| old.iter().zip(&new).map(|(old, new)| old != new).collect())
}

/// Blanks between a new key and its `=`, so that it stands in line with its neighbours if those
/// stand in line. `neighbours` are each a key and the blanks behind it.
pub(super) fn blanks<'a>(key: &str, neighbours: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let widths: Vec<usize> = neighbours
        .map(|(key, blanks)| key.chars().count() + blanks.chars().filter(|c| *c == ' ').count())
        .collect();
    let own = key.chars().count();
    match widths.split_first() {
        Some((first, rest)) if rest.iter().all(|width| width == first) && *first > own => {
            " ".repeat(first - own)
        }
        _ => " ".to_owned(),
    }
}
