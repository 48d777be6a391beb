//! `schemas/openapi.json`: the contract of the control API, made of the descriptions of its routes and of the wire
//! types themselves (OpenAPI 3.1, whose schemas are JSON Schema 2020-12).

use axum::http::{Method, StatusCode};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::problem::{self, Problem};
use super::resource::webhook::{Gap, Happened, Message};
use super::route::{Answer, Parameter, Route};

/// The document of these routes.
pub fn document(routes: &[Route]) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for route in routes {
        let operations = paths.entry(route.path.to_string()).or_insert_with(|| json!({}));
        operations[route.method.as_str().to_lowercase()] = operation(route, &mut generator);
    }
    let problem = generator.subschema_for::<Problem>();
    let webhooks = json!({
        "event": webhook::<Happened>("An event that a `[[webhook]]` of the daemon's file wants", &mut generator),
        "gap": webhook::<Gap>("Events that were forgotten before they could be sent", &mut generator),
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "voldemort",
            "version": "v1",
            "description": "The control API of a voldemort daemon. Fields may be added to answers, and words to lists of \
                words: a client should ignore fields that it does not know. Unknown query parameters and unknown fields \
                of a request are refused.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "security": [{ "token": [] }],
        "paths": paths,
        "webhooks": webhooks,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "responses": { "Problem": {
                "description": "What went wrong, and the way out",
                "content": { problem::TYPE: { "schema": problem } },
            } },
            "schemas": generator.take_definitions(true),
        },
    })
}

/// A request that the daemon sends, in the form of Standard Webhooks.
fn webhook<T: JsonSchema>(about: &str, generator: &mut SchemaGenerator) -> Value {
    let header = |name: &str, about: &str| json!({ "name": name, "in": "header", "required": true, "description": about, "schema": { "type": "string" } });
    let schema = generator.subschema_for::<Message<T>>();
    json!({ "post": {
        "summary": about,
        "security": [],
        "parameters": [
            header("webhook-id", "The same each time that it is sent: `LINEAGE.SEQUENCE` of an event"),
            header("webhook-timestamp", "Seconds since 1970, when it was sent"),
            header("webhook-signature", "`v1,` and the HMAC-SHA256, in base64, of `ID.TIMESTAMP.BODY`; several are separated by blanks"),
        ],
        "requestBody": { "required": true, "content": { "application/json": { "schema": schema } } },
        "responses": {
            "2XX": { "description": "It has arrived" },
            "default": { "description": "It is sent again later, and later events wait behind it" },
        },
    } })
}

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let mut operation = json!({ "operationId": id(route), "summary": route.about });
    match route.role {
        Some(role) => operation["x-role"] = role.to_string().into(),
        None => operation["security"] = json!([]),
    }
    let variables = route.path.split('{').skip(1).filter_map(|part| part.split_once('}'));
    let variables = variables.map(
        |(name, _)| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }),
    );
    let variables: Vec<Value> = variables.collect();
    let query = route.parameters.iter().map(|Parameter { name, about, schema }| {
        json!({ "name": name, "in": "query", "description": about, "schema": schema(generator) })
    });
    let query: Vec<Value> = query.collect();
    let headers = route.headers.iter().map(|(name, about)| {
        json!({ "name": name, "in": "header", "description": about, "schema": { "type": "string" } })
    });
    let headers: Vec<Value> = headers.collect();
    let parameters = [variables, query, headers].concat();
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(schema) = route.body {
        let schema = schema(generator);
        operation["requestBody"] =
            json!({ "required": true, "content": { "application/json": { "schema": schema } } });
    }
    let mut responses = Map::new();
    for Answer { status, about, json: schema } in &route.answers {
        let kind = if status.is_success() { "application/json" } else { problem::TYPE };
        let answer = match schema {
            // The members of an outcome stand beside those of the problem.
            Some(schema) if !status.is_success() => {
                let schema = json!({
                    "$ref": "#/components/schemas/Problem",
                    "anyOf": [schema(generator), { "not": { "required": ["outcome"] } }],
                });
                json!({ "description": about, "content": { kind: { "schema": schema } } })
            }
            Some(schema) => {
                json!({ "description": about, "content": { kind: { "schema": schema(generator) } } })
            }
            None if *status == StatusCode::NOT_MODIFIED => json!({ "description": about }),
            None if status.is_success() => {
                json!({ "description": about, "content": { "text/plain": { "schema": { "type": "string" } } } })
            }
            None => json!({ "description": about, "content": { kind: {
                "schema": { "$ref": "#/components/schemas/Problem" }
            } } }),
        };
        responses.insert(status.as_u16().to_string(), answer);
    }
    if let (Some(about), Some(answer)) = (route.stream, responses.get_mut("200")) {
        answer["content"]["text/event-stream"] =
            json!({ "schema": { "type": "string", "description": about } });
    }
    responses.insert("default".into(), json!({ "$ref": "#/components/responses/Problem" }));
    operation["responses"] = responses.into();
    operation
}

/// `get-deployments-name`.
fn id(route: &Route) -> String {
    let path = route.path.trim_start_matches("/v1");
    let words = path.split(['/', '{', '}']).filter(|word| !word.is_empty());
    let method =
        if route.method == Method::GET { "get".to_owned() } else { route.method.as_str().to_lowercase() };
    std::iter::once(method).chain(words.map(str::to_owned)).collect::<Vec<_>>().join("-")
}
