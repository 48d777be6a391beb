//! Kickstart files, read as pykickstart reads them for Anaconda: commands split into words, sections
//! closed by `%end`, options known; and what Anaconda would ask a person.

mod commands;
mod words;

use super::{Completion, Image, Installer, Kind, Need, Proof, Template, lines as lines_of, main_file};
use crate::render::builtin::{Input, list, text};
use crate::render::common::{HINTS, Limits};
use crate::render::finding::{Finding, asks, doubtful, refused};
use crate::render::near;
use commands::{COMMANDS, SECTIONS, Table};
use words::split;

/// Anaconda's boot options.
const CMDLINE: &[&str] = &["inst.ks={{ answers_url }}", "inst.repo={{ media_url }}/", "inst.text", "ip=dhcp"];

pub(super) static INSTALLER: Installer = Installer {
    kind: Kind::Kickstart,
    files: &[main_file("ks.cfg")],
    takes_folder: false,
    by_dhcp: false,
    check: read,
    needs: &[Need {
        words: &["inst.ks=", "ks="],
        why: "the installer looks for its answers at `inst.ks=`",
        help: "add \"inst.ks={{ answers_url }}\"",
    }],
    cmdline: CMDLINE,
    passwords: |text| lines_of(text, passwords),
    image: Some(Image {
        recognises: |folder, _| folder.starts_with("images/pxeboot"),
        cmdline: CMDLINE,
        wants_disc: |_| false,
        hint: "",
    }),
    completion: Completion::Hook,
    template: Some(Template {
        source: concat!(
            include_str!("../../../templates/part/finish.liquid"),
            include_str!("../../../templates/part/disk.liquid"),
            include_str!("../../../templates/kickstart.liquid")
        ),
        inputs: template_inputs,
        proof: Proof::Validated,
        proven_by: "pykickstart, by the rules of RHEL 8, 9 and 10 and of Fedora 40 and 42",
        limits: &Limits {
            cannot: &[],
            hints: HINTS,
            takes_first: false,
            groups: true,
            layouts: &["plain", "lvm", "raid1", "encrypted"],
            https_mirror: true,
            own_account: "",
            joins_scripts: false,
            every_disk: &[],
            vlan_needs_bond: false,
        },
    }),
};

/// What the built-in template reads beside the well-known variables.
fn template_inputs() -> Vec<Input> {
    vec![
        text("url", "", "the same as `mirror`"),
        list("repos", &[], "more repositories, tables of name and url"),
        text(
            "partitioning",
            "lvm",
            "how the disk is divided where `layout` is empty: lvm, plain, thinp or btrfs",
        ),
        text("extra", "", "more kickstart commands"),
    ]
}

/// Options that take a password, and the words of `rootpw` and `sshpw`. All of them are clear text
/// unless something says that they are encrypted.
pub(super) fn passwords(line: &str) -> Vec<&str> {
    const OPTIONS: [&str; 6] = [
        "--password=",
        "--passphrase=",
        "--backuppassphrase=",
        "--reverse-password=",
        "--one-time-password=",
        "--wpakey=",
    ];
    let words: Vec<&str> = line.split_whitespace().collect();
    let has = |option: &str| words.contains(&option);
    if has("--iscrypted") || has("--lock") {
        return Vec::new();
    }
    let given = words.iter().filter_map(|word| {
        let option = OPTIONS.iter().find(|option| word.starts_with(**option))?;
        Some(word[option.len()..].trim_matches(['"', '\'']))
    });
    let bare = match words.first() {
        Some(&("rootpw" | "sshpw")) => words[1..].iter().find(|word| !word.starts_with("--")).copied(),
        _ => None,
    };
    given.chain(bare.map(|word| word.trim_matches(['"', '\'']))).collect()
}

/// Without one of each Anaconda waits for a person.
const NEEDED: [(&[&str], &str); 5] = [
    (&["lang"], "`lang`"),
    (&["keyboard"], "`keyboard`"),
    (&["timezone"], "`timezone`"),
    (&["rootpw", "user", "sshkey"], "`rootpw` or `user`"),
    (
        &["autopart", "part", "partition", "mount", "ostreecontainer", "btrfs", "reqpart", "raid", "logvol"],
        "`autopart` or `part`",
    ),
];

