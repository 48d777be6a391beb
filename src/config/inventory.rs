//! `[inventory]`: one source of manifests, or several with a name each.

use std::path::PathBuf;

use super::tree::{Complaints, Found, Table};
use super::{Reconcile, Source, Write};
use crate::model::{Access, Git, Inventory, Name, Reference, Signed, Span, Verify};

/// The name of the only source.
pub(super) const ONLY: &str = "inventory";
/// Keys that have no meaning for a directory.
const ONLY_GIT: [&str; 13] = [
    "branch",
    "tag",
    "commit",
    "path",
    "timeout",
    "token",
    "ca",
    "key",
    "known-hosts",
    "insecure",
    "verify",
    "signers",
    "keyring",
];

/// The sources in the order of their names and the environment that is laid over them; `None`
/// after a complaint.
pub(super) fn sources(
    root: &mut Table,
    complaints: &mut Complaints<'_>,
) -> Option<(Vec<Source>, Option<Name>)> {
    let name = || ONLY.parse().expect("this is a name");
    let Some(mut table) = root.table("inventory", ONLY, complaints) else {
        return Some((vec![Source::of(name(), Inventory::Own)], None));
    };
    let environment: Option<Found<Name>> = table.parsed("environment", complaints);
    let environment = environment.map(|found| found.value);
    let several = table.inner(complaints);
    if several.is_empty() {
        return source(table, name(), complaints).map(|source| (vec![source], environment));
    }
    if !table.is_empty() {
        let message =
            "`inventory` is one source and holds others: give each a table of its own, as in [inventory.lab]";
        complaints.add(table.at, message.to_owned());
        return None;
    }
    let named = |(Found { at, value }, table): (Found<String>, Table)| match value.parse::<Name>() {
        Ok(name) => source(table, name, complaints),
        Err(error) => {
            complaints.add(at, format!("`inventory.{value}`: {error}"));
            None
        }
    };
    // All of them first: every mistake is reported.
    let sources: Vec<Option<Source>> = several.into_iter().map(named).collect();
    Some((sources.into_iter().collect::<Option<_>>()?, environment))
}

fn source(mut table: Table, name: Name, complaints: &mut Complaints<'_>) -> Option<Source> {
    let directory = table.text("directory", complaints);
    let git = table.text("git", complaints);
    let poll = interval(&mut table, "poll", complaints);
    let webhook = file(&mut table, "webhook-secret", complaints);
    let reconcile = reconcile(&mut table, complaints);
    let write = write(&mut table, complaints);
    let inventory = match (directory, git) {
        (Some(_), Some(git)) => {
            complaints
                .add(git.at, format!("`{}` has both `directory` and `git`: choose one", table.path("")));
            None
        }
        // The daemon's own repository, with `write` set.
        (None, None) if write.is_some() && !ONLY_GIT.iter().any(|key| table.has(key)) => Some(Inventory::Own),
        (None, None) => {
            complaints.add(table.at, format!("`{}` needs `directory` or `git`", table.path("")));
            None
        }
        (Some(directory), None) => {
            for key in ONLY_GIT {
                if let Some(at) = table.drop(key) {
                    let message = format!("`{}` needs `git`, not `directory`", table.path(key));
                    complaints.add(at, message);
                }
            }
            if write == Some(Write::Branch) {
                let message = format!(
                    "`{} = \"branch\"` needs `git`: a directory has no branches",
                    table.path("write")
                );
                complaints.add(directory.at, message);
            }
            Some(Inventory::Directory(directory.value.into()))
        }
        (None, Some(git)) => repository(&mut table, git.value, poll, complaints).map(Inventory::Git),
    };
    if let (Some(Inventory::Git(Git { verify: Some(_), .. })), Some(Write::Direct)) = (&inventory, write) {
        let message = format!(
            "`{}` can't be combined with `verify`: the daemon signs nothing, and would not follow its own commits; \
             take \"branch\" or \"off\"",
            table.path("write")
        );
        complaints.add(table.at, message);
    }
    table.finish(complaints);
    Some(Source { name, inventory: inventory?, poll, webhook, reconcile, write })
}

