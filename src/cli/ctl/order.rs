//! `voldemortctl approve|reject|suspend|resume|pin|unpin`: what to do about revisions.

use std::collections::BTreeMap;

use clap::Args;

use crate::api::resource::{Listed, Order, Outcome};
use crate::cli::live::{Names, names};
use crate::cli::remote::{self, Remote};
use crate::cli::{Exit, apply, exit};
use crate::model::Span;
use crate::plan::Consent;
use crate::state::Doubts;

/// Adopt a plan that waits; with `installs`: agree that doubtful installations are made, which
/// overwrites their machines' disks
#[derive(Args, Debug)]
pub(super) struct Approve {
    /// Its id, as `voldemortctl get plans` shows it; or `installs`
    #[arg(value_name = "PLAN|installs", add = names(Names::Approvable))]
    plan: String,
    #[command(flatten)]
    doubts: Chosen,
    #[command(flatten)]
    consent: Numbers,
    #[command(flatten)]
    form: Form,
}

/// Which doubtful installations.
#[derive(Args, Debug)]
pub(super) struct Chosen {
    /// The deployments
    #[arg(value_name = "DEPLOYMENT", add = names(Names::Of(Listed::Deployments)))]
    deployments: Vec<String>,
    /// Those whose machine has these labels, as in rack=1,size=small
    #[arg(short = 'l', long, value_name = "KEY=VALUE", value_delimiter = ',')]
    labels: Vec<String>,
    /// Every doubtful installation
    #[arg(long, conflicts_with_all = ["deployments", "labels"])]
    all: bool,
}

impl Chosen {
    /// What was said; nothing where nothing was.
    pub(super) fn doubts(&self) -> Result<Option<Doubts>, String> {
        let Chosen { deployments, labels, all } = self;
        let pair = |label: &String| match label.split_once('=') {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Err(format!("-l: `{label}` is no label; write it as in rack=1")),
        };
        let pairs: Vec<(String, String)> = labels.iter().map(pair).collect::<Result<_, _>>()?;
        let mut labels = BTreeMap::new();
        for (key, value) in pairs {
            if let Some(other) = labels.insert(key.clone(), value.clone()).filter(|other| *other != value) {
                return Err(format!("-l: no machine has {key}={other} and {key}={value}; use two commands"));
            }
        }
        let doubts = Doubts { deployments: deployments.clone(), labels, all: *all };
        Ok((doubts != Doubts::default()).then_some(doubts))
    }
}

/// Turn down a plan that waits: its revision is not adopted
#[derive(Args, Debug)]
pub(super) struct Reject {
    /// Its id, as `voldemortctl get plans` shows it
    #[arg(add = names(Names::Of(Listed::Plans)))]
    plan: String,
    /// Why, for people who read the events later
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    form: Form,
}

/// Adopt nothing of the source for a while; machines still boot
#[derive(Args, Debug)]
pub(super) struct Suspend {
    /// Why, for people who read the events later
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
pub(super) struct Pin {
    /// One of `voldemortctl get revisions`: its name, or the beginning of its digest
    #[arg(add = names(Names::Of(Listed::Revisions)))]
    revision: String,
    /// Why, for people who read the events later
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    consent: Numbers,
    #[command(flatten)]
    form: Form,
}

/// Follow the source again after `suspend`
#[derive(Args, Debug)]
pub(super) struct Resume {
    #[command(flatten)]
    form: Form,
}

/// Follow the source again after `pin`
#[derive(Args, Debug)]
pub(super) struct Unpin {
    #[command(flatten)]
    form: Form,
}

/// The form of the outcome.
#[derive(Args, Debug)]
pub(super) struct Form {
    /// How the outcome is written
    #[arg(short, long, value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

/// What thresholds would hold.
#[derive(Args, Debug)]
pub(super) struct Numbers {
    /// Agree that exactly this many deployments are removed
    #[arg(long, value_name = "N")]
    allow_removals: Option<usize>,
    /// Agree that exactly this many machines are reinstalled
    #[arg(long, value_name = "N")]
    allow_reinstalls: Option<usize>,
}

impl Numbers {
    /// Whether there is any.
    fn are_given(&self) -> bool {
        self.allow_removals.is_some() || self.allow_reinstalls.is_some()
    }

