//! Passwords as they are typed, in the text of answer files. What a template fills in is judged where
//! it comes from, and what is locked or a hash is no such password.

use std::ops::Range;

use super::clear::secret_looks;
use crate::render::Kind;

/// Where a file of this kind spells out a password.
pub(super) fn passwords(kind: Kind, text: &str) -> Vec<Range<usize>> {
    let found = match kind {
        Kind::Preseed => lines(text, preseed),
        Kind::Kickstart => lines(text, kickstart),
        Kind::Plain => lines(text, |line| [preseed(line), kickstart(line)].concat()),
        Kind::CloudInit | Kind::Autoinstall => cloud(text),
        Kind::Autoyast => autoyast(text),
        // It takes hashes alone.
        Kind::Ignition => Vec::new(),
    };
    let at = |part: &str| part.as_ptr() as usize - text.as_ptr() as usize;
    let typed = found.into_iter().filter(|password| is_typed(password));
    typed.map(|password| at(password)..at(password) + password.len()).collect()
}

fn is_typed(password: &str) -> bool {
    let locked = matches!(password, "" | "!" | "*" | "!!");
    !locked && !password.contains('{') && secret_looks(password).is_none()
}

/// What a rule finds in the lines that are no comments.
fn lines<'a>(text: &'a str, rule: impl Fn(&'a str) -> Vec<&'a str>) -> Vec<&'a str> {
    text.lines().map(str::trim_start).filter(|line| !line.starts_with('#')).flat_map(rule).collect()
}

/// `owner question password VALUE`, whichever package asks.
fn preseed(line: &str) -> Vec<&str> {
    let mut words = line.split_whitespace();
    let (_owner, question, kind) = (words.next(), words.next(), words.next());
    let wanted = question.is_some_and(|question| question.contains('/') && !question.ends_with("-crypted"));
    if wanted && kind == Some("password") { words.next().into_iter().collect() } else { Vec::new() }
}

/// Options that take a password, and the words of `rootpw` and `sshpw`. All of them are clear text
/// unless something says that they are encrypted.
fn kickstart(line: &str) -> Vec<&str> {
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

/// `password`, `plain_text_passwd`, and the list of `chpasswd`.
fn cloud(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    // The indentation of `chpasswd`, and of the `list` in it.
    let (mut outer, mut list) = (None, None);
    // That of Ubuntu's `identity`, whose password is a hash by its meaning.
    let mut identity = None;
    for line in text.lines() {
        let bare = line.trim_start();
        if bare.is_empty() || bare.starts_with('#') {
            continue;
        }
        let indent = line.len() - bare.len();
        list = list.filter(|list| indent > *list);
        outer = outer.filter(|outer| indent > *outer);
        identity = identity.filter(|identity| indent > *identity);
        if bare.starts_with("identity:") {
            identity = Some(indent);
        }
        if identity.is_some() || line.contains("identity:") {
            continue;
        }
        if list.is_some() {
            found.extend(pair(bare));
            continue;
        }
        found.extend(keyed(line, "password").or_else(|| keyed(line, "plain_text_passwd")));
        if bare.starts_with("chpasswd:") {
            outer = Some(indent);
        } else if outer.is_some() && bare.starts_with("list:") {
            list = Some(indent);
            found.extend(pair(bare["list:".len()..].trim()));
        }
    }
    found
}

/// `user:password`, as an item or a line. cloud-init makes one up for `R` and `RANDOM`.
fn pair(line: &str) -> Option<&str> {
    let line = line.trim_start_matches("- ").trim().trim_matches(['"', '\'']);
    let (user, password) = line.split_once(':')?;
    (!user.contains(['|', '>', ' ', '[']) && !matches!(password, "R" | "RANDOM")).then(|| password.trim())
}

/// The value of a key that stands in a line, alone or between braces.
fn keyed<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let at = line.match_indices(key).map(|(at, _)| at).find(|at| {
        let before = line[..*at].trim_end_matches(['"', '\'']);
        before.chars().next_back().is_none_or(|c| matches!(c, ' ' | '\t' | '{' | ',' | '-'))
            && line[at + key.len()..].trim_start_matches(['"', '\'']).starts_with(": ")
    })?;
    let value = line[at + key.len()..].split_once(": ").map(|(_, value)| value.trim_start())?;
    let end = match value.chars().next()? {
        quote @ ('"' | '\'') => return value[1..].split(quote).next(),
        _ => value.find([',', '}']).or_else(|| value.find(" #")).unwrap_or(value.len()),
    };
    Some(value[..end].trim_end())
}

