//! What counts as a credential in manifests and in what is made of them, and texts without them.
//!
//! Secrets are files of their own, encrypted, and show by name only. But a password hash, a token or a key may be
//! written plainly: in a variable, on a command line, in a template. Whoever only reads the API is shown those masked.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::Value;

/// What stands in the place of a credential.
pub const MASK: &str = "(masked)";
/// Prefixes of crypt(5).
const CRYPT: [&str; 10] = ["$1$", "$2a$", "$2b$", "$2y$", "$5$", "$6$", "$7$", "$y$", "$gy$", "$argon2"];
const PEM: &str = "PRIVATE KEY-----";
const AGE: &str = "AGE-SECRET-KEY-1";
/// Names of settings end so, or have it before `-hash` and the like.
const NAMES: [&str; 4] = ["password", "passwd", "passphrase", "passcode"];
const ENDS: [&str; 9] =
    ["_hash", "_secret", "token", "psk", "private_key", "api_key", "secret_key", "access_key", "license_key"];
/// Commands of Kickstart whose last word is a password.
const COMMANDS: [&str; 2] = ["rootpw", "sshpw"];

/// What a text is, if it is a credential by its looks. A locked password (`!`, `*`) is none.
pub fn looks(text: &str) -> Option<&'static str> {
    if text.contains(PEM) {
        return Some("a private key");
    }
    if text.contains(AGE) {
        return Some("an age identity");
    }
    let hash = CRYPT.iter().any(|prefix| text.starts_with(prefix)) && text.matches('$').count() >= 3;
    hash.then_some("a password hash")
}

/// Decides what is masked.
#[derive(Clone, Debug, Default)]
pub struct Masker {
    /// Further names of settings that hold credentials: variables that templates declare as secrets.
    names: BTreeSet<String>,
}

impl Masker {
    pub fn new<'a>(names: impl Iterator<Item = &'a str>) -> Masker {
        Masker { names: names.map(plain).map(Cow::into_owned).collect() }
    }

    /// Whether a setting of this name holds a credential.
    fn is_name(&self, name: &str) -> bool {
        let name = plain(name);
        let has = NAMES.iter().any(|known| name.contains(known)) && !name.ends_with("_file");
        has || ENDS.iter().any(|end| name.ends_with(end)) || self.names.contains(name.as_ref())
    }

    /// Whether JSON may have a credential in it, quickly: most has none.
    pub fn may_mask(&self, json: &str) -> bool {
        let small = json.to_ascii_lowercase().replace('-', "_");
        let signs = ["private key_____", "age_secret_key_1", "://"].into_iter();
        let signs = signs.chain(CRYPT).chain(COMMANDS).chain(NAMES).chain(ENDS);
        signs.chain(self.names.iter().map(String::as_str)).any(|sign| small.contains(sign))
    }

    /// Masks every credential in a value. What only names a secret stays.
    pub fn mask(&self, value: &mut Value) {
        self.mask_named(value, false);
    }

    fn mask_named(&self, value: &mut Value, is_credential: bool) {
        match value {
            Value::Object(members) if is_reference(members) => {}
            Value::Object(members) => {
                members.iter_mut().for_each(|(name, value)| {
                    self.mask_named(value, is_credential || self.is_name(name));
                });
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.mask_named(item, is_credential)),
            Value::String(text) if is_credential => {
                if gives_away(text) {
                    *text = MASK.to_owned();
                }
            }
            Value::String(text) => {
                if let Some(masked) = self.text(text) {
                    *text = masked;
                }
            }
            Value::Number(_) if is_credential => *value = MASK.into(),
            Value::Number(_) | Value::Bool(_) | Value::Null => {}
        }
    }

    /// A text without its credentials; `None` if it has none.
    pub fn text(&self, text: &str) -> Option<String> {
        let mut found: Vec<Range<usize>> = keys(text);
        found.extend(hashes(text));
        found.extend(addresses(text));
        found.extend(self.assigned(text));
        found.extend(text.split_inclusive('\n').flat_map(|line| {
            let at = line.as_ptr() as usize - text.as_ptr() as usize;
            commanded(line).map(|range| at + range.start..at + range.end)
        }));
        found.sort_by_key(|range| (range.start, std::cmp::Reverse(range.end)));
        let (mut masked, mut at) = (String::new(), 0);
        for range in found.iter().filter(|range| !range.is_empty()) {
            if range.start >= at {
                masked.push_str(&text[at..range.start]);
                masked.push_str(MASK);
            }
            at = at.max(range.end);
        }
        (at > 0).then(|| masked + &text[at..])
    }

    /// The values in `NAME=VALUE`, `NAME: VALUE`, `<NAME>VALUE<` and `NAME: OLD -> NEW`.
    fn assigned(&self, text: &str) -> Vec<Range<usize>> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(start) = text[at..].find(is_word).map(|start| at + start) {
            let end = text[start..].find(|c| !is_word(c)).map_or(text.len(), |end| start + end);
            at = end;
            let rest = text[end..].trim_start_matches(['"', '\'']).trim_start_matches([' ', '\t']);
            let Some(value) = rest.strip_prefix(['=', ':', '>']) else { continue };
            if !self.is_name(&text[start..end]) {
                continue;
            }
            let range = word(text, text.len() - value.len());
            at = range.end.max(end);
            let behind = text[range.end..].trim_start_matches(['"', '\'']);
            if let Some(next) = behind.strip_prefix(" -> ") {
                found.extend(
                    Some(word(text, text.len() - next.len())).filter(|next| gives_away(&text[next.clone()])),
                );
            }
            found.extend(Some(range).filter(|range| gives_away(&text[range.clone()])));
        }
        found
    }
}

