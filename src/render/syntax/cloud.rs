//! User data of cloud-init and of Ubuntu's installer, in the forms that cloud-init distinguishes by their
//! first bytes (`cloudinit/handlers/__init__.py`, `cloudinit/user_data.py`).

mod passwords;

pub(in crate::render) use super::yaml::{Document, Key, Value};
use super::{mime, yaml};
use crate::render::finding::{Finding, doubtful, refused};
use yaml::Root;

pub(in crate::render) use passwords::passwords;

/// What cloud-init does with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Config,
    Archive,
    Jinja,
    /// Scripts, lists of addresses, JSON patches: nothing that is looked at here.
    Other,
}

/// The beginnings, white space before them and their case aside; the longest that fits counts.
const FORMS: [(&str, Form); 9] = [
    ("#cloud-config-archive", Form::Archive),
    ("#cloud-config-jsonp", Form::Other),
    ("## template: jinja", Form::Jinja),
    ("#cloud-boothook", Form::Other),
    ("#include-once", Form::Other),
    ("#cloud-config", Form::Config),
    ("#part-handler", Form::Other),
    ("#include", Form::Other),
    ("#!", Form::Other),
];

fn form(text: &str) -> Option<Form> {
    let text = text.trim_start();
    let begins = |begin: &str| text.get(..begin.len()).is_some_and(|head| head.eq_ignore_ascii_case(begin));
    FORMS.iter().find(|(begin, _)| begins(begin)).map(|(_, form)| *form)
}

/// What cloud-init makes of a text.
pub(in crate::render) struct Reading {
    pub found: Vec<Finding>,
    pub documents: Vec<Document>,
    /// Whether all of the configuration has been looked at.
    pub whole: bool,
}

pub(in crate::render) fn read(text: &str) -> Reading {
    let mut reader = Reading { found: Vec::new(), documents: Vec::new(), whole: true };
    match mime::is_message(text) {
        true => reader.message(text),
        false => reader.by_beginning(text, 1),
    }
    reader
}

impl Reading {
    fn message(&mut self, text: &str) {
        let parts = mime::parts(text);
        if parts.is_empty() {
            self.found.push(refused(
                1,
                1,
                "this message has no parts: its boundary is missing, or never used",
            ));
        }
        for part in parts {
            match part.kind.as_str() {
                _ if !part.plain => self.whole = false,
                "text/cloud-config" => self.config(part.body, part.line),
                "text/cloud-config-archive" => self.archive(part.body, part.line),
                "text/plain" | "text/x-not-multipart" => self.by_beginning(part.body, part.line),
                // Only what begins as something else is taken for that.
                "text/x-shellscript" if form(part.body).is_some() => {
                    self.by_beginning(part.body, part.line);
                }
                _ => self.whole = false,
            }
        }
    }

    fn by_beginning(&mut self, text: &str, line: usize) {
        match form(text) {
            Some(Form::Config) => {
                let head = text.trim_start().lines().next().unwrap_or_default();
                let word = head.split_whitespace().next().unwrap_or_default();
                if word.len() > "#cloud-config".len() {
                    let at = line + text[..text.len() - text.trim_start().len()].matches('\n').count();
                    let message = format!("`{word}` is read as `#cloud-config`");
                    self.found.push(doubtful(at, 1, message));
                }
                self.config(text, line);
            }
            Some(Form::Archive) => self.archive(text, line),
            Some(Form::Jinja) => self.jinja(text, line),
            Some(Form::Other) => self.whole = false,
            None => self.found.push(refused(line, 1, unknown(text))),
        }
    }

    fn config(&mut self, text: &str, line: usize) {
        let mut document = yaml::read(text, line);
        self.found.append(&mut document.found);
        match document.root {
            Root::Mapping => self.documents.push(document),
            Root::Nothing => {
                self.found.push(refused(line, 1, "nothing follows `#cloud-config`, where a mapping must be"));
            }
            Root::Scalar | Root::Sequence => {
                self.found.push(refused(line, 1, "what follows `#cloud-config` must be a mapping"));
            }
        }
    }

    /// A list of parts. What is in them is not looked at.
    fn archive(&mut self, text: &str, line: usize) {
        self.whole = false;
        let document = yaml::read(text, line);
        self.found.extend(document.found);
        if document.root != Root::Sequence && self.found.is_empty() {
            self.found.push(refused(line, 1, "what follows `#cloud-config-archive` must be a list"));
        }
    }

    /// A template is looked at if there is nothing in it to be filled in.
    fn jinja(&mut self, text: &str, line: usize) {
        let skipped = text.len() - text.trim_start().len();
        let Some(end) = text[skipped..].find('\n').map(|end| skipped + end + 1) else {
            return self.found.push(refused(line, 1, "nothing follows the line `## template: jinja`"));
        };
        let (rest, line) = (&text[end..], line + text[..end].matches('\n').count());
        let filled = ["{{", "{%", "{#"].iter().any(|begin| rest.contains(begin));
        match (filled, form(rest)) {
            (false, _) => self.by_beginning(rest, line),
            (true, Some(_)) => self.whole = false,
            (true, None) if rest.trim_start().starts_with('{') => self.whole = false,
            (true, None) => {
                self.whole = false;
                self.found.push(refused(line, 1, unknown(rest)));
            }
        }
    }
}

