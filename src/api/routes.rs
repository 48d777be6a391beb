//! The routes, over whatever keeps the state.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router};
use http_body_util::{BodyExt, Collected, LengthLimitError, Limited};
use schemars::JsonSchema;
use tokio::sync::{Semaphore, watch};

use super::body::Bodies;
use super::idempotency::Keys;
use super::list::{self, Wanted};
use super::masked::{self, Masks};
use super::metrics::Counts;
use super::operation::Operations;
use super::problem::{self, problem};
use super::resource::{
    Adopt, Apply, EditRequest, Edited, Freed, Listed, LogSender, Logbook, NewToken, Operation, Order,
    Outcome, Pool, Profile, Revision, Row, ServiceStatus, SourceStatus, Status, SubnetRow, Template, Ticket,
    TicketRequest, TokenCreated, Tree, WaitingPlan, Webhook, WipeCertificate, Written, adopt, audit, boot,
    boot_once, claim, definition, deployment, discovered, drift, edit, effect, event, hold, interface, lease,
    log, machine, named, operation, order, plan, power, subnet, ticket, token, why, wipe, wipe_certificate,
};
use super::route::{Route, Routes};
use super::streams::Streams;
use super::{health, hook};
use crate::manifest::Kind;
use crate::model::{AuditEntry, Caller, Name, Origin, PowerAction, Role, Time};
use crate::state::outbox::{EffectId, Pending};
use crate::state::user_data::Sealed;
use crate::state::{self, ApiToken, Event, Verb, command};

/// What the routes need of the daemon.
pub trait Backend: Clone + Send + Sync + 'static {
    /// Where the logs of machines are kept.
    type Logs: Logbook;

    fn state(&self) -> Arc<state::State>;
    fn now(&self) -> Time;
    fn status(&self) -> Status;
    /// A text of user data as it is stored.
    fn sealed_user_data(&self, text: &str) -> Sealed;
    /// With the number of the oldest event that is kept.
    fn events(&self, after: u64, limit: usize, wanted: impl Fn(&Event) -> bool) -> (u64, Vec<(u64, Event)>);
    /// What the manifests that are served say of the resource that stands at `origin`.
    fn written(&self, kind: Kind, name: &Name, origin: &Origin) -> impl Future<Output = Written> + Send;
    /// Every service of the daemon and how it stands.
    fn services(&self) -> Vec<ServiceStatus>;
    /// Waits until it is known what is served, which a daemon that was just started may have to read first; false
    /// where that takes long.
    fn restored(&self) -> impl Future<Output = bool> + Send;
    /// Whether the keeper of the state answers.
    fn is_alive(&self) -> impl Future<Output = bool> + Send;
    /// Has DHCP served on an interface where another server was there first.
    fn serve_dhcp(&self, interface: &str) -> Result<(), String>;
    /// What `/metrics` counts.
    fn counts(&self) -> Counts;
    fn latest(&self) -> watch::Receiver<u64>;
    /// What machines log.
    fn logs(&self) -> Self::Logs;
    /// Where events are sent, and how that stands.
    fn webhooks(&self) -> Vec<Webhook>;
    fn plan(&self, tree: Tree) -> impl Future<Output = Result<Outcome, String>> + Send;
    /// Applies a tree, as far as its caller may.
    fn apply(&self, apply: Apply, by: Caller) -> impl Future<Output = Result<Outcome, String>> + Send;
    /// Makes edits: all of a request, or none; where there are `pools`, of nothing but their deployments. One of the same
    /// `key` is made once, also over a restart.
    fn edit(
        &self,
        request: EditRequest,
        by: Caller,
        pools: Vec<Name>,
        key: Option<String>,
    ) -> impl Future<Output = Result<Edited, String>> + Send;
    /// The entries of the audit log after the one of a number, the oldest first.
    fn audit(&self, after: u64) -> impl Future<Output = Result<Vec<AuditEntry>, String>> + Send;
    /// Its entries about an operation, the oldest first.
    fn audit_of_operation(&self, name: &str) -> impl Future<Output = Result<Vec<AuditEntry>, String>> + Send;
    fn adopt(&self, request: Adopt) -> impl Future<Output = Result<(), String>> + Send;
    fn ticket(&self, request: TicketRequest) -> Ticket;
    fn order(&self, order: Order) -> impl Future<Output = Result<Outcome, String>> + Send;
    fn plans(&self) -> impl Future<Output = Vec<WaitingPlan>> + Send;
    /// Ends whatever keeps an address from others; `None` if nothing did.
    fn free(&self, address: IpAddr) -> impl Future<Output = Result<Option<Freed>, String>> + Send;
    /// Cancels an effect; what it was, or `None` if it was not pending.
    fn cancel(
        &self,
        id: EffectId,
        by: Caller,
    ) -> impl Future<Output = Result<Option<Arc<Pending>>, String>> + Send;
    /// Orders a machine to be switched; the inner error says why the state does not allow it.
    fn power(
        &self,
        machine: Name,
        action: PowerAction,
        reason: String,
        by: Caller,
    ) -> impl Future<Output = Result<Result<Arc<Pending>, String>, String>> + Send;
    /// Creates a token; the inner error says why the state does not allow it.
    fn create_token(
        &self,
        new: NewToken,
        by: Caller,
    ) -> impl Future<Output = Result<Result<TokenCreated, String>, String>> + Send;
    /// Revokes a token; what it was, or `None` if there is none of that name.
    fn revoke_token(
        &self,
        name: Name,
        by: Caller,
    ) -> impl Future<Output = Result<Option<Arc<ApiToken>>, String>> + Send;
    /// Has a command of a caller carried out; the inner error says why the state does not allow it.
    fn command(
        &self,
        verb: Verb,
        by: Caller,
    ) -> impl Future<Output = Result<Result<command::Outcome, String>, String>> + Send;
    /// Notes that a token is used. Never waits.
    fn note_token(&self, token: &ApiToken);
    /// When a token was last used since the daemon started.
    fn token_used(&self, token: &ApiToken) -> Option<Time>;
    /// Kept revisions, the newest first. It reads them from disk.
    fn revisions(&self) -> Vec<Revision>;
    /// Every source, and how it stands.
    fn sources(&self) -> Vec<SourceStatus>;
    /// Judges a webhook's call for the source `name`, at first without its body.
    fn hook(&self, name: &str, headers: &HeaderMap, body: Option<&[u8]>) -> Hooked;
    /// Has a source read again, for certain when this returns.
    fn fetch(&self, source: &str) -> impl Future<Output = Result<(), String>> + Send;
}

