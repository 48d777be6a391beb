//! A resource that is new: where it goes and how it looks.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml_edit::{InlineTable, Key, Value};

use super::layout::{differing, line_end, without_mark};
use super::set::toml_value;
use super::{Refusal, Setting, Task};
use crate::manifest::{Documents, Kind, is_manifest};

/// The path of the file that a new resource goes to, and that file's text then.
pub(super) fn create(documents: &Documents, task: &Task) -> Result<(Arc<str>, String), Refusal> {
    let name = task.name.as_str();
    let block = block(task.kind, name, &task.settings)?;
    let own = format!("{}.toml", task.kind.fields().plural);
    let homes = homes(documents, task.kind, &own);
    for file in homes {
        let source = documents.sources.get(file);
        let Some(before) = source.text() else { continue };
        let after = appended(before, &block);
        // Not where the kind is one inline table, to which nothing can be added from outside.
        if differing(before, &after, &[(task.kind, name)]).is_some() {
            return Ok((source.path.shown().clone(), after));
        }
    }
    match documents.sources.find(&own) {
        None => Ok((own.into(), block)),
        Some(_) => Err(Refusal::Broken { file: own }),
    }
}

/// The files it may go to, the best first.
fn homes(documents: &Documents, kind: Kind, own: &str) -> Vec<u32> {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for (_, mark) in documents.of(kind).headers() {
        *counts.entry(mark.file).or_default() += 1;
    }
    let named = documents.sources.find(own);
    if let Some(file) = named {
        counts.entry(file).or_default();
    }
    let mut files: Vec<(u32, usize)> = counts.into_iter().collect();
    let usable =
        |file: u32| !documents.unparsed.contains(&file) && is_manifest(documents.sources.inside(file));
    files.retain(|(file, _)| usable(*file));
    let rank = |(file, count): &(u32, usize)| {
        let named = Some(*file) == named && *count > 0;
        (!named, std::cmp::Reverse(*count), documents.sources.get(*file).path.shown().clone())
    };
    files.sort_by_key(rank);
    files.into_iter().map(|(file, _)| file).collect()
}

fn appended(before: &str, block: &str) -> String {
    let end = line_end(before);
    let mut text = before.to_owned();
    if !without_mark(before).is_empty() {
        if !before.ends_with('\n') {
            text += end;
        }
        if !before.trim_end_matches([' ', '\t']).ends_with("\n\n") && !before.ends_with("\n\r\n") {
            text += end;
        }
    }
    text + &block.replace('\n', end)
}

/// The resource as a table of its own, keys in the order of the reference, `=` in line.
fn block(kind: Kind, name: &str, settings: &[Setting]) -> Result<String, Refusal> {
    let order = |key: &str| kind.fields().keys.iter().position(|known| known.name == key);
    let mut rows: Vec<(&str, Value)> = Vec::new();
    for Setting { path, value } in settings.iter().filter(|setting| !setting.value.is_null()) {
        let Some((key, rest)) = path.split_first() else { continue };
        let value = toml_value(value)?;
        match rows.iter_mut().find(|(known, _)| known == key) {
            Some((_, Value::InlineTable(table))) if !rest.is_empty() => fill(table, rest, value),
            _ if rest.is_empty() => rows.push((key, value)),
            _ => {
                let mut table = InlineTable::new();
                fill(&mut table, rest, value);
                rows.push((key, Value::InlineTable(table)));
            }
        }
    }
    rows.sort_by_key(|(key, _)| order(key).unwrap_or(usize::MAX));
    let shown = |key: &str| Key::new(key).display_repr().into_owned();
    let width = rows.iter().map(|(key, _)| shown(key).chars().count()).max().unwrap_or(0);
    let mut text = format!("[{}.{name}]\n", kind.name());
    for (key, value) in rows {
        text += &format!("{:width$} = {}\n", shown(key), value.to_string().trim());
    }
    Ok(text)
}

fn fill(table: &mut InlineTable, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => drop(table.insert(key, value)),
        [key, rest @ ..] => {
            let inner = table.get_or_insert(key, InlineTable::new());
            if let Value::InlineTable(inner) = inner {
                fill(inner, rest, value);
            }
        }
    }
}
