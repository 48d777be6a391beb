//! Settings of a resource that exists.

use serde_json::Value as Json;
use toml_edit::{Array, Decor, DocumentMut, InlineTable, Item, Key, TableLike, Value};

use super::layout::{blanks, restore, without_mark};
use super::{Done, Refusal, Setting, Stopped, Task};

/// The text with the settings of these tasks, apart from those that delete; `None` if a resource can't be found in the
/// text.
pub(super) fn settings(text: &str, tasks: &[(usize, Task)]) -> Result<Option<String>, Stopped> {
    if tasks.iter().all(|(_, task)| task.done == Done::Delete) {
        return Ok(Some(text.to_owned()));
    }
    let Ok(mut document) = without_mark(text).parse::<DocumentMut>() else { return Ok(None) };
    for (index, task) in tasks.iter().filter(|(_, task)| task.done != Done::Delete) {
        let table = document.get_mut(task.kind.name()).and_then(Item::as_table_like_mut);
        let Some(item) = table.and_then(|table| table.get_mut(task.name.as_str())) else { return Ok(None) };
        let inline = item.is_inline_table();
        let Some(resource) = item.as_table_like_mut() else { return Ok(None) };
        for Setting { path, value } in &task.settings {
            put(resource, inline, path, value).map_err(|refusal| Stopped { index: *index, refusal })?;
        }
    }
    Ok(Some(restore(text, &document.to_string())))
}

fn put(table: &mut dyn TableLike, inline: bool, path: &[String], value: &Json) -> Result<(), Refusal> {
    let Some((key, rest)) = path.split_first() else { return Ok(()) };
    if rest.is_empty() && value.is_null() {
        remove(table, key);
        return Ok(());
    }
    if let Some(item) = table.get_mut(key) {
        let inline = item.is_inline_table();
        match (rest.is_empty(), item.as_table_like_mut()) {
            (false, Some(inner)) => {
                put(inner, inline, rest, value)?;
                // What holds nothing any more says nothing.
                if inline && value.is_null() && inner.is_empty() {
                    remove(table, key);
                }
            }
            _ if value.is_null() => {}
            _ => replace(item, nested(rest, value)?),
        }
        return Ok(());
    }
    if !value.is_null() {
        insert(table, inline, key, nested(rest, value)?);
    }
    Ok(())
}

/// Takes a key away; what is written above it, apart from its own comment, stays.
fn remove(table: &mut dyn TableLike, key: &str) {
    let above = table.key(key).and_then(|key| key.leaf_decor().prefix()?.as_str().map(str::to_owned));
    let next = table.iter().skip_while(|(name, _)| *name != key).nth(1).map(|(name, _)| name.to_owned());
    table.remove(key);
    let kept = above.as_deref().and_then(|above| above.rfind("\n\n").map(|at| above[..at + 2].to_owned()));
    let (Some(kept), Some(next)) = (kept, next) else { return };
    if let Some(mut next) = table.key_mut(&next) {
        let own = next.leaf_decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or("").to_owned();
        next.leaf_decor_mut().set_prefix(kept + own.trim_start_matches('\n'));
    }
}

fn insert(table: &mut dyn TableLike, inline: bool, name: &str, mut value: Value) {
    if let Some(last) = table.iter_mut().last().and_then(|(_, item)| item.as_value_mut()).filter(|_| inline) {
        // The blanks before the closing brace.
        value.decor_mut().set_suffix(last.decor().suffix().cloned().unwrap_or_default());
        last.decor_mut().set_suffix("");
        value.decor_mut().set_prefix(" ");
    }
    let neighbours: Vec<(String, String)> = table
        .iter()
        .filter(|(_, item)| item.is_value())
        .filter_map(|(name, _)| table.key(name))
        .map(|key| {
            let blanks = key.leaf_decor().suffix().and_then(|suffix| suffix.as_str()).unwrap_or(" ");
            (key.display_repr().into_owned(), blanks.to_owned())
        })
        .collect();
    let shown = Key::new(name).display_repr().into_owned();
    let blanks = blanks(&shown, neighbours.iter().map(|(key, blanks)| (key.as_str(), blanks.as_str())));
    table.insert(name, Item::Value(value));
    if let Some(mut key) = table.key_mut(name).filter(|_| blanks != " ") {
        key.leaf_decor_mut().set_suffix(blanks);
    }
}

