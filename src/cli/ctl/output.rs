//! How lists are printed.

use std::collections::BTreeMap;
use std::fmt::Write;

use clap::ValueEnum;
use serde_json::Value;

use super::table;
use crate::api::resource::Row;
use crate::model::printable;

/// A form of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// The columns that matter most
    Table,
    /// A column for every field
    Wide,
    Json,
    /// One JSON object a line
    Jsonl,
    Yaml,
    Toml,
    /// The names alone, one a line
    Name,
}

impl Format {
    /// Whether mistakes are told as JSON, too.
    pub(super) fn is_json(self) -> bool {
        matches!(self, Format::Json | Format::Jsonl)
    }
}

/// Rows in a form. `columns` are titles or fields, in any case; without any, those of the form. The error names one
/// that is not there. Texts in rows may have come off the wire: no form has a character that steers a terminal.
pub(super) fn text<T: Row>(
    kind: &str,
    rows: &[T],
    format: Format,
    columns: &[String],
) -> Result<String, String> {
    let values = || rows.iter().map(|row| serde_json::to_value(row).map_err(|error| error.to_string()));
    let json = || values().collect::<Result<Vec<Value>, String>>();
    Ok(match format {
        _ if !columns.is_empty() => chosen(rows, &json()?, columns)?,
        Format::Table => table::format(T::COLUMNS, &rows.iter().map(Row::cells).collect::<Vec<_>>()),
        Format::Wide => wide(&json()?),
        Format::Json => {
            let text = serde_json::to_string_pretty(rows).map_err(|error| error.to_string())?;
            printable::json(&text) + "\n"
        }
        Format::Jsonl => json()?.iter().map(|row| printable::json(&row.to_string()) + "\n").collect(),
        Format::Yaml => yaml(&json()?),
        Format::Toml => {
            let text = toml::to_string(&BTreeMap::from([(kind, rows)])).map_err(|error| error.to_string())?;
            printable::quoted(&text)
        }
        Format::Name => rows.iter().map(|row| table::printable(&row.key()) + "\n").collect(),
    })
}

/// Columns by title or field.
fn chosen<T: Row>(rows: &[T], values: &[Value], columns: &[String]) -> Result<String, String> {
    let fields = fields(values);
    let mut cells = vec![Vec::new(); rows.len()];
    let mut titles = Vec::new();
    for column in columns {
        let is_it = |name: &&str| name.eq_ignore_ascii_case(column);
        if let Some(place) = T::COLUMNS.iter().position(is_it) {
            titles.push(T::COLUMNS[place].to_owned());
            rows.iter().zip(&mut cells).for_each(|(row, cells)| cells.push(row.cells().swap_remove(place)));
        } else if let Some(field) = fields.iter().find(|field| is_it(&field.as_str())) {
            titles.push(field.to_uppercase());
            values.iter().zip(&mut cells).for_each(|(row, cells)| cells.push(cell(&row[field.as_str()])));
        } else if values.is_empty() {
            titles.push(column.to_uppercase());
        } else {
            let titles = T::COLUMNS.iter().map(|title| format!("`{title}`"));
            let all: Vec<String> = titles.chain(fields.iter().cloned()).collect();
            return Err(format!("there is no column {column}; there are {}", all.join(", ")));
        }
    }
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    Ok(table::format(&titles, &cells))
}

/// Every field of any row, in the order of the fields.
fn fields(values: &[Value]) -> Vec<String> {
    let mut fields: Vec<String> = Vec::new();
    for name in values.iter().filter_map(Value::as_object).flat_map(|row| row.keys()) {
        if !fields.contains(name) {
            fields.push(name.clone());
        }
    }
    fields
}

fn wide(values: &[Value]) -> String {
    let fields = fields(values);
    let titles: Vec<String> = fields.iter().map(|field| field.to_uppercase()).collect();
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    let row = |row: &Value| fields.iter().map(|field| cell(&row[field.as_str()])).collect();
    table::format(&titles, &values.iter().map(row).collect::<Vec<Vec<String>>>())
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        Value::Object(members) => {
            let pairs = members.iter().map(|(name, value)| format!("{name}={}", cell(value)));
            pairs.collect::<Vec<_>>().join(",")
        }
        value => value.to_string(),
    }
}

/// A list as YAML 1.2. Texts are quoted as in JSON, of which YAML is a superset, so that none is taken for a number or
/// for a word such as `no`.
fn yaml(values: &[Value]) -> String {
    if values.is_empty() {
        return "[]\n".into();
    }
    let mut out = String::new();
    for value in values {
        out.push_str("- ");
        block(&mut out, value, 1);
    }
    printable::quoted(&out)
}

