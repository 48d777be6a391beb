//! `/v1/claims`: machines that somebody asks for, has for a time, and gives back.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EditRequest, Edited, Row, or_dash};
use crate::api::Word;
use crate::api::audit::{about, about_unless_said};
use crate::api::body::{Posted, SMALL_MAX};
use crate::api::idempotency::Keys;
use crate::api::problem::problem;
use crate::api::route::{Route, Routes};
use crate::api::routes::{Backend, respond};
use crate::edit::{Edit, Setting, Verb as EditVerb};
use crate::manifest::Kind;
use crate::model::words::words;
use crate::model::{Caller, Name, OnReturn, Role, Span, Time, WipeLevel};
use crate::state::claim::{Wanted, WhyNot};
use crate::state::command::Outcome;
use crate::state::lifecycle;
use crate::state::prototype::missing_file;
use crate::state::user_data::USER_DATA_MAX;
use crate::state::{self, ApiToken, Verb};

/// Largest body of a claim: each byte of its user data may take six in JSON.
const BODY_MAX: usize = SMALL_MAX + 6 * USER_DATA_MAX;

/// Most machines of which one claim says why it does not have them.
const REASONS_MAX: usize = 10_000;

words! {
    /// How far a claim is.
    pub enum ClaimState {
        /// No machine is free for it.
        Queued = "queued",
        /// It has a machine, whose installation has not begun.
        Waiting = "waiting",
        Installing = "installing",
        Installed = "installed",
        /// Its machine waits for a person.
        Failed = "failed",
        /// A person holds its machine.
        Held = "held",
        /// Its time is over: its machine is taken back after a while, unless it is extended.
        Ending = "ending",
    }
}

/// A row of `GET /v1/claims`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Claim {
    /// No other claim ever has the same.
    pub name: String,
    pub pool: String,
    /// Who asked for it.
    pub by: String,
    pub state: Word<ClaimState>,
    pub machine: Option<String>,
    /// The address that its machine has, where that is known.
    pub address: Option<IpAddr>,
    /// RFC 3339; when it was asked for.
    pub asked: String,
    /// RFC 3339; since when it has its machine.
    pub since: Option<String>,
    /// How long it lasts from then on; absent where it does not end by itself.
    pub ttl: Option<String>,
    /// RFC 3339; when it ends by itself, or where that is over, when its machine is taken back. Later if the daemon
    /// does not run meanwhile.
    pub ends: Option<String>,
    /// What happens to its machine afterwards.
    pub on_return: Word<OnReturn>,
    pub level: Word<WipeLevel>,
    /// Whether it lasts until a manifest takes its machine over.
    pub kept: bool,
    /// Whether user data are stored for its machine.
    #[serde(default)]
    pub user_data: bool,
    /// Its place among those of its pool that wait, from 1 on.
    pub place: Option<usize>,
    /// Why it waits, or what follows, for people.
    pub reason: String,
    /// Why it waits: what keeps machines from it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub obstacles: Vec<Obstacle>,
}

/// What keeps machines from a claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Obstacle {
    pub why: Word<WhyNot>,
    /// How many machines it keeps.
    pub machines: usize,
    /// One of them.
    pub example: String,
}

/// `GET /v1/claims/NAME`: a claim, and where it waits, why not each machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClaimShown {
    #[serde(flatten)]
    pub claim: Claim,
    /// What keeps each machine from it; empty where it has one. At most 10,000.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub machines: BTreeMap<String, Word<WhyNot>>,
}

/// `POST /v1/claims`: a machine that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimWanted {
    pub pool: String,
    /// What its name begins with; a number follows. The pool's name where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How long it lasts from when it has its machine, as `8h`: as long as the pool allows where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// What its machine is to be given: the variable `user_data` of templates, and the user data that cloud-init reads. At
    /// most 1 MiB. They are stored sealed, and erased when the machine is installed (where cloud-init reads them from here,
    /// when the claim is over).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
}

/// `POST /v1/claims/NAME/extend`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    /// How long it lasts from now on, as `4h`.
    pub ttl: String,
}

/// What the claims of a pool have in common: it is found out once for a list.
#[derive(Default)]
struct Queues {
    places: BTreeMap<Name, usize>,
    obstacles: BTreeMap<Name, Vec<Obstacle>>,
}

/// All of them, by their names.
pub fn all(state: &state::State, now: Time) -> Vec<Claim> {
    let mut queues = Queues::default();
    state.claims().values().map(|claim| row(state, claim, now, &mut queues)).collect()
}

