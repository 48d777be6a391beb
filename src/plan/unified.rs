//! Unified diffs of what machines are served, of bounded length.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Lines shown around a difference.
const CONTEXT: usize = 2;
/// Most lines of one patch.
const LINES_MAX: usize = 60;
/// Longest line, in characters.
const LINE_MAX: usize = 240;
/// Largest table of the exact comparison; beyond it the differing middle is shown as replaced.
const CELLS_MAX: usize = 4_000_000;

/// How one text that a machine is served changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Patch {
    /// `DHCP answer`, `kernel command line`, `iPXE script`, or the name of an answer file.
    pub name: String,
    /// A unified diff: hunk headers, and lines that begin with a blank, `-` or `+`.
    pub lines: Vec<String>,
    /// How many further lines of the diff are left out.
    pub left_out: usize,
}

/// The patch from one text to another; `None` if they are equal.
pub fn patch(name: &str, before: &str, after: &str) -> Option<Patch> {
    if before == after {
        return None;
    }
    let (before, after): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let edits = edits(&before, &after);
    let mut lines = hunks(&edits);
    let left_out = lines.len().saturating_sub(LINES_MAX);
    lines.truncate(LINES_MAX);
    Some(Patch { name: name.to_owned(), lines, left_out })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edit<'a> {
    Same(&'a str),
    Gone(&'a str),
    New(&'a str),
}

fn edits<'a>(before: &[&'a str], after: &[&'a str]) -> Vec<Edit<'a>> {
    let head = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    let (old, new) = (&before[head..], &after[head..]);
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[..old.len() - tail], &new[..new.len() - tail]);
    let same = |lines: &[&'a str]| lines.iter().map(|line| Edit::Same(line)).collect::<Vec<_>>();
    let mut edits = same(&before[..head]);
    edits.extend(middle(old, new));
    edits.extend(same(&before[before.len() - tail..]));
    edits
}

/// The longest common subsequence, read off its table.
fn middle<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Edit<'a>> {
    let replaced = || old.iter().map(|line| Edit::Gone(line)).chain(new.iter().map(|line| Edit::New(line)));
    if old.len().saturating_mul(new.len()) > CELLS_MAX {
        return replaced().collect();
    }
    let width = new.len() + 1;
    let mut longest = vec![0u32; (old.len() + 1) * width];
    for a in (0..old.len()).rev() {
        for b in (0..new.len()).rev() {
            longest[a * width + b] = match old[a] == new[b] {
                true => longest[(a + 1) * width + b + 1] + 1,
                false => longest[(a + 1) * width + b].max(longest[a * width + b + 1]),
            };
        }
    }
    let (mut a, mut b) = (0, 0);
    let mut edits = Vec::new();
    while a < old.len() || b < new.len() {
        if a < old.len() && b < new.len() && old[a] == new[b] {
            edits.push(Edit::Same(old[a]));
            (a, b) = (a + 1, b + 1);
        } else if b == new.len()
            || (a < old.len() && longest[(a + 1) * width + b] >= longest[a * width + b + 1])
        {
            edits.push(Edit::Gone(old[a]));
            a += 1;
        } else {
            edits.push(Edit::New(new[b]));
            b += 1;
        }
    }
    edits
}

fn hunks(edits: &[Edit]) -> Vec<String> {
    let near = |at: usize| {
        let around = at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(edits.len());
        edits[around].iter().any(|edit| !matches!(edit, Edit::Same(_)))
    };
    let (mut old, mut new) = (0, 0);
    let mut out = Vec::new();
    let mut header = None;
    for (at, edit) in edits.iter().enumerate() {
        let shown = near(at);
        if shown && header.is_none() {
            header = Some((out.len(), old, new));
            out.push(String::new());
        }
        let (sign, line, from_old, from_new) = match edit {
            Edit::Same(line) => (' ', line, 1, 1),
            Edit::Gone(line) => ('-', line, 1, 0),
            Edit::New(line) => ('+', line, 0, 1),
        };
        if !shown {
            close(&mut out, header.take(), old, new);
        }
        (old, new) = (old + from_old, new + from_new);
        if shown {
            out.push(format!("{sign}{}", short(line)));
        }
    }
    close(&mut out, header, old, new);
    out
}

/// Writes the header of a hunk, now that its length is known.
fn close(out: &mut [String], header: Option<(usize, usize, usize)>, old: usize, new: usize) {
    let Some((at, old_start, new_start)) = header else { return };
    let part = |start: usize, end: usize| match end - start {
        // Of no lines, the one before them is named.
        0 => format!("{start},0"),
        1 => format!("{}", start + 1),
        count => format!("{},{count}", start + 1),
    };
    out[at] = format!("@@ -{} +{} @@", part(old_start, old), part(new_start, new));
}

fn short(line: &str) -> String {
    match line.char_indices().nth(LINE_MAX) {
        Some((end, _)) => format!("{} …", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(before: &str, after: &str) -> Vec<String> {
        patch("x", before, after).map(|patch| patch.lines).unwrap_or_default()
    }

    #[test]
    fn equal_texts_have_no_patch() {
        assert_eq!(patch("x", "a\nb\n", "a\nb\n"), None);
    }

    #[test]
    fn hunks_are_those_of_diff() {
        let before = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let after = "1\n2\n3\nvier\n5\n6\n7\n8\n9\nten\n";
        let wanted = "@@ -2,5 +2,5 @@| 2| 3|-4|+vier| 5| 6|@@ -8,2 +8,3 @@| 8| 9|+ten";
        assert_eq!(lines(before, after).join("|"), wanted);
        assert_eq!(lines("", "a\n").join("|"), "@@ -0,0 +1 @@|+a");
        assert_eq!(lines("a\n", "").join("|"), "@@ -1 +0,0 @@|-a");
    }

    #[test]
    fn long_patches_are_cut_and_say_so() {
        let after: String = (0..500).map(|n| format!("{n}\n")).collect();
        let patch = patch("x", "", &after).unwrap();
        assert_eq!((patch.lines.len(), patch.left_out), (LINES_MAX, 501 - LINES_MAX));
        assert!(lines("", &"x".repeat(1000))[1].ends_with('…'));
    }

    #[test]
    fn every_patch_leads_from_one_text_to_the_other() {
        use proptest::prelude::*;
        let text = proptest::collection::vec("[abc]", 0..8);
        proptest!(|(a in text.clone(), b in text)| {
            let (a, b): (Vec<&str>, Vec<&str>) =
                (a.iter().map(String::as_str).collect(), b.iter().map(String::as_str).collect());
            let edits = edits(&a, &b);
            let old: Vec<&str> = edits.iter().filter_map(|e| match e { Edit::Same(l) | Edit::Gone(l) => Some(*l), _ => None }).collect();
            let new: Vec<&str> = edits.iter().filter_map(|e| match e { Edit::Same(l) | Edit::New(l) => Some(*l), _ => None }).collect();
            prop_assert_eq!(old, a);
            prop_assert_eq!(new, b);
        });
    }
}
