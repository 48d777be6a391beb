//! Changes as patches that `git apply` takes, and what a person does with them.

use crate::model::{Inventory, Reference};

/// Unchanged lines around the changed ones.
const CONTEXT: usize = 3;
/// How far away two texts may agree again, in lines of both.
const NEAR: usize = 400;
/// Lines that have to be equal for that.
const AGREE: usize = 2;

/// A line of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line<'a> {
    Same(&'a str),
    Gone(&'a str),
    New(&'a str),
}

/// A unified diff.
pub(super) fn unified(path: &str, before: Option<&str>, after: &str) -> String {
    let old: Vec<&str> = before.unwrap_or_default().split_inclusive('\n').collect();
    let new: Vec<&str> = after.split_inclusive('\n').collect();
    let mut text = match before {
        Some(_) => format!("--- a/{path}\n+++ b/{path}\n"),
        None => format!("--- /dev/null\n+++ b/{path}\n"),
    };
    let lines = difference(&old, &new);
    let changes: Vec<usize> = (0..lines.len()).filter(|at| !matches!(lines[*at], Line::Same(_))).collect();
    // Changes whose context meets share a hunk.
    for hunk in changes.chunk_by(|one, next| next - one <= 2 * CONTEXT + 1) {
        let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else { continue };
        let range = first.saturating_sub(CONTEXT)..(last + CONTEXT + 1).min(lines.len());
        text += &shown(&lines[..range.start], &lines[range]);
    }
    text
}

/// One hunk behind some lines.
fn shown(above: &[Line<'_>], lines: &[Line<'_>]) -> String {
    let count = |lines: &[Line<'_>]| {
        let is = |wanted: fn(&Line<'_>) -> bool| lines.iter().filter(|line| wanted(line)).count();
        (is(|line| !matches!(line, Line::New(_))), is(|line| !matches!(line, Line::Gone(_))))
    };
    let range = |first: usize, count: usize| match count {
        0 => format!("{first},0"),
        _ => format!("{},{count}", first + 1),
    };
    let ((old_first, new_first), (old, new)) = (count(above), count(lines));
    let mut text = format!("@@ -{} +{} @@\n", range(old_first, old), range(new_first, new));
    for line in lines {
        let (sign, line) = match line {
            Line::Same(line) => (' ', line),
            Line::Gone(line) => ('-', line),
            Line::New(line) => ('+', line),
        };
        text.push(sign);
        text.push_str(line);
        if !line.ends_with('\n') {
            text.push_str("\n\\ No newline at end of file\n");
        }
    }
    text
}

/// What leads from one text to the other. Edits change a few lines here and there: after each, the texts agree again
/// nearby. Where they don't, all the rest is another.
fn difference<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let (end, new_end) = (old.len() - tail, new.len() - tail);
    let (mut a, mut b, mut lines) = (0, 0, Vec::new());
    while a < end && b < new_end {
        if old[a] == new[b] {
            lines.push(Line::Same(old[a]));
            (a, b) = (a + 1, b + 1);
            continue;
        }
        let (gone, added) = agreement(&old[a..end], &new[b..new_end]).unwrap_or((end - a, new_end - b));
        lines.extend(old[a..a + gone].iter().map(|line| Line::Gone(line)));
        lines.extend(new[b..b + added].iter().map(|line| Line::New(line)));
        (a, b) = (a + gone, b + added);
    }
    lines.extend(old[a..end].iter().map(|line| Line::Gone(line)));
    lines.extend(new[b..new_end].iter().map(|line| Line::New(line)));
    lines.extend(old[end..].iter().map(|line| Line::Same(line)));
    lines
}

/// After how many lines of each the texts agree again.
fn agreement(old: &[&str], new: &[&str]) -> Option<(usize, usize)> {
    let agree = |a: usize, b: usize| {
        let (a, b) = (&old[a..(a + AGREE).min(old.len())], &new[b..(b + AGREE).min(new.len())]);
        !a.is_empty() && a == b
    };
    let all = (1..=NEAR).flat_map(|sum| (0..=sum).map(move |a| (a, sum - a)));
    all.filter(|(a, b)| *a < old.len() && *b < new.len()).find(|(a, b)| agree(*a, *b))
}

/// The commands that make the patch a commit.
pub(super) fn steps(inventory: &Inventory, summary: &str, message: &str) -> Vec<String> {
    let subject = quoted(message.trim());
    match inventory {
        Inventory::Directory(root) => {
            vec![format!("cd {}", quoted(&root.display().to_string())), "git apply < PATCH".into()]
        }
        Inventory::Own => vec!["git apply < PATCH".into()],
        Inventory::Git(git) => {
            let branch = match &git.reference {
                Reference::Branch(name) => format!(" --branch {}", quoted(name)),
                _ => String::new(),
            };
            vec![
                format!("git clone{branch} {} inventory && cd inventory", quoted(&git.url)),
                format!("git switch -c {}", branch_name(summary)),
                "git apply --index < PATCH".into(),
                format!("git commit -m {subject}"),
                "git push -u origin HEAD".into(),
            ]
        }
    }
}

/// A summary as the name of a branch.
fn branch_name(summary: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { ' ' };
    let text: String = summary.to_lowercase().chars().map(plain).collect();
    text.split_whitespace().collect::<Vec<_>>().join("-")
}

/// A word for a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@=+,%".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hunk_has_its_context_and_its_numbers() {
        let before: String = (1..=10).map(|number| format!("{number}\n")).collect();
        let after = before.replace("5\n", "five\nand a half\n");
        assert_eq!(
            unified("a/b.toml", Some(&before), &after),
            "--- a/a/b.toml\n+++ b/a/b.toml\n@@ -2,7 +2,8 @@\n 2\n 3\n 4\n-5\n+five\n+and a half\n 6\n 7\n 8\n"
        );
        assert_eq!(unified("n", None, "x\n"), "--- /dev/null\n+++ b/n\n@@ -0,0 +1,1 @@\n+x\n");
        assert_eq!(
            unified("n", Some("a"), "a\nb\n"),
            "--- a/n\n+++ b/n\n@@ -1,1 +1,2 @@\n-a\n\\ No newline at end of file\n+a\n+b\n"
        );
        let removed = unified("n", Some(&before), &before.replace("9\n10\n", ""));
        assert!(removed.contains("@@ -6,5 +6,3 @@\n 6\n 7\n 8\n-9\n-10\n"), "{removed}");
    }

    #[test]
    fn changes_far_apart_are_hunks_of_their_own() {
        let before: String = (1..=30).map(|number| format!("{number}\n")).collect();
        let after = before.replace("\n5\n", "\n5\nx\n").replace("\n20\n", "\n").replace("\n29\n", "\ny\n");
        let text = unified("n", Some(&before), &after);
        let heads: Vec<&str> = text.lines().filter(|line| line.starts_with("@@")).collect();
        assert_eq!(heads, ["@@ -3,6 +3,7 @@", "@@ -17,7 +18,6 @@", "@@ -26,5 +26,5 @@"], "{text}");
        assert!(
            text.contains(" 5\n+x\n 6\n") && text.contains("-20\n") && text.contains("-29\n+y\n"),
            "{text}"
        );
    }

    proptest::proptest! {
        #[test]
        fn every_difference_leads_from_one_text_to_the_other(
            old in proptest::collection::vec("[abc]", 0..12),
            new in proptest::collection::vec("[abc]", 0..12),
        ) {
            let old: Vec<&str> = old.iter().map(String::as_str).collect();
            let new: Vec<&str> = new.iter().map(String::as_str).collect();
            let lines = difference(&old, &new);
            let one: Vec<&str> = lines.iter().filter_map(|line| match line { Line::Same(l) | Line::Gone(l) => Some(*l), Line::New(_) => None }).collect();
            let other: Vec<&str> = lines.iter().filter_map(|line| match line { Line::Same(l) | Line::New(l) => Some(*l), Line::Gone(_) => None }).collect();
            proptest::prop_assert_eq!(one, old);
            proptest::prop_assert_eq!(other, new);
        }
    }

    #[test]
    fn words_reach_the_shell_whole() {
        assert_eq!(quoted("https://h/x.git"), "https://h/x.git");
        assert_eq!(quoted("it's $HOME"), "'it'\\''s $HOME'");
    }
}