fn reconcile(table: &mut Table, complaints: &mut Complaints<'_>) -> Reconcile {
    match table.text("reconcile", complaints) {
        None => Reconcile::Auto,
        Some(Found { value, .. }) if value == "auto" => Reconcile::Auto,
        Some(Found { value, .. }) if value == "manual" => Reconcile::Manual,
        Some(Found { at, value }) => {
            let message = format!("`{}`: `{value}` must be auto or manual", table.path("reconcile"));
            complaints.add(at, message);
            Reconcile::Auto
        }
    }
}

fn write(table: &mut Table, complaints: &mut Complaints<'_>) -> Option<Write> {
    let Found { at, value } = table.text("write", complaints)?;
    match value.as_str() {
        "off" => Some(Write::Off),
        "direct" => Some(Write::Direct),
        "branch" => Some(Write::Branch),
        _ => {
            let path = table.path("write");
            complaints.add(at, format!("`{path}`: `{value}` must be one of off, direct, branch"));
            None
        }
    }
}

fn repository(
    table: &mut Table,
    url: String,
    poll: Option<Span>,
    complaints: &mut Complaints<'_>,
) -> Option<Git> {
    let reference = reference(table, complaints);
    let path = folder(table, complaints);
    let limit = interval(table, "timeout", complaints).unwrap_or(Inventory::LIMIT);
    let access = Access {
        token: file(table, "token", complaints),
        ca: file(table, "ca", complaints),
        key: file(table, "key", complaints),
        known_hosts: file(table, "known-hosts", complaints),
        insecure: table.flag("insecure", complaints).unwrap_or(false),
    };
    let verify = verify(table, reference.as_ref(), complaints);
    Some(Git {
        url,
        reference: reference?,
        path: path?,
        poll: poll.unwrap_or(Inventory::POLL),
        limit,
        access,
        verify: verify?,
    })
}

fn file(table: &mut Table, key: &'static str, complaints: &mut Complaints<'_>) -> Option<PathBuf> {
    let Found { at, value } = table.text(key, complaints)?;
    if value.is_empty() {
        complaints.add(at, format!("`{}` is empty: name a file", table.path(key)));
        return None;
    }
    Some(value.into())
}

fn reference(table: &mut Table, complaints: &mut Complaints<'_>) -> Option<Reference> {
    let given = ["branch", "tag", "commit"].map(|key| table.text(key, complaints).map(|found| (key, found)));
    let mut given = given.into_iter().flatten();
    let Some((key, found)) = given.next() else { return Some(Reference::Default) };
    if let Some((second, other)) = given.next() {
        let message = format!("`{}` has both `{key}` and `{second}`: choose one", table.path(""));
        complaints.add(other.at, message);
        return None;
    }
    let Found { at, value } = found;
    match key {
        "branch" => Some(Reference::Branch(value)),
        "tag" => Some(Reference::Tag(value)),
        _ if value.len() == 40 && value.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Some(Reference::Commit(value.to_ascii_lowercase()))
        }
        _ => {
            let message = format!("`{}`: `{value}` is not forty hexadecimal digits", table.path("commit"));
            complaints.add(at, message);
            None
        }
    }
}

/// A folder inside a repository, without slashes at its ends.
fn folder(table: &mut Table, complaints: &mut Complaints<'_>) -> Option<String> {
    let Some(Found { at, value }) = table.text("path", complaints) else { return Some(String::new()) };
    let parts: Vec<&str> = value.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        complaints.add(at, format!("`{}`: `{value}` leads out of the repository", table.path("path")));
        return None;
    }
    Some(parts.join("/"))
}

fn interval(table: &mut Table, key: &'static str, complaints: &mut Complaints<'_>) -> Option<Span> {
    let Found { at, value } = table.parsed::<Span>(key, complaints)?;
    if value < Span::seconds(1) {
        complaints.add(at, format!("`{}` must be at least 1s", table.path(key)));
        return None;
    }
    Some(value)
}

