//! User data of cloud-init and of Ubuntu's installer.

use saphyr_parser::{Event, Parser, ScanError};

use super::super::RenderError;
use super::wrong;

pub(super) fn check(text: &str, autoinstall: bool) -> Vec<RenderError> {
    let first = text.lines().next().unwrap_or_default().trim_end();
    // cloud-init also takes scripts, archives and lists of URLs, each by its first line.
    const OTHERS: [&str; 7] = [
        "#!",
        "#include",
        "#cloud-boothook",
        "#part-handler",
        "#cloud-config-archive",
        "## template:",
        "Content-Type:",
    ];
    if !autoinstall && OTHERS.iter().any(|other| first.starts_with(other)) {
        return Vec::new();
    }
    if first != "#cloud-config" {
        return vec![wrong(1, 1, "the first line must be `#cloud-config`, or nothing below it is read")];
    }
    let keys = match keys(text) {
        Ok(keys) => keys,
        Err(error) => {
            let place = error.marker();
            return vec![wrong(place.line(), place.col() + 1, format!("not YAML: {}", error.info()))];
        }
    };
    let Some(keys) = keys else { return vec![wrong(1, 1, "what follows `#cloud-config` must be a mapping")] };
    if !autoinstall {
        return Vec::new();
    }
    match keys.iter().find(|(path, _)| path == "autoinstall") {
        None => vec![wrong(1, 1, "the key `autoinstall` is missing")],
        Some((_, line)) if !keys.iter().any(|(path, _)| path == "autoinstall.version") => {
            vec![wrong(*line, 1, "`autoinstall` needs `version: 1`")]
        }
        Some(_) => Vec::new(),
    }
}

/// What Ubuntu's installer would ask, or stop for, although the file is right.
pub(super) fn asks(text: &str) -> Option<RenderError> {
    let keys = keys(text).ok()??;
    let find = |wanted: &str| keys.iter().find(|(path, _)| path == wanted).map(|(_, line)| *line);
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

type Keys = Vec<(String, usize)>;

/// The keys of the first two levels, joined by a dot, with their lines; `None` if the document
/// is no mapping.
fn keys(text: &str) -> Result<Option<Keys>, ScanError> {
    let mut keys = Keys::new();
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
                keys.push((name.to_string(), span.start.line()));
                parent = name.into_owned();
            }
            Event::Scalar(name, ..) if is_key && open.len() == 2 && open[0].0 => {
                keys.push((format!("{parent}.{name}"), span.start.line()));
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
    }
}
