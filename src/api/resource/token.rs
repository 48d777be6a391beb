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
use crate::model::{Caller, Name, Role, Span, Time};
use crate::state::{self, ApiToken};

/// A row of `GET /v1/tokens`. `DELETE` answers with the one that was revoked, as it was. The token itself is not kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    /// No two have the same.
    pub name: String,
    /// Eight hexadecimal digits, which stand in the token after `vdm_`.
    pub id: String,
    pub role: Word<Role>,
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
    /// What its holder may do: `viewer`, `editor` or `admin`.
    pub role: String,
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
    pub expires: Option<Time>,
}

impl TokenWanted {
    /// The error says what is wrong.
    fn understood(&self, now: Time) -> Result<NewToken, String> {
        let TokenWanted { name, role, expires } = self;
        let span =
            |text: &String| text.parse::<Span>().map_err(|error| format!("expires: `{text}`: {error}"));
        let expires = match expires.as_ref().map(span).transpose()? {
            Some(Span(0)) => return Err("expires: a token of no time opens nothing".to_owned()),
            span => span.map(|span| now + span),
        };
        Ok(NewToken {
            name: name.parse().map_err(|error| format!("name: `{name}`: {error}"))?,
            role: role.parse().map_err(|error| format!("role: `{role}`: {error}"))?,
            expires,
        })
    }
}

/// All of them. `last` says when one was used since the daemon started.
pub fn all(state: &state::State, now: Time, last: impl Fn(&ApiToken) -> Option<Time>) -> Vec<Token> {
    state.api_tokens().values().map(|token| row(token, now, last(token))).collect()
}

fn row(token: &ApiToken, now: Time, last: Option<Time>) -> Token {
    let ApiToken { name, id, digest: _, role, by, created, expires, used } = token;
    Token {
        name: name.to_string(),
        id: format!("{id:08x}"),
        role: (*role).into(),
        created: created.to_string(),
        by: by.as_ref().map(ToString::to_string),
        expires: expires.map(|end| end.to_string()),
        expired: token.is_expired(now),
        used: last.max(*used).map(|at| at.to_string()),
    }
}

impl Row for Token {
    const COLUMNS: &'static [&'static str] =
        &["NAME", "ROLE", "NUMBER", "EXPIRES", "LAST USED", "CREATED", "BY"];

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
        .says(StatusCode::CONFLICT, "The name is in use, or there are too many");
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
            TokenWanted { name: name.into(), role: role.into(), expires }.understood(Time(5))
        };
        let ci = |expires| NewToken { name: "ci".parse().unwrap(), role: Role::Editor, expires };
        assert_eq!(understood("ci", "editor", None), Ok(ci(None)));
        assert_eq!(understood("ci", "editor", Some("2s")), Ok(ci(Some(Time(2005)))));
        for (name, role, expires, why) in [
            ("CI", "editor", None, "name: `CI`: "),
            ("", "editor", None, "name: ``: "),
            ("ci", "root", None, "role: `root`: the roles are viewer, editor and admin"),
            ("ci", "editor", Some("soon"), "expires: `soon`: "),
            ("ci", "editor", Some("-1d"), "expires: `-1d`: "),
            ("ci", "editor", Some("0d"), "expires: a token of no time"),
        ] {
            let said = understood(name, role, expires).unwrap_err();
            assert!(said.starts_with(why), "{said}");
        }
    }
}
