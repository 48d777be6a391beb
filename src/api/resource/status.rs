//! `GET /v1/status`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::or_dash;
use super::source::SourceStatus;
use crate::api::Word;
use crate::model::{AuditHead, ServiceState, Time};
use crate::state::{State, conflict};

/// `GET /v1/status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    pub version: String,
    pub lineage: String,
    pub serial: u64,
    pub server: String,
    pub mode: String,
    /// Other DHCP servers that answer on our networks, as of the last look: `10.0.10.2 on eth0`. `None`
    /// until the first look ended, and where DHCP is off.
    #[serde(default)]
    pub other_servers: Option<Vec<String>>,
    pub deployments: usize,
    pub machines: usize,
    /// Installations that a new or restored state was asked for and that wait for a person's word.
    #[serde(default)]
    pub doubtful: usize,
    /// Reinstallations that wait for their turn.
    #[serde(default)]
    pub waiting: usize,
    /// Reinstallations that hold one of the places of `max-in-flight`.
    #[serde(default)]
    pub in_flight: usize,
    /// Every service of the daemon.
    #[serde(default)]
    pub services: Vec<ServiceStatus>,
    /// The only source, or the one of several that most needs somebody to look.
    pub source: SourceStatus,
    /// Every source.
    #[serde(default)]
    pub sources: Vec<SourceStatus>,
    /// What is wrong with the state directory (it can't be written, or records in it are not believed), and
    /// what machines suffer from, in words: dynamic ranges that are used up, hardware marks that two
    /// machines show, deployments with an address of this host.
    #[serde(default)]
    pub troubles: Vec<String>,
    /// The last entry of the audit log: kept elsewhere, it shows later that nothing before it was changed.
    #[serde(default)]
    pub audit: AuditHead,
    /// `SHA256:` and the fingerprint of the certificate that clients of the API beyond loopback pin; `None` if it
    /// does not listen there.
    #[serde(default)]
    pub api_ca: Option<String>,
}

/// How one service of the daemon stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceStatus {
    /// `dhcp eth0`, `http 10.0.10.1`, `sources`, …
    pub name: String,
    pub state: Word<ServiceState>,
    /// RFC 3339; when the state began. Empty where that is not known.
    pub since: String,
    /// Why it does not serve; empty if it does.
    pub reason: String,
    /// Whether others go on without it.
    #[serde(default)]
    pub auxiliary: bool,
}

impl Status {
    /// Lines for people. Reasons in them may have come off the wire.
    pub fn lines(&self) -> Vec<String> {
        let Status {
            version,
            lineage,
            serial,
            server,
            mode,
            other_servers,
            deployments,
            machines,
            doubtful: _,
            waiting,
            in_flight,
            services,
            source,
            sources,
            troubles,
            audit,
            api_ca,
        } = self;
        let mut lines = Vec::new();
        let mut line = |text: String| lines.push(text);
        line(format!("daemon       {version}, {server}, DHCP mode {mode}"));
        if let Some(others) = other_servers {
            let others = if others.is_empty() { "none".to_owned() } else { others.join(", ") };
            line(format!("other DHCP   {others}"));
        }
        line(format!(
            "table        {deployments} deployments, {machines} machines, serial {serial} ({lineage})"
        ));
        if waiting + in_flight > 0 {
            line(format!("reinstalls   {in_flight} in flight, {waiting} wait for their turn"));
        }
        if audit.sequence > 0 {
            line(format!("audit        {audit}"));
        }
        if let Some(api_ca) = api_ca {
            line(format!("API CA       {api_ca}"));
        }
        for trouble in troubles {
            line(format!("trouble      {trouble}"));
        }
        service_lines(services).into_iter().for_each(&mut line);
        // A daemon that knows one source only reports one.
        let sources = if sources.is_empty() { std::slice::from_ref(source) } else { sources };
        for source in sources {
            if sources.len() > 1 {
                line(format!("\nsource       {}", source.name));
            }
            source.lines().into_iter().for_each(&mut line);
        }
        lines
    }
}

/// Those that serve in one line, then each that does not, with its reason.
fn service_lines(services: &[ServiceStatus]) -> Vec<String> {
    let (serving, lacking): (Vec<_>, Vec<_>) =
        services.iter().partition(|service| service.state == ServiceState::Serving);
    let names: Vec<&str> = serving.iter().map(|service| service.name.as_str()).collect();
    let mut lines = Vec::new();
    if !names.is_empty() {
        lines.push(format!("serving      {}", names.join(", ")));
    }
    lines.extend(lacking.into_iter().map(|service| {
        let ServiceStatus { name, state, since, reason, auxiliary: _ } = service;
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let since = or_dash(Some(since).filter(|since| !since.is_empty()));
        format!("{state:<12} {name} since {since}{reason}")
    }));
    lines
}

/// What machines suffer from, in words.
pub fn troubles(state: &State, now: Time) -> Vec<String> {
    let pools = state.pools(now);
    let count = doubtful(state).saturating_sub(state.conflicts().count());
    let doubts = (count > 0).then(|| {
        let what = if count == 1 { "installation is doubtful: its machine boots" } else { "installations are doubtful: their machines boot" };
        format!(
            "{count} {what} from disk until a person settles it with `voldemortctl approve installs` (install) or \
             `voldemortctl adopt` (it has its system)"
        )
    });
    let clashes = state.host_clashes().into_iter().map(|(deployment, address)| {
        format!("{address} of deployment {} is an address of this host: no machine gets it", deployment.name)
    });
    let conflicts = state.conflicts().map(|machine| {
        let way = "it boots its disk until somebody settles it with `voldemortctl approve installs` (install) or \
                   `voldemortctl adopt` (it has its system)";
        format!("{}: {way}", conflict::text(machine))
    });
    let lives = state.lasting().lives.iter();
    let two = lives.filter_map(|(machine, life)| {
        Some(format!("machine {machine}: {}; then `voldemortctl retry {machine}`", life.contested.as_ref()?))
    });
    let contests = state.contested().iter().map(|(machine, contest)| contest.text(machine));
    let pools = pools.iter().filter_map(|pool| pool.exhausted());
    let stuck = state.outbox().iter().filter_map(|pending| pending.stuck(now));
    doubts
        .into_iter()
        .chain(conflicts)
        .chain(pools)
        .chain(clashes)
        .chain(contests)
        .chain(two)
        .chain(stuck)
        .collect()
}

/// Installations that a person has to settle.
pub fn doubtful(state: &State) -> usize {
    if state.trust().is_doubtful() { state.doubtful().count() } else { state.conflicts().count() }
}
