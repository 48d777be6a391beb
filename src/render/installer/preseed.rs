//! Preseed files, read as the `debconf-set-selections` of Debian 12's installer reads them (a shell
//! script of the package preseed-common): a line that begins with `#` or is blank is left out,
//! wherever it stands; a backslash at a line's end joins the next one with a space; then owner,
//! question, type and value follow. Only an answer without one of the first three is refused. The
//! type is not looked at, unless it is `seen`.

use std::borrow::Cow;

use super::{Completion, Image, Installer, Kind, Need, Proof, Template, lines, main_file};
use crate::render::Value;
use crate::render::builtin::{Input, Sort, list, text};
use crate::render::common::{HINTS, Limits};
use crate::render::finding::{Finding, asks, doubtful, refused};
use crate::render::near;

/// Debian's installation guide, appendix on preseeding.
const CMDLINE: &[&str] = &["auto=true", "priority=critical", "url={{ answers_url }}", "---"];

pub(super) static INSTALLER: Installer = Installer {
    kind: Kind::Preseed,
    files: &[main_file("preseed.cfg")],
    takes_folder: false,
    by_dhcp: false,
    check: read,
    needs: &[
        Need {
            words: &["url=", "preseed/url="],
            why: "Debian's installer looks for its answers at `url=`",
            help: "add \"url={{ answers_url }}\"",
        },
        Need {
            words: &["auto", "locale=", "debian-installer/locale="],
            why: "language and keyboard are asked for before the answers are fetched",
            help: "add \"auto=true\" and \"priority=critical\"",
        },
    ],
    cmdline: CMDLINE,
    passwords: |text| lines(text, passwords),
    image: Some(Image {
        recognises: |folder, _| folder.starts_with("install.") || folder.starts_with("debian-installer"),
        cmdline: CMDLINE,
        wants_disc: |initrd| initrd.starts_with("install."),
        hint: "a full CD's installer wants its CD; the netboot image's kernel and initrd install from the network",
    }),
    completion: Completion::Hook,
    template: Some(Template {
        source: concat!(
            include_str!("../../../templates/part/finish.liquid"),
            include_str!("../../../templates/part/disk.liquid"),
            include_str!("../../../templates/preseed.liquid")
        ),
        inputs: template_inputs,
        proof: Proof::Validated,
        proven_by: "the reader of Debian 12's installer",
        limits: &Limits {
            cannot: &[],
            hints: HINTS,
            takes_first: false,
            groups: false,
            layouts: &["plain", "lvm", "raid1", "encrypted"],
            https_mirror: false,
            own_account: "",
            joins_scripts: true,
            every_disk: &[],
            vlan_needs_bond: false,
        },
    }),
};

/// What the built-in template reads beside the well-known variables.
fn template_inputs() -> Vec<Input> {
    vec![
        text(
            "mirror_host",
            "deb.debian.org",
            "host of the Debian mirror where `mirror` is empty, with a port if it needs one",
        ),
        text("mirror_directory", "/debian", "the mirror's folder"),
        text("method", "regular", "how the disk is divided where `layout` is empty: regular, lvm or crypto"),
        text("recipe", "atomic", "which partitions: atomic, home or multi"),
        list("tasks", &["standard", "ssh-server"], "tasks of tasksel"),
        text("upgrade", "full-upgrade", "none, safe-upgrade or full-upgrade"),
        Input {
            name: "update_nvram",
            sort: Sort::Boolean,
            default: Value::Boolean(true),
            meaning: "whether GRUB may put the disk first in the boot order of UEFI",
        },
        text("extra", "", "more preseed lines; they win over those of the template"),
        text(
            "late_command",
            "",
            "one more shell command in the last hook; its failure is the installation's",
        ),
    ]
}

/// `owner question password VALUE`, whichever package asks.
pub(super) fn passwords(line: &str) -> Vec<&str> {
    let mut words = line.split_whitespace();
    let (_owner, question, kind) = (words.next(), words.next(), words.next());
    let wanted = question.is_some_and(|question| question.contains('/') && !question.ends_with("-crypted"));
    if wanted && kind == Some("password") { words.next().into_iter().collect() } else { Vec::new() }
}