/// One spelling of a name: `Root-Hash` is `root_hash`.
fn plain(name: &str) -> Cow<'_, str> {
    match name.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b'-') {
        true => name.to_ascii_lowercase().replace('-', "_").into(),
        false => name.into(),
    }
}

/// `{ "secret": NAME }`
fn is_reference(members: &serde_json::Map<String, Value>) -> bool {
    members.len() == 1 && members.get("secret").is_some_and(Value::is_string)
}

/// Whether a value says anything: not what is locked, empty, or filled in later.
fn gives_away(value: &str) -> bool {
    !matches!(value, "" | "!" | "!!" | "*" | "null" | "true" | "false")
        && !value.starts_with(['{', '(', '[', '<'])
        && value != MASK
}

/// The value that begins at or behind `at`: what quotes enclose, or a word.
fn word(text: &str, at: usize) -> Range<usize> {
    let start = at + text[at..].len() - text[at..].trim_start_matches([' ', '\t']).len();
    let rest = &text[start..];
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
    let (start, end) = match quote {
        Some(quote) => (start + 1, rest[1..].find([quote, '\n'])),
        None => (start, rest.find(|c: char| c.is_whitespace() || "\"'<,;}])".contains(c))),
    };
    start..end.map_or(text.len(), |end| start + end)
}

/// Private keys, whole.
fn keys(text: &str) -> Vec<Range<usize>> {
    let is_begin = |at: &usize| {
        text[..*at].rfind("-----").is_some_and(|mark| text[mark..*at].starts_with("-----BEGIN "))
    };
    let begins = text.match_indices(PEM).map(|(at, _)| at).filter(is_begin);
    let body = |at: usize| {
        let start = at + PEM.len();
        start..text[start..].find("-----END").map_or(text.len(), |end| start + end)
    };
    let mut found: Vec<Range<usize>> = begins.map(body).collect();
    found.extend(text.match_indices(AGE).map(|(at, _)| {
        let rest = &text[at..];
        at..at + rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(rest.len())
    }));
    found
}

/// Hashes of passwords, wherever they stand.
fn hashes(text: &str) -> Vec<Range<usize>> {
    let is_sign = |c: char| c.is_ascii_alphanumeric() || "./$=,_+-".contains(c);
    let all = CRYPT.iter().flat_map(|prefix| text.match_indices(prefix));
    all.map(|(at, _)| at..text[at..].find(|c| !is_sign(c)).map_or(text.len(), |end| at + end))
        .filter(|range| text[range.clone()].matches('$').count() >= 3)
        .collect()
}

/// The password of an URL, `https://user:PASSWORD@host`.
fn addresses(text: &str) -> Vec<Range<usize>> {
    let one = |(at, sign): (usize, &str)| {
        let start = at + sign.len();
        let rest = &text[start..];
        let authority =
            &rest[..rest.find(|c: char| c.is_whitespace() || "/\"'<>".contains(c)).unwrap_or(rest.len())];
        let user = authority.rfind('@')?;
        let colon = authority[..user].find(':')?;
        Some(start + colon + 1..start + user)
    };
    text.match_indices("://").filter_map(one).collect()
}