fn unknown(text: &str) -> String {
    let head = text.trim_start().lines().next().unwrap_or_default();
    let hint = match head.trim_start_matches('\u{feff}') {
        bare if bare.len() < head.len() => "; the file begins with a byte order mark",
        bare if bare.replace(' ', "").to_ascii_lowercase().starts_with("##template:") => {
            "; a template begins with `## template: jinja`"
        }
        _ => "",
    };
    format!("the first line must be `#cloud-config`, or nothing below it is read{hint}")
}

#[cfg(test)]
mod tests {
    use crate::render::{Kind, Verdict};

    fn said(text: &str, autoinstall: bool) -> Vec<(u32, Verdict, String)> {
        let kind = if autoinstall { Kind::Autoinstall } else { Kind::CloudInit };
        let mut found = kind.read(text);
        found.sort_by_key(|found| (found.verdict, found.error.line));
        found.into_iter().map(|found| (found.error.line, found.verdict, found.error.message)).collect()
    }

    #[test]
    fn accepts_what_cloud_init_does() {
        for text in [
            "#cloud-config\nhostname: a\nusers: [{name: b}]\n",
            "#!/bin/sh\n: nonsense [\n",
            "\n#Cloud-Config # ours\na: 1\n",
            "## template: jinja\n#cloud-config\nhostname: {{ v1.local_hostname }}\n",
            "## template: jinja\n#!/bin/sh\necho {{ v1.region }} [\n",
            "#cloud-config-archive\n- type: text/cloud-config\n  content: 'a: 1'\n",
            "#include\nhttp://a/b\n",
            "#cloud-config\nwrite_files:\n- content: |\n    MIME-Version: 1.0\n    Content-Type: [\n",
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/cloud-config\n\n\
             hostname: a\n--x\nContent-Type: text/x-shellscript\n\n#!/bin/sh\n: [\n--x--\n",
        ] {
            assert_eq!(said(text, false), [], "{text}");
        }
        assert_eq!(said("#cloud-config\nautoinstall:\n  version: 1\n  identity: {}\n", true), []);
        assert_eq!(said("#include\nhttp://a/b\n", true), []);
    }

    #[test]
    fn knows_what_is_asked() {
        let asked = |rest: &str| {
            let found = said(&format!("#cloud-config\nautoinstall:\n  version: 1\n{rest}"), true);
            found.first().map(|found| (found.0, found.1))
        };
        assert_eq!(asked("  identity: {hostname: a, username: b, password: '!'}\n"), None);
        assert_eq!(asked("  identity: {}\n  interactive-sections: []\n"), None);
        assert_eq!(asked("  user-data: {users: []}\n"), None);
        assert_eq!(asked(""), Some((2, Verdict::Asks)));
        assert_eq!(asked("  identity: {}\n  interactive-sections: [network]\n"), Some((5, Verdict::Asks)));
        assert_eq!(said("#cloud-config\nhostname: a\n", true)[0].1, Verdict::Asks);
    }

    #[test]
    fn says_what_is_wrong() {
        use Verdict::{Doubtful, Refused};
        for (text, autoinstall, line, verdict, words) in [
            ("hostname: a\n", false, 1, Refused, "first line"),
            ("\u{feff}#cloud-config\na: 1\n", false, 1, Refused, "byte order mark"),
            ("##template: jinja\n#cloud-config\na: 1\n", false, 1, Refused, "`## template: jinja`"),
            ("## template: jinja\n# ours\n#cloud-config\na: {{ b }}\n", false, 2, Refused, "first line"),
            ("#cloud-config\n- a\n", false, 1, Refused, "mapping"),
            ("#cloud-config\n# nothing\n", false, 1, Refused, "mapping"),
            ("#cloud-config\na: 1\n---\nb: 1\n", false, 3, Refused, "second document"),
            ("#cloud-config\nhostname: x\nhostname: y\n", false, 3, Doubtful, "twice"),
            ("#cloud-config-typo\na: 1\n", false, 1, Doubtful, "is read as"),
            (
                "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\n#cloud-config\na: [\n--x--\n",
                false,
                8,
                Refused,
                "not YAML",
            ),
            ("MIME-Version: 1.0\nContent-Type: multipart/mixed\n\nx\n", false, 1, Refused, "no parts"),
            (
                "#cloud-config\nx: 1\nautoinstall:\n  a: {version: 1}\n",
                true,
                3,
                Refused,
                "needs `version: 1`",
            ),
            ("#cloud-config\nautoinstal:\n  version: 1\n", true, 2, Doubtful, "called `autoinstall`"),
            ("#cloud-config\nautoinstall:\n  version: 2\n", true, 3, Refused, "number 1"),
            ("#cloud-config\nautoinstall:\n  version: \"1\"\n", true, 3, Refused, "number 1"),
            ("#cloud-config\nautoinstall:\n  version: 1\n\tx: 1\n", true, 4, Refused, "tab"),
        ] {
            let found = said(text, autoinstall);
            let first = found.first().map(|found| (found.0, found.1));
            assert_eq!(first, Some((line, verdict)), "{text}: {found:?}");
            assert!(found[0].2.contains(words), "{text}: {found:?}");
        }
    }
}
