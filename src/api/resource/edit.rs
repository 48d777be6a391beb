//! `POST /v1/edits`: a change of the inventory itself.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{ETAG, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ManifestProblem, Operation};
use crate::api::Word;
use crate::api::audit::{about, about_unless_said};
use crate::api::body::Posted;
use crate::api::consent::{held, unentitled};
use crate::api::idempotency::Keys;
use crate::api::if_match::IfMatch;
use crate::api::operation::Operations;
use crate::api::problem;
use crate::api::route::{Route, Routes};
use crate::api::routes::Backend;
use crate::edit::{EDITS_MAX, Edit};
use crate::model::{Caller, SourceCondition};
use crate::plan::{Consent, Hold, Plan};
use crate::state::ApiToken;

/// `POST /v1/edits`: a change of the inventory itself. It has either `edit` or `edits`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EditRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edit: Option<Edit>,
    /// Several, each made on what those before it leave: either all of them are made, in one commit, or none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<Edit>,
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
    #[serde(default, alias = "dry-run")]
    pub dry_run: bool,
    /// The deployments' machines have their systems already: record them as installed first.
    #[serde(default)]
    pub installed: bool,
}

/// One file with another text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FileChange {
    /// Of the first resource that changes in it.
    pub kind: String,
    /// Of the first resource that changes in it.
    pub name: String,
    /// `Update deployment web-1`, or of several resources `Redeploy web-001 … web-040 (40)`.
    pub summary: String,
    /// From the root of the repository.
    pub path: String,
    /// What `git apply` takes.
    pub patch: String,
    /// What a person should know.
    pub notes: Vec<String>,
    /// Every resource that changes in it, in the order of the edits.
    #[serde(default)]
    pub resources: Vec<ResourceChange>,
}

/// What an edit does to its resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceChange {
    /// The edit's place in the request, counted from 0.
    pub edit: usize,
    pub kind: String,
    pub name: String,
    /// `Update deployment web-1`
    pub summary: String,
}

/// One of several edits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EditPlace {
    /// Its place in the request, counted from 0.
    pub index: usize,
    pub kind: String,
    /// The name, or the hardware address, of its resource.
    pub name: String,
}

/// The answer to `POST /v1/edits`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Edited {
    /// What would be done (`dry_run`).
    Planned {
        change: FileChange,
        /// The other files, where several change.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        further: Vec<FileChange>,
        plan: Plan,
        holds: Vec<Hold>,
    },
    /// It is written. `commit` is absent for a directory.
    Written {
        change: FileChange,
        /// The other files, where several change.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        further: Vec<FileChange>,
        commit: Option<String>,
        plan: Plan,
        /// How the daemon stands with its inventory afterwards: `Ready` is live.
        condition: Word<SourceCondition>,
        reason: String,
    },
    /// It is on a branch of its own; nothing is live before that is merged.
    Branch {
        change: FileChange,
        /// The other files, where several change.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        further: Vec<FileChange>,
        commit: String,
        branch: String,
        plan: Plan,
    },
    /// The daemon may not write to this inventory; `steps` are what a person does with the patch.
    Off {
        change: FileChange,
        /// The other files, where several change.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        further: Vec<FileChange>,
        plan: Plan,
        steps: Vec<String>,
    },
    /// Everything is as wanted already.
    Unchanged,
    /// It was made before: a commit of the last 24 hours has the Idempotency-Key of this request.
    Made { commit: String },
    /// A safety rule stopped it; nothing was written.
    Held { plan: Plan, holds: Vec<Hold> },
    /// A protection stopped it; nothing was written.
    Protected {
        why: String,
        /// Which of several edits it is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        edit: Option<EditPlace>,
    },
    /// The token is bound to pools, and this is not of them; nothing was written.
    OutOfScope {
        why: String,
        /// Which of several edits it is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        edit: Option<EditPlace>,
    },
    /// The resource is not the one that `If-Match` names; `etag` is that of the present one, if there is one.
    Changed {
        etag: Option<String>,
        /// Which of several edits it is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        edit: Option<EditPlace>,
    },
    /// The manifests would be wrong.
    Invalid {
        problems: Vec<ManifestProblem>,
        /// The same as `voldemort check` prints it.
        report: String,
    },
    /// It can't be done like this.
    Refused {
        why: String,
        /// Which of several edits it is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        edit: Option<EditPlace>,
    },
}

