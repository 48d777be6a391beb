//! Resources as they are written: the JSON of their TOML, key by key, and the line that each begins at.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value as Json};
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::Kind;
use super::scan::{self, DEPTH_MAX};

/// The resources of one file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WrittenFile {
    resources: BTreeMap<(Kind, Box<str>), WrittenResource>,
}

/// A resource of a file.
#[derive(Clone, Debug, PartialEq)]
struct WrittenResource {
    line: u32,
    /// JSON as text, which takes as much memory as the file itself does.
    spec: Box<str>,
}

impl WrittenFile {
    /// Reads a manifest. Where it is no valid TOML, nothing is found in it.
    pub fn read(text: &str) -> WrittenFile {
        if scan::scan(text).too_deep.is_some() {
            return WrittenFile::default();
        }
        let (tree, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            return WrittenFile::default();
        }
        let breaks: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
        let mut resources = BTreeMap::new();
        for (kind, body) in tree.get_ref() {
            let Some(kind) = Kind::named(kind.get_ref()) else { continue };
            let DeValue::Table(named) = body.get_ref() else { continue };
            for (name, body) in named {
                let DeValue::Table(settings) = body.get_ref() else { continue };
                let before = breaks.partition_point(|at| *at < name.span().start);
                let line = u32::try_from(before + 1).unwrap_or(u32::MAX);
                let spec = Json::Object(table(settings, 0)).to_string().into();
                resources.insert((kind, name.get_ref().as_ref().into()), WrittenResource { line, spec });
            }
        }
        WrittenFile { resources }
    }

    /// The settings of a resource by their keys, and the line (from 1) that its name stands on; `None` if it is not in
    /// this file.
    pub fn find(&self, kind: Kind, name: &str) -> Option<(u32, Map<String, Json>)> {
        let found = self.resources.get(&(kind, name.into()))?;
        Some((found.line, serde_json::from_str(&found.spec).ok()?))
    }

    /// What it takes in memory, about, in bytes.
    pub fn size(&self) -> usize {
        let one =
            |((_, name), found): (&(Kind, Box<str>), &WrittenResource)| name.len() + found.spec.len() + 64;
        self.resources.iter().map(one).sum()
    }
}

fn table(table: &DeTable, depth: usize) -> Map<String, Json> {
    table.iter().map(|(key, value)| (key.get_ref().to_string(), json(value, depth + 1))).collect()
}

fn json(value: &Spanned<DeValue>, depth: usize) -> Json {
    match value.get_ref() {
        // The scan found that it nests less deep.
        _ if depth > DEPTH_MAX => Json::Null,
        DeValue::String(text) => Json::String(text.to_string()),
        DeValue::Integer(number) => integer(number),
        DeValue::Float(number) => {
            let number: Option<f64> = number.as_str().parse().ok();
            number.and_then(Number::from_f64).map_or(Json::Null, Json::Number)
        }
        DeValue::Boolean(flag) => Json::Bool(*flag),
        DeValue::Datetime(time) => Json::String(time.to_string()),
        DeValue::Array(items) => items.iter().map(|item| json(item, depth + 1)).collect(),
        DeValue::Table(members) => Json::Object(table(members, depth)),
    }
}

fn integer(number: &DeInteger) -> Json {
    i64::from_str_radix(number.as_str(), number.radix()).map_or(Json::Null, Json::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_resource_is_found_however_it_is_written() {
        let text = "deployment.dotted.boot = \"x\"\n\n[deployment.web]\nmac = \"52:54:00:00:00:01\" # a card\n\
                    redeploy = 0x1F\npackages = [\"git\", \"vim\"]\nvars = { \"a b\" = true, size = 1_000 }\n\n\
                    [profile.\"base\"]\nboot = \"x\"\n\n[[deployment.web.users]]\nname = \"ops\"\n\
                    password = { secret = \"ops\" }\n\n[inventory]\n";
        let file = WrittenFile::read(text);
        let (line, spec) = file.find(Kind::Deployment, "web").unwrap();
        assert_eq!(line, 3);
        let expected = json!({
            "mac": "52:54:00:00:00:01", "redeploy": 31, "packages": ["git", "vim"],
            "vars": { "a b": true, "size": 1000 },
            "users": [{ "name": "ops", "password": { "secret": "ops" } }],
        });
        assert_eq!(Json::Object(spec), expected);
        assert_eq!(file.find(Kind::Deployment, "dotted").unwrap().0, 1);
        assert_eq!(file.find(Kind::Profile, "base").unwrap().0, 9);
        assert_eq!(file.find(Kind::Machine, "web"), None);
        assert_eq!(WrittenFile::read("[deployment.web]\nx ="), WrittenFile::default());
    }
}
