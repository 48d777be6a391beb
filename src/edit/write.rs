//! A resource that is new: where it goes and how it looks.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml_edit::{InlineTable, Key, Value};

use super::layout::{differing, line_end, without_mark};
use super::set::toml_value;
use super::{Refusal, Setting, Task};
use crate::manifest::{Documents, Kind, is_manifest};

/// The path of the file that new resources of one kind go to, and that file's text then. Several are refused together
/// where one after the other might be made.
pub(super) fn create(
    documents: &Documents,
    kind: Kind,
    tasks: &[&Task],
) -> Result<(Arc<str>, String), Refusal> {
    let block = |task: &&Task| block(kind, task.name.as_str(), &task.settings);
    let blocks: Vec<String> = tasks.iter().map(block).collect::<Result<_, _>>()?;
    let names: Vec<(Kind, &str)> = tasks.iter().map(|task| (kind, task.name.as_str())).collect();
    let own = format!("{}.toml", kind.fields().plural);
    for file in homes(documents, kind, &own) {
        let source = documents.sources.get(file);
        let Some(before) = source.text() else { continue };
        let after = appended(before, &blocks);
        // Not where the kind is one inline table, to which nothing can be added from outside.
        if differing(before, &after, &names).is_some() {
            return Ok((source.path.shown().clone(), after));
        }
        if tasks.len() > 1 {
            return Err(Refusal::Tangled { file: source.path.to_string() });
        }
    }
    let text = appended("", &blocks);
    match documents.sources.find(&own) {
        None if tasks.len() > 1 && differing("", &text, &names).is_none() => {
            Err(Refusal::Tangled { file: own })
        }
        None => Ok((own.into(), text)),
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

/// A text with blocks behind it, each after an empty line.
fn appended(before: &str, blocks: &[String]) -> String {
    let end = line_end(before);
    let mut text = before.to_owned();
    for block in blocks {
        if !without_mark(&text).is_empty() {
            if !text.ends_with('\n') {
                text += end;
            }
            if !text.trim_end_matches([' ', '\t']).ends_with("\n\n") && !text.ends_with("\n\r\n") {
                text += end;
            }
        }
        text += &block.replace('\n', end);
    }
    text
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
