//! Other DHCP servers on our networks. One that answers before we do makes us step back to
//! listening; one that appears while we serve is told of, and we go on: whoever plugs in a
//! router must not be able to stop deployments by it.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::link::Interface;
use super::{log, now, probe};
use crate::model::Mode;
use crate::table::{Event, Stage};

/// How long the look before the first answer delays it. A machine waits 3 s for it.
const FIRST_LOOK: Duration = Duration::from_millis(400);
/// How long it goes on beside serving: dnsmasq pings for 3 s before it offers.
pub const LOOK: Duration = Duration::from_secs(5);
/// Time between two looks.
pub const PERIOD: Duration = Duration::from_secs(300);
/// The same while another server is known, so that its end is noticed soon.
const PERIOD_BESIDE: Duration = Duration::from_secs(30);
/// Time between two looks at least, however many machines speak to other servers.
const LEAST: Duration = Duration::from_secs(10);

/// One network being watched.
pub struct Watch {
    pub interface: Interface,
    pub mode: watch::Sender<Mode>,
    /// Who else answers, as of the last look; `None` until one was long enough to hear everybody.
    pub others: watch::Sender<Option<BTreeSet<Ipv4Addr>>>,
    /// Changes when a machine was heard that speaks to another server: worth a look at once.
    pub hint: watch::Receiver<u64>,
    /// Takes note of what happened; must not block.
    pub note: Arc<dyn Fn(Event) + Send + Sync>,
}

impl Watch {
    /// Looks once before anything is answered.
    pub async fn before_serving(&self) {
        self.step_back(FIRST_LOOK).await;
    }

    /// Looks on: slow servers of the first moment still make us step back, later ones are told
    /// of when they come and when they go. Never ends.
    pub async fn keep(&self, look: Duration, period: Duration) {
        let mut hint = self.hint.clone();
        let mut known = self.step_back(look).await;
        self.others.send_replace(Some(known.clone()));
        loop {
            pause(&mut hint, period, !known.is_empty()).await;
            let mode = *self.mode.borrow();
            if mode == Mode::Off {
                continue;
            }
            let Some(found) = self.look(look).await else { continue };
            for server in found.difference(&known) {
                self.tell(&appeared(*server, &self.interface.name, mode));
            }
            for server in known.difference(&found) {
                self.tell(&gone(*server, &self.interface.name, mode));
            }
            self.others.send_replace(Some(found.clone()));
            known = found;
        }
    }

    /// Where another server answers, a server only listens from now on.
    async fn step_back(&self, wait: Duration) -> BTreeSet<Ipv4Addr> {
        let mode = *self.mode.borrow();
        if mode == Mode::Off {
            return BTreeSet::new();
        }
        let found = self.look(wait).await.unwrap_or_default();
        if !found.is_empty() {
            self.others.send_replace(Some(found.clone()));
        }
        if mode == Mode::Server && !found.is_empty() {
            let servers: Vec<String> = found.iter().map(Ipv4Addr::to_string).collect();
            let text = format!(
                "another DHCP server ({}) answers on {}: from now on only listening; \
                 set [dhcp] mode = \"proxy\" to work beside it",
                servers.join(", "),
                self.interface.name
            );
            log::say(&*text);
            self.tell(&text);
            self.mode.send_replace(Mode::Listen);
        }
        found
    }

    async fn look(&self, wait: Duration) -> Option<BTreeSet<Ipv4Addr>> {
        match probe::probe(&self.interface, wait).await {
            Ok(foreign) => Some(foreign.iter().map(|one| one.server).collect()),
            Err(error) => {
                tracing::warn!("{error}");
                None
            }
        }
    }

    fn tell(&self, text: &str) {
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
            "this daemon goes on answering, so machines may take either's offer: stop one of the two, or \
             set [dhcp] mode = \"proxy\""
        }
        Mode::Proxy | Mode::Listen | Mode::Off => "it gives the addresses there",
    };
    format!("another DHCP server ({server}) has appeared on {interface}: {what}")
}

fn gone(server: Ipv4Addr, interface: &str, mode: Mode) -> String {
    let what = match mode {
        Mode::Server => "this daemon is alone again",
        Mode::Proxy => "nobody gives addresses there now",
        Mode::Listen | Mode::Off => "restart this daemon to let it serve",
    };
    format!("DHCP server {server} answers no more on {interface}: {what}")
}
