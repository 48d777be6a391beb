//! Names in the common variables that no installer can use: accounts, groups, packages, network interfaces, languages. Only
//! what is sure to fail is refused; distributions differ in what they allow beyond.

use super::Limits;
use crate::render::{Value, Values};

/// What `useradd` and `adduser` take everywhere (useradd(8), UT_NAMESIZE of utmp(5)).
const LOGIN_MAX: usize = 32;
/// IFNAMSIZ of Linux without the closing zero.
const INTERFACE_MAX: usize = 15;

pub(super) fn user(_: &Limits, values: &Values) -> Option<String> {
    let user = text(values, "user");
    login(user).map(|why| format!("can't be `{}`: {why}", shown(user))).filter(|_| !user.is_empty())
}

pub(super) fn users(limits: &Limits, values: &Values) -> Option<String> {
    let (first, taken) = match text(values, "user") {
        "" => (
            limits.own_account,
            "without `user` its template makes that one the administrator; set `user`, or give this one's \
             keys as `ssh-keys`",
        ),
        user => (user, "so is `user`"),
    };
    let mut known = vec![first];
    for account in list(values, "users") {
        let Value::Table(account) = account else { continue };
        let name = match account.get("name") {
            Some(Value::String(name)) => name.as_str(),
            _ => continue,
        };
        let account_is = |why: &str| Some(format!("has an account `{}`: {why}", shown(name)));
        if let Some(why) = login(name) {
            return account_is(&why);
        }
        if known.contains(&name) {
            return account_is(if known[0] == name { taken } else { "there are two of that name" });
        }
        known.push(name);
        let groups = match account.get("groups") {
            Some(Value::List(groups)) => groups.as_slice(),
            _ => &[],
        };
        for group in groups {
            if let Value::String(group) = group
                && let Some(why) = name_of_either(group)
            {
                return account_is(&format!("its group can't be `{}`: {why}", shown(group)));
            }
        }
    }
    None
}

/// Why nobody can be called so.
fn login(name: &str) -> Option<String> {
    if name == "root" {
        return Some("root is there already; `root-hash` is its password".to_owned());
    }
    name_of_either(name)
}

/// Why neither an account nor a group can be called so.
fn name_of_either(name: &str) -> Option<String> {
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || ":,/\\\"'`$".contains(c);
    let why = match name {
        "" => "a name is not empty",
        "." | ".." => "that is a folder",
        _ if name.len() > LOGIN_MAX => "a name has at most 32 characters",
        _ if name.starts_with(['-', '+', '~']) => "a name does not begin with that sign",
        _ if name.bytes().all(|digit| digit.is_ascii_digit()) => "digits alone are the number of an account",
        _ if name.contains(is_odd) => "a name has no blanks, quotes, colons, commas and slashes",
        _ => return None,
    };
    Some(why.to_owned())
}

pub(super) fn packages(limits: &Limits, values: &Values) -> Option<String> {
    let wrong = list(values, "packages").iter().find_map(|package| {
        let Value::String(package) = package else { return None };
        let is_group = limits.groups && package.trim_start_matches('-').starts_with('@');
        let why = match package.as_str() {
            name if name.trim().is_empty() => "a name is not empty",
            name if name.contains(char::is_control) => "a name has no control characters",
            name if name.starts_with('-') && !limits.groups => "its installer excludes no packages",
            name if name.trim().contains(char::is_whitespace) && !is_group => {
                "a name has no blanks; each package is an element of the list"
            }
            _ => return None,
        };
        Some((package, why))
    });
    wrong.map(|(package, why)| format!("can't have `{}`: {why}", shown(package)))
}

pub(super) fn bond(_: &Limits, values: &Values) -> Option<String> {
    let names = texts(values, "bond");
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || c == '/' || c == ':';
    names.iter().enumerate().find_map(|(at, name)| {
        let why = match *name {
            "" | "." | ".." => "that is no network interface",
            name if name.len() > INTERFACE_MAX => "the name of an interface has at most 15 characters",
            name if name.contains(is_odd) => "the name of an interface has no blanks, colons and slashes",
            name if names[..at].contains(&name) => "it is there twice",
            _ => return None,
        };
        Some(format!("can't have `{}`: {why}", shown(name)))
    })
}

pub(super) fn ntp(_: &Limits, values: &Values) -> Option<String> {
    let is_host = |name: &str| {
        !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || b".-_:".contains(&c))
    };
    let odd = texts(values, "ntp").into_iter().find(|name| !is_host(name))?;
    Some(format!("has host names and addresses, not `{}`", shown(odd)))
}

/// `de_DE.UTF-8`, as glibc names locales (setlocale(3)).
pub(super) fn locale(_: &Limits, values: &Values) -> Option<String> {
    let locale = text(values, "locale");
    let base = locale.split(['.', '@']).next().unwrap_or_default();
    let (language, territory) =
        base.split_once('_').map_or((base, None), |(language, rest)| (language, Some(rest)));
    let is_language = matches!(language.len(), 2 | 3) && language.bytes().all(|c| c.is_ascii_lowercase());
    let is_territory =
        territory.is_none_or(|name| name.len() == 2 && name.bytes().all(|c| c.is_ascii_uppercase()));
    let is_plain = locale.bytes().all(|c| c.is_ascii_alphanumeric() || b"_.-@".contains(&c));
    let is_known = matches!(base, "" | "C" | "POSIX") || (is_language && is_territory);
    let fine = locale.is_empty() || (is_known && is_plain && !base.is_empty());
    (!fine).then(|| format!("is written as `en_US.UTF-8`, not `{}`", shown(locale)))
}