pub fn routes<B: Backend>() -> Routes<B> {
    let route =
        Route::post("/v1/edits", "Changes the inventory itself, by a commit where it is a repository")
            .takes::<EditRequest>()
            .judges_pools()
            .header(
                "If-Match",
                "Entity tags of the resource: 412 if it has another by now. Of several edits each has its own `if_match`",
            )
            .header(
                "Idempotency-Key",
                "A text of the caller's choice: within 24 hours the same request with it is done once, and answered as \
                 the first time; another request with it is 422, and one that is still being done 409",
            )
            .header(
                "Prefer",
                "`wait=N` (RFC 7240), up to 600: what is not done within N seconds is answered with 202 and goes on",
            )
            .answers::<Edited>(StatusCode::OK, "What became of it")
            .answers::<Operation>(StatusCode::ACCEPTED, "It goes on: `Location` is where its end is found")
            .answers::<Edited>(StatusCode::FORBIDDEN, "The daemon may not write to this inventory, or this token not to this resource")
            .answers::<Edited>(
                StatusCode::CONFLICT,
                "A safety rule or a protection holds it; nothing was written",
            )
            .says(StatusCode::PAYLOAD_TOO_LARGE, "There are more than 1,000 edits, or more than 1 MiB of them")
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
    token: Option<Extension<Arc<ApiToken>>>,
    Extension(keys): Extension<Keys>,
    Extension(operations): Extension<Operations>,
    headers: HeaderMap,
    Posted(mut request): Posted<EditRequest>,
) -> Response {
    if let Some(answer) = unentitled(&caller, "an edit", &request.consent) {
        return answer;
    }
    let checked = request.check(IfMatch::header(&headers));
    if let Err((status, why)) = checked {
        return problem::problem(status, &why);
    }
    let pools = token.map(|token| token.pools.clone()).unwrap_or_default();
    if !pools.is_empty() && request.installed {
        let why = "a token that is bound to pools makes edits, and does not say what was installed";
        return problem::problem(StatusCode::FORBIDDEN, why);
    }
    // The revision may hold what others changed, and a consent is about all of it.
    if !pools.is_empty() && request.consent != Consent::default() {
        let why =
            "a token that is bound to pools makes edits, and consents to nothing that a safety rule holds";
        return problem::problem(StatusCode::FORBIDDEN, why);
    }
    let whole = serde_json::to_string(&request).unwrap_or_default();
    let (wanted, by, key) = (request.summary(), caller.clone(), Keys::digest(&caller, &headers, &whole));
    let what = wanted.clone();
    let work = async move {
        match backend.edit(request, by, pools, key).await {
            Ok(edited) => {
                let became = edited.became();
                about(edited.answer(), format!("{what}: {became}"))
            }
            Err(error) => problem::problem(StatusCode::SERVICE_UNAVAILABLE, &error),
        }
    };
    let (sender, given, shown) = (caller.clone(), headers.clone(), wanted.clone());
    let once = async move {
        // An answer that is given again says nothing about what was done now.
        about_unless_said(keys.once(caller, &given, whole.as_bytes(), work).await, wanted)
    };
    operations.within(&sender, &headers, shown, once).await
}

impl EditRequest {
    /// The edits, one or several.
    pub fn edits(&self) -> &[Edit] {
        self.edit.as_ref().map_or(&self.edits, std::slice::from_ref)
    }

    /// Whether its edits are to be named by their places.
    pub fn has_several(&self) -> bool {
        self.edit.is_none()
    }

    /// Looks at what no daemon is needed for, and gives the one edit what the header If-Match says.
    fn check(&mut self, header: Result<Option<String>, String>) -> Result<(), (StatusCode, String)> {
        let bad = |why: &str| Err((StatusCode::BAD_REQUEST, why.to_owned()));
        match (&mut self.edit, self.edits.len(), header) {
            (_, _, Err(why)) => return bad(&why),
            (Some(_), 1.., _) => return bad("give either `edit` or `edits`"),
            (None, 0, _) => return bad("there is nothing to do: give `edit`, or one or more `edits`"),
            (None, EDITS_MAX.., Ok(_)) if self.edits.len() > EDITS_MAX => {
                let why = format!(
                    "a request has at most {EDITS_MAX} edits, and this has {}; nothing of it was done",
                    self.edits.len()
                );
                return Err((StatusCode::PAYLOAD_TOO_LARGE, why));
            }
            (Some(Edit { if_match: Some(_), .. }), _, Ok(Some(_))) => {
                return bad("give either the header If-Match or `if_match`");
            }
            (Some(edit), _, Ok(Some(tags))) => edit.if_match = Some(tags),
            (None, _, Ok(Some(_))) => {
                return bad(
                    "the header If-Match is about one resource: give each of `edits` its own `if_match`",
                );
            }
            (_, _, Ok(None)) => {}
        }
        for (index, edit) in self.edits().iter().enumerate() {
            if let Some(Err(why)) = edit.if_match.as_deref().map(IfMatch::parse) {
                return bad(&format!(
                    "{}{why}",
                    if self.has_several() { edit.place(index) } else { String::new() }
                ));
            }
        }
        Ok(())
    }