/// What became of a webhook's call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hooked {
    /// Its sender may have the source read.
    Called,
    /// There is no such source, or it has no webhook.
    Unknown,
    /// Its sender does not know the secret.
    Forged,
    /// Only the body shows whether its sender does.
    Signed,
}

/// All routes, and what is known of each.
pub fn router<B: Backend>(backend: B, streams: Streams) -> (Router, Vec<Route>) {
    let (router, all) = routes::<B>().into_parts();
    let (masks, states) = (Masks::default(), backend.clone());
    let mask = move |request: Request, next: Next| {
        masked::below_editors(masks.clone(), states.state().desired().clone(), request, next)
    };
    let router = router
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "there is no such resource") })
        .layer(Extension(Bodies::default()))
        .layer(Extension(Keys::default()))
        .layer(Extension(Operations::default()))
        .layer(Extension(Arc::new(streams)))
        .layer(from_fn(problem::uniform))
        .layer(from_fn(mask))
        .with_state(backend);
    (router, all)
}

/// What is known of each route, without a daemon.
pub fn described<B: Backend>() -> Vec<Route> {
    routes::<B>().into_parts().1
}

fn routes<B: Backend>() -> Routes<B> {
    let hooks = Arc::new(Semaphore::new(hook::BODIES_MAX));
    let hook = move |State(backend): State<B>, Path(name): Path<String>, request: Request| {
        hook(backend, hooks.clone(), name, request)
    };
    let metrics_route = Route::get("/metrics", "Metrics for Prometheus").says(StatusCode::OK, "Text");
    let hook_route = Route::post("/hooks/{name}", "A webhook: has the source of this name read again")
        .open()
        .any_parameters()
        .says(StatusCode::ACCEPTED, "It will be read")
        .says(StatusCode::UNAUTHORIZED, "The signature is missing or wrong");
    Routes::new()
        .merge(lists::<B>())
        .merge(named::routes::<B>())
        .merge(lease::routes::<B>())
        .merge(claim::routes::<B>())
        .merge(hold::routes::<B>())
        .merge(boot_once::routes::<B>())
        .merge(wipe::routes::<B>())
        .merge(wipe_certificate::routes::<B>())
        .merge(effect::routes::<B>())
        .merge(event::routes::<B>())
        .merge(log::routes::<B>())
        .merge(plan::routes::<B>())
        .merge(ticket::routes::<B>())
        .merge(token::routes::<B>())
        .merge(operation::routes::<B>())
        .merge(order::routes::<B>())
        .merge(power::routes::<B>())
        .merge(edit::routes::<B>())
        .merge(adopt::routes::<B>())
        .merge(audit::routes::<B>())
        .merge(interface::routes::<B>())
        .merge(why::routes::<B>())
        .merge(health::routes::<B>())
        .add(metrics_route, metrics::<B>)
        .add(hook_route, hook)
}

