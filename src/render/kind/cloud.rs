//! User data of cloud-init and of Ubuntu's installer.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

use super::super::RenderError;
use super::wrong;
use crate::render::near;

pub(super) fn check(text: &str, autoinstall: bool) -> Vec<RenderError> {
    // cloud-init tells what it reads by its first letters, white space and their case aside
    // (cloudinit/handlers/__init__.py), and mail by a header.
    let first = text.trim_start().lines().next().unwrap_or_default().to_ascii_lowercase();
    const HEADER: &str = "#cloud-config";
    const OTHERS: [&str; 9] = [
        "#!",
        "#include",
        "#cloud-boothook",
        "#part-handler",
        "#cloud-config-archive",
        "#cloud-config-jsonp",
        "## template:",
        "content-type:",
        "mime-version:",
    ];
    if !autoinstall && OTHERS.iter().any(|other| first.starts_with(other)) {
        return Vec::new();
    }
    if first.split_whitespace().next() != Some(HEADER) {
        return vec![wrong(1, 1, "the first line must be `#cloud-config`, or nothing below it is read")];
    }
    let keys = match keys(text) {
        Ok(keys) => keys,
        Err(error) => {
            let place = error.marker();
            // A tab is told of where the value before it began.
            let line = match error.info().contains("tab") {
                true => indented_by_tab(text, place.line()).unwrap_or(place.line()),
                false => place.line(),
            };
            let column = if line == place.line() { place.col() + 1 } else { 1 };
            return vec![wrong(line, column, format!("not YAML: {}", error.info()))];
        }
    };
    let Some(keys) = keys else { return vec![wrong(1, 1, "what follows `#cloud-config` must be a mapping")] };
    let twice = |(at, key): (usize, &Key)| keys[..at].iter().any(|other| other.path == key.path);
    if let Some((_, key)) = keys.iter().enumerate().find(|(at, key)| twice((*at, key))) {
        let name = key.path.rsplit('.').next().unwrap_or_default();
        return vec![wrong(
            key.line,
            1,
            format!("the key `{name}` is there twice: only the last one counts"),
        )];
    }
    if !autoinstall {
        return Vec::new();
    }
    let find = |wanted: &str| keys.iter().find(|key| key.path == wanted);
    let Some(whole) = find("autoinstall") else {
        let tops = keys.iter().filter(|key| !key.path.contains('.'));
        let near = near::nearest("autoinstall", tops.clone().map(|key| key.path.as_str()));
        let near = near.and_then(|near| tops.clone().find(|key| key.path == near));
        return vec![match near {
            Some(key) => {
                wrong(key.line, 1, format!("`{}` is not read: it is called `autoinstall`", key.path))
            }
            None => wrong(1, 1, "the key `autoinstall` is missing"),
        }];
    };
    match find("autoinstall.version") {
        None => vec![wrong(whole.line, 1, "`autoinstall` needs `version: 1`")],
        Some(version) if version.value.as_deref() != Some("1") => {
            vec![wrong(version.line, 1, "the `version` of `autoinstall` is the number 1")]
        }
        Some(_) => Vec::new(),
    }
}

/// The first line from `from` on that is indented by a tab.
fn indented_by_tab(text: &str, from: usize) -> Option<usize> {
    let indent = |line: &str| line.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t');
    let blank = |line: &str| line.trim().is_empty();
    let found =
        text.lines().zip(1..).skip(from.saturating_sub(1)).find(|(line, _)| indent(line) && !blank(line));
    found.map(|(_, number)| number)
}

/// What Ubuntu's installer would ask, or stop for, although the file is right.
pub(super) fn asks(text: &str) -> Option<RenderError> {
    let keys = keys(text).ok()??;
    let find = |wanted: &str| keys.iter().find(|key| key.path == wanted).map(|key| key.line);
    if let Some(line) = find("autoinstall.interactive-sections") {
        return Some(wrong(line, 1, "the installer shows the pages of `interactive-sections` and waits"));
    }
    let line = find("autoinstall")?;
    let known = ["identity", "user-data", "reset-partition-only"];
    match known.iter().any(|key| find(&format!("autoinstall.{key}")).is_some()) {
        true => None,
        false => {
            Some(wrong(line, 1, "the installer stops: `autoinstall` has neither `identity` nor `user-data`"))
        }
    }
}

struct Key {
    path: String,
    line: usize,
    /// A value that is plain, without quotes.
    value: Option<String>,
}

