//! What the control API asks of a running daemon.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};

use hyper::HeaderMap;
use tokio::sync::watch;

use super::hooks::Hooks;
use super::keeper::Keeper;
use super::now;
use super::reconcile::Reconciler;
use crate::api::metrics::Counts;
use crate::api::types::{
    Adopt, Apply, EditRequest, Edited, Freed, Order, Outcome, SourceStatus, Status, Ticket, Tree, WaitingPlan,
};
use crate::api::{Backend, Hooked, convert};
use crate::model::{Mac, Mode, Name, Time};
use crate::table::{self, Event, Report, Table};

/// The daemon as the control API sees it.
#[derive(Clone)]
pub struct Daemon {
    pub keeper: Keeper,
    pub reconciler: Arc<Reconciler>,
    /// What we are, by interface.
    pub modes: Vec<(String, watch::Receiver<Mode>)>,
    /// Other DHCP servers, by interface.
    pub others: Vec<(String, watch::Receiver<Option<BTreeSet<Ipv4Addr>>>)>,
    /// Empty until the sources are followed.
    pub hooks: Arc<OnceLock<Hooks>>,
}

impl Daemon {
    /// `server`, or with several networks `eth0: server, eth1: proxy`.
    fn mode(&self) -> String {
        match self.modes.as_slice() {
            [(_, mode)] => mode.borrow().to_string(),
            modes => {
                let named = modes.iter().map(|(name, mode)| format!("{name}: {}", *mode.borrow()));
                named.collect::<Vec<_>>().join(", ")
            }
        }
    }

    /// `10.0.10.2 on eth0` for each other DHCP server, once every network was looked at.
    fn others(&self) -> Option<Vec<String>> {
        let mut all = Vec::new();
        for (name, found) in &self.others {
            all.extend(found.borrow().as_ref()?.iter().map(|server| format!("{server} on {name}")));
        }
        Some(all)
    }

    fn sources(&self) -> Vec<SourceStatus> {
        let statuses = self.reconciler.statuses().borrow().clone();
        let complete = |(name, status): (Name, SourceStatus)| match self.hooks.get() {
            Some(hooks) => hooks.complete(&name, status),
            None => status,
        };
        statuses.into_iter().map(complete).collect()
    }
}

impl Backend for Daemon {
    fn table(&self) -> Arc<Table> {
        self.keeper.table()
    }

    fn now(&self) -> Time {
        now()
    }

    fn status(&self) -> Status {
        let table = self.keeper.table();
        let (waiting, in_flight) = table.waves();
        let sources = self.sources();
        let urgent = sources.iter().find(|source| source.condition != "Ready");
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            lineage: table.lineage.to_string(),
            serial: table.serial,
            server: table.server.url(),
            mode: self.mode(),
            other_servers: self.others(),
            deployments: table.desired.deployments.len(),
            machines: table.desired.machines.len(),
            waiting,
            in_flight,
            source: urgent.or(sources.first()).cloned().unwrap_or_default(),
            sources,
            troubles: convert::troubles(&table, now()),
        }
    }

    fn events(&self, after: u64, mac: Option<Mac>, limit: usize) -> Vec<(u64, Event)> {
        self.keeper.events(after, mac, limit)
    }

    fn counts(&self) -> Counts {
        let tally = self.keeper.tally();
        let modes = self.modes.iter().map(|(name, mode)| (name.clone(), mode.borrow().to_string()));
        let count = |(name, found): &(String, watch::Receiver<Option<BTreeSet<Ipv4Addr>>>)| {
            Some((name.clone(), found.borrow().as_ref()?.len()))
        };
        Counts {
            events: tally.events(),
            silences: tally.silences(),
            events_lost: tally.events_lost(),
            log_lines_dropped: super::log::dropped(),
            power_reads: tally.power_reads(),
            modes: modes.collect(),
            other_servers: self.others.iter().filter_map(count).collect(),
            source_ready: self.sources().iter().all(|source| source.condition == "Ready"),
        }
    }

    fn latest(&self) -> watch::Receiver<u64> {
        self.keeper.latest()
    }

    fn hook(&self, name: &str, headers: &HeaderMap, body: Option<&[u8]>) -> Hooked {
        self.hooks.get().map_or(Hooked::Unknown, |hooks| hooks.call(name, headers, body))
    }

    async fn plan(&self, tree: Tree) -> Result<Outcome, String> {
        self.reconciler.plan(tree).await
    }

    async fn apply(&self, request: Apply) -> Result<Outcome, String> {
        self.reconciler.apply(request).await
    }

    fn ticket(&self, tree: Tree) -> Ticket {
        self.reconciler.ticket(&tree)
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
            state: freed.state.to_string(),
            until: freed.until.to_string(),
        }))
    }

    fn revisions(&self) -> Vec<String> {
        self.reconciler.revisions()
    }

    async fn edit(&self, request: EditRequest) -> Result<Edited, String> {
        self.reconciler.edit(request).await
    }

    async fn adopt(&self, request: Adopt) -> Result<(), String> {
        let table = self.keeper.table();
        let found = table.desired.deployments.get(request.deployment.as_str());
        let deployment = found.ok_or_else(|| format!("there is no deployment {}", request.deployment))?;
        let reason = request.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let report = Report {
            deployment: deployment.name.clone(),
            redeploy: deployment.redeploy,
            outcome: table::Outcome::Completed,
            note: format!("adopted by hand as installed{reason}"),
        };
        self.keeper.report(report).await.map_err(|error| error.to_string())
    }
}
