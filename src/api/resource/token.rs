//! `GET` and `POST /v1/tokens`, `DELETE /v1/tokens/NAME`: who may use the API over TCP.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Row, or_dash};
use crate::api::Word;
use crate::api::audit::about;
use crate::api::body::Posted;
use crate::api::problem::problem;
use crate::api::route::{Route, Routes};
use crate::api::routes::{Backend, respond};
use crate::manifest::Kind;
use crate::model::{Caller, Name, Role, Span, Time};
use crate::state::{self, ApiToken};

/// Most pools that a token is bound to.
const POOLS_MAX: usize = 100;

/// A row of `GET /v1/tokens`. `DELETE` answers with the one that was revoked, as it was. The token itself is not kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    /// No two have the same.
    pub name: String,
    /// Eight hexadecimal digits, which stand in the token after `vdm_`.
    pub id: String,
    pub role: Word<Role>,
    /// The pools whose deployments it may change, and nothing else; any where there are none.
    #[serde(default)]
    pub pools: Vec<String>,
    /// RFC 3339.
    pub created: String,
    /// Who created it; absent where a later version recorded it.
    pub by: Option<String>,
    /// RFC 3339; absent where it does not end by itself.
    pub expires: Option<String>,
    /// Whether that is over.
    pub expired: bool,
    /// RFC 3339; when it was last used. After a restart of the daemon that may be an hour too early.
    pub used: Option<String>,
}

/// `POST /v1/tokens`: a token that is wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenWanted {
    /// Lower-case letters, digits and hyphens; at most 63.
    pub name: String,
    /// What its holder may do: `viewer`, `claimer`, `editor` or `admin`.
    pub role: String,
    /// The pools whose deployments it may change, and nothing else; any where there are none. It may read everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<String>,
    /// For how long it is good, as `90d` or `12h`; without this, until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// A token that was created.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenCreated {
    pub name: String,
    pub role: Word<Role>,
    /// RFC 3339; absent where it does not end by itself.
    pub expires: Option<String>,
    /// What its holder sends as `Authorization: Bearer TOKEN`: `vdm_`, eight hexadecimal digits, `_` and 64 more. It is
    /// shown this once.
    pub token: String,
}

/// A token that is wanted, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct NewToken {
    pub name: Name,
    pub role: Role,
    pub pools: Vec<Name>,
    pub expires: Option<Time>,
}

impl TokenWanted {
    /// The error says what is wrong.
    fn understood(&self, now: Time) -> Result<NewToken, String> {
        let TokenWanted { name, role, pools, expires } = self;
        let span =
            |text: &String| text.parse::<Span>().map_err(|error| format!("expires: `{text}`: {error}"));
        let expires = match expires.as_ref().map(span).transpose()? {
            Some(Span(0)) => return Err("expires: a token of no time opens nothing".to_owned()),
            span => span.map(|span| now + span),
        };
        let role = role.parse().map_err(|error| format!("role: `{role}`: {error}"))?;
        if !pools.is_empty() && role == Role::Viewer {
            return Err("pools: a viewer changes nothing: leave them out, or choose another role".to_owned());
        }
        if pools.len() > POOLS_MAX {
            return Err(format!("pools: a token is for {POOLS_MAX} at most"));
        }
        let pool = |pool: &String| pool.parse::<Name>().map_err(|error| format!("pools: `{pool}`: {error}"));
        let mut pools = pools.iter().map(pool).collect::<Result<Vec<_>, _>>()?;
        pools.sort();
        pools.dedup();
        let name = name.parse().map_err(|error| format!("name: `{name}`: {error}"))?;
        Ok(NewToken { name, role, pools, expires })
    }
}

/// All of them. `last` says when one was used since the daemon started.
pub fn all(state: &state::State, now: Time, last: impl Fn(&ApiToken) -> Option<Time>) -> Vec<Token> {
    state.api_tokens().values().map(|token| row(token, now, last(token))).collect()
}

fn row(token: &ApiToken, now: Time, last: Option<Time>) -> Token {
    let ApiToken { name, id, digest: _, role, pools, by, created, expires, used } = token;
    Token {
        name: name.to_string(),
        id: format!("{id:08x}"),
        role: (*role).into(),
        pools: pools.iter().map(ToString::to_string).collect(),
        created: created.to_string(),
        by: by.as_ref().map(ToString::to_string),
        expires: expires.map(|end| end.to_string()),
        expired: token.is_expired(now),
        used: last.max(*used).map(|at| at.to_string()),
    }
}

