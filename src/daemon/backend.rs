//! What the control API asks of a running daemon.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use hyper::HeaderMap;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::audit::AuditLog;
use super::certificate::Certificate;
use super::counters::Counters;
use super::dhcp::Heartbeat;
use super::hooks::Hooks;
use super::keeper::{Keeper, KeeperError};
use super::other_servers::Watch;
use super::reconcile::Reconciler;
use super::service::{Condition, Part, StatusBoard};
use super::syslog::Book;
use super::token_uses::TokenUses;
use super::webhook::Webhooks;
use super::{Files, now, service_manager, start};
use crate::api::metrics::Counts;
use crate::api::quota::Quotas;
use crate::api::resource::{
    Adopt, Apply, EditRequest, Edited, Freed, Logbook as _, NewToken, Order, Outcome, Revision,
    ServiceStatus, SourceStatus, Status, Ticket, TicketRequest, TokenCreated, Tree, WaitingPlan, Webhook,
    Written, status,
};
use crate::api::route::Route;
use crate::api::{Backend, Hooked, routes};
use crate::manifest::Kind;
use crate::model::{
    AuditEntry, Caller, Name, Origin, PowerAction, ServiceState, SourceCondition, Span, Time, hex,
};
use crate::state::effect::TaskOutcome;
use crate::state::outbox::{EffectId, Pending, TaskKind};
use crate::state::user_data::Sealed;
use crate::state::{self, ApiToken, Command, Event, Report, State, Verb, command};

/// A commit that takes longer is one that people should know of.
const SLOW_DISK: Span = Span::seconds(2);

/// What became of tasks since the start.
fn counted(counters: &Counters) -> Vec<(TaskKind, TaskOutcome, u64)> {
    let all = TaskKind::ALL.into_iter().flat_map(|kind| TaskOutcome::ALL.map(|outcome| (kind, outcome)));
    all.map(|(kind, outcome)| (kind, outcome, counters.tasks(kind, outcome))).collect()
}

/// The daemon as the control API sees it: each request has it several times.
#[derive(Clone)]
pub(super) struct Daemon(pub Arc<Parts>);

pub(super) struct Parts {
    /// What the API shows beyond loopback, if it listens there.
    pub certificate: Option<Arc<Certificate>>,
    /// How much each caller of the API asks for.
    pub quotas: Arc<Quotas>,
    pub keeper: Keeper,
    pub reconciler: Arc<Reconciler>,
    /// The daemon's mode on each network, and the other servers there.
    pub watches: Vec<Arc<Watch>>,
    /// Empty until the sources are followed.
    pub hooks: Arc<OnceLock<Hooks>>,
    pub board: StatusBoard,
    /// What machines are sent.
    pub files: Files,
    pub heartbeat: Heartbeat,
    pub token_uses: Arc<TokenUses>,
    pub audit: AuditLog,
    pub webhooks: Webhooks,
    pub logs: Book,
}

impl Deref for Daemon {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Daemon {
    /// `server`, or with several networks `eth0: server, eth1: proxy`.
    fn mode(&self) -> String {
        match self.watches.as_slice() {
            [watch] => watch.mode.borrow().to_string(),
            watches => {
                let named =
                    watches.iter().map(|watch| format!("{}: {}", watch.network.name, *watch.mode.borrow()));
                named.collect::<Vec<_>>().join(", ")
            }
        }
    }

    /// `10.0.10.2 on eth0` for each other DHCP server, once every network was looked at.
    fn others(&self) -> Option<Vec<String>> {
        let mut all = Vec::new();
        for watch in &self.watches {
            let name = &watch.network.name;
            all.extend(watch.others.borrow().as_ref()?.iter().map(|server| format!("{server} on {name}")));
        }
        Some(all)
    }
}

impl Daemon {
    /// What is wrong with the state directory and with file systems, then what machines suffer from.
    fn troubles(&self, state: &State) -> Vec<String> {
        let mut troubles = self.keeper.storage().borrow().sentences();
        troubles.extend(self.audit.sentence());
        troubles.extend(self.webhooks.sentences(now()));
        troubles.extend(self.files.reads().sentences());
        troubles.extend(self.heartbeat.sentence());
        troubles.extend(self.watches.iter().filter_map(|watch| watch.condition()));
        troubles.extend(self.reconciler.slow_writes());
        troubles.extend(status::troubles(state, now()));
        troubles
    }
}

/// What is known of each route of the control API.
pub(super) fn api_routes() -> Vec<Route> {
    routes::described::<Daemon>()
}

impl Backend for Daemon {
    type Logs = Book;

    fn state(&self) -> Arc<State> {
        self.keeper.state()
    }

    fn now(&self) -> Time {
        now()
    }

