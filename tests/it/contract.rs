//! What programs against the control API may rely on: its contract changes only in ways that they don't notice.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use voldemort::api::problem::ErrorCode;

fn read(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// Two contracts, and everything in the later one that breaks a program that was written against the earlier.
struct Comparison<'a> {
    old: &'a Value,
    new: &'a Value,
    broken: Vec<String>,
    /// Pairs of names of schemas that are compared already: schemas may contain themselves.
    seen: BTreeSet<(String, String, bool)>,
}

fn breaking(old: &Value, new: &Value) -> Vec<String> {
    let mut comparison = Comparison { old, new, broken: Vec::new(), seen: BTreeSet::new() };
    for (path, operations) in old["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let at = format!("{} {path}", method.to_uppercase());
            match new["paths"][path].get(method) {
                Some(present) => comparison.operation(&at, operation, present),
                None => comparison.broken.push(format!("{at} is gone")),
            }
        }
    }
    comparison.broken
}

impl Comparison<'_> {
    fn operation(&mut self, at: &str, old: &Value, new: &Value) {
        if rank(&new["x-role"]) > rank(&old["x-role"]) {
            self.broken.push(format!("{at} needs the role {}, which was {}", new["x-role"], old["x-role"]));
        }
        let none = Vec::new();
        let parameters = |operation: &Value| operation["parameters"].as_array().unwrap_or(&none).clone();
        let (before, after) = (parameters(old), parameters(new));
        let of = |all: &[Value], name: &Value| all.iter().find(|one| one["name"] == *name).cloned();
        for parameter in &before {
            match of(&after, &parameter["name"]) {
                Some(present) => {
                    self.schema(
                        &format!("{at} {}", parameter["name"]),
                        &parameter["schema"],
                        &present["schema"],
                        true,
                    );
                }
                None => self.broken.push(format!("{at} takes no {} any more", parameter["name"])),
            }
        }
        let added = after.iter().filter(|parameter| of(&before, &parameter["name"]).is_none());
        for parameter in added.filter(|parameter| parameter["required"] == true) {
            self.broken.push(format!("{at} requires {}", parameter["name"]));
        }
        let body =
            |operation: &Value| operation["requestBody"]["content"]["application/json"]["schema"].clone();
        match (body(old), body(new)) {
            (Value::Null, Value::Null) => {}
            (Value::Null, _) => self.broken.push(format!("{at} requires a body")),
            (before, after) => self.schema(&format!("{at} body"), &before, &after, true),
        }
        for (status, answer) in old["responses"].as_object().unwrap() {
            for (kind, content) in answer["content"].as_object().into_iter().flatten() {
                let present = &new["responses"][status]["content"][kind]["schema"];
                self.schema(&format!("{at} {status}"), &content["schema"], present, false);
            }
        }
    }

    /// A schema of a request (`taken`), which must go on to take all that it took, or of an answer, which must go on to
    /// have all that it had.
    fn schema(&mut self, at: &str, old: &Value, new: &Value, taken: bool) {
        let name = |schema: &Value| schema["$ref"].as_str().unwrap_or_default().to_owned();
        let pair = (name(old), name(new), taken);
        if !pair.0.is_empty() && !self.seen.insert(pair) {
            return;
        }
        let (document, present) = (self.old, self.new);
        if !taken && is_nullable(new) && !is_nullable(old) && old.is_object() {
            self.broken.push(format!("{at} may be null now"));
        }
        let (old, new) = (resolved(document, unless_null(old)), resolved(present, unless_null(new)));
        let (types, now) = (types(old), types(new));
        let narrowed = match taken {
            true => !now.is_empty() && !types.is_subset(&now),
            false => !types.is_empty() && !now.is_subset(&types),
        };
        if narrowed || (old.is_object() && new.is_null()) {
            self.broken.push(format!("{at}: its type was {types:?} and is {now:?}"));
            return;
        }
        for (property, schema) in old["properties"].as_object().into_iter().flatten() {
            match new["properties"].get(property) {
                Some(present) => self.schema(&format!("{at}.{property}"), schema, present, taken),
                None => self.broken.push(format!("{at}.{property} is gone")),
            }
        }
        let required = |schema: &Value| -> BTreeSet<String> {
            let names = schema["required"].as_array().into_iter().flatten();
            names.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let (before, after) = (required(old), required(new));
        let changed = if taken { after.difference(&before) } else { before.difference(&after) };
        let word = if taken { "is required" } else { "may be absent" };
        self.broken.extend(changed.map(|name| format!("{at}.{name} {word} now")));
        if old["items"].is_object() {
            self.schema(&format!("{at}[]"), &old["items"], &new["items"], taken);
        }
        self.variants(at, old, new, taken);
    }

    /// The values of a closed list, and the forms of a type that has several.
    fn variants(&mut self, at: &str, old: &Value, new: &Value, taken: bool) {
        let values = |schema: &Value| schema["enum"].as_array().cloned().unwrap_or_default();
        let (before, after) = (values(old), values(new));
        if taken && !after.is_empty() {
            let gone = before.iter().filter(|value| !after.contains(value));
            self.broken.extend(gone.map(|value| format!("{at} takes no {value} any more")));
        }
        for key in ["oneOf", "anyOf"] {
            let forms = |schema: &Value| schema[key].as_array().cloned().unwrap_or_default();
            let after = forms(new);
            for form in forms(old) {
                let mark = mark(self.old, &form);
                match after.iter().find(|other| self::mark(self.new, other) == mark) {
                    Some(other) => self.schema(&format!("{at} {mark}"), &form, other, taken),
                    None => self.broken.push(format!("{at}: the form {mark} is gone")),
                }
            }
        }
    }
}

