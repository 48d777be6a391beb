//! The routes, over whatever keeps the table.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, Request, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Json, Router};
use http_body_util::{BodyExt, Collected, LengthLimitError, Limited};
use serde::Deserialize;
use tokio::sync::{Semaphore, watch};

use super::body::{Bodies, Posted, PostedTree};
use super::busy::Busy;
use super::metrics::Counts;
use super::problem::{self, problem};
use super::types::{
    Adopt, Apply, EditRequest, Edited, Events, Freed, Order, Outcome, ServiceStatus, Status, Ticket, Tree,
    WaitingPlan,
};
use super::{convert, hook};
use crate::model::{Caller, Mac, Role, Time};
use crate::plan::{Consent, Hold};
use crate::state::{self, Event};

/// Longest long poll, in seconds.
const WAIT_MAX: u64 = 300;
/// Most events in one answer.
const EVENTS_MAX: usize = 1000;

/// What the routes need of the daemon.
pub trait Backend: Clone + Send + Sync + 'static {
    fn table(&self) -> Arc<state::State>;
    fn now(&self) -> Time;
    fn status(&self) -> Status;
    /// With the number of the oldest event that is kept.
    fn events(&self, after: u64, mac: Option<Mac>, limit: usize) -> (u64, Vec<(u64, Event)>);
    /// Every service of the daemon and how it stands.
    fn services(&self) -> Vec<ServiceStatus>;
    /// Whether the keeper of the state answers.
    fn is_alive(&self) -> impl Future<Output = bool> + Send;
    /// Has DHCP served on an interface where another server was there first.
    fn serve_dhcp(&self, interface: &str) -> Result<(), String>;
    /// What `/metrics` counts.
    fn counts(&self) -> Counts;
    fn latest(&self) -> watch::Receiver<u64>;
    fn plan(&self, tree: Tree) -> impl Future<Output = Result<Outcome, String>> + Send;
    fn apply(&self, apply: Apply) -> impl Future<Output = Result<Outcome, String>> + Send;
    fn edit(&self, request: EditRequest) -> impl Future<Output = Result<Edited, String>> + Send;
    fn adopt(&self, request: Adopt) -> impl Future<Output = Result<(), String>> + Send;
    fn ticket(&self, tree: Tree) -> Ticket;
    fn order(&self, order: Order) -> impl Future<Output = Result<Outcome, String>> + Send;
    fn plans(&self) -> impl Future<Output = Vec<WaitingPlan>> + Send;
    /// Ends whatever keeps an address from others; `None` if nothing did.
    fn free(&self, address: IpAddr) -> impl Future<Output = Result<Option<Freed>, String>> + Send;
    /// Kept revisions, the newest first.
    fn revisions(&self) -> Vec<String>;
    /// Takes a webhook's call for the source `name`, at first without its body.
    fn hook(&self, name: &str, headers: &HeaderMap, body: Option<&[u8]>) -> Hooked;
}

/// What became of a webhook's call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hooked {
    /// The source is read soon, if it is not being read already.
    Called,
    /// There is no such source, or it has no webhook.
    Unknown,
    /// Its sender does not know the secret.
    Forged,
    /// Only the body tells whether its sender does.
    Signed,
}