const TYPES: [&str; 10] =
    ["string", "boolean", "select", "multiselect", "password", "note", "text", "title", "error", "seen"];

/// One answer with the line it begins at, from 1.
struct Answer<'a> {
    line: usize,
    owner: &'a str,
    question: &'a str,
    kind: &'a str,
    value: &'a str,
}

/// A line with those that are joined to it; line and column of its first word, from 1.
struct Whole<'a> {
    line: usize,
    column: usize,
    text: Cow<'a, str>,
}

fn read(text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let wholes = wholes(text, &mut found);
    let mut answers = Vec::with_capacity(wholes.len());
    for whole in &wholes {
        match answer(whole.line, &whole.text) {
            Ok(answer) => answers.push(answer),
            Err(message) => found.push(refused(whole.line, whole.column, message)),
        }
    }
    found.extend(answers.iter().filter_map(doubts));
    let is_wrong = |whole: &&Whole<'_>| found.iter().any(|found| found.error.line as usize == whole.line);
    let wrong: Vec<&str> = wholes.iter().filter(is_wrong).map(|whole| &*whole.text).collect();
    found.extend(questions(&answers, &wrong));
    found
}

/// `[[:space:]]` of the installer's locale.
fn blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

fn wholes<'a>(text: &'a str, found: &mut Vec<Finding>) -> Vec<Whole<'a>> {
    let mut wholes = Vec::new();
    let mut open: Option<Whole<'a>> = None;
    let is_odd = |byte: u8| matches!(byte, 0 | b'\r');
    let has_odd = text.bytes().fold(false, |odd, byte| odd | is_odd(byte));
    for (line, at) in text.split('\n').zip(1..) {
        if line.starts_with('#') || line.bytes().all(|byte| blank(byte.into())) {
            continue;
        }
        let mut part = Cow::Borrowed(line.trim_start_matches(blank));
        let column = line.len() - part.len() + 1;
        if has_odd && part.bytes().any(is_odd) {
            // The script takes out every carriage return, and the shell ends a line at a NUL.
            part = part.split('\0').next().unwrap_or_default().replace('\r', "").into();
        }
        let bare = part.trim_end_matches(blank);
        let joins = part.ends_with('\\');
        if !joins && bare.ends_with('\\') {
            let message = "a blank follows the backslash, so the next line is not joined to this one";
            found.push(doubtful(at, column + bare.chars().count() - 1, message));
        }
        if let Some(whole) = open.as_ref().filter(|_| begins_answer(bare)) {
            let start = whole.line;
            let message =
                format!("this answer belongs to the one in line {start}, which ends with a backslash");
            found.push(doubtful(at, 1, message));
        }
        if joins {
            let length = part[..part.len() - 1].trim_end_matches(blank).len();
            part = match part {
                Cow::Borrowed(part) => part[..length].into(),
                Cow::Owned(part) => part[..length].to_owned().into(),
            };
        }
        let whole = match open.take() {
            Some(mut whole) if !whole.text.is_empty() => {
                let text = whole.text.to_mut();
                text.push(' ');
                text.push_str(&part);
                whole
            }
            Some(whole) => Whole { text: part, ..whole },
            None => Whole { line: at, column, text: part },
        };
        if joins { open = Some(whole) } else { wholes.push(whole) }
    }
    if let Some(whole) = open.filter(|whole| !whole.text.is_empty()) {
        let lost = shown(&whole.text);
        let message = format!("the last line ends with a backslash, so the answer `{lost}` is lost");
        found.push(doubtful(whole.line, 1, message));
    }
    wholes
}

/// Whether a line looks like an answer of its own.
fn begins_answer(line: &str) -> bool {
    let mut fields = line.split(blank).filter(|field| !field.is_empty());
    fields.next() == Some("d-i")
        && fields.next().is_some_and(|question| question.contains('/'))
        && fields.next().is_some_and(|kind| TYPES.contains(&kind))
}