/// The one of this name.
pub fn one(state: &state::State, name: &Name, now: Time) -> Option<Claim> {
    state.claims().get(name).map(|claim| row(state, claim, now, &mut Queues::default()))
}

/// The same, with what keeps each machine from it.
fn shown(state: &state::State, name: &Name, now: Time) -> Option<ClaimShown> {
    let claim = state.claims().get(name)?;
    let pool = state.desired().pools.get(&claim.pool).filter(|_| claim.place.is_none());
    let machines = pool.into_iter().flat_map(|pool| {
        let machines = state.desired().machines.keys();
        machines.filter_map(|machine| Some((machine.to_string(), state.why_not(pool, machine)?.into())))
    });
    let machines = machines.take(REASONS_MAX).collect();
    Some(ClaimShown { claim: row(state, claim, now, &mut Queues::default()), machines })
}

fn row(state: &state::State, claim: &state::Claim, now: Time, queues: &mut Queues) -> Claim {
    let place = claim.place.as_ref();
    let ends = place.and_then(|place| place.taken_back.or(place.ends)).filter(|_| !claim.keep);
    let left = ends.map(|ends| Span(ends.saturating_sub(state.lasting().ran.now)));
    let described = place.and_then(|place| state.desired().machines.get(&place.machine));
    let deployment = state.deployment(&claim.name);
    let leased = described.and_then(|machine| {
        let cards = state.cards(machine);
        let v4 = cards.iter().find_map(|mac| state.leases().address_of(*mac)).map(IpAddr::V4);
        v4.or_else(|| cards.iter().find_map(|mac| Some(IpAddr::V6(state.leases6().of(*mac)?.address))))
    });
    let fixed = deployment.and_then(|one| one.address).map(IpAddr::V4);
    let stage = stage(state, claim);
    let (number, obstacles) = match place {
        Some(_) => (None, Vec::new()),
        None => queues.of(state, claim),
    };
    Claim {
        name: claim.name.to_string(),
        pool: claim.pool.to_string(),
        by: claim.by.to_string(),
        state: stage.into(),
        machine: place.map(|place| place.machine.to_string()),
        address: fixed.or(leased),
        asked: claim.asked.to_string(),
        since: place.map(|place| place.since.to_string()),
        ttl: claim.ttl.map(|ttl| ttl.to_string()),
        ends: left.map(|left| (now + left).to_string()),
        on_return: claim.on_return.into(),
        level: claim.level.into(),
        kept: claim.keep,
        user_data: claim.has_user_data,
        place: number,
        reason: reason(state, claim, number, &obstacles),
        obstacles,
    }
}

fn stage(state: &state::State, claim: &state::Claim) -> ClaimState {
    let Some(place) = &claim.place else { return ClaimState::Queued };
    if claim.is_in_grace() {
        return ClaimState::Ending;
    }
    match state.word(&place.machine) {
        lifecycle::Word::Held => ClaimState::Held,
        lifecycle::Word::Failed => ClaimState::Failed,
        lifecycle::Word::Installing => ClaimState::Installing,
        lifecycle::Word::Installed => ClaimState::Installed,
        _ => ClaimState::Waiting,
    }
}

/// Why it is as it is.
fn reason(
    state: &state::State,
    claim: &state::Claim,
    number: Option<usize>,
    obstacles: &[Obstacle],
) -> String {
    let Some(place) = &claim.place else {
        let Some(pool) = state.desired().pools.get(&claim.pool) else {
            return format!(
                "the inventory that is served has no pool {} that gives out machines",
                claim.pool
            );
        };
        let queue = number.map_or(String::new(), |number| format!("number {number} in the queue: "));
        let held = state.claimed_of(&claim.pool);
        if let Some(most) = pool.max.filter(|most| held >= *most) {
            return format!("{queue}{held} machines of pool {} are given out, its most is {most}", pool.name);
        }
        let all = obstacles.iter().map(|one| format!("{} {}", one.machines, one.why));
        let all = all.collect::<Vec<_>>().join("; ");
        return format!(
            "{queue}no machine is free ({})",
            if all.is_empty() { "there is none" } else { &all }
        );
    };
    let machine = &place.machine;
    if claim.keep {
        return "it lasts until a manifest takes its machine over".into();
    }
    if claim.is_in_grace() {
        return format!("its time is over: {machine} is taken back, unless it is extended");
    }
    if let Some(two) = state.contest_of(machine) {
        return format!("{two}; then `voldemortctl retry {machine}`");
    }
    if let Some(hold) = state.hold(machine) {
        return format!("machine {machine} is held by {}: {}", hold.by, hold.reason);
    }
    match state.deployment(&claim.name) {
        Some(deployment) if missing_file(&deployment.boot).is_some() => {
            let file = missing_file(&deployment.boot).unwrap_or_default();
            format!(
                "file {file} of boot {}, which machine {machine} was given out with, is not there any more: release the \
                 claim, or put the file back",
                deployment.boot.name
            )
        }
        Some(deployment) => match state.duty(deployment) {
            state::Duty::Install { .. } => {
                let next = format!("machine {machine} installs at its next network boot");
                let lacks = state.needs_a_start(machine);
                lacks.map_or(next.clone(), |why| format!("{next}, which somebody has to bring about: {why}"))
            }
            state::Duty::NetworkBoot => format!("machine {machine} runs from the network"),
            state::Duty::LocalBoot(why) => format!("machine {machine} boots its own disk: {why}"),
        },
        None => format!("what machine {machine} was to run is not known any more: it boots its own disk"),
    }
}