/// Commands that RHEL 5 and older releases know, and files of today hardly use.
const OLD: [&str; 8] =
    ["authconfig", "install", "interactive", "key", "langsupport", "monitor", "mouse", "upgrade"];

fn read(text: &str) -> Vec<Finding> {
    let mut reader = Reader::default();
    for (line, at) in lines(text) {
        match reader.open {
            Some(_) => reader.inside(line, at),
            None => reader.command(line, at),
        }
    }
    if let Some((start, section)) = reader.open {
        reader.unclosed.push((start, format!("`{section}` is not closed with `%end`")));
    }
    let unclosed = reader.unclosed();
    reader.found.extend(unclosed);
    let unanswered = reader.unanswered();
    reader.found.extend(unanswered);
    reader.found
}

/// Lines with their ends, as Python's `splitlines` divides them, and the number by line feeds.
fn lines(text: &str) -> impl Iterator<Item = (&str, usize)> {
    let ends =
        |c: char| matches!(c, '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}');
    text.split_inclusive('\n').zip(1..).flat_map(move |(line, at)| {
        // A carriage return before a line feed is part of the same end.
        let body = line.strip_suffix("\r\n").unwrap_or(line);
        let cut =
            body.rfind(ends).map_or(0, |last| last + body[last..].chars().next().map_or(0, char::len_utf8));
        body[..cut]
            .split_inclusive(ends)
            .chain((cut < line.len()).then(|| &line[cut..]))
            .map(move |part| (part, at))
    })
}

#[derive(Default)]
struct Reader<'a> {
    found: Vec<Finding>,
    /// The section that is open, and the line of its head.
    open: Option<(usize, &'a str)>,
    commands: Vec<String>,
    /// What unknown commands were probably meant to be.
    meant: Vec<&'static str>,
    /// Whether files are included, whose commands can't be known.
    includes: bool,
    /// Whether the line before ends with a backslash.
    joined: bool,
    /// Sections without their end, by the line of their head.
    unclosed: Vec<(usize, String)>,
    /// Whether any section has one.
    closes: bool,
}

impl<'a> Reader<'a> {
    fn command(&mut self, line: &'a str, at: usize) {
        let joined = std::mem::replace(&mut self.joined, line.trim_end().ends_with('\\'));
        let bare = line.trim();
        if bare.is_empty() || bare.starts_with('#') {
            return;
        }
        let column = column(line);
        let words = match split(line, true) {
            Ok(words) => words,
            Err(error) => return self.found.push(refused(at, column, error.message())),
        };
        let word = match words.first().map(String::as_str) {
            None | Some("") => return self.found.push(refused(at, column, "a command is an empty text")),
            Some(word) => word,
        };
        if word.starts_with('%') {
            return self.section(line, &words, at);
        }
        match options_of(COMMANDS, word) {
            Some(options) => self.options(options, &words, at, line),
            None => self.unknown(word, at, column, joined),
        }
        self.commands.push(word.to_owned());
    }

    /// A line outside of sections that begins with `%`.
    fn section(&mut self, line: &'a str, words: &[String], at: usize) {
        let word = words[0].as_str();
        if word == "%include" {
            self.includes = true;
            if words.get(1).is_none_or(String::is_empty) {
                self.found.push(refused(at, column(line), "`%include` names no file"));
            }
            return;
        }
        if word == "%ksappend" {
            self.includes = true;
            return;
        }
        match SECTIONS.iter().find(|(name, _)| *name == word) {
            Some((name, options)) => {
                self.options(options, words, at, line);
                self.open = Some((at, name));
            }
            None if word == "%end" => {
                self.found.push(refused(at, column(line), "there is no section this `%end` closes"));
            }
            None => {
                let near = near::hint(word, SECTIONS.iter().map(|(name, _)| *name));
                self.found.push(refused(at, column(line), format!("unknown section `{word}`{near}")));
                // What follows is read as a section's content, or each line of it would be reported.
                self.open = Some((at, line.split_whitespace().next().unwrap_or_default()));
            }
        }
    }

