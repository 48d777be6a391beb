//! What callers see who may not change the inventory, or only what is of some pools: no credentials that are written
//! plainly in manifests.
//!
//! It is done to whole answers, so that no route can forget it: `spec` and `resolved` of resources, the command line in
//! `why`, the differences of what machines are served in plans, lines of manifests in problems. A stream has no end:
//! its items are masked one by one ([`row`]).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::middleware::Next;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;

use super::problem::{self, problem};
use crate::desired::Desired;
use crate::model::credential::Masker;
use crate::model::variable::VariableType;
use crate::model::{Caller, Role};
use crate::state::ApiToken;

/// The masker of a desired state; clones share it.
#[derive(Clone, Default)]
pub(super) struct Masks(Arc<Mutex<Option<Known>>>);

/// A desired state, and the masker that was made of it.
type Known = (Arc<Desired>, Arc<Masker>);

impl Masks {
    /// The one that knows what the templates of `desired` declare as secrets.
    pub(super) fn of(&self, desired: &Arc<Desired>) -> Arc<Masker> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, masker)) = known.as_ref()
            && Arc::ptr_eq(of, desired)
        {
            return masker.clone();
        }
        let deployments = desired.deployments.values();
        let templates = deployments.flat_map(|one| [&one.template, &one.user_data].into_iter().flatten());
        let inputs = templates.flat_map(|template| &template.inputs);
        let secret = inputs.filter(|(_, input)| input.kind == VariableType::Secret);
        let names: BTreeSet<&str> = secret.map(|(name, _)| name.as_str()).collect();
        let masker = Arc::new(Masker::new(names.into_iter()));
        *known = Some((desired.clone(), masker.clone()));
        masker
    }
}

/// Masks the answer to a caller that is no editor, or whose token is bound to pools: that reads what a viewer does. A
/// route that streams finds the [`Masks`] in such a request.
pub(super) async fn below_editors(
    masks: Masks,
    desired: Arc<Desired>,
    mut request: Request,
    next: Next,
) -> Response {
    let is_below = |caller: &Caller| caller.role < Role::Editor;
    let is_bound = |token: &Arc<ApiToken>| !token.pools.is_empty();
    let reads_only = request.extensions().get::<Caller>().is_none_or(is_below)
        || request.extensions().get::<Arc<ApiToken>>().is_some_and(is_bound);
    if reads_only {
        request.extensions_mut().insert(masks.clone());
    }
    let answer = next.run(request).await;
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !reads_only || !(kind.starts_with("application/json") || kind == problem::TYPE) {
        return answer;
    }
    let (mut head, body) = answer.into_parts();
    let Ok(bytes) = to_bytes(body, usize::MAX).await else {
        return problem(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be made");
    };
    let masker = masks.of(&desired);
    let masked = match std::str::from_utf8(&bytes) {
        Ok(text) => json(&masker, text).map(Bytes::from),
        Err(_) => None,
    };
    if masked.is_some() {
        head.headers.remove(CONTENT_LENGTH);
    }
    Response::from_parts(head, Body::from(masked.unwrap_or(bytes)))
}

/// JSON without its credentials; `None` if it has none.
fn json(masker: &Masker, text: &str) -> Option<String> {
    if !masker.may_mask(text) {
        return None;
    }
    let whole: Value = serde_json::from_str(text).ok()?;
    let mut masked = whole.clone();
    masker.mask(&mut masked);
    (masked != whole).then(|| masked.to_string())
}

/// An item of a stream as JSON of one line, without its credentials where there is a masker.
pub(super) fn row(item: &impl Serialize, masker: Option<&Masker>) -> String {
    // A row of texts and numbers is always JSON.
    let whole = serde_json::to_string(item).unwrap_or_default();
    masker.and_then(|masker| json(masker, &whole)).unwrap_or(whole)
}
