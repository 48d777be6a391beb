//! What the simulated boots of one deployment have in common, requested once. Each answer is kept with
//! every part of the state that it depends on and that a simulated boot could have changed. A later request
//! with an equal part gets an equal answer, because the protocol rooms are functions of the state and the
//! request.

use std::net::IpAddr;
use std::sync::Arc;

use super::client::{DhcpExchange, Lease, Sender};
use super::program::Program;
use super::{End, Step, Stop};
use crate::model::{Firmware, Mac, Name};
use crate::proto::tree::{Artifact, Asker};
use crate::state::{Install, Lease6, Leases, Leases6, Seen, State};

/// From power-on, or after the installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Boot {
    First,
    Second,
}

/// The part of a state that a simulated boot may have changed: all that it knows of its own machine.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DhcpState {
    leases: [Option<Arc<crate::state::Lease>>; 2],
    lease6: Option<Arc<Lease6>>,
    seen: Option<Seen>,
    install: Option<Install>,
    /// Whether only signed boot programs are available.
    signed: bool,
}

impl DhcpState {
    pub(super) fn of(state: &State, mac: Mac, deployment: &Name, signed: bool) -> DhcpState {
        DhcpState {
            seen: state.seen().get(&mac).cloned(),
            install: state.install_of(deployment).cloned(),
            ..DhcpState::for_dhcp(state, mac, signed)
        }
    }

    /// DHCP depends neither on installations nor on what a machine sent before.
    pub(super) fn for_dhcp(state: &State, mac: Mac, signed: bool) -> DhcpState {
        DhcpState {
            leases: [state.leases().binding(mac).cloned(), state.leases().offer(mac).cloned()],
            lease6: state.leases6().of(mac).cloned(),
            seen: None,
            install: None,
            signed,
        }
    }
}

/// A DHCP exchange that a simulated boot asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Question {
    pub state: DhcpState,
    pub ipv6: bool,
    pub firmware: Firmware,
    pub sender: Sender,
}

/// Its result, and the leases afterwards.
pub(super) struct Answered {
    question: Question,
    pub exchange: DhcpExchange,
    pub leases: (Leases, Leases6),
}

/// The point at which a boot program has its address and fetches its script.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Start {
    pub boot: Boot,
    pub state: DhcpState,
    pub program: Program,
    pub lease: Lease,
}

/// What followed in that boot.
pub(super) struct Rest {
    start: Start,
    pub steps: Vec<Arc<Step>>,
    pub answers: Vec<(&'static str, bytes::Bytes)>,
    pub state: State,
    pub end: Result<Option<End>, Stop>,
}

/// Scripts and answers of a first boot, by name and asker. They do not depend on the firmware (but for
/// PXELINUX, which serves one only), so another simulated boot only asks for the permission to have them.
type Rendered = (String, Asker, Artifact);

/// The answers that the simulated boots of one deployment share.
#[derive(Default)]
pub(super) struct Shared {
    /// When false, everything is requested anew.
    keeps: bool,
    answered: Vec<Answered>,
    rests: Vec<Rest>,
    rendered: Vec<Rendered>,
}

impl Shared {
    pub(super) fn new(keeps: bool) -> Shared {
        Shared { keeps, ..Shared::default() }
    }

    pub(super) fn answered(&self, question: &Question) -> Option<&Answered> {
        self.answered.iter().find(|known| known.question == *question)
    }

    pub(super) fn keep_answered(&mut self, question: Question, exchange: &DhcpExchange, state: &State) {
        if self.keeps {
            let leases = (state.leases().clone(), state.leases6().clone());
            self.answered.push(Answered { question, exchange: exchange.clone(), leases });
        }
    }

    pub(super) fn rest(&self, start: &Start) -> Option<&Rest> {
        self.rests.iter().find(|rest| rest.start == *start)
    }

    pub(super) fn keep(&mut self, start: Start, rest: impl FnOnce(Start) -> Rest) {
        if self.keeps {
            self.rests.push(rest(start));
        }
    }

    pub(super) fn rendered(&self, asker: Asker, name: &str) -> Option<&Artifact> {
        let found = self.rendered.iter().find(|(known, by, _)| known == name && *by == asker);
        found.map(|(_, _, artifact)| artifact)
    }

    pub(super) fn keep_rendered(&mut self, asker: Asker, name: &str, artifact: &Artifact) {
        if self.keeps {
            self.rendered.push((name.to_owned(), asker, artifact.clone()));
        }
    }
}

impl Rest {
    pub(super) fn of(
        start: Start,
        steps: &[Arc<Step>],
        answers: &[(&'static str, bytes::Bytes)],
        state: &State,
        end: &Result<Option<End>, Stop>,
    ) -> Rest {
        let (steps, answers) = (steps.to_vec(), answers.to_vec());
        Rest { start, steps, answers, state: state.clone(), end: end.clone() }
    }
}

/// The root URL of the daemon's HTTP server, as the machine reached it.
pub(super) fn url(state: &State, own: Option<IpAddr>) -> String {
    own.map_or_else(|| state.server().url(), |own| state.server().url_at(own))
}