/// A route for each list.
fn lists<B: Backend>() -> Routes<B> {
    Listed::ALL.into_iter().fold(Routes::new(), |routes, what| {
        let handler = move |State(backend): State<B>,
                            Extension(operations): Extension<Operations>,
                            uri: Uri| { list(backend, operations, what, uri) };
        routes.add(list_route(what), handler)
    })
}

fn list_route(what: Listed) -> Route {
    let route = |about| Route::get(what.path(), about);
    match what {
        Listed::Deployments => route("All deployments").lists::<deployment::Deployment>(),
        Listed::Machines => {
            route("The machines of the manifests, then those that were only seen").lists::<machine::Machine>()
        }
        Listed::Discovered => {
            route("Machines that our agent found and no manifest declares").lists::<discovered::Discovered>()
        }
        Listed::Boots => route("All boots").lists::<boot::Boot>(),
        Listed::Profiles => route("The profiles of the manifests").lists::<Profile>(),
        Listed::Templates => route("The templates of the manifests").lists::<Template>(),
        Listed::Subnets => route("All subnets").lists::<SubnetRow>(),
        Listed::Pools => route("All pools").lists::<Pool>(),
        Listed::Sources => route("Every source of manifests, and how it stands").lists::<SourceStatus>(),
        Listed::Leases => route("All leases, IPv4 first").lists::<lease::Lease>(),
        Listed::Status => route("How the daemon stands").gives::<Status>(),
        Listed::Operations => {
            route("Requests that go on after they were answered with 202, the newest first")
                .lists::<Operation>()
        }
        Listed::Plans => route("Revisions that wait for a person").gives::<Vec<WaitingPlan>>(),
        Listed::Revisions => route("Kept revisions, the newest first").lists::<Revision>(),
        Listed::Drift => route("Where machines are not as the manifests say").lists::<drift::Drift>(),
        Listed::Claims => route("Machines of pools that somebody has or waits for").lists::<claim::Claim>(),
        Listed::Orders => {
            route("What is being done with machines: releases and wipes").lists::<wipe::Order>()
        }
        Listed::Certificates => {
            route("What was done to the disks of machines that were wiped, the oldest first")
                .lists::<WipeCertificate>()
        }
        Listed::Effects => route("What follows from a change and is not done yet").lists::<effect::Effect>(),
        Listed::LogSenders => {
            route("Who sent messages of syslog, and how many were malformed or too many").lists::<LogSender>()
        }
        Listed::Webhooks => route("Where events are sent, and how that stands").lists::<Webhook>(),
        Listed::Tokens => route("The tokens of the API").needs(Role::Admin).lists::<token::Token>(),
    }
}

async fn list<B: Backend>(backend: B, operations: Operations, what: Listed, uri: Uri) -> Response {
    match what {
        Listed::Status => Json(backend.status()).into_response(),
        Listed::Plans => Json(backend.plans().await).into_response(),
        Listed::Operations => page(&uri, |after| list::from(operations.all(), after)),
        what if !is_long(what, &uri) => rows(&backend, what, &uri),
        what => in_turn(move || rows(&backend, what, &uri)).await,
    }
}

/// Makes an answer for which every machine may be looked at. A few are made at once: with all processors busy with them
/// nothing else would be answered.
pub(in crate::api) async fn in_turn(make: impl FnOnce() -> Response + Send + 'static) -> Response {
    let _turn = LISTS.acquire().await;
    let made = tokio::task::spawn_blocking(make).await;
    made.unwrap_or_else(|_| problem(StatusCode::INTERNAL_SERVER_ERROR, "the answer can't be made"))
}

