//! `voldemortctl approve|reject|suspend|resume|pin|unpin`: what to do about revisions.

use clap::Args;

use crate::api::types::{Order, Outcome};
use crate::cli::remote::{self, Remote};
use crate::cli::{Exit, apply};
use crate::model::Span;
use crate::plan::Consent;

/// Adopt a plan that waits
#[derive(Args, Debug)]
pub struct Approve {
    /// Its id, as `voldemortctl get plans` shows it
    plan: String,
    #[command(flatten)]
    consent: Numbers,
}

/// Turn down a plan that waits: its revision is not adopted
#[derive(Args, Debug)]
pub struct Reject {
    /// Its id, as `voldemortctl get plans` shows it
    plan: String,
    /// Why, for whoever asks later
    #[arg(long, default_value = "")]
    reason: String,
}

/// Adopt nothing of the source for a while; machines go on booting
#[derive(Args, Debug)]
pub struct Suspend {
    /// Why, for whoever asks later
    #[arg(long, default_value = "")]
    reason: String,
    /// For how long, as in 2h; until `resume` if absent
    #[arg(long = "for", value_name = "TIME")]
    length: Option<Span>,
}

/// Go back to an earlier revision and stay there
#[derive(Args, Debug)]
pub struct Pin {
    /// One of `voldemortctl get revisions`: its name, or the beginning of its digest
    revision: String,
    /// Why, for whoever asks later
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    consent: Numbers,
}

/// What thresholds would hold.
#[derive(Args, Debug)]
pub struct Numbers {
    /// Agree that exactly this many deployments are removed
    #[arg(long, value_name = "N")]
    allow_removals: Option<usize>,
    /// Agree that exactly this many machines are reinstalled
    #[arg(long, value_name = "N")]
    allow_reinstalls: Option<usize>,
}

impl Numbers {
    fn consent(&self) -> Consent {
        Consent { removals: self.allow_removals, reinstalls: self.allow_reinstalls }
    }
}

pub fn approve(arguments: &Approve, remote: &Remote) -> Exit {
    send(&Order::Approve { plan: arguments.plan.clone(), consent: arguments.consent.consent() }, remote)
}

pub fn reject(arguments: &Reject, remote: &Remote) -> Exit {
    send(&Order::Reject { plan: arguments.plan.clone(), reason: arguments.reason.clone() }, remote)
}

pub fn suspend(arguments: &Suspend, remote: &Remote) -> Exit {
    let seconds = arguments.length.map(Span::as_seconds);
    send(&Order::Suspend { reason: arguments.reason.clone(), seconds }, remote)
}

pub fn resume(remote: &Remote) -> Exit {
    send(&Order::Resume, remote)
}

pub fn pin(arguments: &Pin, remote: &Remote) -> Exit {
    let Pin { revision, reason, consent } = arguments;
    let consent = consent.consent();
    send(&Order::Pin { revision: revision.clone(), reason: reason.clone(), consent }, remote)
}

pub fn unpin(remote: &Remote) -> Exit {
    send(&Order::Unpin, remote)
}

fn send(order: &Order, remote: &Remote) -> Exit {
    match remote.block_on(async |client| client.post::<Outcome>("/v1/orders", order).await) {
        Ok(outcome) => apply::finish(&outcome, false),
        Err(error) => remote::failed(&error, false),
    }
}
