//! The language as JSON Schema (draft-07, which every editor's TOML plugin reads), made from the
//! same tables the parser uses.

use serde_json::{Map, Value, json};

use super::inventory::File;
use super::kind::{WITHOUT, Written};
use super::{Code, Fields, Form, Kind, Mark, Problem, Shape, Sources};

/// Where an inventory keeps the schemas its editors use.
pub const INSTALLED: &str = ".voldemort/schema";

/// Warns of installed schemas that are not those of this version.
pub(super) fn stale(sources: &Sources) -> Vec<Problem> {
    let warn = |(name, schema): (&str, fn() -> Value)| {
        let file = sources.find(&format!("{INSTALLED}/{name}"))?;
        // Made only where there is one to compare: every revision comes by here.
        if sources.get(file).bytes == text(&schema()) {
            return None;
        }
        let mark = Mark::new(file, 0..0);
        let message = "this schema for editors is not that of this voldemort";
        let problem = Problem::new(Code::StaleSchema, mark, message, "written by another version");
        Some(problem.help("`voldemort schema --install` writes it anew"))
    };
    FILES.into_iter().filter_map(warn).collect()
}

/// Makes a schema.
type Maker = fn() -> Value;

/// Every schema by file name.
pub const FILES: [(&str, Maker); 3] =
    [("inventory.json", inventory), ("overlay.json", overlay), ("voldemort.json", settings)];

/// The text of a schema's file.
pub fn text(schema: &Value) -> String {
    format!("{schema:#}\n")
}

/// Schema of every manifest.
pub fn inventory() -> Value {
    let about = "Any number of resources in any number of files.";
    resources("voldemort inventory", about, Tables::Whole)
}

/// Schema of the files of environments, which may change single settings of what exists.
pub fn overlay() -> Value {
    let about = "Changes to resources of the inventory, and further ones, for one environment.";
    resources("voldemort environment", about, Tables::Partial)
}

/// Whether a table must have its required settings.
#[derive(Clone, Copy, PartialEq)]
enum Tables {
    Whole,
    Partial,
}

fn resources(title: &str, about: &str, tables: Tables) -> Value {
    let kinds = Kind::ALL.map(|kind| {
        let resources = json!({
            "type": "object",
            "description": kind.fields().about,
            "propertyNames": { "pattern": NAME },
            "additionalProperties": { "$ref": format!("#/definitions/{}", kind.name()) },
        });
        (kind.name().to_owned(), resources)
    });
    let definitions = Kind::ALL.map(|kind| (kind.name().to_owned(), resource(kind, tables)));
    json!({
        "$schema": DRAFT,
        "title": title,
        "description": about,
        "type": "object",
        "properties": Map::from_iter(kinds),
        "patternProperties": { "^x-": {} },
        "additionalProperties": false,
        "definitions": Map::from_iter(definitions),
    })
}

/// Schema of `voldemort.toml` at the inventory's root.
pub fn settings() -> Value {
    let mut schema = table(File::FIELDS, Tables::Whole);
    schema["$schema"] = DRAFT.into();
    schema["title"] = "voldemort.toml".into();
    schema
}

const DRAFT: &str = "http://json-schema.org/draft-07/schema#";
const NAME: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";

fn resource(kind: Kind, tables: Tables) -> Value {
    let mut schema = table(kind.fields(), tables);
    if tables == Tables::Partial && kind.fields().key(WITHOUT).is_none() {
        let mut without = self::shape(&Shape::Several(&Shape::Text(Form::Any)), tables);
        without["description"] = "Settings of the inventory that do not count in this environment.".into();
        schema["properties"][WITHOUT] = without;
    }
    schema
}

fn table(fields: &Fields, tables: Tables) -> Value {
    let property = |key: &super::Key| {
        let mut schema = shape(&key.shape, tables);
        schema["description"] = key.about.into();
        (key.name.to_owned(), schema)
    };
    let required = fields.keys.iter().filter(|key| key.required && tables == Tables::Whole);
    let required: Vec<&str> = required.map(|key| key.name).collect();
    let mut schema = json!({
        "type": "object",
        "description": fields.about,
        "properties": fields.keys.iter().map(property).collect::<Map<_, _>>(),
        "patternProperties": { "^x-": {} },
        "required": required,
        "additionalProperties": false,
    });
    if !fields.either.is_empty() && tables == Tables::Whole {
        schema["anyOf"] = fields.either.iter().map(|key| json!({ "required": [key] })).collect();
    }
    schema
}

