//! `POST /v1/edits`: a change of the inventory itself.

use axum::extract::State;
use axum::http::header::{ETAG, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::Word;
use crate::api::audit::{about, about_unless_said};
use crate::api::body::Posted;
use crate::api::consent::{held, unentitled};
use crate::api::idempotency::Keys;
use crate::api::if_match::IfMatch;
use crate::api::problem;
use crate::api::route::{Route, Routes};
use crate::api::routes::Backend;
use crate::edit::Edit;
use crate::model::{Caller, SourceCondition};
use crate::plan::{Consent, Hold, Plan};

/// `POST /v1/edits`: a change of the inventory itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EditRequest {
    pub edit: Edit,
    /// The source to write to; may be left out where there is one, or one that holds the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Why, for the commit.
    #[serde(default)]
    pub reason: Option<String>,
    /// Who wants it, for the commit: `Name <address>`.
    #[serde(default)]
    pub author: Option<String>,
    #[serde(default)]
    pub consent: Consent,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// The deployment's machine has its system already: record it as installed first.
    #[serde(default)]
    pub installed: bool,
}

/// One file with another text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FileChange {
    pub kind: String,
    pub name: String,
    /// `Update deployment web-1`.
    pub summary: String,
    /// From the root of the repository.
    pub path: String,
    /// What `git apply` takes.
    pub patch: String,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// The answer to `POST /v1/edits`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Edited {
    /// What would be done (`dry_run`).
    Planned { change: FileChange, plan: Plan, holds: Vec<Hold> },
    /// It is written. `commit` is absent for a directory.
    Written {
        change: FileChange,
        commit: Option<String>,
        plan: Plan,
        /// How the daemon stands with its inventory afterwards: `Ready` is live.
        condition: Word<SourceCondition>,
        reason: String,
    },
    /// It is on a branch of its own; nothing is live before that is merged.
    Branch { change: FileChange, commit: String, branch: String, plan: Plan },
    /// The daemon may not write to this inventory; `steps` are what a person does with the patch.
    Off { change: FileChange, plan: Plan, steps: Vec<String> },
    /// Everything is as wanted already.
    Unchanged,
    /// A safety rule stopped it; nothing was written.
    Held { plan: Plan, holds: Vec<Hold> },
    /// A protection stopped it; nothing was written.
    Protected { why: String },
    /// The resource is not the one that `If-Match` names; `etag` is that of the present one, if there is one.
    Changed { etag: Option<String> },
    /// The manifests would be wrong: every problem as text.
    Invalid { problems: String },
    /// It can't be done like this.
    Refused { why: String },
}

pub fn routes<B: Backend>() -> Routes<B> {
    let route =
        Route::post("/v1/edits", "Changes the inventory itself, by a commit where it is a repository")
            .takes::<EditRequest>()
            .header("If-Match", "Entity tags of the resource: 412 if it has another by now")
            .header(
                "Idempotency-Key",
                "A text of the caller's choice: within 24 hours the same request with it is done once, and answered as \
                 the first time; another request with it is 422, and one that is still being done 409",
            )
            .answers::<Edited>(StatusCode::OK, "What became of it")
            .answers::<Edited>(StatusCode::FORBIDDEN, "The daemon may not write to this inventory")
            .answers::<Edited>(
                StatusCode::CONFLICT,
                "A safety rule or a protection holds it; nothing was written",
            )
            .answers::<Edited>(
                StatusCode::PRECONDITION_FAILED,
                "The resource is not the one that If-Match names; nothing was written",
            )
            .answers::<Edited>(
                StatusCode::UNPROCESSABLE_ENTITY,
                "The manifests would be wrong; nothing was written",
            );
    Routes::new().add(route, edit::<B>)
}

