//! What walks of one deployment have in common, asked for once. Each piece is kept with all that
//! it was made of which a walk could have changed; who comes to the same place with the same of it
//! would be answered the same, for the protocol rooms are functions of the table and the question.

use std::net::IpAddr;
use std::sync::Arc;

use super::client::{Lease, Speaker, Told};
use super::program::Program;
use super::{End, Step, Stop};
use crate::model::{Firmware, Mac, Name};
use crate::proto::tree::{Artifact, Asker};
use crate::state::{Install, Lease6, Leases, Leases6, Seen, State};

/// From power-on, or after the installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot {
    First,
    Second,
}

/// What in a table a walk may have changed so far: all there is of its own machine.
#[derive(Clone, Debug, PartialEq)]
pub struct DhcpState {
    leases: [Option<Arc<crate::state::Lease>>; 2],
    lease6: Option<Arc<Lease6>>,
    seen: Option<Seen>,
    install: Option<Install>,
    /// Whether only signed boot programs are at hand.
    signed: bool,
}

impl DhcpState {
    pub fn of(table: &State, mac: Mac, deployment: &Name, signed: bool) -> DhcpState {
        DhcpState {
            seen: table.seen().get(&mac).cloned(),
            install: table.install_of(deployment).cloned(),
            ..DhcpState::for_dhcp(table, mac, signed)
        }
    }

    /// DHCP does not look at installations, nor at what a machine said before.
    pub fn for_dhcp(table: &State, mac: Mac, signed: bool) -> DhcpState {
        DhcpState {
            leases: [table.leases().binding(mac).cloned(), table.leases().offer(mac).cloned()],
            lease6: table.leases6().of(mac).cloned(),
            seen: None,
            install: None,
            signed,
        }
    }
}

/// A question to DHCP.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    pub state: DhcpState,
    pub ipv6: bool,
    pub firmware: Firmware,
    pub speaker: Speaker,
}

/// What came of it, and the leases afterwards.
pub struct Heard {
    question: Question,
    pub told: Told,
    pub leases: (Leases, Leases6),
}

/// Where a boot program has its address and asks for its script.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    pub boot: Boot,
    pub state: DhcpState,
    pub program: Program,
    pub lease: Lease,
}

/// What became of a boot from there on.
pub struct Rest {
    start: Start,
    pub steps: Vec<Arc<Step>>,
    pub answers: Vec<(&'static str, bytes::Bytes)>,
    pub table: State,
    pub end: Result<Option<End>, Stop>,
}

/// Scripts and answers of a first boot, by name and asker. They do not depend on the firmware (but
/// for PXELINUX, which there is for one), so that another walk asks for leave to have them and no
/// more.
type Rendered = (String, Asker, Artifact);

/// The memory of the walks of one deployment.
#[derive(Default)]
pub struct Shared {
    /// Without, everything is asked for anew.
    keeps: bool,
    heard: Vec<Heard>,
    rests: Vec<Rest>,
    rendered: Vec<Rendered>,
}

impl Shared {
    pub fn new(keeps: bool) -> Shared {
        Shared { keeps, ..Shared::default() }
    }

    pub fn heard(&self, question: &Question) -> Option<&Heard> {
        self.heard.iter().find(|heard| heard.question == *question)
    }

    pub fn hear(&mut self, question: Question, told: &Told, table: &State) {
        if self.keeps {
            let leases = (table.leases().clone(), table.leases6().clone());
            self.heard.push(Heard { question, told: told.clone(), leases });
        }
    }

    pub fn rest(&self, start: &Start) -> Option<&Rest> {
        self.rests.iter().find(|rest| rest.start == *start)
    }

    pub fn keep(&mut self, start: Start, rest: impl FnOnce(Start) -> Rest) {
        if self.keeps {
            self.rests.push(rest(start));
        }
    }

    pub fn rendered(&self, asker: Asker, name: &str) -> Option<&Artifact> {
        let found = self.rendered.iter().find(|(known, by, _)| known == name && *by == asker);
        found.map(|(_, _, artifact)| artifact)
    }

    pub fn keep_rendered(&mut self, asker: Asker, name: &str, artifact: &Artifact) {
        if self.keeps {
            self.rendered.push((name.to_owned(), asker, artifact.clone()));
        }
    }
}

impl Rest {
    pub fn of(
        start: Start,
        steps: &[Arc<Step>],
        answers: &[(&'static str, bytes::Bytes)],
        table: &State,
        end: &Result<Option<End>, Stop>,
    ) -> Rest {
        let (steps, answers) = (steps.to_vec(), answers.to_vec());
        Rest { start, steps, answers, table: table.clone(), end: end.clone() }
    }
}

/// The root of everything that is served by HTTP, as the machine reached it.
pub fn url(table: &State, own: Option<IpAddr>) -> String {
    own.map_or_else(|| table.server().url(), |own| table.server().url_at(own))
}