fn shown(text: &str) -> String {
    const LONGEST: usize = 40;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The four fields, or why the script stops there. A field is one only if a blank follows it, but for
/// the type.
fn answer(line: usize, text: &str) -> Result<Answer<'_>, String> {
    let field = |text| {
        let at = str::bytes(text).position(|byte| blank(byte.into()))?;
        let (field, rest) = text.split_at(at);
        Some((field, rest.trim_start_matches(blank)))
    };
    if text.trim_start_matches('\u{feff}').starts_with('#') && three_fields(text).is_none() {
        return Err("a comment begins in the first column".to_owned());
    }
    let Some((owner, rest)) = field(text) else {
        return Err(format!("an answer is `owner question type value`; `{}` stands alone", shown(text)));
    };
    let Some((question, rest)) = field(rest) else {
        return Err(match rest.is_empty() {
            true => "an answer is `owner question type value`; the question is missing".to_owned(),
            false => format!("`{}` has no type", shown(rest)),
        });
    };
    match field(rest) {
        Some((kind, value)) => Ok(Answer { line, owner, question, kind, value }),
        None if rest.is_empty() => Err(format!("`{}` has no type", shown(question))),
        None => Ok(Answer { line, owner, question, kind: rest, value: "" }),
    }
}

fn three_fields(text: &str) -> Option<()> {
    let mut fields = text.split(blank).filter(|field| !field.is_empty());
    fields.nth(2).map(|_| ())
}

/// What the script reads and its author probably did not mean.
fn doubts(answer: &Answer<'_>) -> Option<Finding> {
    let Answer { line, owner, question, kind, value } = answer;
    let doubt = |message: String| Some(doubtful(*line, 1, message));
    if owner.starts_with('#') {
        return doubt("a comment begins in the first column; this line is read as an answer".to_owned());
    }
    if owner.ends_with([':', ',', '=']) {
        return doubt(format!(
            "`{owner}` is no owner of a question: a package, or `d-i`, has no sign behind it"
        ));
    }
    if !question.contains('/') {
        return doubt(format!("`{question}` is not a question: those are named `package/question`"));
    }
    if !TYPES.contains(kind) {
        let near = near::nearest(kind, TYPES.into_iter());
        return doubt(match near {
            Some(near) => format!("`{question}` has the unknown type `{kind}`; did you mean `{near}`?"),
            None if value.is_empty() => {
                format!("`{question}` has no type: `{}` is taken for it, and the value is empty", shown(kind))
            }
            None => format!(
                "`{question}` has the unknown type `{}`{}",
                shown(kind),
                near::hint(kind, TYPES.into_iter())
            ),
        });
    }
    let value = value.trim_end_matches(blank);
    if *kind == "boolean" && !matches!(value, "true" | "false") {
        return doubt(match value.is_empty() {
            true => format!("`{question}` has no value: true or false is missing"),
            false => format!("`{question}` is true or false, not `{}`", shown(value)),
        });
    }
    None
}

