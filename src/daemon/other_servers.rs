//! Other DHCP servers on the daemon's networks. One that answers first makes the daemon only listen, until
//! that server has been silent for some probes; one that appears while the daemon serves is reported, and
//! the daemon keeps serving: a person who plugs in a router must not be able to stop deployments by it.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::link::{Followed, Interface};
use super::{log, now, probe};
use crate::model::Mode;
use crate::state::{Event, Stage};

/// How long the look before the first answer delays it. A machine waits 3 s for it.
const FIRST_LOOK: Duration = Duration::from_millis(400);
/// How long a probe takes while the daemon serves: dnsmasq pings for 3 s before it offers.
pub const LOOK: Duration = Duration::from_secs(5);
/// Time between two looks.
pub const PERIOD: Duration = Duration::from_secs(300);
/// The same while another server is known, so that its end is noticed soon.
const PERIOD_BESIDE: Duration = Duration::from_secs(30);
/// Probes without an answer after which a server that was seen once counts as a mistake.
const SILENT_LOOKS: u32 = 3;
/// The same for one that was seen again: it may only be restarting.
const SILENT_LOOKS_LONG: u32 = 6;
/// Least time between two probes, however many machines use other servers.
const LEAST: Duration = Duration::from_secs(10);

/// One network being watched.
pub struct Watch {
    pub network: Followed,
    /// What the settings say.
    pub configured: Mode,
    /// The daemon's present mode.
    pub mode: watch::Sender<Mode>,
    /// The other servers, as of the last probe; `None` until one was long enough for every server to
    /// answer.
    pub others: watch::Sender<Option<BTreeSet<Ipv4Addr>>>,
    /// Changes when a machine was seen that uses another server: worth a probe at once.
    pub hint: watch::Receiver<u64>,
    /// Takes note of what happened; must not block.
    pub note: Arc<dyn Fn(Event) + Send + Sync>,
}

impl Watch {
    /// Looks once before anything is answered. On an interface that is not there nothing is answered
    /// before it was, and the look is made then.
    pub async fn before_serving(&self) {
        match self.network.now() {
            Ok(interface) => drop(self.step_back(&interface, FIRST_LOOK).await),
            Err(_) if self.configured == Mode::Server => drop(self.mode.send_replace(Mode::Listen)),
            Err(_) => {}
        }
    }

    /// Keeps probing: slow servers of the first moment still make the daemon only listen, later ones are
    /// reported when they come and when they go. Never ends.
    pub async fn keep(&self, look: Duration, period: Duration) {
        let (mut hint, mut network) = (self.hint.clone(), self.network.clone());
        let late = network.now().is_err();
        let interface = network.present().await;
        if late {
            let found = self.step_back(&interface, FIRST_LOOK).await;
            if found.is_empty() {
                self.mode.send_replace(self.configured);
            }
        }
        let before = self.others.borrow().as_ref().map_or(0, BTreeSet::len);
        let mut known = self.step_back(&interface, look).await;
        self.others.send_replace(Some(known.clone()));
        // A server that made the daemon only listen and was not seen again at once may have been a mistake
        // or a trick.
        let unsure = self.has_stepped_back() && (before == 0 || known.is_empty());
        let mut wanted = if unsure { SILENT_LOOKS } else { SILENT_LOOKS_LONG };
        let mut silent = u32::from(unsure && known.is_empty());
        loop {
            match self.has_stepped_back() && (silent > 0 || wanted == SILENT_LOOKS) {
                true => tokio::time::sleep(period.min(LEAST)).await,
                false => pause(&mut hint, period, !known.is_empty()).await,
            }
            let mode = *self.mode.borrow();
            if mode == Mode::Off {
                continue;
            }
            let interface = network.present().await;
            let Some(found) = self.look(&interface, look).await else { continue };
            for server in found.difference(&known) {
                self.report(&appeared(*server, &network.name, mode));
            }
            for server in known.difference(&found) {
                self.report(&gone(*server, &network.name, mode, self.has_stepped_back()));
            }
            match found.is_empty() && self.has_stepped_back() {
                true => silent += 1,
                false => silent = 0,
            }
            if !found.is_empty() {
                wanted = SILENT_LOOKS_LONG;
            }
            self.others.send_replace(Some(found.clone()));
            if silent >= wanted {
                silent = 0;
                self.serve("the other DHCP server no longer answers");
            }
            known = found;
        }
    }