/// Another value in the same place: blanks and the comment behind it stay.
fn replace(item: &mut Item, value: Value) {
    let Some(old) = item.as_value_mut() else {
        *item = Item::Value(value);
        return;
    };
    if let (Value::Array(old), Value::Array(new)) = (&mut *old, &value) {
        return merge(old, new);
    }
    // `mac = ["…"]` stays a list.
    let value = match (&*old, value) {
        (Value::Array(_), single @ Value::String(_)) => Value::Array(Array::from_iter([single])),
        (_, value) => value,
    };
    let decor: Decor = old.decor().clone();
    if same(old, &value) {
        return;
    }
    *old = value;
    *old.decor_mut() = decor;
}

/// Items that stay keep their place, blanks and comments; new ones follow in the style of the last.
fn merge(old: &mut Array, new: &Array) {
    let wanted: Vec<String> = new.iter().map(bare).collect();
    let mut at = 0;
    let mut keep = Vec::new();
    for item in old.iter() {
        let found = wanted[at..].first() == Some(&bare(item));
        at += usize::from(found);
        keep.push(found);
    }
    let mut keep = keep.into_iter();
    let first = old.get(0).map(|item| item.decor().clone());
    let second = old.get(1).map(|item| item.decor().clone());
    old.retain(|_| keep.next().unwrap_or(false));
    for value in new.iter().skip(at) {
        let mut value = value.clone();
        let model = if old.is_empty() { &first } else { &second };
        let style = match model {
            Some(decor) => decor.prefix().and_then(|prefix| prefix.as_str()).map(whitespace),
            None if old.is_empty() => None,
            // One item on a line of its own: the others get lines of their own too.
            None => first
                .as_ref()
                .and_then(|decor| decor.prefix()?.as_str())
                .map(|prefix| if prefix.contains('\n') { whitespace(prefix) } else { " ".to_owned() }),
        };
        value.decor_mut().clear();
        let default = if old.is_empty() { "" } else { " " };
        value.decor_mut().set_prefix(style.unwrap_or_else(|| default.to_owned()));
        old.push_formatted(value);
    }
    if let (Some(first), Some(item)) = (first, old.get_mut(0)) {
        let prefix = first.prefix().and_then(|prefix| prefix.as_str()).unwrap_or("").to_owned();
        if !prefix.contains('\n') {
            item.decor_mut().set_prefix(prefix);
        }
    }
}

/// The blanks of a prefix, from the last line break on, without comments.
fn whitespace(prefix: &str) -> String {
    prefix.rfind('\n').map_or_else(|| prefix.to_owned(), |at| prefix[at..].to_owned())
}

fn same(one: &Value, other: &Value) -> bool {
    bare(one) == bare(other)
}

/// A value without its surroundings, in one spelling.
fn bare(value: &Value) -> String {
    let mut value = value.clone();
    value.decor_mut().clear();
    let parsed = format!("x = {value}").parse::<toml::Table>().ok();
    parsed.and_then(|table| table.get("x").map(ToString::to_string)).unwrap_or_else(|| value.to_string())
}

/// `{ file = value }` for the path `file`; the value itself where the path has ended.
fn nested(path: &[String], value: &Json) -> Result<Value, Refusal> {
    match path.split_first() {
        None => toml_value(value),
        Some((key, rest)) => {
            let mut table = InlineTable::new();
            table.insert(key, nested(rest, value)?);
            Ok(Value::InlineTable(table))
        }
    }
}

/// A value that came as JSON.
pub(super) fn toml_value(value: &Json) -> Result<Value, Refusal> {
    let bad = || Refusal::Bad { text: value.to_string(), why: "manifests have no such value".into() };
    Ok(match value {
        Json::String(text) => text.as_str().into(),
        Json::Bool(flag) => (*flag).into(),
        Json::Number(number) => number.as_i64().ok_or_else(bad)?.into(),
        Json::Array(items) => {
            let items: Result<Vec<Value>, Refusal> = items.iter().map(toml_value).collect();
            Value::Array(items?.into_iter().collect())
        }
        Json::Object(map) => {
            let mut table = InlineTable::new();
            for (key, value) in map {
                table.insert(key, toml_value(value)?);
            }
            Value::InlineTable(table)
        }
        Json::Null => return Err(bad()),
    })
}