    /// A line of a section: only its end, an inclusion and the head of another section count.
    fn inside(&mut self, line: &'a str, at: usize) {
        let Some((start, section)) = self.open else { return };
        let word = line.split_whitespace().next().unwrap_or_default();
        let head = SECTIONS.iter().any(|(name, _)| *name == word);
        if !head && !matches!(word, "%end" | "%include") {
            return;
        }
        let words = match split(line, false) {
            Ok(words) => words,
            Err(error) => {
                self.found.push(refused(at, column(line), error.message()));
                return if word != "%include" {
                    self.open = None
                };
            }
        };
        match words[0].as_str() {
            "%end" => {
                self.open = None;
                self.closes = true;
            }
            // In a script it is most likely not a directive of Anaconda.
            "%include" if section == "%packages" && words.get(1).is_none_or(String::is_empty) => {
                self.found.push(refused(at, column(line), "`%include` names no file"));
            }
            "%include" => {}
            _ => {
                let message = format!("`{section}` is not closed with `%end` before line {at}");
                self.unclosed.push((start, message));
                self.open = None;
                self.section(line, &words, at);
            }
        }
    }

    fn unknown(&mut self, word: &str, at: usize, column: usize, joined: bool) {
        let near = near::nearest(word, COMMANDS.iter().map(|(name, _)| *name));
        self.meant.extend(near);
        let hint = match near {
            _ if joined => "; a backslash does not continue a line here".to_owned(),
            Some(near) => format!("; did you mean `{near}`?"),
            None => String::new(),
        };
        self.found.push(refused(at, column, format!("unknown command `{word}`{hint}")));
    }

    /// Options that no release knows. Python's argparse takes every beginning of an option for it.
    fn options(&mut self, known: &'static str, words: &[String], at: usize, line: &str) {
        if known.is_empty() {
            return;
        }
        for word in words.iter().skip(1).take_while(|word| *word != "--") {
            let Some(given) = word.strip_prefix("--").filter(|_| !word.contains(' ')) else { continue };
            let name = given.split('=').next().unwrap_or_default();
            if known.split(' ').any(|option| option.starts_with(name)) {
                continue;
            }
            let near =
                near::nearest(name, known.split(' ')).map(|near| format!("; did you mean `--{near}`?"));
            let message = format!("`{}` has no option `--{name}`{}", words[0], near.unwrap_or_default());
            self.found.push(refused(at, column(line), message));
        }
    }

    /// Findings about sections that are not closed. Up to RHEL 5 and Fedora 7 none was closed; where the
    /// commands are of that time too, such a file is accepted.
    fn unclosed(&mut self) -> Vec<Finding> {
        let old = !self.closes && self.commands.iter().any(|command| OLD.contains(&command.as_str()));
        let unclosed = std::mem::take(&mut self.unclosed).into_iter();
        let say = |(line, message): (usize, String)| match old {
            true => doubtful(line, 1, format!("{message}, as RHEL 6 and all later releases need it")),
            false => refused(line, 1, message),
        };
        unclosed.map(say).collect()
    }

    /// What Anaconda would ask for. A command that is misspelt is reported already, and what it
    /// answers is not asked.
    fn unanswered(&self) -> Vec<Finding> {
        let has = |one: &&str| self.commands.iter().any(|command| command == one) || self.meant.contains(one);
        let missing = NEEDED.iter().filter(|(any, _)| !self.includes && !any.iter().any(has));
        let names: Vec<&str> = missing.map(|(_, name)| *name).collect();
        let message = || format!("the installer stops and asks: {} is missing", names.join(", "));
        (!names.is_empty()).then(|| asks(1, message())).into_iter().collect()
    }
}

fn options_of(table: Table, name: &str) -> Option<&'static str> {
    let at = table.binary_search_by_key(&name, |(name, _)| name).ok()?;
    Some(table[at].1)
}