impl Queues {
    /// A claim's place among those that wait, and what keeps machines from it.
    fn of(&mut self, state: &state::State, claim: &state::Claim) -> (Option<usize>, Vec<Obstacle>) {
        if !self.obstacles.contains_key(&claim.pool) {
            let waiting = state.waiting(&claim.pool);
            self.places.extend(waiting.iter().enumerate().map(|(at, one)| (one.name.clone(), at + 1)));
            let obstacle = |(why, (machines, example)): (WhyNot, (usize, Name))| Obstacle {
                why: why.into(),
                machines,
                example: example.to_string(),
            };
            let found = state.why_waiting(claim).into_iter().map(obstacle).collect();
            self.obstacles.insert(claim.pool.clone(), found);
        }
        let obstacles = self.obstacles.get(&claim.pool).cloned().unwrap_or_default();
        (self.places.get(&claim.name).copied(), obstacles)
    }
}

impl Row for Claim {
    const COLUMNS: &'static [&'static str] =
        &["NAME", "POOL", "STATE", "MACHINE", "ADDRESS", "ENDS", "BY", "REASON"];

    fn name(&self) -> &str {
        &self.name
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.pool.clone(),
            self.state.to_string(),
            or_dash(self.machine.as_ref()),
            or_dash(self.address.as_ref()),
            or_dash(self.ends.as_ref()),
            self.by.clone(),
            self.reason.clone(),
        ]
    }
}

pub fn routes<B: Backend>() -> Routes<B> {
    let key = "A text of the caller's choice: the same request with it is done once, also over a restart";
    let gone = "There is no such claim";
    let own = "The claim is another caller's, or the token is not for its pool";
    let made = Route::post("/v1/claims", "Claims a machine of a pool, or a place in its queue")
        .needs(Role::Claimer)
        .judges_pools()
        .takes::<ClaimWanted>()
        .header("Idempotency-Key", key)
        .answers::<Claim>(StatusCode::OK, "The claim, with its machine if one is free")
        .says(StatusCode::FORBIDDEN, "The token is not for this pool")
        .says(StatusCode::NOT_FOUND, "There is no such pool")
        .says(StatusCode::CONFLICT, "The pool does not allow it");
    let read = Route::get("/v1/claims/{name}", "A claim, and where it waits, why not each machine")
        .gives::<ClaimShown>()
        .says(StatusCode::NOT_FOUND, gone);
    let change = |path: &'static str, text: &'static str| {
        Route::post(path, text)
            .needs(Role::Claimer)
            .judges_pools()
            .header("Idempotency-Key", key)
            .says(StatusCode::FORBIDDEN, own)
            .says(StatusCode::NOT_FOUND, gone)
            .says(StatusCode::CONFLICT, "It can't be done as things stand")
    };
    let extended = change("/v1/claims/{name}/extend", "Has a claim last so long from now")
        .takes::<Extension>()
        .answers::<Claim>(StatusCode::OK, "The claim");
    let released =
        change("/v1/claims/{name}/release", "Gives a claim's machine back, or its place in the queue")
            .answers::<Claim>(StatusCode::OK, "The claim as it was");
    let kept = change(
        "/v1/claims/{name}/keep",
        "Writes a deployment of the claim's name: the claim ends when it is live",
    )
    .needs(Role::Editor)
    .answers::<Edited>(StatusCode::OK, "What became of the change of the inventory");
    Routes::new()
        .add(made, claim::<B>)
        .add(read, get::<B>)
        .add(extended, extend::<B>)
        .add(released, release::<B>)
        .add(kept, keep::<B>)
}

/// The caller, and the pools that its token is bound to.
type By = (axum::Extension<Caller>, Option<axum::Extension<Arc<ApiToken>>>);

fn pools_of((_, token): &By) -> &[Name] {
    token.as_ref().map_or(&[], |token| &token.pools)
}

