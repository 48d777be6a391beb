//! `voldemort resolved`: every value of a deployment, and where it comes from.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value as Json, json};

use super::exit::print;
use super::render::{find, read};
use super::{Exit, exit};
use crate::desired::{Inherited, inherited};
use crate::manifest::{Sources, Value};
use crate::media::Shelf;
use crate::model::{Origin, printable};

#[derive(Args, Debug)]
pub struct Arguments {
    /// The deployment
    name: String,
    /// The inventory's directory
    #[arg(default_value = ".")]
    directory: PathBuf,
    /// With this environment laid over the inventory
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    /// Show the line that each value was written in
    #[arg(long)]
    origin: bool,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// As the settings of one table in TOML
    Text,
    Json,
}

pub fn run(arguments: &Arguments) -> Exit {
    let json = arguments.output == Output::Json;
    let loaded = match read(&arguments.directory, arguments.env.as_deref(), json) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let deployment = match find(&loaded.desired, &arguments.name) {
        Ok(deployment) => deployment,
        Err(why) => return exit::failed(&why, json),
    };
    let shelf = Shelf::new(Vec::new(), None);
    let values = inherited(&loaded.documents, &shelf, &deployment.name).unwrap_or_default();
    let sources = &loaded.documents.sources;
    match arguments.output {
        Output::Text => print(&printable::quoted(&text(arguments, &values, sources))),
        Output::Json => exit::print_json(&json_of(arguments, &values, sources)),
    }
}

/// TOML that could stand in the deployment's own table.
fn text(arguments: &Arguments, values: &[Inherited], sources: &Sources) -> String {
    let lines: Vec<(String, String)> = values
        .iter()
        .map(|row| (format!("{} = {}", row.key, toml_of(&row.value)), shown(row, sources)))
        .collect();
    let width = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0).min(60);
    let mut text = format!("[deployment.{}]\n", arguments.name);
    for (line, origin) in lines {
        text += &match arguments.origin {
            true => format!("{line:width$}  # {origin}\n"),
            false => format!("{line}\n"),
        };
    }
    text
}

fn shown(row: &Inherited, sources: &Sources) -> String {
    match row.mark.map(|mark| sources.origin(mark)) {
        Some(Origin { file, line, column }) => format!("{}:{line}:{column}", file.shown().escape_debug()),
        None => "the built-in template's default".to_owned(),
    }
}

fn json_of(arguments: &Arguments, values: &[Inherited], sources: &Sources) -> Json {
    let row = |row: &Inherited| {
        let origin = row.mark.map(|mark| {
            let Origin { file, line, column } = sources.origin(mark);
            json!({ "file": **file.shown(), "line": line, "column": column })
        });
        let value = plain(&row.value);
        let value = if arguments.origin { json!({ "value": value, "origin": origin }) } else { value };
        (row.key.clone(), value)
    };
    let values: Map<String, Json> = values.iter().map(row).collect();
    json!({ "deployment": arguments.name, "values": values })
}

fn toml_of(value: &Value) -> String {
    toml::Value::try_from(plain(value)).map_or_else(|error| format!("# {error}"), |value| value.to_string())
}

/// A value as it would be written; for a secret only its name, because its text is not known here.
fn plain(value: &Value) -> Json {
    match value {
        Value::Text(text) => json!(**text),
        Value::Integer(number) => json!(number),
        Value::Boolean(flag) => json!(flag),
        Value::List(list) => list.iter().map(|item| plain(&item.value)).collect(),
        Value::Table(table) => {
            let part = |(key, field): (&std::sync::Arc<str>, &crate::manifest::Field)| {
                (key.replace('_', "-"), plain(&field.value.value))
            };
            Json::Object(table.0.iter().map(part).collect())
        }
        Value::Secret(name) => json!({ "secret": name.as_str() }),
        Value::Name(name) => json!(name.as_str()),
        Value::Mac(mac) => json!(mac.to_string()),
        Value::Address(address) => json!(address.to_string()),
        Value::Address6(address) => json!(address.to_string()),
        Value::Auto => json!("auto"),
        Value::Cidr(cidr) => json!(cidr.to_string()),
        Value::Range(range) => json!(range.to_string()),
        Value::Cidr6(cidr) => json!(cidr.to_string()),
        Value::Range6(range) => json!(range.to_string()),
        Value::Size(size) => json!(size.to_string()),
        Value::Duration(span) => json!(span.to_string()),
        Value::Percent(percent) => json!(format!("{percent}%")),
        Value::Rate(rate) => json!(rate.to_string()),
        Value::Window(window) => json!(window.to_string()),
    }
}