impl Row for Token {
    const COLUMNS: &'static [&'static str] =
        &["NAME", "ROLE", "POOLS", "NUMBER", "EXPIRES", "LAST USED", "CREATED", "BY"];

    fn name(&self) -> &str {
        &self.name
    }

    fn cells(&self) -> Vec<String> {
        let expires = match &self.expires {
            Some(end) if self.expired => format!("{end} (expired)"),
            end => or_dash(end.as_ref()),
        };
        vec![
            self.name.clone(),
            self.role.to_string(),
            or_dash(Some(self.pools.join(",")).filter(|pools| !pools.is_empty()).as_ref()),
            self.id.clone(),
            expires,
            or_dash(self.used.as_ref()),
            self.created.clone(),
            or_dash(self.by.as_ref()),
        ]
    }
}

pub fn routes<B: Backend>() -> Routes<B> {
    let created = Route::post("/v1/tokens", "Creates a token for the API, which is shown this once")
        .needs(Role::Admin)
        .takes::<TokenWanted>()
        .answers::<TokenCreated>(StatusCode::OK, "The token itself")
        .says(StatusCode::CONFLICT, "The name is in use, there are too many, or there is no such pool");
    let revoked = Route::delete("/v1/tokens/{name}", "Revokes a token: from now on it opens nothing")
        .needs(Role::Admin)
        .answers::<Token>(StatusCode::OK, "The token as it was")
        .says(StatusCode::NOT_FOUND, "There is no such token");
    Routes::new().add(created, create::<B>).add(revoked, revoke::<B>)
}

async fn create<B: Backend>(
    State(backend): State<B>,
    Extension(caller): Extension<Caller>,
    Posted(wanted): Posted<TokenWanted>,
) -> Response {
    let what = format!("token {} ({})", wanted.name, wanted.role);
    let new = match wanted.understood(backend.now()) {
        Ok(new) => new,
        Err(why) => return problem(StatusCode::BAD_REQUEST, &why),
    };
    // A slip of the pen would make a token that opens nothing, which is found out when it is needed.
    let state = backend.state();
    let is_unknown = |pool: &&Name| !state.desired().definitions.contains_key(&(Kind::Pool, (*pool).clone()));
    if let Some(unknown) = new.pools.iter().find(is_unknown) {
        return problem(StatusCode::CONFLICT, &format!("the inventory that is served has no pool {unknown}"));
    }
    drop(state);
    let answer = respond(backend.create_token(new, caller).await, |created| match created {
        Ok(created) => {
            let mut answer = Json(created).into_response();
            answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            answer
        }
        Err(why) => problem(StatusCode::CONFLICT, &why),
    });
    about(answer, what)
}

async fn revoke<B: Backend>(
    State(backend): State<B>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Response {
    let Ok(wanted) = name.parse::<Name>() else {
        return problem(StatusCode::NOT_FOUND, &unknown(&name));
    };
    respond(backend.revoke_token(wanted, caller).await, |revoked| match revoked {
        Some(token) => Json(row(&token, backend.now(), backend.token_used(&token))).into_response(),
        None => problem(StatusCode::NOT_FOUND, &unknown(&name)),
    })
}

fn unknown(name: &str) -> String {
    let name: String = name.chars().take(100).collect();
    format!("there is no token {name}: `voldemortctl token list` shows those that there are")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let understood = |name: &str, role: &str, expires: Option<&str>| {
            let expires = expires.map(str::to_owned);
            let pools = Vec::new();
            TokenWanted { name: name.into(), role: role.into(), pools, expires }.understood(Time(5))
        };
        let ci = |expires| NewToken {
            name: "ci".parse().unwrap(),
            role: Role::Editor,
            pools: Vec::new(),
            expires,
        };
        assert_eq!(understood("ci", "editor", None), Ok(ci(None)));
        assert_eq!(understood("ci", "editor", Some("2s")), Ok(ci(Some(Time(2005)))));
        for (name, role, expires, why) in [
            ("CI", "editor", None, "name: `CI`: "),
            ("", "editor", None, "name: ``: "),
            ("ci", "root", None, "role: `root`: the roles are viewer, claimer, editor and admin"),
            ("ci", "editor", Some("soon"), "expires: `soon`: "),
            ("ci", "editor", Some("-1d"), "expires: `-1d`: "),
            ("ci", "editor", Some("0d"), "expires: a token of no time"),
        ] {
            let said = understood(name, role, expires).unwrap_err();
            assert!(said.starts_with(why), "{said}");
        }
        let bound = |role: &str, pools: &[&str]| {
            let pools = pools.iter().map(|pool| (*pool).to_owned()).collect();
            let wanted = TokenWanted { name: "ci".into(), role: role.into(), pools, expires: None };
            wanted.understood(Time(5)).map(|new| new.pools)
        };
        assert_eq!(bound("editor", &["b", "a", "b"]), Ok(vec!["a".parse().unwrap(), "b".parse().unwrap()]));
        assert!(bound("viewer", &["a"]).unwrap_err().starts_with("pools: a viewer changes nothing"));
        assert!(bound("editor", &["A b"]).unwrap_err().starts_with("pools: `A b`: "));
    }
}