/// The outer `None` after a complaint.
fn verify(
    table: &mut Table,
    reference: Option<&Reference>,
    complaints: &mut Complaints<'_>,
) -> Option<Option<Verify>> {
    let word = table.text("verify", complaints);
    let signers = file(table, "signers", complaints);
    let keyring = file(table, "keyring", complaints);
    let Some(Found { at, value }) = word else {
        if signers.is_some() || keyring.is_some() {
            let message = format!(
                "`{}` has keys but does not say what must be signed: add verify = \"head\"",
                table.path("")
            );
            complaints.add(table.at, message);
            return None;
        }
        return Some(None);
    };
    let path = table.path("verify");
    let Some(signed) = Signed::ALL.into_iter().find(|signed| signed.to_string() == value) else {
        complaints.add(at, format!("`{path}`: `{value}` must be one of head, tag, every-commit"));
        return None;
    };
    if signers.is_none() && keyring.is_none() {
        let message = format!("`{path}` needs the allowed keys: `signers` (SSH) or `keyring` (OpenPGP)");
        complaints.add(at, message);
        return None;
    }
    if signed == Signed::Tag && !matches!(reference, Some(Reference::Tag(_)) | None) {
        complaints.add(at, format!("`{path}` is \"tag\", and the source follows none: name it as `tag`"));
        return None;
    }
    Some(Some(Verify { signed, signers, keyring }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const NETWORK: &str = "network = { interface = 'e', address = '10.0.0.1' }\n";

    fn read(text: &str) -> Result<Vec<Source>, Vec<String>> {
        match Config::parse(&format!("{NETWORK}{text}"), "f") {
            Ok(config) => Ok(config.sources),
            Err(error) => Err(error.problems.into_iter().map(|problem| problem.message).collect()),
        }
    }

    #[test]
    fn several_sources_have_names() {
        let sources =
            read("[inventory.net]\ndirectory = 'x'\n[inventory.team-a]\ngit = 'y'\nbranch = 'b'").unwrap();
        let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
        assert_eq!(names, ["net", "team-a"]);
        assert_eq!(sources[0].inventory, Inventory::Directory("x".into()));
        let wrong = read("[inventory]\ngit = 'z'\n[inventory.net]\ndirectory = 'x'").unwrap_err();
        assert!(wrong[0].contains("table of its own"), "{wrong:?}");
        let wrong = read("[inventory.Net]\ndirectory = 'x'\n[inventory.b]\ngti = 'y'").unwrap_err();
        assert!(wrong.iter().any(|line| line.starts_with("`inventory.Net`")), "{wrong:?}");
        assert!(wrong.iter().any(|line| line.contains("`inventory.b.gti`; did you mean `git`")), "{wrong:?}");
    }

    #[test]
    fn a_repository_has_keys_and_limits() {
        let text = "[inventory]\ngit = 'https://h/x'\ntoken = 't'\nca = 'c'\ntimeout = '5m'\ninsecure = true\n\
                    verify = 'every-commit'\nsigners = 's'\nwebhook-secret = 'w'";
        let [source] = read(text).unwrap().try_into().unwrap();
        assert_eq!((source.name.as_str(), source.webhook), (ONLY, Some("w".into())));
        let Inventory::Git(git) = source.inventory else { panic!() };
        assert_eq!((git.limit, git.poll), (Span::seconds(300), Span::seconds(60)));
        assert_eq!((git.access.token, git.access.insecure), (Some("t".into()), true));
        let verify = Verify { signed: Signed::EveryCommit, signers: Some("s".into()), keyring: None };
        assert_eq!(git.verify, Some(verify));
    }

    #[test]
    fn what_does_not_fit_is_said() {
        for (text, part) in [
            ("directory = 'x'\ntoken = 't'", "`inventory.token` needs `git`"),
            ("git = 'x'\nverify = 'head'", "needs the allowed keys"),
            ("git = 'x'\nverify = 'all'\nsigners = 's'", "one of head, tag, every-commit"),
            ("git = 'x'\nsigners = 's'", "what must be signed"),
            ("git = 'x'\nverify = 'tag'\nsigners = 's'", "follows none"),
            ("git = 'x'\ninsecure = 'yes'", "true or false"),
            ("git = 'x'\ntoken = ''", "name a file"),
        ] {
            let wrong = read(&format!("[inventory]\n{text}")).unwrap_err();
            assert!(wrong.len() == 1 && wrong[0].contains(part), "{text}: {wrong:?}");
        }
        let quick = read("[inventory]\ndirectory = 'x'\npoll = '5s'").unwrap();
        assert_eq!(quick[0].poll, Some(Span::seconds(5)));
    }
}