/// One object as YAML.
pub(super) fn document(value: &Value) -> String {
    let mut out = String::new();
    block(&mut out, value, 0);
    printable::quoted(&out)
}

/// A value at the end of a line that has begun; further lines are indented by `depth`.
fn block(out: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (at, (name, value)) in members.iter().enumerate() {
                if at > 0 {
                    out.push_str(&indent);
                }
                let is_nested = matches!(value, Value::Object(inner) if !inner.is_empty())
                    || matches!(value, Value::Array(items) if !items.is_empty());
                let _ = write!(out, "{}:", Value::from(name.as_str()));
                out.push_str(if is_nested { "\n" } else { " " });
                if is_nested {
                    out.push_str(&"  ".repeat(depth + 1));
                }
                block(out, value, depth + 1);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push_str(&indent);
                }
                out.push_str("- ");
                block(out, item, depth + 1);
            }
        }
        value => {
            let _ = writeln!(out, "{value}");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::resource::Boot;

    fn boots() -> Vec<Boot> {
        let boot = |name: &str, image: Option<&str>, initrd: &[&str]| Boot {
            name: name.into(),
            prefix: "/debian".into(),
            arch: "x86_64".into(),
            kernel: "linux".into(),
            initrd: initrd.iter().map(|text| (*text).to_owned()).collect(),
            image: image.map(str::to_owned),
            origin: "boots.toml:1:1".into(),
        };
        vec![boot("debian", None, &["a", "b"]), boot("no", Some("x: y"), &[])]
    }

    #[test]
    fn every_form_has_what_it_should() {
        let text = |format| text("boots", &boots(), format, &[]).unwrap();
        assert!(text(Format::Table).starts_with("NAME    ARCH    PREFIX   KERNEL  IMAGE\ndebian"));
        assert!(text(Format::Wide).lines().next().unwrap().contains("INITRD"));
        assert_eq!(text(Format::Name), "debian\nno\n");
        let lines: Vec<Value> =
            text(Format::Jsonl).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let json: Vec<Value> = serde_json::from_str(&text(Format::Json)).unwrap();
        assert!(lines == json && json[1]["image"] == "x: y");
        let toml: toml::Table = text(Format::Toml).parse().unwrap();
        assert_eq!(toml["boots"][0]["initrd"][1].as_str(), Some("b"));
        assert_eq!(toml["boots"][0].get("image"), None, "TOML has no null");
    }

    #[test]
    fn yaml_is_a_block_with_quoted_texts() {
        let value = [
            json!({ "name": "no", "list": ["a", { "b": 1, "c": [] }], "none": null, "map": { "k": "1" } }),
            json!("x"),
        ];
        let wanted = "- \"list\":\n    - \"a\"\n    - \"b\": 1\n      \"c\": []\n  \"map\":\n    \"k\": \"1\"\n  \"name\": \"no\"\n  \"none\": null\n- \"x\"\n";
        assert_eq!(yaml(&value), wanted);
        assert_eq!(yaml(&[]), "[]\n");
    }

    #[test]
    fn no_form_steers_a_terminal() {
        let mut boots = boots();
        boots[0].origin = "\u{9b}2J\u{202e}x\u{e0041}".into();
        let steers = |c: char| c != '\n' && !printable::is_printable(c);
        for format in Format::value_variants() {
            let text = text("boots", &boots, *format, &[]).unwrap();
            assert!(!text.contains(steers), "{format:?}: {text:?}");
        }
        let value = json!({ "a": boots[0].origin.as_str() });
        assert_eq!(document(&value), "\"a\": \"\\u009b2J\\u202ex\\U000e0041\"\n");
        let json: Value = serde_json::from_str(&text("boots", &boots, Format::Json, &[]).unwrap()).unwrap();
        assert_eq!(json[0]["origin"], boots[0].origin.as_str(), "the value is the same");
    }

    #[test]
    fn columns_are_titles_or_fields() {
        let text = |columns: &[&str]| {
            let columns: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
            text("boots", &boots(), Format::Table, &columns)
        };
        assert_eq!(text(&["image", "initrd"]).unwrap(), "IMAGE  INITRD\n-      a,b\nx: y\n");
        assert!(text(&["nome"]).unwrap_err().contains("there is no column nome; there are `NAME`, `ARCH`"));
    }
}