pub fn router<B: Backend>(backend: B) -> Router {
    let hooks = Arc::new(Semaphore::new(hook::BODIES_MAX));
    Router::new()
        .route("/metrics", get(metrics::<B>))
        .route("/v1/serve-dhcp/{interface}", post(serve_dhcp::<B>))
        .route("/v1/status", get(status::<B>))
        .route("/v1/events", get(events::<B>))
        .route(
            "/v1/deployments",
            get(|State(b): State<B>| async move { Json(convert::deployments(&b.table())) }),
        )
        .route("/v1/deployments/{name}", get(deployment::<B>))
        .route("/v1/machines", get(|State(b): State<B>| async move { Json(convert::machines(&b.table())) }))
        .route(
            "/v1/leases",
            get(|State(b): State<B>| async move { Json(convert::leases(&b.table(), b.now())) }),
        )
        .route("/v1/leases/{address}", delete(free::<B>))
        .route("/v1/boots", get(|State(b): State<B>| async move { Json(convert::boots(&b.table())) }))
        .route("/v1/plan", post(plan::<B>))
        .route("/v1/apply", post(apply::<B>))
        .route(
            "/v1/tickets",
            post(|State(b): State<B>, PostedTree(tree, _room): PostedTree<Tree>| async move {
                Json(b.ticket(tree))
            }),
        )
        .route("/v1/orders", post(order::<B>))
        .route("/v1/plans", get(|State(b): State<B>| async move { Json(b.plans().await) }))
        .route("/v1/revisions", get(|State(b): State<B>| async move { Json(b.revisions()) }))
        .route("/v1/drift", get(|State(b): State<B>| async move { Json(convert::drift(&b.table())) }))
        .route("/v1/edits", post(edit::<B>))
        .route("/v1/adopt", post(adopt::<B>))
        .route("/v1/why/{subject}", get(why::<B>))
        .route(
            "/hooks/{name}",
            post(move |State(b): State<B>, Path(name): Path<String>, request: Request| {
                hook(b, hooks.clone(), name, request)
            }),
        )
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "there is no such resource") })
        .layer(Extension(Bodies::default()))
        .layer(from_fn(problem::uniform))
        // Text, whatever the status.
        .merge(super::health::routes::<B>())
        .with_state(backend)
}

/// Answers with the status as it is then.
async fn serve_dhcp<B: Backend>(State(backend): State<B>, Path(interface): Path<String>) -> Response {
    match backend.serve_dhcp(&interface) {
        Ok(()) => Json(backend.status()).into_response(),
        Err(error) => problem(StatusCode::CONFLICT, &error),
    }
}

async fn metrics<B: Backend>(State(backend): State<B>) -> Response {
    let text = super::metrics::text(&backend.table(), &backend.counts(), backend.now());
    ([("content-type", "text/plain; version=0.0.4")], text).into_response()
}

async fn status<B: Backend>(State(backend): State<B>) -> Json<Status> {
    Json(backend.status())
}

async fn deployment<B: Backend>(State(backend): State<B>, Path(name): Path<String>) -> Response {
    match convert::deployment(&backend.table(), &name) {
        Some(found) => Json(found).into_response(),
        None => problem(StatusCode::NOT_FOUND, &format!("there is no deployment {name}")),
    }
}

#[derive(Deserialize)]
struct Since {
    #[serde(default)]
    after: u64,
    lineage: Option<String>,
    #[serde(default)]
    wait: u64,
    mac: Option<String>,
}

/// Answers at once if there are newer events, else when the next one comes or `wait` is over.
async fn events<B: Backend>(
    State(backend): State<B>,
    busy: Option<Extension<Busy>>,
    Query(since): Query<Since>,
) -> Response {
    let mac = match since.mac.as_deref().map(str::parse::<Mac>).transpose() {
        Ok(mac) => mac,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &format!("mac: {error}")),
    };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(since.wait.min(WAIT_MAX));
    let mut latest = backend.latest();
    loop {
        let newest = *latest.borrow_and_update();
        let lineage = backend.table().lineage.to_string();
        let (oldest, found) = backend.events(since.after, mac, EVENTS_MAX);
        if let Some(why) = since.gone(&lineage, oldest, newest) {
            return problem(StatusCode::GONE, &why);
        }
        let waited = tokio::time::Instant::now() >= deadline;
        if !found.is_empty() || waited {
            let last = found.last().map(|(sequence, _)| *sequence);
            // All there are, of one machine or of all: nothing up to the newest is missed.
            let next = match last {
                Some(last) if found.len() == EVENTS_MAX => last,
                last => newest.max(last.unwrap_or_default()),
            };
            let events = found.iter().map(|(sequence, event)| convert::event(*sequence, event)).collect();
            return Json(Events { events, next, lineage, oldest }).into_response();
        }
        let waiting = busy.as_ref().map(|Extension(busy)| busy.pause());
        let changed = tokio::time::timeout_at(deadline, latest.changed()).await;
        drop(waiting);
        if !matches!(changed, Ok(Ok(())) | Err(_)) {
            return problem(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping");
        }
    }
}