    fn consent(&self) -> Consent {
        Consent { removals: self.allow_removals, reinstalls: self.allow_reinstalls }
    }
}

pub(super) fn approve(arguments: &Approve, remote: &Remote) -> Exit {
    let Approve { plan, doubts, consent, form } = arguments;
    let doubts = match (doubts.doubts(), plan.as_str()) {
        // Nothing counts them: a number that is not held to would be taken for a limit.
        (Ok(Some(_)), "installs") if consent.are_given() => {
            Err("--allow-removals and --allow-reinstalls go with the id of a plan, not with `installs`: name the \
                 deployments, or give -l KEY=VALUE or --all alone"
                .to_owned())
        }
        (Ok(Some(doubts)), "installs") => return form.send(&Order::ApproveInstalls(doubts), remote),
        (Ok(None), "installs") => {
            Err("which installations? name deployments, or give -l KEY=VALUE or --all; \
                                       `voldemortctl get deployments` shows which are doubtful"
                .to_owned())
        }
        (Ok(Some(_)), _) => Err("deployments, -l and --all go with `approve installs`".to_owned()),
        (Ok(None), _) => Ok(()),
        (Err(why), _) => Err(why),
    };
    if let Err(why) = doubts {
        exit::failed(&why, form.output == "json");
        return Exit::Usage;
    }
    form.send(&Order::Approve { plan: plan.clone(), consent: consent.consent() }, remote)
}

pub(super) fn reject(arguments: &Reject, remote: &Remote) -> Exit {
    let Reject { plan, reason, form } = arguments;
    form.send(&Order::Reject { plan: plan.clone(), reason: reason.clone() }, remote)
}

pub(super) fn suspend(arguments: &Suspend, remote: &Remote) -> Exit {
    let Suspend { reason, length, form } = arguments;
    form.send(&Order::Suspend { reason: reason.clone(), seconds: length.map(Span::as_seconds) }, remote)
}

pub(super) fn resume(arguments: &Resume, remote: &Remote) -> Exit {
    arguments.form.send(&Order::Resume, remote)
}

pub(super) fn pin(arguments: &Pin, remote: &Remote) -> Exit {
    let Pin { revision, reason, consent, form } = arguments;
    let consent = consent.consent();
    form.send(&Order::Pin { revision: revision.clone(), reason: reason.clone(), consent }, remote)
}

pub(super) fn unpin(arguments: &Unpin, remote: &Remote) -> Exit {
    arguments.form.send(&Order::Unpin, remote)
}

impl Form {
    pub(super) fn send(&self, order: &Order, remote: &Remote) -> Exit {
        let json = self.output == "json";
        match remote.block_on(async |client| client.post::<Outcome>("/v1/orders", order).await) {
            Ok(outcome) => apply::finish(&outcome, json),
            Err(error) => remote::failed(&error, json),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        approve: Approve,
    }

    #[test]
    fn doubtful_installations_are_agreed_to_without_a_number() {
        let remote = Remote::of_line(&["--server=unix:/nowhere/api.sock".to_owned()]);
        let run = |words: &[&str]| {
            let line = Line::try_parse_from([&["approve"][..], words].concat()).unwrap();
            approve(&line.approve, &remote)
        };
        for flag in ["--allow-reinstalls", "--allow-removals"] {
            assert_eq!(run(&["installs", "--all", flag, "3"]), Exit::Usage);
            assert_eq!(run(&["installs", "web-1", flag, "1"]), Exit::Usage);
            assert_eq!(run(&["7", flag, "3"]), Exit::Unreachable, "a plan has them counted");
        }
        assert_eq!(run(&["installs", "--all"]), Exit::Unreachable);
        assert_eq!(run(&["installs"]), Exit::Usage);
    }
}
