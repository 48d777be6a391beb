//! What is done with a claim: it is extended, given back or kept.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::row::{Queues, one, row};
use super::{By, Extension, pools_of, span};
use crate::api::audit::{about, about_unless_said};
use crate::api::body::Posted;
use crate::api::idempotency::{Keys, to_its_end};
use crate::api::problem::problem;
use crate::api::resource::EditRequest;
use crate::api::routes::{Backend, respond};
use crate::edit::{Edit, Setting, Verb as EditVerb};
use crate::manifest::Kind;
use crate::model::{Name, Role};
use crate::state::{self, Verb};

/// The answer where there is no such claim.
fn no_claim(name: &str) -> Response {
    let name: String = name.chars().take(100).collect();
    let why = format!("there is no claim {name}: `voldemortctl get claims` shows those that there are");
    problem(StatusCode::NOT_FOUND, &why)
}

/// The claim that a request is about, if its caller may change it; the error is the answer.
fn own<B: Backend>(backend: &B, by: &By, name: &Name) -> Result<Arc<state::Claim>, Response> {
    let state = backend.state();
    let claim = state.claims().get(name).cloned().ok_or_else(|| no_claim(name.as_str()))?;
    let caller = &by.0.0;
    let is_in_scope = pools_of(by).is_empty() || pools_of(by).contains(&claim.pool);
    match (caller.role >= Role::Editor || claim.by.by == caller.by) && is_in_scope {
        true => Ok(claim),
        false => {
            let why = format!(
                "claim {} of pool {} is {}'s, and this is {caller}",
                claim.name, claim.pool, claim.by
            );
            Err(problem(StatusCode::FORBIDDEN, &why))
        }
    }
}

pub(super) async fn extend<B: Backend>(
    State(backend): State<B>,
    by: By,
    axum::Extension(keys): axum::Extension<Keys>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Posted(request): Posted<Extension>,
) -> Response {
    let Ok(claim) = name.parse::<Name>() else { return no_claim(&name) };
    let ttl = match span(&request.ttl) {
        Ok(ttl) => ttl,
        Err(why) => return problem(StatusCode::BAD_REQUEST, &why),
    };
    let what = format!("extend claim {claim} by {ttl}");
    changed(backend, by, keys, headers, claim, what, move |claim| Verb::Extend(claim, ttl)).await
}

pub(super) async fn release<B: Backend>(
    State(backend): State<B>,
    by: By,
    axum::Extension(keys): axum::Extension<Keys>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Ok(claim) = name.parse::<Name>() else { return no_claim(&name) };
    let what = format!("release claim {claim}");
    changed(backend, by, keys, headers, claim, what, Verb::Release).await
}

/// Has a command about a claim carried out. The answer is the claim as it is then, or as it was where it is over. The
/// claim is looked for where the command is carried out: a request that is sent again has its answer, though its claim
/// is over by then.
async fn changed<B: Backend>(
    backend: B,
    by: By,
    keys: Keys,
    headers: HeaderMap,
    name: Name,
    what: String,
    verb: impl FnOnce(Name) -> Verb + Send + 'static,
) -> Response {
    let (caller, request) = (by.0.0.clone(), what.clone());
    let work = async move {
        let claim = match own(&backend, &by, &name) {
            Ok(claim) => claim,
            Err(answer) => return answer,
        };
        let before = row(&backend.state(), &claim, backend.now(), &mut Queues::default());
        respond(backend.command(verb(name.clone()), by.0.0).await, |outcome| match outcome {
            Ok(_) => Json(one(&backend.state(), &name, backend.now()).unwrap_or(before)).into_response(),
            Err(why) => problem(StatusCode::CONFLICT, &why),
        })
    };
    about_unless_said(keys.once(caller, &headers, request.as_bytes(), work).await, what)
}

/// Two steps: the claim goes on until a manifest has its machine, and the manifest is written. Where that is not done,
/// the claim stays kept, so that the person can write it.
pub(super) async fn keep<B: Backend>(
    State(backend): State<B>,
    by: By,
    axum::Extension(keys): axum::Extension<Keys>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Ok(name) = name.parse::<Name>() else { return no_claim(&name) };
    let (caller, what) = (by.0.0.clone(), format!("keep claim {name}"));
    let key = Keys::digest(&caller, &headers, &what);
    let said = what.clone();
    let work = async move {
        let claim = match own(&backend, &by, &name) {
            Ok(claim) => claim,
            Err(answer) => return answer,
        };
        let (pools, sender) = (pools_of(&by).to_vec(), by.0.0);
        let kept = backend.command(Verb::Keep(name), sender.clone()).await;
        let edit = match kept {
            Ok(Ok(_)) => deployment_of(&backend.state(), &claim),
            Ok(Err(why)) => return problem(StatusCode::CONFLICT, &why),
            Err(error) => return problem(StatusCode::SERVICE_UNAVAILABLE, &error),
        };
        let request = match edit {
            Ok(edit) => {
                EditRequest { edit: Some(edit), reason: Some(what.clone()), ..EditRequest::default() }
            }
            Err(why) => return problem(StatusCode::CONFLICT, &why),
        };
        respond(backend.edit(request, sender, pools, key).await, |edited| {
            let became = edited.became();
            about(edited.answer(), format!("{what}: {became}"))
        })
    };
    // The second step follows the first, though the caller goes away meanwhile.
    let answer = keys.once(caller, &headers, said.as_bytes(), to_its_end(work)).await;
    about_unless_said(answer, said)
}

/// The deployment that takes over from a claim.
fn deployment_of(state: &state::State, claim: &state::Claim) -> Result<Edit, String> {
    let claim = state.claims().get(&claim.name).ok_or("the claim is over")?;
    let machine = claim.machine().ok_or("the claim still waits for a machine")?;
    let profile = state.desired().pools.get(&claim.pool).map(|pool| &pool.profile);
    let profile = profile.ok_or_else(|| {
        format!(
            "the inventory has no pool {} any more: write a deployment {} on machine {machine}",
            claim.pool, claim.name
        )
    })?;
    let setting = |key: &str, value: &Name| Setting { path: vec![key.into()], value: value.as_str().into() };
    Ok(Edit {
        verb: EditVerb::Create,
        kind: Kind::Deployment,
        name: Some(claim.name.to_string()),
        mac: None,
        settings: vec![setting("profile", profile), setting("machine", machine)],
        deployment_type: None,
        if_match: None,
    })
}