    fn status(&self) -> Status {
        let state = self.keeper.state();
        let (waiting, in_flight) = state.waves();
        let sources = self.sources();
        let urgent = sources.iter().find(|source| source.condition != SourceCondition::Ready);
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            lineage: state.lineage().to_string(),
            serial: state.serial(),
            server: state.server().url(),
            mode: self.mode(),
            other_servers: self.others(),
            deployments: state.desired().deployments.len(),
            machines: state.desired().machines.len(),
            doubtful: status::doubtful(&state),
            waiting,
            in_flight,
            services: self.services(),
            source: urgent.or(sources.first()).cloned().unwrap_or_default(),
            sources,
            troubles: self.troubles(&state),
            audit: self.audit.status().head,
            api_ca: self.certificate.as_ref().map(|certificate| certificate.fingerprint()),
        }
    }

    fn services(&self) -> Vec<ServiceStatus> {
        let row = |(name, condition): (String, Condition)| ServiceStatus {
            name,
            state: condition.state.into(),
            since: condition.since.to_string(),
            reason: condition.reason,
            auxiliary: condition.part == Part::Auxiliary,
        };
        let mut rows: Vec<ServiceStatus> = self.board.conditions().into_iter().map(row).collect();
        let keeper = match self.keeper.writes_since() {
            Some(since) if now().since(since) > SLOW_DISK => {
                (ServiceState::Waiting, format!("the disk has been slow to store the state since {since}"))
            }
            _ if !self.keeper.is_restored() => {
                (ServiceState::Waiting, "what was served before the start is being read".to_owned())
            }
            _ => (ServiceState::Serving, String::new()),
        };
        let (state, reason) = (keeper.0.into(), keeper.1);
        rows.push(ServiceStatus { name: "state".into(), state, reason, ..ServiceStatus::default() });
        rows
    }

    async fn restored(&self) -> bool {
        self.keeper.restored().await
    }

    async fn is_alive(&self) -> bool {
        service_manager::is_alive(&self.keeper).await
    }

    fn serve_dhcp(&self, interface: &str) -> Result<(), String> {
        let found = self.watches.iter().find(|watch| &*watch.network.name == interface);
        let Some(watch) = found else {
            let known: Vec<&str> = self.watches.iter().map(|watch| &*watch.network.name).collect();
            return Err(format!("no network {interface} is served; there are {}", known.join(", ")));
        };
        if !watch.has_stepped_back() {
            let mode = *watch.mode.borrow();
            return Err(format!("DHCP on {interface} is in mode {mode}: it serves no DHCP"));
        }
        watch.serve("a person ordered it");
        Ok(())
    }

    fn events(&self, after: u64, limit: usize, wanted: impl Fn(&Event) -> bool) -> (u64, Vec<(u64, Event)>) {
        self.keeper.timeline().events(after, limit, wanted)
    }

    fn counts(&self) -> Counts {
        let state = self.keeper.state();
        let counters = self.keeper.counters();
        let modes = self.watches.iter().map(|watch| (watch.network.name.to_string(), *watch.mode.borrow()));
        let count = |watch: &Arc<Watch>| {
            Some((watch.network.name.to_string(), watch.others.borrow().as_ref()?.len()))
        };
        Counts {
            events: counters.events(),
            silences: counters.silences(),
            events_lost: counters.events_lost(),
            log_lines_dropped: super::log::dropped(),
            tasks: counted(counters),
            modes: modes.collect(),
            other_servers: self.watches.iter().filter_map(count).collect(),
            services: self.services(),
            api_refused: self.quotas.refused().into(),
            troubles: self.troubles(&state).len(),
            audit: self.audit.status().head,
            audit_lost: self.audit.status().lost,
            webhooks: self.webhooks.shown(&self.keeper),
            log_senders: self.logs.senders(),
            source_ready: self.sources().iter().all(|source| source.condition == SourceCondition::Ready),
        }
    }

    fn logs(&self) -> Book {
        self.logs.clone()
    }

    fn webhooks(&self) -> Vec<Webhook> {
        self.webhooks.shown(&self.keeper)
    }

    fn latest(&self) -> watch::Receiver<u64> {
        self.keeper.timeline().latest()
    }

    fn hook(&self, name: &str, headers: &HeaderMap, body: Option<&[u8]>) -> Hooked {
        self.hooks.get().map_or(Hooked::Unknown, |hooks| hooks.judge(name, headers, body))
    }

    async fn fetch(&self, source: &str) -> Result<(), String> {
        let name: Name = source.parse().map_err(|error| format!("{source}: {error}"))?;
        let stored = self.keeper.fetch(name.clone()).await;
        // What can't be stored is done at once, as well as that goes.
        if stored.is_err()
            && let Some(handle) = self.hooks.get().and_then(|hooks| hooks.source(&name))
        {
            handle.poke();
        }
        stored.map_err(|error| error.to_string())
    }

    async fn written(&self, kind: Kind, name: &Name, origin: &Origin) -> Written {
        self.reconciler.written(kind, name, origin).await
    }

    async fn plan(&self, tree: Tree) -> Result<Outcome, String> {
        // The state of such work is large: with each layer of the API around it, it is on the worker's stack once more.
        Box::pin(self.reconciler.plan(tree)).await
    }

    async fn apply(&self, request: Apply, by: Caller) -> Result<Outcome, String> {
        self.reconciler.apply(request, by).await
    }