fn rank(role: &Value) -> usize {
    let roles = ["viewer", "claimer", "editor", "admin"];
    role.as_str().map_or(0, |role| 1 + roles.iter().position(|one| *one == role).unwrap_or(roles.len()))
}

fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let name = schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/components/schemas/"));
    // A reference with something beside it is no more than its own members to a comparison.
    match name {
        Some(name) if schema.as_object().is_some_and(|members| members.len() == 1) => {
            &document["components"]["schemas"][name]
        }
        _ => schema,
    }
}

/// Whether a schema is `anyOf` something and null.
fn is_nullable(schema: &Value) -> bool {
    schema["anyOf"].as_array().is_some_and(|forms| forms.len() == 2 && forms[1]["type"] == "null")
}

/// What such a schema is otherwise.
fn unless_null(schema: &Value) -> &Value {
    if is_nullable(schema) { &schema["anyOf"][0] } else { schema }
}

fn types(schema: &Value) -> BTreeSet<String> {
    match &schema["type"] {
        Value::String(one) => [one.clone()].into(),
        Value::Array(all) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => BTreeSet::new(),
    }
}

/// What a form of a type is known by: its tag, its value, its name, or its type.
fn mark(document: &Value, form: &Value) -> String {
    let name = form["$ref"].as_str().map(|name| name.rsplit('/').next().unwrap_or(name).to_owned());
    let form = resolved(document, form);
    let tag = form["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .find_map(|(name, schema)| Some(format!("{name}={}", schema.get("const")?)));
    let key = form["required"].as_array().and_then(|names| names.first()).map(Value::to_string);
    let value = form.get("const").map(Value::to_string);
    tag.or(value).or(name).or(key).unwrap_or_else(|| format!("{:?}", types(form)))
}

/// `schemas/released/openapi.json` is the contract of the last release; a release copies it.
#[test]
fn nothing_of_the_released_contract_is_broken() {
    let broken = breaking(&read("released/openapi.json"), &read("openapi.json"));
    assert!(broken.is_empty(), "programs against the last release break:\n{}", broken.join("\n"));
}

/// An outcome that is an error has the code of that name.
#[test]
fn every_outcome_is_done_or_has_a_code() {
    const DONE: [&str; 7] = ["planned", "written", "branch", "made", "unchanged", "applied", "done"];
    let contract = read("openapi.json");
    for name in ["Edited", "Outcome"] {
        let forms = contract["components"]["schemas"][name]["oneOf"].as_array().unwrap();
        for form in forms {
            let outcome = form["properties"]["outcome"]["const"].as_str().unwrap();
            assert!(DONE.contains(&outcome) || ErrorCode::named(outcome).is_some(), "{name} {outcome}");
        }
    }
}

#[test]
fn what_breaks_a_program_is_found() {
    let contract = read("openapi.json");
    assert_eq!(breaking(&contract, &contract), Vec::<String>::new());
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut other = contract.clone();
        change(&mut other);
        breaking(&contract, &other).join("\n")
    };
    let schemas = |document: &mut Value, name: &str, change: &dyn Fn(&mut Value)| {
        change(&mut document["components"]["schemas"][name]);
    };
    type Change<'a> = &'a dyn Fn(&mut Value);
    let cases: [(Change<'_>, &str); 10] = [
        (&|it| drop(it["paths"].as_object_mut().unwrap().remove("/v1/boots")), "GET /v1/boots is gone"),
        (&|it| it["paths"]["/v1/status"]["get"]["x-role"] = json!("admin"), "needs the role \"admin\""),
        (&|it| it["paths"]["/v1/events"]["get"]["parameters"] = json!([]), "takes no \"after\" any more"),
        (
            &|it| schemas(it, "Lease", &|it| drop(it["properties"].as_object_mut().unwrap().remove("mac"))),
            "[].mac is gone",
        ),
        (&|it| schemas(it, "Lease", &|it| it["required"] = json!(["address"])), ".mac may be absent now"),
        (
            &|it| {
                let now = json!({ "anyOf": [it["components"]["schemas"]["Lease"]["properties"]["mac"], { "type": "null" }] });
                schemas(it, "Lease", &|it| it["properties"]["mac"] = now.clone());
            },
            ".mac may be null now",
        ),
        (
            &|it| schemas(it, "Lease", &|it| it["properties"]["mac"]["type"] = json!("integer")),
            "its type was",
        ),
        (
            &|it| schemas(it, "Adopt", &|it| it["required"] = json!(["deployment", "reason"])),
            ".reason is required now",
        ),
        (
            &|it| schemas(it, "Adopt", &|it| it["properties"]["deployment"]["type"] = json!("integer")),
            "its type was",
        ),
        (
            &|it| schemas(it, "Order", &|it| drop(it["oneOf"].as_array_mut().unwrap().remove(0))),
            "the form order=\"approve\" is gone",
        ),
    ];
    for (change, part) in cases {
        let broken = changed(change);
        assert!(broken.contains(part), "{part}: {broken}");
    }
    // What a program does not notice is no break.
    let more = changed(&|it| {
        it["paths"]["/v1/new"] = json!({ "get": { "responses": {} } });
        schemas(it, "Lease", &|it| it["properties"]["more"] = json!({ "type": "string" }));
    });
    assert_eq!(more, "");
}