fn text<'a>(values: &'a Values, name: &str) -> &'a str {
    super::get(values, name)
}

fn list<'a>(values: &'a Values, name: &str) -> &'a [Value] {
    match values.get(name) {
        Some(Value::List(items)) => items,
        _ => &[],
    }
}

fn texts<'a>(values: &'a Values, name: &str) -> Vec<&'a str> {
    let text = |value: &'a Value| match value {
        Value::String(text) => Some(text.as_str()),
        _ => None,
    };
    list(values, name).iter().filter_map(text).collect()
}

/// A name in a message: short and on one line.
fn shown(name: &str) -> String {
    name.escape_debug().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::common::HINTS;

    const LIMITS: Limits = Limits {
        cannot: &[],
        hints: HINTS,
        takes_first: false,
        groups: false,
        layouts: &[],
        https_mirror: true,
        own_account: "core",
        joins_scripts: true,
        every_disk: &[],
        vlan_needs_bond: false,
    };

    fn string(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    fn values(name: &str, value: Value) -> Values {
        Values::from([(name.to_owned(), value)])
    }

    fn account(name: &str, groups: &[&str]) -> Value {
        let groups = Value::List(groups.iter().map(|group| string(group)).collect());
        Value::Table([("name".to_owned(), string(name)), ("groups".to_owned(), groups)].into())
    }

    #[test]
    fn only_what_fails_everywhere_is_refused_as_a_name() {
        for name in ["ops", "Ops", "web.admin", "a-b_c", "ünal", "_apt", "1st"] {
            assert_eq!(user(&LIMITS, &values("user", string(name))), None, "{name}");
        }
        for (name, words) in [
            ("root", "root is there already"),
            ("-x", "begin"),
            ("a b", "no blanks"),
            ("a:b", "no blanks"),
            ("1000", "digits alone"),
            ("a\nb", "no blanks"),
            (&*"x".repeat(33), "at most 32"),
        ] {
            let found = user(&LIMITS, &values("user", string(name))).unwrap();
            assert!(found.contains(words), "{name}: {found}");
        }
        assert_eq!(user(&LIMITS, &values("user", string(""))), None);
    }

    #[test]
    fn accounts_have_names_of_their_own() {
        let found = |accounts: Vec<Value>| {
            let mut all = values("users", Value::List(accounts));
            all.insert("user".into(), string("ops"));
            users(&LIMITS, &all)
        };
        assert_eq!(found(vec![account("a", &["docker", "sudo"]), account("b", &[])]), None);
        for (accounts, words) in [
            (vec![account("a", &[]), account("a", &[])], "there are two of that name"),
            (vec![account("ops", &[])], "so is `user`"),
            (vec![account("root", &[])], "root is there already"),
            (vec![account("", &[])], "not empty"),
            (vec![account("a", &["b c"])], "its group can't be `b c`"),
        ] {
            let found = found(accounts).unwrap();
            assert!(found.contains(words), "{found}");
        }
        // The template's own account is made where no other is named.
        assert_eq!(found(vec![account("core", &[])]), None);
        let own = users(&LIMITS, &values("users", Value::List(vec![account("core", &[])])));
        assert!(own.as_ref().is_some_and(|said| said.contains("without `user`")), "{own:?}");
        assert_eq!(users(&LIMITS, &values("users", Value::List(vec![account("dev", &[])]))), None);
    }

    #[test]
    fn a_package_is_one_name() {
        let found = |limits: &Limits, name: &str| {
            packages(limits, &values("packages", Value::List(vec![string("vim"), string(name)])))
        };
        let groups = Limits { groups: true, ..LIMITS };
        for name in ["g++", "libc6:i386", "nginx=1.2-3~bpo", "perl(Foo::Bar)", "task^", "a@edge", "vim*"] {
            assert_eq!((found(&LIMITS, name), found(&groups, name)), (None, None), "{name}");
        }
        for name in ["@^minimal environment", "-bash", "-@core group"] {
            assert!(found(&LIMITS, name).is_some() && found(&groups, name).is_none(), "{name}");
        }
        for name in ["", " ", "vim git", "vim\ngit"] {
            assert!(found(&LIMITS, name).is_some() && found(&groups, name).is_some(), "{name:?}");
        }
    }

    #[test]
    fn interfaces_servers_and_languages() {
        let strings = |names: &[&str]| Value::List(names.iter().map(|name| string(name)).collect());
        let bond = |names: &[&str]| bond(&LIMITS, &values("bond", strings(names)));
        assert_eq!(bond(&["eno1", "enp0s31f6"]), None);
        for names in [&["eno1", "eno1"][..], &["eno 1"], &["enx001122334455667"], &[""], &["a/b"]] {
            assert!(bond(names).is_some(), "{names:?}");
        }
        let ntp = |name: &str| ntp(&LIMITS, &values("ntp", strings(&[name])));
        assert!(["10.0.0.1", "fd00::1", "ntp.lab.example"].iter().all(|name| ntp(name).is_none()));
        assert!(["ntp://a", "a b", ""].iter().all(|name| ntp(name).is_some()));
        let locale = |name: &str| locale(&LIMITS, &values("locale", string(name)));
        for name in
            ["", "en_US.UTF-8", "de_DE", "C", "C.UTF-8", "POSIX", "sr_RS@latin", "ca_ES.UTF-8@valencia", "eo"]
        {
            assert_eq!(locale(name), None, "{name}");
        }
        for name in ["en-US", "en_us.UTF-8", "english", "EN_US", "en_US UTF-8", ".UTF-8"] {
            assert!(locale(name).is_some(), "{name}");
        }
    }
}
