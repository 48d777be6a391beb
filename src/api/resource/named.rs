//! `GET /v1/KIND/NAME`: one resource of the manifests, as it is written, what it means, and how it stands.
//!
//! Its entity tag (RFC 9110, section 8.8.3) has two parts: one of what is written and what that means, one of the
//! whole answer. A write with `If-Match` is held to the first: that a machine booted meanwhile is no conflict.

use axum::extract::{Path, State};
use axum::http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::meaning::{self, Meaning, Standing};
use super::{Pool, Profile, Template, boot, definition, deployment, machine, subnet};
use crate::api::problem::problem;
use crate::api::route::{Route, Routes};
use crate::api::routes::Backend;
use crate::manifest::Kind;
use crate::model::hex::hex;
use crate::model::{Name, Origin};
use crate::state;

/// What manifests say of a resource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Written {
    /// Its settings with their keys, as they are written at `origin`; null for a machine that a deployment's `mac`
    /// implies.
    pub spec: Option<Map<String, Value>>,
    /// What the environment that is served lays over that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overlays: Vec<Overlay>,
}

/// What an environment changes of a resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Overlay {
    /// `environments/prod.toml:4`
    pub origin: String,
    pub spec: Map<String, Value>,
}

/// One resource. What its row in the list has stands beside these members.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "{T}Resource")]
pub struct Resource<T> {
    #[serde(flatten)]
    pub row: T,
    #[serde(flatten)]
    pub written: Written,
    /// What it means, with all that it inherits.
    pub resolved: Meaning,
    pub status: Standing,
    /// As in the header `ETag`.
    pub etag: String,
}

/// Where a resource is written; `None` if the manifests that are served do not have it.
pub fn origin(state: &state::State, kind: Kind, name: &Name) -> Option<Origin> {
    let desired = state.desired();
    match kind {
        Kind::Deployment => desired.deployments.get(name).map(|found| found.origin.clone()),
        Kind::Machine => desired.machines.get(name).map(|found| found.origin.clone()),
        Kind::Boot => desired.boots.get(name).map(|found| found.origin.clone()),
        Kind::Subnet => desired.subnets.get(name).map(|found| found.origin.clone()),
        Kind::Profile | Kind::Pool | Kind::Template => {
            desired.definitions.get(&(kind, name.clone())).map(|found| found.origin.clone())
        }
    }
}

/// One resource, ready to be sent.
pub struct Shown {
    /// The part of its entity tag that a write is held to.
    pub version: String,
    /// Its entity tag, with the quotes.
    pub etag: String,
    /// JSON.
    pub body: Vec<u8>,
}

/// The resource of this name; `None` if the manifests do not have it.
pub fn shown(state: &state::State, kind: Kind, name: &Name, written: Written) -> Option<Shown> {
    match kind {
        Kind::Deployment => filled(deployment::one(state, name.as_str())?, state, kind, name, written),
        Kind::Machine => filled(machine::one(state, name)?, state, kind, name, written),
        Kind::Boot => filled(boot::one(state, name)?, state, kind, name, written),
        Kind::Subnet => filled(subnet::one(state, name)?, state, kind, name, written),
        Kind::Profile => filled(definition::one::<Profile>(state, name)?, state, kind, name, written),
        Kind::Template => filled(definition::one::<Template>(state, name)?, state, kind, name, written),
        Kind::Pool => filled(definition::one::<Pool>(state, name)?, state, kind, name, written),
    }
}

fn filled(
    row: impl Serialize,
    state: &state::State,
    kind: Kind,
    name: &Name,
    written: Written,
) -> Option<Shown> {
    let resolved = meaning::of(state, kind, name)?;
    let version = digest(&serde_json::to_vec(&(&written, &resolved)).ok()?);
    let status = meaning::standing(state, kind, name);
    let mut resource = Resource { row, written, resolved, status, etag: String::new() };
    let whole = digest(&serde_json::to_vec(&resource).ok()?);
    resource.etag = format!("\"{version}-{whole}\"");
    let body = serde_json::to_vec(&resource).ok()?;
    Some(Shown { version, etag: resource.etag, body })
}

/// 128 bits of SHA-256, in hexadecimal.
fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes)[..16])
}

pub fn routes<B: Backend>() -> Routes<B> {
    Kind::ALL.into_iter().fold(Routes::new(), |routes, kind| {
        let route = match kind {
            Kind::Deployment => route::<deployment::Deployment>(kind),
            Kind::Machine => route::<machine::Machine>(kind),
            Kind::Boot => route::<boot::Boot>(kind),
            Kind::Subnet => route::<subnet::SubnetRow>(kind),
            Kind::Profile => route::<Profile>(kind),
            Kind::Template => route::<Template>(kind),
            Kind::Pool => route::<Pool>(kind),
        };
        routes.add(route, move |State(backend): State<B>, Path(name): Path<String>, headers: HeaderMap| {
            one(backend, kind, name, headers)
        })
    })
}

fn route<T: JsonSchema>(kind: Kind) -> Route {
    let about = match kind {
        Kind::Deployment => "One deployment: as it is written, what that means, and how it stands",
        Kind::Machine => "One machine of the manifests",
        Kind::Boot => "One boot",
        Kind::Subnet => "One subnet",
        Kind::Pool => "One pool",
        Kind::Profile => "One profile",
        Kind::Template => "One template of the manifests",
    };
    Route::get(format!("/v1/{}/{{name}}", kind.fields().plural), about)
        .header("If-None-Match", "Entity tags of answers that the caller has: 304 if this is one of them")
        .gives::<Resource<T>>()
        .says(StatusCode::NOT_MODIFIED, "The caller has this answer")
        .says(StatusCode::NOT_FOUND, "There is none of that name")
}

async fn one<B: Backend>(backend: B, kind: Kind, name: String, headers: HeaderMap) -> Response {
    let none = || problem(StatusCode::NOT_FOUND, &format!("there is no {} {name}", kind.name()));
    let Ok(wanted) = name.parse::<Name>() else { return none() };
    let state = backend.state();
    let Some(origin) = origin(&state, kind, &wanted) else { return none() };
    let written = backend.written(kind, &wanted, &origin).await;
    let Some(Shown { etag, body, .. }) = shown(&state, kind, &wanted, written) else { return none() };
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|header| header.to_str().ok());
    // The comparison is the weak one (RFC 9110, section 13.1.2).
    let is_known = known
        .flat_map(|header| header.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == "*" || tag == etag);
    match is_known {
        true => (StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response(),
        false => ([(ETAG, etag), (CONTENT_TYPE, "application/json".into())], body).into_response(),
    }
}
