//! `POST /v1/claims`: a machine of a pool is asked for.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::row::{Queues, one, row};
use super::{By, ClaimWanted, pools_of, span};
use crate::api::audit::{about, about_unless_said};
use crate::api::body::{Posted, SMALL_MAX};
use crate::api::idempotency::Keys;
use crate::api::problem::problem;
use crate::api::routes::{Backend, respond};
use crate::manifest::Kind;
use crate::model::Name;
use crate::state::claim::Wanted;
use crate::state::command::Outcome;
use crate::state::user_data::USER_DATA_MAX;
use crate::state::{self, Verb};

/// Largest body of a claim: each byte of its user data may take six in JSON.
const BODY_MAX: usize = SMALL_MAX + 6 * USER_DATA_MAX;

pub(super) async fn claim<B: Backend>(
    State(backend): State<B>,
    by: By,
    axum::Extension(keys): axum::Extension<Keys>,
    headers: HeaderMap,
    Posted(wanted): Posted<ClaimWanted, BODY_MAX>,
) -> Response {
    let caller = by.0.0.clone();
    let whole = serde_json::to_string(&wanted).unwrap_or_default();
    let understood = match wanted.understood() {
        Ok(understood) => understood,
        Err(why) => return problem(StatusCode::BAD_REQUEST, &why),
    };
    let pool = understood.pool.clone();
    if !pools_of(&by).is_empty() && !pools_of(&by).contains(&pool) {
        return problem(StatusCode::FORBIDDEN, &format!("this token is not for pool {pool}"));
    }
    let key = Keys::digest(&caller, &headers, &whole).map(Arc::from);
    let user_data = wanted.user_data.as_ref().map(|text| backend.sealed_user_data(text));
    let verb = Verb::Claim(Wanted { key, user_data, ..understood }.into());
    let what = format!("claim a machine of pool {}", wanted.pool);
    let said = what.clone();
    let sender = caller.clone();
    let work = async move {
        respond(backend.command(verb, sender).await, |outcome| match outcome {
            Ok(Outcome::Claimed(claim)) => {
                let state = backend.state();
                let found = one(&state, &claim.name, backend.now());
                let row = found.unwrap_or_else(|| row(&state, &claim, backend.now(), &mut Queues::default()));
                let got =
                    row.machine.as_ref().map_or("queued".into(), |machine| format!("machine {machine}"));
                about(Json(&row).into_response(), format!("{what}: {}, {got}", row.name))
            }
            Ok(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "no claim was made"),
            // A claim that was made with the same key is found without its pool.
            Err(why) => {
                no_pool(&backend.state(), &pool).unwrap_or_else(|| problem(StatusCode::CONFLICT, &why))
            }
        })
    };
    about_unless_said(keys.once(caller, &headers, whole.as_bytes(), work).await, said)
}

/// The answer where no machine can be had of a pool, since there is none of that name.
fn no_pool(state: &state::State, pool: &Name) -> Option<Response> {
    if state.desired().pools.contains_key(pool) {
        return None;
    }
    let is_written = state.desired().definitions.contains_key(&(Kind::Pool, pool.clone()));
    let why = match is_written {
        true => {
            format!("pool {pool} gives out no machine: `voldemort check` says what is wrong with its profile")
        }
        false => {
            let known: Vec<&str> = state.desired().pools.keys().map(Name::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            format!("the inventory that is served has no pool {pool}; there are: {known}")
        }
    };
    Some(problem(StatusCode::NOT_FOUND, &why))
}

impl ClaimWanted {
    /// The error says what is wrong.
    fn understood(&self) -> Result<Wanted, String> {
        let pool = self.pool.parse().map_err(|error| format!("pool: `{}`: {error}", self.pool))?;
        let name =
            self.name.as_ref().map(|name| name.parse().map_err(|error| format!("name: `{name}`: {error}")));
        if self.user_data.as_ref().is_some_and(|text| text.len() > USER_DATA_MAX) {
            return Err(format!("user_data: there may be {USER_DATA_MAX} bytes at most"));
        }
        let (ttl, name) = (self.ttl.as_deref().map(span).transpose()?, name.transpose()?);
        Ok(Wanted { ttl, name, ..Wanted::of(pool) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Span;

    #[test]
    fn what_is_wrong_with_a_wish_is_named() {
        let wanted = |pool: &str, name: Option<&str>, ttl: Option<&str>| {
            let (name, ttl) = (name.map(str::to_owned), ttl.map(str::to_owned));
            ClaimWanted { pool: pool.into(), name, ttl, user_data: None }.understood()
        };
        let right = wanted("ci", Some("web"), Some("2h")).unwrap();
        assert_eq!((right.pool.as_str(), right.ttl), ("ci", Some(Span::seconds(7200))));
        for (found, why) in [
            (wanted("CI", None, None), "pool: `CI`: "),
            (wanted("ci", Some("a b"), None), "name: `a b`: "),
            (wanted("ci", None, Some("0s")), "ttl: a claim of no time"),
            (wanted("ci", None, Some("soon")), "ttl: `soon`: "),
        ] {
            let said = found.unwrap_err();
            assert!(said.starts_with(why), "{said}");
        }
        let long = |count: usize| {
            ClaimWanted { pool: "ci".into(), user_data: Some("x".repeat(count)), ..ClaimWanted::default() }
                .understood()
        };
        assert!(long(USER_DATA_MAX).is_ok() && long(USER_DATA_MAX + 1).is_err());
    }
}