fn shape(shape: &Shape, tables: Tables) -> Value {
    match shape {
        Shape::Text(form) => self::form(form),
        Shape::Integer(least) => json!({ "type": "integer", "minimum": least }),
        Shape::Boolean => json!({ "type": "boolean" }),
        // Lists replace each other: what is in them is whole.
        Shape::List(inner) => json!({ "type": "array", "items": self::shape(inner, Tables::Whole) }),
        Shape::Several(inner) => {
            let one = self::shape(inner, Tables::Whole);
            json!({ "anyOf": [one, { "type": "array", "items": one }] })
        }
        Shape::Table(fields) => table(fields, tables),
        Shape::TextOr(fields) => json!({ "anyOf": [{ "type": "string" }, table(fields, tables)] }),
        Shape::Map(inner) | Shape::Variables(inner) => {
            json!({ "type": "object", "additionalProperties": self::shape(inner, tables) })
        }
        Shape::Selector => {
            let labels = json!({ "type": "object", "additionalProperties": { "type": "string" } });
            json!({
                "type": "object",
                "properties": { "labels": { "anyOf": [{ "type": "string" }, labels] } },
                "additionalProperties": { "type": "string" },
            })
        }
        Shape::Anything => json!({ "type": ["string", "integer", "boolean", "array", "object"] }),
        Shape::Secret => json!({
            "type": "object",
            "properties": { "secret": { "type": "string", "pattern": NAME } },
            "required": ["secret"],
            "additionalProperties": false,
        }),
    }
}

fn form(form: &Form) -> Value {
    let pattern = match form {
        Form::Choice(choices) => return json!({ "type": "string", "enum": choices }),
        Form::Any | Form::Path | Form::File | Form::ClientId => return json!({ "type": "string" }),
        Form::Name(_) => NAME,
        Form::Mac => {
            "^([0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}|[0-9a-fA-F]{4}(\\.[0-9a-fA-F]{4}){2}|[0-9a-fA-F]{12})$"
        }
        Form::Address => "^[0-9]{1,3}(\\.[0-9]{1,3}){3}$",
        Form::AddressOrAuto => "^(auto|[0-9]{1,3}(\\.[0-9]{1,3}){3})$",
        Form::Cidr => "^[0-9]{1,3}(\\.[0-9]{1,3}){3}/[0-9]{1,2}$",
        Form::Range => "^[0-9]{1,3}(\\.[0-9]{1,3}){3} *- *[0-9]{1,3}(\\.[0-9]{1,3}){3}$",
        Form::Address6 => "^[0-9a-fA-F:.]+$",
        Form::Cidr6 => "^[0-9a-fA-F:.]+/[0-9]{1,3}$",
        Form::Range6 => "^[0-9a-fA-F:.]+ *- *[0-9a-fA-F:.]+$",
        Form::Duration => "^([0-9]+[smhd])+$",
        Form::Size => "^[0-9]+ *[KMGT]iB$",
        Form::Percent => "^[0-9]{1,3}%$",
        Form::Rate => "^[0-9]{1,10}/h$",
        Form::Window => "^[A-Za-z,-]+ [0-9]{2}:[0-9]{2}-[0-9]{2}:[0-9]{2}( [A-Za-z0-9_+/-]+)?$",
        Form::Sha256 => "^[0-9a-fA-F]{64}$",
        Form::Uuid => "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
        Form::Url => "^(https?|ipmi)://.",
        Form::Endpoint => "^[A-Za-z0-9\\[:][A-Za-z0-9._:/%\\[\\]-]*$",
        Form::Segment => "^[A-Za-z0-9._-]+$",
        Form::HostName => "^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$",
    };
    json!({ "type": "string", "pattern": pattern })
}