    fn ticket(&self, request: TicketRequest) -> Ticket {
        self.reconciler.ticket(&request.tree, &request.plan)
    }

    async fn order(&self, order: Order) -> Result<Outcome, String> {
        self.reconciler.order(order).await
    }

    async fn plans(&self) -> Vec<WaitingPlan> {
        let reconciler = self.reconciler.clone();
        tokio::task::spawn_blocking(move || reconciler.plans()).await.unwrap_or_default()
    }

    async fn free(&self, address: IpAddr) -> Result<Option<Freed>, String> {
        let freed = self.keeper.free(address).await.map_err(|error| error.to_string())?;
        Ok(freed.map(|freed| Freed {
            address,
            mac: freed.mac.to_string(),
            state: freed.state.into(),
            until: freed.until.to_string(),
        }))
    }

    async fn cancel(&self, id: EffectId, by: Caller) -> Result<Option<Arc<Pending>>, String> {
        self.keeper.cancel(id, by).await.map_err(|error| error.to_string())
    }

    async fn power(
        &self,
        machine: Name,
        action: PowerAction,
        reason: String,
        by: Caller,
    ) -> Result<Result<Arc<Pending>, String>, String> {
        match self.keeper.power(machine, action, reason.into(), by).await {
            Ok(Some(pending)) => Ok(Ok(pending)),
            Ok(None) => Ok(Err("nothing came of it".into())),
            Err(KeeperError::Refused(why)) => Ok(Err(why)),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn create_token(&self, new: NewToken, by: Caller) -> Result<Result<TokenCreated, String>, String> {
        let NewToken { name, role, pools, expires } = new;
        let id = u32::from_le_bytes(start::random());
        let secret: [u8; 32] = start::random();
        let text = format!("vdm_{id:08x}_{}", hex(&secret));
        let digest = Sha256::digest(&text).into();
        let by = Some(by);
        let created = TokenCreated {
            name: name.to_string(),
            role: role.into(),
            expires: expires.map(|end| end.to_string()),
            token: text,
        };
        let token = ApiToken { name, id, digest, role, pools, by, created: now(), expires, used: None };
        match self.keeper.create_token(token).await {
            Ok(()) => Ok(Ok(created)),
            Err(KeeperError::Refused(why)) => Ok(Err(why)),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn revoke_token(&self, name: Name, by: Caller) -> Result<Option<Arc<ApiToken>>, String> {
        let revoked = self.keeper.revoke_token(name, by).await.map_err(|error| error.to_string())?;
        Ok(revoked.inspect(|token| self.token_uses.forget(&token.name)))
    }

    fn sealed_user_data(&self, text: &str) -> Sealed {
        self.keeper.state().sealed_user_data(start::random(), text)
    }

    async fn command(&self, verb: Verb, by: Caller) -> Result<Result<command::Outcome, String>, String> {
        let done = match verb {
            Verb::Claim(wanted) => self.keeper.claim(*wanted, by).await,
            verb => self.keeper.ask(Command { by, verb }).await,
        };
        match done {
            Ok(outcome) => Ok(Ok(outcome)),
            Err(KeeperError::Refused(why)) => Ok(Err(why)),
            Err(error) => Err(error.to_string()),
        }
    }

    fn note_token(&self, token: &ApiToken) {
        if self.token_uses.note(token, now()) {
            self.keeper.post(Command::daemon(Verb::UsedToken(token.name.clone(), token.id)));
        }
    }

    fn token_used(&self, token: &ApiToken) -> Option<Time> {
        self.token_uses.last(token)
    }

    fn revisions(&self) -> Vec<Revision> {
        self.reconciler.revisions()
    }

    fn sources(&self) -> Vec<SourceStatus> {
        let statuses = self.reconciler.statuses().borrow().clone();
        let next = |name: &Name| self.hooks.get().and_then(|hooks| hooks.next(name));
        statuses.into_iter().map(|(name, status)| SourceStatus::of(&name, status, next(&name))).collect()
    }

    async fn audit(&self, after: u64) -> Result<Vec<AuditEntry>, String> {
        self.audit.entries(after).await
    }

    async fn audit_of_operation(&self, name: &str) -> Result<Vec<AuditEntry>, String> {
        self.audit.of_operation(name).await
    }

    async fn edit(
        &self,
        request: EditRequest,
        by: Caller,
        pools: Vec<Name>,
        key: Option<String>,
    ) -> Result<Edited, String> {
        self.reconciler.edit_once(request, by, pools, key).await
    }

    async fn adopt(&self, request: Adopt) -> Result<(), String> {
        let state = self.keeper.state();
        let found = state.desired().deployments.get(request.deployment.as_str());
        let deployment = found.ok_or_else(|| format!("there is no deployment {}", request.deployment))?;
        let reason = request.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let report = Report {
            deployment: deployment.name.clone(),
            redeploy: deployment.redeploy,
            epoch: None,
            outcome: state::Outcome::Adopted,
            note: format!("a person said that it is installed{reason}"),
        };
        self.keeper.report(report).await.map_err(|error| error.to_string())
    }
}
