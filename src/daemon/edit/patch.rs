//! A change as a patch that `git apply` takes, and what a person does with it.

use crate::edit::Change;
use crate::model::{Inventory, Reference};

/// Unchanged lines around the changed ones.
const CONTEXT: usize = 3;

/// A unified diff with one hunk.
pub(super) fn unified(path: &str, before: Option<&str>, after: &str) -> String {
    let old: Vec<&str> = before.unwrap_or_default().split_inclusive('\n').collect();
    let new: Vec<&str> = after.split_inclusive('\n').collect();
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    let first = head.saturating_sub(CONTEXT);
    let after_old = (old.len() - tail + CONTEXT).min(old.len());
    let after_new = new.len() - (old.len() - after_old);
    let range = |first: usize, count: usize| match count {
        0 => format!("{first},0"),
        _ => format!("{},{count}", first + 1),
    };
    let mut text = match before {
        Some(_) => format!("--- a/{path}\n+++ b/{path}\n"),
        None => format!("--- /dev/null\n+++ b/{path}\n"),
    };
    text += &format!("@@ -{} +{} @@\n", range(first, after_old - first), range(first, after_new - first));
    let mut lines = |sign: char, lines: &[&str]| {
        for line in lines {
            text.push(sign);
            text.push_str(line);
            if !line.ends_with('\n') {
                text.push_str("\n\\ No newline at end of file\n");
            }
        }
    };
    lines(' ', &old[first..head]);
    lines('-', &old[head..old.len() - tail]);
    lines('+', &new[head..new.len() - tail]);
    lines(' ', &old[old.len() - tail..after_old]);
    text
}

/// The commands that make the patch a commit.
pub(super) fn steps(inventory: &Inventory, change: &Change, message: &str) -> Vec<String> {
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
                format!("git switch -c {}", change.summary.to_lowercase().replace(' ', "-")),
                "git apply --index < PATCH".into(),
                format!("git commit -m {subject}"),
                "git push -u origin HEAD".into(),
            ]
        }
    }
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
    fn words_reach_the_shell_whole() {
        assert_eq!(quoted("https://h/x.git"), "https://h/x.git");
        assert_eq!(quoted("it's $HOME"), "'it'\\''s $HOME'");
    }
}