impl Since {
    /// Why it can't be said what came after; beginning with 0 is always possible.
    fn gone(&self, lineage: &str, oldest: u64, newest: u64) -> Option<String> {
        let after = self.after;
        if self.lineage.as_deref().is_some_and(|known| known != lineage) {
            return Some(format!(
                "these events are of the lineage {lineage}: the daemon's state directory is another one; begin \
                 again without `after` and `lineage`"
            ));
        }
        if after == 0 {
            return None;
        }
        if after > newest {
            return Some(format!(
                "event {after} has not happened here: the newest is {newest}; begin again without `after`"
            ));
        }
        (after + 1 < oldest).then(|| {
            format!(
                "events {} to {} are forgotten: the oldest kept is {oldest}; begin again without `after`",
                after + 1,
                oldest - 1
            )
        })
    }
}

async fn plan<B: Backend>(State(backend): State<B>, PostedTree(tree, _room): PostedTree<Tree>) -> Response {
    respond(backend.plan(tree).await, outcome)
}

async fn apply<B: Backend>(
    State(backend): State<B>,
    Extension(caller): Extension<Caller>,
    PostedTree(request, _room): PostedTree<Apply>,
) -> Response {
    if let Some(answer) = unentitled(caller, "apply", &request.consent) {
        return answer;
    }
    respond(backend.apply(request).await, outcome)
}

/// An order that can't be followed is a mistake of whoever gave it: the daemon is there.
async fn order<B: Backend>(
    State(backend): State<B>,
    Extension(caller): Extension<Caller>,
    Posted(order): Posted<Order>,
) -> Response {
    let refused = match &order {
        Order::Approve { .. } if caller.role < Role::Admin => Some(reserved(caller, "approving a plan")),
        Order::ApproveInstalls(_) if caller.role < Role::Admin => {
            Some(reserved(caller, "approving doubtful installations"))
        }
        Order::Pin { consent, .. } => unentitled(caller, "pin", consent),
        _ => None,
    };
    match refused {
        Some(answer) => answer,
        None => match backend.order(order).await {
            Ok(done) => outcome(done),
            Err(error) => problem(StatusCode::CONFLICT, &error),
        },
    }
}

/// What a safety rule holds is agreed to by admins alone.
fn unentitled(caller: Caller, what: &str, consent: &Consent) -> Option<Response> {
    let agrees = consent.removals.is_some() || consent.reinstalls.is_some();
    (agrees && caller.role < Role::Admin).then(|| reserved(caller, &format!("{what} with --allow-…")))
}

fn reserved(caller: Caller, what: &str) -> Response {
    let why =
        format!("{what} agrees to what a safety rule holds: it takes the role admin, and this is {caller}");
    problem(StatusCode::FORBIDDEN, &why)
}