/// The keys of the first two levels, joined by a dot; `None` if the document is no mapping.
fn keys(text: &str) -> Result<Option<Vec<Key>>, ScanError> {
    let mut keys: Vec<Key> = Vec::new();
    // For each open collection: whether it is a mapping, and how many nodes it has so far.
    let mut open: Vec<(bool, usize)> = Vec::new();
    let mut mapping = false;
    let mut parent = String::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event?;
        let node = matches!(
            event,
            Event::Scalar(..) | Event::MappingStart(..) | Event::SequenceStart(..) | Event::Alias(..)
        );
        let is_key = open.last().is_some_and(|(mapping, nodes)| *mapping && nodes % 2 == 0);
        if node && let Some((_, nodes)) = open.last_mut() {
            *nodes += 1;
        }
        match event {
            Event::Scalar(name, ..) if is_key && open.len() == 1 => {
                keys.push(Key { path: name.to_string(), line: span.start.line(), value: None });
                parent = name.into_owned();
            }
            Event::Scalar(name, ..) if is_key && open.len() == 2 && open[0].0 => {
                let path = format!("{parent}.{name}");
                keys.push(Key { path, line: span.start.line(), value: None });
            }
            Event::Scalar(text, ScalarStyle::Plain, ..) if open.len() <= 2 => {
                if let Some(key) =
                    keys.last_mut().filter(|key| key.path.matches('.').count() + 1 == open.len())
                {
                    key.value = Some(text.into_owned());
                }
            }
            Event::MappingStart(..) => {
                mapping |= open.is_empty();
                open.push((true, 0));
            }
            Event::SequenceStart(..) => open.push((false, 0)),
            Event::MappingEnd | Event::SequenceEnd => {
                open.pop();
            }
            _ => {}
        }
    }
    Ok(mapping.then_some(keys))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_cloud_init_does() {
        assert_eq!(check("#cloud-config\nhostname: a\nusers: [{name: b}]\n", false), []);
        assert_eq!(check("#!/bin/sh\n: nonsense [\n", false), []);
        assert_eq!(check("MIME-Version: 1.0\nContent-Type: multipart/mixed\n\n[\n", false), []);
        assert_eq!(check("\n#Cloud-Config # ours\na: 1\n", false), []);
        assert_eq!(check("#cloud-config\nautoinstall:\n  version: 1\n  late-commands:\n    - a\n", true), []);
    }

    #[test]
    fn knows_what_is_asked() {
        let asked = |rest: &str| asks(&format!("#cloud-config\nautoinstall:\n  version: 1\n{rest}"));
        assert_eq!(asked("  identity: {hostname: a, username: b, password: '!'}\n"), None);
        assert_eq!(asked("  user-data: {users: []}\n"), None);
        assert_eq!(asked("").unwrap().line, 2);
        let shown = asked("  identity: {}\n  interactive-sections: [network]\n").unwrap();
        assert_eq!(shown.line, 5);
    }

    #[test]
    fn says_what_is_wrong() {
        let first = |text: &str, autoinstall| check(text, autoinstall).remove(0);
        assert!(first("hostname: a\n", false).message.contains("first line"));
        let error = first("#cloud-config\na: [b\nc: d\n", false);
        assert!(error.line >= 2 && error.message.starts_with("not YAML"), "{error}");
        assert!(first("#cloud-config\n- a\n", false).message.contains("mapping"));
        assert!(first("#cloud-config\nversion: 1\n", true).message.contains("`autoinstall` is missing"));
        let error = first("#cloud-config\nx: 1\nautoinstall:\n  a: {version: 1}\n", true);
        assert_eq!((error.line, error.message.as_str()), (3, "`autoinstall` needs `version: 1`"));
        for (text, line) in [
            ("#cloud-config\nautoinstal:\n  version: 1\n", 2),
            ("#cloud-config\nautoinstall:\n  version: 2\n", 3),
            ("#cloud-config\nautoinstall:\n  version: \"1\"\n", 3),
            ("#cloud-config\nautoinstall:\n  version: 1\n  late-commands: [a]\n  late-commands: [b]\n", 5),
            ("#cloud-config\nautoinstall:\n  version: 1\n\tx: 1\n", 4),
            ("#cloud-config-typo\n", 1),
        ] {
            assert_eq!(first(text, true).line, line, "{text}: {}", first(text, true));
        }
    }
}