async fn claim<B: Backend>(
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
    let pool = &understood.pool;
    if !pools_of(&by).is_empty() && !pools_of(&by).contains(pool) {
        return problem(StatusCode::FORBIDDEN, &format!("this token is not for pool {pool}"));
    }
    if let Some(answer) = no_pool(&backend.state(), pool) {
        return answer;
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
            Err(why) => problem(StatusCode::CONFLICT, &why),
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

fn span(text: &str) -> Result<Span, String> {
    match text.parse::<Span>() {
        Ok(Span(0)) => Err("ttl: a claim of no time has no machine".into()),
        Ok(span) => Ok(span),
        Err(error) => Err(format!("ttl: `{text}`: {error}")),
    }
}

/// The claim that a request is about, if its caller may change it; the error is the answer.
fn own<B: Backend>(backend: &B, by: &By, name: &str) -> Result<Arc<state::Claim>, Response> {
    let state = backend.state();
    let found = name.parse::<Name>().ok().and_then(|name| state.claims().get(&name).cloned());
    let Some(claim) = found else {
        let name: String = name.chars().take(100).collect();
        let why = format!("there is no claim {name}: `voldemortctl get claims` shows those that there are");
        return Err(problem(StatusCode::NOT_FOUND, &why));
    };
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

async fn get<B: Backend>(State(backend): State<B>, Path(name): Path<String>) -> Response {
    let state = backend.state();
    match name.parse().ok().and_then(|name| shown(&state, &name, backend.now())) {
        Some(found) => Json(found).into_response(),
        None => {
            let name: String = name.chars().take(100).collect();
            problem(StatusCode::NOT_FOUND, &format!("there is no claim {name}"))
        }
    }
}

async fn extend<B: Backend>(
    State(backend): State<B>,
    by: By,
    axum::Extension(keys): axum::Extension<Keys>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Posted(request): Posted<self::Extension>,
) -> Response {
    let claim = match own(&backend, &by, &name) {
        Ok(claim) => claim,
        Err(answer) => return answer,
    };
    let ttl = match span(&request.ttl) {
        Ok(ttl) => ttl,
        Err(why) => return problem(StatusCode::BAD_REQUEST, &why),
    };
    let verb = Verb::Extend(claim.name.clone(), ttl);
    changed(backend, by.0.0, keys, headers, claim, verb, format!("extend claim {name} by {ttl}")).await
}

async fn release<B: Backend>(
    State(backend): State<B>,
    by: By,
    axum::Extension(keys): axum::Extension<Keys>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    match own(&backend, &by, &name) {
        Ok(claim) => {
            let verb = Verb::Release(claim.name.clone());
            changed(backend, by.0.0, keys, headers, claim, verb, format!("release claim {name}")).await
        }
        Err(answer) => answer,
    }
}

/// Has a command about a claim carried out. The answer is the claim as it is then, or as it was where it is over.
async fn changed<B: Backend>(
    backend: B,
    caller: Caller,
    keys: Keys,
    headers: HeaderMap,
    claim: Arc<state::Claim>,
    verb: Verb,
    what: String,
) -> Response {
    let before = row(&backend.state(), &claim, backend.now(), &mut Queues::default());
    let (sender, request) = (caller.clone(), what.clone());
    let work = async move {
        respond(backend.command(verb, sender).await, |outcome| match outcome {
            Ok(_) => {
                Json(one(&backend.state(), &claim.name, backend.now()).unwrap_or(before)).into_response()
            }
            Err(why) => problem(StatusCode::CONFLICT, &why),
        })
    };
    about_unless_said(keys.once(caller, &headers, request.as_bytes(), work).await, what)
}

/// Two steps: the claim goes on until a manifest has its machine, and the manifest is written. Where that is not done,
/// the claim stays kept, so that the person can write it.
async fn keep<B: Backend>(
    State(backend): State<B>,
    by: By,
    axum::Extension(keys): axum::Extension<Keys>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let claim = match own(&backend, &by, &name) {
        Ok(claim) => claim,
        Err(answer) => return answer,
    };
    let pools = pools_of(&by).to_vec();
    let caller = by.0.0;
    let (sender, what) = (caller.clone(), format!("keep claim {}", claim.name));
    let key = Keys::digest(&caller, &headers, &what);
    let said = what.clone();
    let work = async move {
        let kept = backend.command(Verb::Keep(claim.name.clone()), sender.clone()).await;
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
    about_unless_said(keys.once(caller, &headers, said.as_bytes(), work).await, said)
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

#[cfg(test)]
mod tests {
    use super::*;

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