/// Whoever floods this shall cost little: a body is read only where it can tell something, a few at
/// once, up to a size and for a while.
async fn hook<B: Backend>(backend: B, bodies: Arc<Semaphore>, name: String, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let mut hooked = backend.hook(&name, &head.headers, None);
    if hooked == Hooked::Signed {
        let length = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let too_large = || problem(StatusCode::PAYLOAD_TOO_LARGE, "a webhook's body has at most 1 MiB");
        if length.is_some_and(|length: u64| length > hook::BODY_MAX as u64) {
            return too_large();
        }
        let read = async {
            let _turn = bodies.acquire().await;
            Limited::new(body, hook::BODY_MAX).collect().await.map(Collected::to_bytes)
        };
        hooked = match tokio::time::timeout(hook::BODY_TIME, read).await {
            Ok(Ok(body)) => backend.hook(&name, &head.headers, Some(&body)),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return too_large(),
            Ok(Err(_)) => return problem(StatusCode::BAD_REQUEST, "the body broke off"),
            Err(_) => return problem(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
        };
    }
    match hooked {
        Hooked::Called => StatusCode::ACCEPTED.into_response(),
        Hooked::Unknown => problem(StatusCode::NOT_FOUND, &format!("no source called {name} has a webhook")),
        Hooked::Forged | Hooked::Signed => {
            problem(StatusCode::UNAUTHORIZED, "the signature is missing or wrong")
        }
    }
}

async fn edit<B: Backend>(
    State(backend): State<B>,
    Extension(caller): Extension<Caller>,
    Posted(request): Posted<EditRequest>,
) -> Response {
    if let Some(answer) = unentitled(caller, "an edit", &request.consent) {
        return answer;
    }
    respond(backend.edit(request).await, edited)
}

/// Answers with the deployment as it is then.
async fn adopt<B: Backend>(State(backend): State<B>, Posted(request): Posted<Adopt>) -> Response {
    let name = request.deployment.clone();
    if convert::deployment(&backend.table(), &name).is_none() {
        return problem(StatusCode::NOT_FOUND, &format!("there is no deployment {name}"));
    }
    match backend.adopt(request).await {
        Ok(()) => deployment(State(backend), Path(name)).await,
        Err(error) => problem(StatusCode::CONFLICT, &error),
    }
}

async fn free<B: Backend>(State(backend): State<B>, Path(address): Path<String>) -> Response {
    let Ok(address) = address.parse::<IpAddr>() else {
        return problem(StatusCode::BAD_REQUEST, &format!("{address} is no IPv4 or IPv6 address"));
    };
    match backend.free(address).await {
        Ok(Some(freed)) => Json(freed).into_response(),
        Ok(None) => problem(StatusCode::NOT_FOUND, &convert::not_held(&backend.table(), address)),
        Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, &error),
    }
}

async fn why<B: Backend>(State(backend): State<B>, Path(subject): Path<String>) -> Response {
    let (_, events) = backend.events(0, None, usize::MAX);
    match super::why::why(&backend.table(), &subject, &events) {
        Ok(found) => Json(found).into_response(),
        Err(error) => problem(StatusCode::NOT_FOUND, &error),
    }
}

fn respond<T>(found: Result<T, String>, answer: impl FnOnce(T) -> Response) -> Response {
    found.map_or_else(|error| problem(StatusCode::SERVICE_UNAVAILABLE, &error), answer)
}

/// What became of a plan; what was not done is an error, with the outcome beside its words.
fn outcome(outcome: Outcome) -> Response {
    let (status, why) = match &outcome {
        Outcome::Planned { .. } | Outcome::Applied { .. } | Outcome::Done { .. } => {
            return Json(outcome).into_response();
        }
        Outcome::Held { holds, .. } => (StatusCode::CONFLICT, held(holds)),
        Outcome::Stale { plan } => {
            let why = format!("the state moved on meanwhile (serial {}): look at a new plan", plan.serial);
            (StatusCode::PRECONDITION_FAILED, why)
        }
        Outcome::Moved { reasons } => (StatusCode::PRECONDITION_FAILED, reasons.join("; ")),
        Outcome::Invalid { problems } => (StatusCode::UNPROCESSABLE_ENTITY, problems.clone()),
        Outcome::Wanted { files } => {
            let why = format!("the tree does not say what these hold: {}", files.join(", "));
            (StatusCode::UNPROCESSABLE_ENTITY, why)
        }
    };
    problem::outcome(status, &why, &outcome)
}

/// The same for an edit.
fn edited(edited: Edited) -> Response {
    let (status, why) = match &edited {
        Edited::Planned { .. } | Edited::Written { .. } | Edited::Branch { .. } | Edited::Unchanged => {
            return Json(edited).into_response();
        }
        Edited::Off { .. } => {
            (StatusCode::FORBIDDEN, "the daemon may not write to this inventory (write = \"off\")".to_owned())
        }
        Edited::Held { holds, .. } => (StatusCode::CONFLICT, held(holds)),
        Edited::Protected { why } => (StatusCode::CONFLICT, why.clone()),
        Edited::Invalid { problems } => (StatusCode::UNPROCESSABLE_ENTITY, problems.clone()),
        Edited::Refused { why } => (StatusCode::UNPROCESSABLE_ENTITY, why.clone()),
    };
    problem::outcome(status, &why, &edited)
}

fn held(holds: &[Hold]) -> String {
    holds.iter().map(|hold| format!("{}; {}", hold.reason, hold.cure)).collect::<Vec<_>>().join("; ")
}