async fn edit<B: Backend>(
    State(backend): State<B>,
    Extension(caller): Extension<Caller>,
    Extension(keys): Extension<Keys>,
    headers: HeaderMap,
    Posted(request): Posted<EditRequest>,
) -> Response {
    if let Some(answer) = unentitled(&caller, "an edit", &request.consent) {
        return answer;
    }
    let expected = match IfMatch::read(&headers) {
        Ok(expected) => expected,
        Err(why) => return problem::problem(StatusCode::BAD_REQUEST, &why),
    };
    let whole = format!("{expected:?} {}", serde_json::to_string(&request).unwrap_or_default());
    let (wanted, by) = (request.summary(), caller.clone());
    let what = wanted.clone();
    let work = async move {
        match backend.edit(request, expected, by).await {
            Ok(edited) => {
                let became = edited.became();
                about(edited.answer(), format!("{what}: {became}"))
            }
            Err(error) => problem::problem(StatusCode::SERVICE_UNAVAILABLE, &error),
        }
    };
    // An answer that is given again says nothing about what was done now.
    about_unless_said(keys.once(caller, &headers, whole.as_bytes(), work).await, wanted)
}

impl EditRequest {
    /// What it wants, for the audit log: without the values that it sets.
    fn summary(&self) -> String {
        let Edit { verb, kind, name, mac, settings, deployment_type: _ } = &self.edit;
        let name = name.as_ref().or(mac.as_ref()).map_or("-", String::as_str);
        let keys: Vec<String> = settings.iter().map(|setting| setting.path.join(".")).collect();
        let keys = if keys.is_empty() { String::new() } else { format!(" ({})", keys.join(", ")) };
        let only = if self.dry_run { ", only to see what it would do" } else { "" };
        format!("{} {} {name}{keys}{only}", verb.name(), kind.name())
    }
}

impl Edited {
    /// What became of it, for the audit log.
    fn became(&self) -> String {
        match self {
            Edited::Planned { .. } => "planned".into(),
            Edited::Written { commit: Some(commit), .. } => format!("written, commit {commit}"),
            Edited::Written { commit: None, change, .. } => format!("written to {}", change.path),
            Edited::Branch { commit, branch, .. } => format!("on the branch {branch}, commit {commit}"),
            Edited::Off { .. } => "not written (write = \"off\")".into(),
            Edited::Unchanged => "nothing to change".into(),
            Edited::Held { .. } => "held by a safety rule".into(),
            Edited::Protected { .. } => "held by a protection".into(),
            Edited::Changed { .. } => "the resource is another one than If-Match names".into(),
            Edited::Invalid { .. } => "the manifests would be wrong".into(),
            Edited::Refused { .. } => "it can't be made".into(),
        }
    }

    /// What was not done is an error, with the outcome beside its words.
    fn answer(self) -> Response {
        let (status, why) = match &self {
            Edited::Planned { .. } | Edited::Written { .. } | Edited::Branch { .. } | Edited::Unchanged => {
                return Json(self).into_response();
            }
            Edited::Off { .. } => (
                StatusCode::FORBIDDEN,
                "the daemon may not write to this inventory (write = \"off\")".to_owned(),
            ),
            Edited::Held { holds, .. } => (StatusCode::CONFLICT, held(holds)),
            Edited::Protected { why } => (StatusCode::CONFLICT, why.clone()),
            Edited::Changed { etag } => return changed(etag.as_deref(), &self),
            Edited::Invalid { problems } => (StatusCode::UNPROCESSABLE_ENTITY, problems.clone()),
            Edited::Refused { why } => (StatusCode::UNPROCESSABLE_ENTITY, why.clone()),
        };
        problem::outcome(status, &why, &self)
    }
}

fn changed(etag: Option<&str>, edited: &Edited) -> Response {
    let why = match etag {
        Some(_) => "the resource has changed since: read it again, and then decide",
        None => "there is no such resource (any more)",
    };
    let mut answer = problem::outcome(StatusCode::PRECONDITION_FAILED, why, edited);
    let tag = etag.and_then(|tag| HeaderValue::try_from(tag).ok());
    answer.headers_mut().extend(tag.map(|tag| (ETAG, tag)));
    answer
}
