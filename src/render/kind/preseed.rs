//! Preseed files, read as the `debconf-set-selections` of Debian 12's installer reads them: a
//! line that begins with `#` or is blank is left out, wherever it stands; a backslash at a
//! line's end joins the next one with a space; then owner, question, type and value follow.

use std::borrow::Cow;

use super::super::RenderError;
use super::wrong;
use crate::render::near;

const TYPES: [&str; 10] =
    ["string", "boolean", "select", "multiselect", "password", "note", "text", "title", "error", "seen"];

/// One answer with the place it begins at.
struct Answer<'a> {
    line: usize,
    text: Cow<'a, str>,
}

/// What is wrong, and what the installer would ask although nothing is.
pub(super) fn read(text: &str) -> (Vec<RenderError>, Option<RenderError>) {
    let (answers, mut errors) = answers(text);
    errors.extend(answers.iter().filter_map(judge));
    errors.sort_by_key(|error| (error.line, error.column));
    (errors, asks(&answers))
}

fn answers(text: &str) -> (Vec<Answer<'_>>, Vec<RenderError>) {
    let mut answers = Vec::new();
    let mut errors = Vec::new();
    let mut open: Option<Answer<'_>> = None;
    for (at, line) in text.lines().enumerate() {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let joins = line.trim_start().strip_suffix('\\');
        let part = joins.unwrap_or(line).trim_start();
        match &mut open {
            Some(answer) => {
                answer.text = format!("{} {part}", answer.text.trim_end()).into();
            }
            None if part.starts_with('#') => {
                errors.push(wrong(
                    at + 1,
                    line.len() - part.len() + 1,
                    "a comment begins in the first column",
                ));
                continue;
            }
            None => open = Some(Answer { line: at + 1, text: part.into() }),
        }
        if joins.is_none() {
            answers.extend(open.take());
        }
    }
    if let Some(answer) = open {
        errors.push(wrong(answer.line, 1, "the last line ends with a backslash, so this answer is lost"));
    }
    (answers, errors)
}

/// A question that an answer leads to, and the answers that spare it.
struct FollowUp {
    /// Beginnings of questions.
    after: &'static [&'static str],
    /// Questions, each with its value where only one will do.
    spared_by: &'static [(&'static str, Option<&'static str>)],
    message: &'static str,
}

/// Debian installation guide, appendix B.4: partitioning and accounts.
const FOLLOW_UPS: [FollowUp; 2] = [
    FollowUp {
        after: &["partman-auto/method", "partman-auto/expert_recipe", "partman-auto/choose_recipe"],
        spared_by: &[("partman/confirm", Some("true"))],
        message: "the installer asks before it writes to the disk; `d-i partman/confirm boolean true` agrees",
    },
    FollowUp {
        after: &["passwd/username", "passwd/user-fullname"],
        spared_by: &[
            ("passwd/user-password", None),
            ("passwd/user-password-crypted", None),
            ("passwd/make-user", Some("false")),
        ],
        message: "the installer asks for the user's password; `passwd/user-password-crypted` is missing",
    },
];

/// What the installer would ask although the file is right.
fn asks(answers: &[Answer]) -> Option<RenderError> {
    let fields: Vec<(usize, &str, &str)> = answers.iter().filter_map(fields).collect();
    // Other files, or scripts, may answer the rest.
    if fields.iter().any(|(_, question, _)| question.starts_with("preseed/")) {
        return None;
    }
    let open = |follow_up: &&FollowUp| {
        let spares = |(_, question, value): &(usize, &str, &str)| {
            follow_up
                .spared_by
                .iter()
                .any(|(name, wanted)| name == question && wanted.is_none_or(|wanted| wanted == *value))
        };
        !fields.iter().any(spares)
    };
    FOLLOW_UPS.iter().filter(open).find_map(|follow_up| {
        let (line, ..) = fields.iter().find(|(_, question, _)| follow_up.after.contains(question))?;
        Some(wrong(*line, 1, follow_up.message))
    })
}

/// Line, question and value.
fn fields<'a>(answer: &'a Answer) -> Option<(usize, &'a str, &'a str)> {
    let mut fields = answer.text.splitn(4, [' ', '\t']);
    let (_owner, question, _kind) = (fields.next()?, fields.next()?, fields.next()?);
    Some((answer.line, question, fields.next().unwrap_or_default().trim()))
}

fn judge(answer: &Answer) -> Option<RenderError> {
    let mut rest = &*answer.text;
    let mut field = || {
        let (field, behind) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
        rest = behind.trim_start();
        field
    };
    let (owner, question, kind) = (field(), field(), field());
    let error = |message: String| Some(wrong(answer.line, 1, message));
    if owner.ends_with([':', ',', '=']) {
        return error(format!(
            "`{owner}` is no owner of a question: a package, or `d-i`, has no sign behind it"
        ));
    }
    if question.is_empty() {
        return error("an answer is `owner question type value`; the question is missing".to_owned());
    }
    if !question.contains('/') {
        return error(format!("`{question}` is not a question: those are named `package/question`"));
    }
    if kind.is_empty() {
        return error(format!("`{question}` has no type"));
    }
    if !TYPES.contains(&kind) {
        return error(format!(
            "`{question}` has the unknown type `{kind}`{}",
            near::hint(kind, TYPES.into_iter())
        ));
    }
    let value = rest.trim_end();
    if kind == "boolean" && !matches!(value, "true" | "false") {
        return error(format!("`{question}` is true or false, not `{value}`"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Vec<RenderError> {
        read(text).0
    }

    #[test]
    fn reads_answers() {
        let text = "#_preseed_V1\nd-i a/b string\nd-i\ta/c boolean true\n  d-i a/d string x \\\n# in between\n   y; \\\n  z\n";
        assert_eq!(check(text), []);
        let (answers, _) = answers(text);
        assert_eq!(answers[2].text, "d-i a/d string x y; z");
    }

    #[test]
    fn knows_what_is_asked() {
        let asked = |text: &str| read(text).1.map(|error| error.line);
        let method = "d-i partman-auto/method string regular\n";
        assert_eq!(asked(method), Some(1));
        assert_eq!(asked(&format!("{method}d-i partman/confirm boolean false\n")), Some(1));
        assert_eq!(asked(&format!("{method}d-i partman/confirm boolean true\n")), None);
        assert_eq!(asked(&format!("{method}d-i preseed/include string rest.cfg\n")), None);
        let user = "# x\nd-i passwd/username string ops\n";
        assert_eq!(asked(user), Some(2));
        assert_eq!(asked(&format!("{user}d-i passwd/user-password-crypted password !\n")), None);
        assert_eq!(asked(&format!("{user}d-i passwd/make-user boolean false\n")), None);
    }

    #[test]
    fn says_what_is_wrong() {
        let text = "d-i\nd-i ab string x\nd-i a/b\nd-i a/c strin x\nd-i a/d boolean yes\n # no\nd-i a/e string x \\\n";
        let found: Vec<(u32, String)> =
            check(text).into_iter().map(|error| (error.line, error.message)).collect();
        let wanted = [
            "question is missing",
            "`ab`",
            "has no type",
            "did you mean `string`",
            "not `yes`",
            "first column",
            "backslash",
        ];
        assert_eq!(found.len(), wanted.len(), "{found:?}");
        for (at, ((line, message), wanted)) in found.iter().zip(wanted).enumerate() {
            assert_eq!(*line as usize, at + 1);
            assert!(message.contains(wanted), "{message}");
        }
    }
}