fn column(line: &str) -> usize {
    line.chars().take_while(|c| c.is_whitespace()).count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Verdict;

    const GOOD: &str =
        "lang en_US\nkeyboard us\ntimezone UTC\nrootpw --lock\nautopart\n%packages\n@core\n%end\n";

    fn said(text: &str, verdict: Verdict) -> Vec<String> {
        let found = read(text).into_iter().filter(|found| found.verdict == verdict);
        let mut errors: Vec<_> = found.map(|found| found.error).collect();
        errors.sort_by_key(|error| (error.line, error.column));
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_tables_are_sorted() {
        assert!(COMMANDS.is_sorted_by_key(|(name, _)| name) && SECTIONS.is_sorted_by_key(|(name, _)| name));
    }

    #[test]
    fn accepts_a_whole_file() {
        assert_eq!(read(GOOD), []);
        assert_eq!(read("%include /tmp/all\n"), []);
        assert_eq!(read(&format!("{GOOD}bootloader --append=\"--x y\" --loc=mbr\nauth --anything\n")), []);
        assert_eq!(
            read(&format!("{GOOD}%post\n  %things 'like this\nprint(\"%packages\")\n  %end # x\n")),
            []
        );
    }

    #[test]
    fn every_mistake_is_said() {
        let text = format!(
            "{GOOD}  rootpwd x\n%post\necho\n%pre\n%end\n%end\n%pots\nx\n%end\nrootpw 'x\npart / --sise=1 --grow\n\
             part /x \\\n  --size=1\n%packages\n"
        );
        assert_eq!(
            said(&text, Verdict::Refused),
            [
                "9:3: unknown command `rootpwd`; did you mean `rootpw`?",
                "10:1: `%post` is not closed with `%end` before line 12",
                "14:1: there is no section this `%end` closes",
                "15:1: unknown section `%pots`; did you mean `%post`?",
                "18:1: a quote `'` is not closed on this line",
                "19:1: `part` has no option `--sise`; did you mean `--size`?",
                "21:3: unknown command `--size=1`; a backslash does not continue a line here",
                "22:1: `%packages` is not closed with `%end`",
            ]
        );
        assert_eq!(said(&text, Verdict::Asks), [""; 0]);
    }

    #[test]
    fn releases_that_closed_no_section_are_known_by_their_commands() {
        let open = GOOD.replace("%end\n", "%post\ntrue\n");
        assert_eq!(said(&open, Verdict::Refused).len(), 2);
        let old = format!("install\n{open}");
        assert_eq!(said(&old, Verdict::Refused), [""; 0]);
        let doubts = said(&old, Verdict::Doubtful);
        assert!(doubts.len() == 2 && doubts[0].contains("before line 9, as RHEL 6"), "{doubts:?}");
        // A file that closes one section is expected to close them all.
        assert_eq!(said(&format!("{old}%end\n"), Verdict::Refused).len(), 1);
    }

    #[test]
    fn what_is_missing_is_asked_unless_it_is_misspelt() {
        let asked = said("lang en_US\n", Verdict::Asks);
        assert!(asked.len() == 1 && asked[0].contains("`keyboard`, `timezone`"), "{asked:?}");
        let typo = GOOD.replace("autopart", "AUTOPART");
        assert_eq!(said(&typo, Verdict::Asks), [""; 0]);
        assert_eq!(
            said(&typo, Verdict::Refused),
            ["5:1: unknown command `AUTOPART`; did you mean `autopart`?"]
        );
    }

    #[test]
    fn a_line_ends_where_python_ends_it() {
        let text = format!("{GOOD}%packages\nvim\u{2028}%end\nbash\n%end\n");
        assert_eq!(said(&text, Verdict::Refused).len(), 2, "{:?}", read(&text));
        assert_eq!(lines("a\r\nb\rc\n").collect::<Vec<_>>(), [("a\r\n", 1), ("b\r", 2), ("c\n", 2)]);
    }
}