    /// What it wants, for the audit log: without the values that it sets.
    fn summary(&self) -> String {
        let only = if self.dry_run { ", only to see what it would do" } else { "" };
        let count = if self.has_several() { format!("{} edits: ", self.edits.len()) } else { String::new() };
        let all: Vec<String> = self.edits().iter().map(wanted).collect();
        format!("{count}{}{only}", all.join(", "))
    }
}

/// `update deployment web-1 (boot, vars.user)`
fn wanted(edit: &Edit) -> String {
    let keys: Vec<String> = edit.settings.iter().map(|setting| setting.path.join(".")).collect();
    let keys = if keys.is_empty() { String::new() } else { format!(" ({})", keys.join(", ")) };
    format!("{}{keys}", edit.text())
}

impl Edited {
    /// What became of it, for the audit log.
    pub(super) fn became(&self) -> String {
        match self {
            Edited::Planned { .. } => "planned".into(),
            Edited::Written { commit: Some(commit), .. } => format!("written, commit {commit}"),
            Edited::Written { commit: None, change, .. } => format!("written to {}", change.path),
            Edited::Branch { commit, branch, .. } => format!("on the branch {branch}, commit {commit}"),
            Edited::Off { .. } => "not written (write = \"off\")".into(),
            Edited::Unchanged => "nothing to change".into(),
            Edited::Made { commit } => format!("made before, commit {commit}"),
            Edited::Held { .. } => "held by a safety rule".into(),
            Edited::Protected { .. } => "held by a protection".into(),
            Edited::OutOfScope { .. } => "not of the token's pools".into(),
            Edited::Changed { .. } => "the resource is another one than If-Match names".into(),
            Edited::Invalid { .. } => "the manifests would be wrong".into(),
            Edited::Refused { .. } => "it can't be made".into(),
        }
    }

    /// What was not done is an error, with the outcome beside its words.
    pub(super) fn answer(self) -> Response {
        let (status, why) = match &self {
            Edited::Planned { .. }
            | Edited::Written { .. }
            | Edited::Branch { .. }
            | Edited::Made { .. }
            | Edited::Unchanged => return Json(self).into_response(),
            Edited::Off { .. } => (
                StatusCode::FORBIDDEN,
                "the daemon may not write to this inventory (write = \"off\")".to_owned(),
            ),
            Edited::Held { holds, .. } => (StatusCode::CONFLICT, held(holds)),
            Edited::Protected { why, .. } => (StatusCode::CONFLICT, why.clone()),
            Edited::OutOfScope { why, .. } => (StatusCode::FORBIDDEN, why.clone()),
            Edited::Changed { etag, edit } => return changed(etag.as_deref(), edit.as_ref(), &self),
            Edited::Invalid { report, .. } => (StatusCode::UNPROCESSABLE_ENTITY, report.clone()),
            Edited::Refused { why, .. } => (StatusCode::UNPROCESSABLE_ENTITY, why.clone()),
        };
        problem::outcome(status, &why, &self)
    }
}

fn changed(etag: Option<&str>, edit: Option<&EditPlace>, edited: &Edited) -> Response {
    let which = edit.map(|edit| format!("edits[{}] ({} {}): ", edit.index, edit.kind, edit.name));
    let why = match etag {
        Some(_) => "the resource has changed since: read it again, and then decide",
        None => "there is no such resource (any more)",
    };
    let why = format!("{}{why}", which.unwrap_or_default());
    let mut answer = problem::outcome(StatusCode::PRECONDITION_FAILED, &why, edited);
    let tag = etag.and_then(|tag| HeaderValue::try_from(tag).ok());
    answer.headers_mut().extend(tag.map(|tag| (ETAG, tag)));
    answer
}