/// Whether every machine may be looked at for an answer.
fn is_long(what: Listed, uri: &Uri) -> bool {
    match what {
        Listed::Deployments | Listed::Machines | Listed::Discovered | Listed::Leases => !Wanted::is_page(uri),
        // The files of the history are read for it.
        Listed::Drift
        | Listed::Revisions
        | Listed::Claims
        | Listed::Orders
        | Listed::Certificates
        | Listed::Pools => true,
        _ => false,
    }
}

/// How many of those are made at once.
static LISTS: Semaphore = Semaphore::const_new(2);

fn rows<B: Backend>(backend: &B, what: Listed, uri: &Uri) -> Response {
    let state = backend.state();
    match what {
        Listed::Deployments => page(uri, |after| deployment::all(&state, after)),
        Listed::Machines => page(uri, |after| machine::all(&state, after)),
        Listed::Discovered => page(uri, |after| discovered::all(&state, after)),
        Listed::Boots => page(uri, |after| list::behind(boot::all(&state), after)),
        Listed::Profiles => page(uri, |after| list::behind(definition::all::<Profile>(&state), after)),
        Listed::Templates => page(uri, |after| list::behind(definition::all::<Template>(&state), after)),
        Listed::Subnets => page(uri, |after| list::behind(subnet::all(&state), after)),
        Listed::Pools => page(uri, |after| list::behind(definition::all::<Pool>(&state), after)),
        Listed::Sources => page(uri, |after| list::behind(backend.sources(), after)),
        Listed::Leases => page(uri, |after| lease::all(&state, backend.now(), after)),
        Listed::Status | Listed::Plans | Listed::Operations => {
            problem(StatusCode::NOT_FOUND, "this is no list of rows")
        }
        Listed::Revisions => page(uri, |after| list::from(backend.revisions(), after)),
        Listed::Drift => page(uri, |after| list::behind(drift::all(&state), after)),
        Listed::Claims => page(uri, |after| list::behind(claim::all(&state, backend.now()), after)),
        Listed::Orders => page(uri, |after| list::behind(wipe::all(&state), after)),
        Listed::Certificates => page(uri, |after| list::behind(wipe_certificate::all(&state), after)),
        Listed::Effects => page(uri, |after| list::behind(effect::all(&state, backend.now()), after)),
        Listed::LogSenders => page(uri, |after| list::behind(backend.logs().senders(), after)),
        Listed::Webhooks => page(uri, |after| list::behind(backend.webhooks(), after)),
        Listed::Tokens => {
            let used = |token: &ApiToken| backend.token_used(token);
            page(uri, |after| list::behind(token::all(&state, backend.now(), used), after))
        }
    }
}

/// A page of the rows that come after the one of a key.
fn page<T: Row + JsonSchema, I: Iterator<Item = T>>(
    uri: &Uri,
    rows: impl FnOnce(Option<&str>) -> I,
) -> Response {
    match Wanted::read::<T>(uri) {
        Ok(wanted) => list::answer(&wanted, uri, rows(wanted.after())),
        Err(why) => list::mistake(&why),
    }
}

async fn metrics<B: Backend>(State(backend): State<B>) -> Response {
    let page = move || {
        let text = super::metrics::text(&backend.state(), &backend.counts(), backend.now());
        ([("content-type", "text/plain; version=0.0.4")], text).into_response()
    };
    in_turn(page).await
}

/// A flood of calls must cost little: a body is read only where it decides something, a few at once, up to
/// a size and for a limited time.
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
        Hooked::Called => match backend.fetch(&name).await {
            Ok(()) => StatusCode::ACCEPTED.into_response(),
            Err(why) => problem(StatusCode::SERVICE_UNAVAILABLE, &why),
        },
        Hooked::Unknown => problem(StatusCode::NOT_FOUND, &format!("no source called {name} has a webhook")),
        Hooked::Forged | Hooked::Signed => {
            problem(StatusCode::UNAUTHORIZED, "the signature is missing or wrong")
        }
    }
}

/// An answer, or the error of a daemon that can do nothing about it now.
pub fn respond<T>(found: Result<T, String>, answer: impl FnOnce(T) -> Response) -> Response {
    found.map_or_else(|error| problem(StatusCode::SERVICE_UNAVAILABLE, &error), answer)
}
