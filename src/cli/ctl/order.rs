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
    #[command(flatten)]
    form: Form,
}

/// Turn down a plan that waits: its revision is not adopted
#[derive(Args, Debug)]
pub struct Reject {
    /// Its id, as `voldemortctl get plans` shows it
    plan: String,
    /// Why, for whoever asks later
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    form: Form,
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
    #[command(flatten)]
    form: Form,
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
    #[command(flatten)]
    form: Form,
}

/// Follow the source again after `suspend`
#[derive(Args, Debug)]
pub struct Resume {
    #[command(flatten)]
    form: Form,
}

/// Follow the source again after `pin`
#[derive(Args, Debug)]
pub struct Unpin {
    #[command(flatten)]
    form: Form,
}

/// How the outcome is told.
#[derive(Args, Debug)]
pub struct Form {
    /// How the outcome is written
    #[arg(short, long, value_parser = ["text", "json"], default_value = "text")]
    output: String,
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
    let Approve { plan, consent, form } = arguments;
    form.send(&Order::Approve { plan: plan.clone(), consent: consent.consent() }, remote)
}

pub fn reject(arguments: &Reject, remote: &Remote) -> Exit {
    let Reject { plan, reason, form } = arguments;
    form.send(&Order::Reject { plan: plan.clone(), reason: reason.clone() }, remote)
}

pub fn suspend(arguments: &Suspend, remote: &Remote) -> Exit {
    let Suspend { reason, length, form } = arguments;
    form.send(&Order::Suspend { reason: reason.clone(), seconds: length.map(Span::as_seconds) }, remote)
}

pub fn resume(arguments: &Resume, remote: &Remote) -> Exit {
    arguments.form.send(&Order::Resume, remote)
}

pub fn pin(arguments: &Pin, remote: &Remote) -> Exit {
    let Pin { revision, reason, consent, form } = arguments;
    let consent = consent.consent();
    form.send(&Order::Pin { revision: revision.clone(), reason: reason.clone(), consent }, remote)
}

pub fn unpin(arguments: &Unpin, remote: &Remote) -> Exit {
    arguments.form.send(&Order::Unpin, remote)
}

impl Form {
    fn send(&self, order: &Order, remote: &Remote) -> Exit {
        let json = self.output == "json";
        match remote.block_on(async |client| client.post::<Outcome>("/v1/orders", order).await) {
            Ok(outcome) => apply::finish(&outcome, json),
            Err(error) => remote::failed(&error, json),
        }
    }
}
