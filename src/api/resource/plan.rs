//! Plans: of a tree that is sent (`POST /v1/plan`, `POST /v1/apply`), and of revisions that wait (`GET /v1/plans`).

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ManifestProblem, Operation, Ticket, Tree};
use crate::api::Word;
use crate::api::audit::about;
use crate::api::body::PostedTree;
use crate::api::consent::{held, unentitled};
use crate::api::operation::Operations;
use crate::api::problem;
use crate::api::route::{Route, Routes};
use crate::api::routes::{Backend, respond};
use crate::model::{Caller, Role, SourceCondition};
use crate::plan::{Consent, Hold, Plan, report};

/// A row of `GET /v1/plans`: a revision that waits for somebody's word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WaitingPlan {
    /// Changes with what the plan does.
    pub id: String,
    /// Whose revision it is, where the daemon follows several sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    pub revision: String,
    /// `Waiting` (for approval) or `Held` (by a safety rule).
    pub condition: Word<SourceCondition>,
    /// RFC 3339.
    pub since: String,
    pub plan: Plan,
    pub holds: Vec<Hold>,
}

/// `POST /v1/apply`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    pub tree: Tree,
    #[serde(default)]
    pub consent: Consent,
    /// Id of the plan that was agreed to.
    pub expected: Option<String>,
    /// Of a saved plan.
    #[serde(default)]
    pub ticket: Option<Ticket>,
}

/// The answer to `POST /v1/plan` and `POST /v1/apply`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// What would happen; `holds` is why it would be held.
    Planned {
        plan: Plan,
        holds: Vec<Hold>,
    },
    Applied {
        plan: Plan,
    },
    Held {
        plan: Plan,
        holds: Vec<Hold>,
    },
    Stale {
        plan: Plan,
    },
    /// What was agreed to is not what there is any more: everything that differs.
    Moved {
        reasons: Vec<String>,
    },
    /// An order was carried out.
    Done {
        text: String,
    },
    /// The manifests are wrong.
    Invalid {
        problems: Vec<ManifestProblem>,
        /// The same as `voldemort check` prints it.
        report: String,
    },
    /// Files that the tree only names, and of which has to be said what they hold: small ones are
    /// sent, large ones with their digest.
    Wanted {
        files: Vec<String>,
    },
}

pub fn routes<B: Backend>() -> Routes<B> {
    let plans = Route::post("/v1/plan", "What would happen if this tree were applied")
        .needs(Role::Viewer)
        .takes::<Tree>()
        .header(
            "Prefer",
            "`wait=N` (RFC 7240), up to 600: what is not done within N seconds is answered with 202 and goes on",
        )
        .answers::<Outcome>(StatusCode::OK, "The plan, and why it would be held")
        .answers::<Operation>(StatusCode::ACCEPTED, "It goes on: `Location` is where its end is found")
        .answers::<Outcome>(
            StatusCode::UNPROCESSABLE_ENTITY,
            "The manifests are wrong, or files are missing",
        );
    let applies = Route::post("/v1/apply", "Applies a tree in place of its source's latest revision")
        .takes::<Apply>()
        .header(
            "Prefer",
            "`wait=N` (RFC 7240), up to 600: what is not done within N seconds is answered with 202 and goes on",
        )
        .answers::<Outcome>(StatusCode::OK, "It is applied")
        .answers::<Operation>(StatusCode::ACCEPTED, "It goes on: `Location` is where its end is found")
        .answers::<Outcome>(
            StatusCode::CONFLICT,
            "A safety rule holds it, or it takes an admin: revisions of its source wait for approval",
        )
        .answers::<Outcome>(StatusCode::PRECONDITION_FAILED, "The state has changed since the plan was made")
        .answers::<Outcome>(
            StatusCode::UNPROCESSABLE_ENTITY,
            "The manifests are wrong, or files are missing",
        );
    Routes::new().add(plans, plan::<B>).add(applies, apply::<B>)
}

async fn plan<B: Backend>(
    State(backend): State<B>,
    Extension(caller): Extension<Caller>,
    Extension(operations): Extension<Operations>,
    headers: HeaderMap,
    PostedTree(tree, room): PostedTree<Tree>,
) -> Response {
    let what = format!("plan revision {}", tree.revision);
    let work = async move {
        let _room = room;
        respond(backend.plan(tree).await, Outcome::answer)
    };
    operations.within(&caller, &headers, what, work).await
}

async fn apply<B: Backend>(
    State(backend): State<B>,
    Extension(caller): Extension<Caller>,
    Extension(operations): Extension<Operations>,
    headers: HeaderMap,
    PostedTree(request, room): PostedTree<Apply>,
) -> Response {
    if let Some(answer) = unentitled(&caller, "apply", &request.consent) {
        return answer;
    }
    let wanted = format!("revision {}", request.tree.revision);
    let (what, by) = (format!("apply {wanted}"), caller.clone());
    let work = async move {
        let _room = room;
        outcome(wanted, backend.apply(request, by).await, StatusCode::SERVICE_UNAVAILABLE)
    };
    operations.within(&caller, &headers, what, work).await
}

/// Answers with what became of `wanted`, which the audit log says too.
pub(super) fn outcome(wanted: String, found: Result<Outcome, String>, failed: StatusCode) -> Response {
    match found {
        Ok(outcome) => {
            let became = outcome.became();
            about(outcome.answer(), format!("{wanted}: {became}"))
        }
        Err(error) => about(problem::problem(failed, &error), wanted),
    }
}

impl Outcome {
    /// Manifests that can't be used, for a reason that is no mistake in them.
    pub fn unusable(why: String) -> Outcome {
        Outcome::Invalid { problems: vec![ManifestProblem::elsewhere(&why)], report: why }
    }

    fn became(&self) -> &'static str {
        match self {
            Outcome::Planned { .. } => "planned",
            Outcome::Applied { .. } => "applied",
            Outcome::Done { .. } => "done",
            Outcome::Held { .. } => "held by a safety rule",
            Outcome::Stale { .. } | Outcome::Moved { .. } => "the state has changed meanwhile",
            Outcome::Invalid { .. } => "the manifests are wrong",
            Outcome::Wanted { .. } => "files are missing",
        }
    }

    /// What became of a plan; what was not done is an error, with the outcome beside its words.
    pub fn answer(self) -> Response {
        let (status, why) = match &self {
            Outcome::Planned { .. } | Outcome::Applied { .. } | Outcome::Done { .. } => {
                return Json(self).into_response();
            }
            Outcome::Held { holds, .. } => (StatusCode::CONFLICT, held(holds)),
            Outcome::Stale { plan } => {
                let does = report::summary(plan);
                let why = format!("the state has changed meanwhile; now the plan is {} ({does})", plan.id);
                (StatusCode::PRECONDITION_FAILED, why)
            }
            Outcome::Moved { reasons } => (StatusCode::PRECONDITION_FAILED, reasons.join("; ")),
            Outcome::Invalid { report, .. } => (StatusCode::UNPROCESSABLE_ENTITY, report.clone()),
            Outcome::Wanted { files } => {
                let why = format!("the tree has no content for these files: {}", files.join(", "));
                (StatusCode::UNPROCESSABLE_ENTITY, why)
            }
        };
        problem::outcome(status, &why, &self)
    }
}