/// `<user_password>` of a user whose password is not said to be encrypted.
fn autoyast(text: &str) -> Vec<&str> {
    const BEGIN: &str = "<user_password>";
    let users = text.split("<user>").skip(1).filter_map(|user| user.split("</user>").next());
    let clear = users.filter(|user| {
        let encrypted = user.split("<encrypted").nth(1).and_then(|rest| rest.split_once('>'));
        !encrypted.is_some_and(|(_, rest)| rest.trim_start().starts_with("true"))
    });
    clear.filter_map(|user| user.split_once(BEGIN)?.1.split('<').next().map(str::trim)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(kind: Kind, text: &str) -> Vec<&str> {
        passwords(kind, text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn preseed_answers_of_type_password() {
        let text = "d-i passwd/root-password password hunter2\nd-i  partman-crypto/passphrase \t password  hunter3\n\
                    mysql-server mysql-server/root_password password hunter4\n";
        assert_eq!(found(Kind::Preseed, text), ["hunter2", "hunter3", "hunter4"]);
        for harmless in [
            "#d-i passwd/root-password password r00tme",
            "# d-i passwd/root-password password r00tme",
            "d-i passwd/root-password password {{ root }}",
            "d-i passwd/root-password-crypted password $6$salt$abcdef",
            "d-i passwd/root-password-crypted password [crypt(3) hash]",
            "d-i passwd/root-password seen true",
            "a password is asked for",
        ] {
            assert_eq!(found(Kind::Preseed, harmless), [""; 0], "{harmless}");
        }
    }

    #[test]
    fn kickstart_commands() {
        let text = "rootpw --plaintext hunter3\nuser --name=a --password=hunter4\nsshpw --username=x \"hunter5\"\n\
                    part / --encrypted --passphrase='hunter6'\n";
        assert_eq!(found(Kind::Kickstart, text), ["hunter3", "hunter4", "hunter5", "hunter6"]);
        for harmless in [
            "rootpw --iscrypted $6$salt$abcdef",
            "rootpw --lock",
            "rootpw {{ root }}",
            "rootpw $6$salt$abcdef",
            "user --name=a --iscrypted --password=abc",
            "# rootpw old",
        ] {
            assert_eq!(found(Kind::Kickstart, harmless), [""; 0], "{harmless}");
        }
    }

    #[test]
    fn cloud_config_keys() {
        let text = "#cloud-config\npassword: hunter1\nusers:\n  - {name: a, plain_text_passwd: 'hunter2', lock: no}\n\
                    chpasswd:\n  expire: false\n  list: |\n    root:hunter3\n    # a comment:x\n    b:RANDOM\n    c:$6$a$b\n\
                    ssh_pwauth: true\nchpasswd: \n  users:\n    - name: d\n      \"password\": hunter4 # four\n  list:\n    - e:hunter5\n";
        assert_eq!(found(Kind::CloudInit, text), ["hunter1", "hunter2", "hunter3", "hunter4", "hunter5"]);
        for harmless in [
            "# password: old",
            "password: {{ hash | yaml }}",
            "  password: \"$6$salt$abcdef\"",
            "ssh_pwauth: true\nlock_passwd: false\nno_password: x",
            "hashed_passwd: $6$salt$abcdef",
            "  identity:\n    password: abc",
            "autoinstall: {identity: {username: b, password: c}}",
            "runcmd:\n  - echo password:x",
        ] {
            assert_eq!(found(Kind::Autoinstall, harmless), [""; 0], "{harmless}");
        }
    }

    #[test]
    fn autoyast_users() {
        let user = |encrypted: &str| {
            format!(
                "<user><encrypted config:type=\"boolean\">{encrypted}</encrypted><user_password>hunter2</user_password></user>"
            )
        };
        assert_eq!(found(Kind::Autoyast, &user("false")), ["hunter2"]);
        assert_eq!(found(Kind::Autoyast, &user("true")), [""; 0]);
        assert_eq!(found(Kind::Autoyast, "<user><user_password>!</user_password></user>"), [""; 0]);
    }
}