/// A question that an answer leads to, and the answers that spare it.
struct FollowUp {
    /// Questions whose answers lead to it.
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

/// Answers that bring further answers: other files, or scripts that run early enough.
const ELSEWHERE: [&str; 5] = [
    "preseed/include",
    "preseed/include_command",
    "preseed/run",
    "preseed/early_command",
    "partman/early_command",
];

/// What the installer would ask. Of several answers the last one counts. Where an answer stands in one
/// of the lines that are wrong already, that it is missing would only follow from it.
fn questions(answers: &[Answer<'_>], wrong: &[&str]) -> Vec<Finding> {
    if answers.iter().any(|answer| ELSEWHERE.contains(&answer.question)) {
        return Vec::new();
    }
    let last =
        |name: &str| answers.iter().rev().find(|answer| answer.question == name && answer.kind != "seen");
    let spared = |follow_up: &FollowUp| {
        follow_up.spared_by.iter().any(|(name, wanted)| {
            let value = last(name).map(|answer| answer.value.trim_end_matches(blank));
            value.is_some_and(|value| wanted.is_none_or(|wanted| wanted == value))
                || wrong.iter().any(|line| line.contains(name))
        })
    };
    let open = FOLLOW_UPS.iter().filter(|follow_up| !spared(follow_up));
    open.filter_map(|follow_up| {
        let first = answers.iter().find(|answer| follow_up.after.contains(&answer.question))?;
        Some(asks(first.line, follow_up.message))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Verdict;

    fn said(text: &str) -> Vec<(usize, Verdict, String)> {
        let mut found = read(text);
        found.sort_by_key(|found| found.error.line);
        found
            .into_iter()
            .map(|found| (found.error.line as usize, found.verdict, found.error.message))
            .collect()
    }

    #[test]
    fn reads_answers_as_the_script_does() {
        let text = "#_preseed_V1\nd-i a/b string\nd-i\ta/c boolean true\n  d-i a/d string x \\\n# in between\n   y; \\\n  z\n";
        let mut found = Vec::new();
        let wholes = wholes(text, &mut found);
        assert_eq!((found, wholes.len()), (Vec::new(), 3));
        let last = answer(wholes[2].line, &wholes[2].text).unwrap();
        assert_eq!((last.line, last.value), (4, "x y; z"));
        assert_eq!(said("d-i   a/b\t string    x\n\td-i a/c  boolean  true \r\n"), []);
    }

    #[test]
    fn knows_what_is_asked() {
        let asked = |text: &str| {
            let found = read(text).into_iter().find(|found| found.verdict == Verdict::Asks);
            found.map(|found| found.error.line)
        };
        for blanks in [" ", "   ", "\t"] {
            let method = format!("d-i{blanks}partman-auto/method{blanks}string{blanks}regular\n");
            assert_eq!(asked(&method), Some(1));
            assert_eq!(asked(&format!("{method}d-i partman/confirm boolean false\n")), Some(1));
            assert_eq!(asked(&format!("{method}d-i partman/confirm{blanks}boolean{blanks}true\n")), None);
            assert_eq!(asked(&format!("{method}d-i preseed/include string rest.cfg\n")), None);
            assert_eq!(asked(&format!("{method}d-i preseed/late_command string true\n")), Some(1));
        }
        let user = "# x\nd-i passwd/username string ops\n";
        assert_eq!(asked(user), Some(2));
        assert_eq!(asked(&format!("{user}d-i passwd/user-password-crypted password !\n")), None);
        assert_eq!(asked(&format!("{user}d-i passwd/make-user boolean false\n")), None);
    }

    #[test]
    fn what_the_script_refuses_is_an_error_and_the_rest_a_doubt() {
        use Verdict::{Doubtful, Refused};
        for (text, line, verdict, words) in [
            ("d-i", 1, Refused, "stands alone"),
            ("d-i ", 1, Refused, "question is missing"),
            ("d-i a/b", 1, Refused, "has no type"),
            ("d-i a/b ", 1, Refused, "has no type"),
            (" # no", 1, Refused, "first column"),
            (" #no", 1, Refused, "first column"),
            ("d-i netcfg/get_hostname=foo", 1, Refused, "has no type"),
            (" # a comment with more words", 1, Doubtful, "first column"),
            ("d-i ab string x", 1, Doubtful, "`ab`"),
            ("d-i debconf debconf/frontend select x", 1, Doubtful, "`debconf`"),
            ("d-i: a/b string x", 1, Doubtful, "`d-i:`"),
            ("d-i a/c strin x", 1, Doubtful, "did you mean `string`"),
            ("d-i localechooser/supported-locales en_US.UTF-8", 1, Doubtful, "has no type"),
            ("d-i a/d boolean yes", 1, Doubtful, "not `yes`"),
            ("d-i a/d boolean", 1, Doubtful, "no value"),
            ("d-i a/e string x \\", 1, Doubtful, "backslash"),
            ("d-i a/e string x \\\nd-i a/f string y", 2, Doubtful, "line 1"),
            ("d-i a/e string x \\ \nd-i a/f string", 1, Doubtful, "not joined"),
        ] {
            let found = said(&format!("{text}\n"));
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert_eq!((found[0].0, found[0].1), (line, verdict), "{text}: {found:?}");
            assert!(found[0].2.contains(words), "{text}: {found:?}");
        }
    }
}