/// The password of a line of an answer file that names it by place: `rootpw … PASSWORD`, and of debconf
/// `d-i passwd/root-password password PASSWORD`.
fn commanded(line: &str) -> Option<Range<usize>> {
    let begin = line.as_ptr() as usize;
    let words: Vec<&str> = line.trim_start_matches(['+', '-', ' ']).split_whitespace().collect();
    let (first, last) = (words.first()?, words.last()?);
    let value = match words.iter().position(|word| *word == "password") {
        Some(at) if at > 0 && words[at - 1].contains('/') => words.get(at + 1)?,
        _ if COMMANDS.contains(first) && words.len() > 1 && !last.starts_with("--") => last,
        _ => return None,
    };
    let at = value.as_ptr() as usize - begin;
    gives_away(value).then_some(at..at + value.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn credentials_are_told_by_their_looks() {
        assert_eq!(looks("$6$rounds=5000$salt$abcdef"), Some("a password hash"));
        assert_eq!(looks("$y$j9T$salt$abcdef"), Some("a password hash"));
        assert_eq!(looks("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl"), Some("a private key"));
        for harmless in ["!", "*", "", "$5 a day", "$6$", "ssh-ed25519 AAAAC3Nza ops@example", "$HOME/bin"] {
            assert_eq!(looks(harmless), None, "{harmless}");
        }
    }

    #[test]
    fn values_are_masked_by_name_and_by_looks() {
        let masker = Masker::new(["luks_key"].into_iter());
        let mut value = json!({
            "vars": { "root-hash": "$6$a$b", "admin": { "password": "hunter2", "pin": 7 }, "luks-key": "hunter3",
                "join_token": ["abc", "def"], "user": "ops", "note": "usermod -p '$6$a$b' ops", "passwords": 5 },
            "power": { "password": { "secret": "ops" }, "address": "10.0.0.9", "token-file": "/etc/t" },
            "locked": { "password": "!" },
            "cmdline": ["quiet", "inst.vncpassword=hunter2 console=tty0", "password={{ x }}"],
            "url": "https://ops:hunter2@host/x",
        });
        masker.mask(&mut value);
        assert_eq!(
            value,
            json!({
                "vars": { "root-hash": "(masked)", "admin": { "password": "(masked)", "pin": 7 }, "luks-key": "(masked)",
                    "join_token": ["(masked)", "(masked)"], "user": "ops", "note": "usermod -p '(masked)' ops",
                    "passwords": "(masked)" },
                "power": { "password": { "secret": "ops" }, "address": "10.0.0.9", "token-file": "/etc/t" },
                "locked": { "password": "!" },
                "cmdline": ["quiet", "inst.vncpassword=(masked) console=tty0", "password={{ x }}"],
                "url": "https://ops:(masked)@host/x",
            })
        );
    }

    #[test]
    fn texts_are_masked_line_by_line() {
        let masker = Masker::default();
        let masked = |text: &str| masker.text(text).unwrap_or_else(|| text.to_owned());
        for (text, wanted) in [
            ("+d-i passwd/root-password password hunter2", "+d-i passwd/root-password password (masked)"),
            (
                "d-i passwd/user-password-crypted password $6$a$b",
                "d-i passwd/user-password-crypted password (masked)",
            ),
            ("-rootpw --plaintext hunter2\n", "-rootpw --plaintext (masked)\n"),
            ("user --name=a --password=hunter4 --iscrypted", "user --name=a --password=(masked) --iscrypted"),
            ("  password: \"hun ter\" # x", "  password: \"(masked)\" # x"),
            ("<user_password>hunter2</user_password>", "<user_password>(masked)</user_password>"),
            ("root_hash: \"$6$a$b\" -> \"hunter2\"", "root_hash: \"(masked)\" -> \"(masked)\""),
            ("12 | root-password = 'hunter2'", "12 | root-password = '(masked)'"),
            ("{\"password\":\"x\",\"a\":1}", "{\"password\":\"(masked)\",\"a\":1}"),
            (
                "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\nrest",
                "-----BEGIN PRIVATE KEY-----(masked)-----END PRIVATE KEY-----\nrest",
            ),
            ("AGE-SECRET-KEY-1QQQQ done", "(masked) done"),
        ] {
            assert_eq!(masked(text), wanted);
            assert!(masker.may_mask(text), "{text}");
            assert_eq!(masked(wanted), wanted, "what is masked stays so");
        }
        for harmless in [
            "d-i passwd/root-password password {{ root }}",
            "unknown key `password`: did you mean",
            "root-hash = { secret = \"root\" }",
            "rootpw --lock",
            "http://10.0.10.1:80/a@b",
            "password={{ x }} é",
        ] {
            assert_eq!(masked(harmless), harmless);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(password|[ =:>\"'é\n$/@-]|[a-z]|rootpw|://|\\$6\\$|PRIVATE KEY-----|-----BEGIN |-> ){0,30}") {
            let masker = Masker::default();
            let _ = masker.text(&text);
            let _ = masker.may_mask(&text);
        }
    }
}