    /// Whether the daemon only listens because another server answered first.
    pub fn has_stepped_back(&self) -> bool {
        self.configured == Mode::Server && *self.mode.borrow() == Mode::Listen
    }

    /// The condition while the daemon only listens because of another server.
    pub fn condition(&self) -> Option<String> {
        let others = self.others.borrow().clone().filter(|_| self.has_stepped_back())?;
        let name = &self.network.name;
        let why = match others.is_empty() {
            true => "another server answered first and no longer does: DHCP is served here after some more \
                looks, and at once"
                .to_owned(),
            false => {
                let others: Vec<String> = others.iter().map(Ipv4Addr::to_string).collect();
                format!(
                    "another server ({}) answers there: stop that one, set [dhcp] mode = \"proxy\", or take over",
                    others.join(", ")
                )
            }
        };
        Some(format!("DHCP on {name} only listens, because {why} with `voldemortctl serve-dhcp {name}`"))
    }

    /// Serves although another server was there first. `why` is for people.
    pub fn serve(&self, why: &str) {
        self.report(&format!("DHCP is served on {} from now on: {why}", self.network.name));
        self.mode.send_replace(self.configured);
    }

    /// Where another server answers, a server only listens from now on.
    async fn step_back(&self, interface: &Interface, wait: Duration) -> BTreeSet<Ipv4Addr> {
        let mode = *self.mode.borrow();
        if mode == Mode::Off {
            return BTreeSet::new();
        }
        let found = self.look(interface, wait).await.unwrap_or_default();
        if !found.is_empty() {
            self.others.send_replace(Some(found.clone()));
        }
        if mode == Mode::Server && !found.is_empty() {
            let servers: Vec<String> = found.iter().map(Ipv4Addr::to_string).collect();
            let text = format!(
                "another DHCP server ({}) answers on {}: from now on only listening; set [dhcp] mode = \"proxy\" to \
                 work beside it, or take over with `voldemortctl serve-dhcp {1}`",
                servers.join(", "),
                interface.name
            );
            log::say(&*text);
            self.report(&text);
            self.mode.send_replace(Mode::Listen);
        }
        found
    }

    async fn look(&self, interface: &Interface, wait: Duration) -> Option<BTreeSet<Ipv4Addr>> {
        match probe::probe(interface, wait).await {
            Ok(foreign) => Some(foreign.iter().map(|one| one.server).collect()),
            Err(error) => {
                tracing::warn!("{error}");
                None
            }
        }
    }

    fn report(&self, text: &str) {
        tracing::warn!("{text}");
        (self.note)(Event::new(now(), Stage::Daemon, text));
    }
}

/// Until the next look is due.
async fn pause(hint: &mut watch::Receiver<u64>, period: Duration, beside: bool) {
    if beside {
        return tokio::time::sleep(period.min(PERIOD_BESIDE)).await;
    }
    let least = period.min(LEAST);
    tokio::time::sleep(least).await;
    let hinted = async {
        if hint.changed().await.is_err() {
            std::future::pending().await
        }
    };
    tokio::select! {
        () = tokio::time::sleep(period - least) => {}
        () = hinted => {}
    }
}

fn appeared(server: Ipv4Addr, interface: &str, mode: Mode) -> String {
    let what = match mode {
        Mode::Server => {
            "this daemon keeps answering, so machines may take either's offer: stop one of the two, or \
             set [dhcp] mode = \"proxy\""
        }
        Mode::Proxy | Mode::Listen | Mode::Off => "it gives the addresses there",
    };
    format!("another DHCP server ({server}) has appeared on {interface}: {what}")
}

fn gone(server: Ipv4Addr, interface: &str, mode: Mode, stepped_back: bool) -> String {
    if stepped_back {
        return format!(
            "DHCP server {server} no longer answers on {interface}: this daemon serves there if it stays silent, and at \
             once with `voldemortctl serve-dhcp {interface}`"
        );
    }
    let what = match mode {
        Mode::Server => "this daemon is alone again",
        Mode::Proxy => "no server gives addresses there now",
        Mode::Listen | Mode::Off => "this daemon only listens there, as configured",
    };
    format!("DHCP server {server} no longer answers on {interface}: {what}")
}
