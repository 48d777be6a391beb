//! A manifest without all resources of some kinds.

use toml_edit::{DocumentMut, Item, Value};

use super::layout::{restore, without_mark};
use crate::manifest::Kind;

/// What is left of a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Empty where no table is left.
    pub text: String,
    /// Every text that is left as a value: the paths of files and the names of secrets among them.
    pub values: Vec<String>,
}

/// The text without the resources of these kinds; `None` where it is no TOML.
pub fn prune(text: &str, kinds: &[Kind]) -> Option<Pruned> {
    let mut document: DocumentMut = without_mark(text).parse().ok()?;
    let mut is_changed = false;
    for kind in kinds {
        is_changed |= document.remove(kind.name()).is_some();
    }
    let mut values = Vec::new();
    document.iter().for_each(|(_, item)| collect(item, &mut values));
    let text = match is_changed {
        _ if document.is_empty() => String::new(),
        true => restore(text, &document.to_string()),
        false => text.to_owned(),
    };
    Some(Pruned { text, values })
}

fn collect(item: &Item, values: &mut Vec<String>) {
    match item {
        Item::Value(value) => collect_value(value, values),
        Item::Table(table) => table.iter().for_each(|(_, item)| collect(item, values)),
        Item::ArrayOfTables(tables) => {
            tables.iter().flat_map(|table| table.iter()).for_each(|(_, item)| collect(item, values));
        }
        Item::None => {}
    }
}

fn collect_value(value: &Value, values: &mut Vec<String>) {
    match value {
        Value::String(text) => values.push(text.value().clone()),
        Value::Array(array) => array.iter().for_each(|value| collect_value(value, values)),
        Value::InlineTable(table) => table.iter().for_each(|(_, value)| collect_value(value, values)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_as_it_was_written() {
        let text = "[machine.m1]\nmac = \"52:54:00:00:00:01\"\n# The kernel\n[boot.d]\nkernel = \"files/k\"\n\
                    initrd = [\"files/i\"]\n[machine.m2]\nmac = \"52:54:00:00:00:02\"\n[profile.p]\n\
                    vars = { password = { secret = \"root\" } }\n";
        let found = prune(text, &[Kind::Machine, Kind::Deployment]).unwrap();
        assert_eq!(
            found.text,
            "# The kernel\n[boot.d]\nkernel = \"files/k\"\ninitrd = [\"files/i\"]\n[profile.p]\n\
             vars = { password = { secret = \"root\" } }\n"
        );
        assert_eq!(found.values, ["files/k", "files/i", "root"]);
        let none = prune("[machine]\nm1 = { mac = \"52:54:00:00:00:01\" }\n", &[Kind::Machine]).unwrap();
        assert_eq!(none, Pruned::default());
        let same = "[pool.ci] # all of it\r\nprofile = \"p\"\r\n";
        assert_eq!(prune(same, &[Kind::Machine]).unwrap().text, same);
        assert_eq!(prune("[", &[Kind::Machine]), None);
    }
}
