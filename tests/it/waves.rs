//! Reinstallations in waves: a deterministic simulation of racks whose machines boot, install,
//! fail and reboot in any order, over the table as the keeper keeps it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use voldemort::desired::{Desired, Media, Options};
use voldemort::inventory::{Depth, load};
use voldemort::manifest::Environment;
use voldemort::media::Shelf;
use voldemort::model::{Name, Time};
use voldemort::plan::{Impact, diff};
use voldemort::state::{Duty, InstallStage, Outcome, Permit, PermitStep, Report, Server, State, Verb};

const MACHINES: u32 = 12;
const LIMIT: usize = 3;

fn desired(redeploy: u64, safety: &str) -> Arc<Desired> {
    let mut text = r#"
        [subnet.lab]
        cidr = "10.0.0.0/16"
        [boot.b]
        kernel  = "vmlinuz"
        cmdline = ["url={{ answers_url }}"]
    "#
    .to_owned();
    for n in 0..MACHINES {
        text += &format!(
            "[deployment.d{n}]\nmac = \"52:54:00:00:00:{n:02x}\"\naddress = \"10.0.1.{n}\"\nsubnet = \"lab\"\n\
             boot = \"b\"\ntemplate = \"preseed\"\nredeploy = {redeploy}\n"
        );
    }
    let files: BTreeMap<Arc<str>, Bytes> = [
        ("a.toml".into(), Bytes::from(text)),
        ("voldemort.toml".into(), Bytes::from(format!("format = 1\n[safety]\n{safety}\n"))),
    ]
    .into();
    let options = Options { media: Media::IfPresent, fallback: Vec::new() };
    let shelf = Shelf::new(Vec::new(), None);
    let loaded = load(
        format!("r{redeploy}").into(),
        &files,
        &Environment::default(),
        &shelf,
        &options,
        Depth::OneFirmware,
    );
    assert_eq!(loaded.errors(), 0, "{}", loaded.report());
    loaded.desired
}

fn install(state: &State, name: &Name, redeploy: u64) -> State {
    let step = |state: &State, step| {
        state
            .after(Verb::Permit(Permit { deployment: name.clone(), redeploy, epoch: None, step }), Time(0))
            .unwrap()
    };
    let state = step(&step(state, PermitStep::Start), PermitStep::Spend);
    report(&state, name, redeploy, Outcome::Completed)
}

fn reboot(state: &State, name: &Name) -> State {
    let epoch = state.install_of(name).unwrap().epoch;
    state.after(Verb::Reboot { deployment: name.clone(), epoch, at: Time(0) }, Time(0)).unwrap()
}

fn report(state: &State, name: &Name, redeploy: u64, outcome: Outcome) -> State {
    let report = Report { deployment: name.clone(), redeploy, epoch: None, outcome, note: String::new() };
    state.after(Verb::Report(report.clone()), Time(0)).unwrap()
}

/// Everything installed at number 1, then number 2 asked for under `safety`.
fn raised(safety: &str) -> State {
    let mut state = State::new(Server::stand_in("10.0.0.1".parse().unwrap())).adopt(desired(1, ""));
    for name in desired(1, "").deployments.keys() {
        state = install(&state, name, 1);
    }
    let next = desired(2, safety);
    let plan = diff(&next, &state);
    let wiped = plan.changes.iter().filter(|change| change.impact == Impact::Wipe).count();
    assert_eq!(wiped, MACHINES as usize, "a plan shows all of them, whatever the pace");
    state.adopt(next)
}

/// A generator of numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

/// Machines that were given permission for number 2 and are not installed.
fn in_flight(state: &State) -> usize {
    let flies = |install: &&voldemort::state::Install| {
        install.redeploy == 2 && install.stage != InstallStage::Installed
    };
    state.installs().iter().filter(flies).count()
}

/// One machine does what a machine may do next.
fn step(state: &State, name: &Name, dice: &mut Dice, fail: bool) -> State {
    let deployment = &state.desired().deployments[name];
    let install = state.install_of(name).unwrap();
    let (stage, current) = (install.stage, install.redeploy == 2);
    match (state.duty(deployment), stage) {
        // The question is asked of an old snapshot now and then: the keeper looks again.
        (Duty::Install { .. }, _) => {
            let permit = |step| Permit { deployment: name.clone(), redeploy: 2, epoch: None, step };
            let state = state.after(Verb::Permit(permit(PermitStep::Start)), Time(0)).unwrap();
            match dice.roll(2) {
                0 => state.after(Verb::Permit(permit(PermitStep::Spend)), Time(0)).unwrap_or(state),
                _ => state,
            }
        }
        (_, InstallStage::Spent) if current => match (fail, dice.roll(3)) {
            (true, 0) => report(state, name, 2, Outcome::Failed),
            (true, _) => reboot(state, name),
            (false, _) => report(state, name, 2, Outcome::Completed),
        },
        _ => state.clone(),
    }
}

#[test]
fn never_more_than_the_limit_and_all_in_the_end() {
    for seed in 0..50 {
        let mut dice = Dice(seed);
        let mut state = raised(&format!("max-in-flight = {LIMIT}"));
        let names: Vec<Name> = state.desired().deployments.keys().cloned().collect();
        let mut old = state.clone();
        for turn in 0..2000 {
            let name = &names[dice.roll(names.len())];
            // A race: an older state gave this permission.
            if let (Duty::Install { permit: true }, true) =
                (old.duty(&old.desired().deployments[name]), dice.roll(4) == 0)
            {
                let permit =
                    Permit { deployment: name.clone(), redeploy: 2, epoch: None, step: PermitStep::Start };
                state = state.after(Verb::Permit(permit.clone()), Time(0)).unwrap();
            }
            state = step(&state, name, &mut dice, false);
            assert!(in_flight(&state) <= LIMIT, "seed {seed}, turn {turn}");
            if dice.roll(5) == 0 {
                // A restart of the daemon, or another revision of the same content.
                state = state.adopt(state.desired().clone());
            }
            if dice.roll(3) == 0 {
                old = state.clone();
            }
        }
        let done = state
            .installs()
            .iter()
            .filter(|install| install.redeploy == 2 && install.stage == InstallStage::Installed);
        assert_eq!(done.count(), MACHINES as usize, "seed {seed}");
        assert_eq!(state.waves(), (0, 0));
    }
}

/// What a look at all installations says of those that failed.
fn stuck(state: &State) -> String {
    let ended = [InstallStage::Failed, InstallStage::Unreported];
    let is_stuck =
        |install: &&voldemort::state::Install| install.redeploy == 2 && ended.contains(&install.stage);
    let installs = state.installs().iter().filter(is_stuck);
    let mut names: Vec<String> = installs.map(|install| install.deployment.to_string()).collect();
    names.sort();
    match names.is_empty() {
        true => String::new(),
        false => format!("; failed and still counted against max-in-flight: {}", names.join(", ")),
    }
}

#[test]
fn of_many_that_failed_ten_are_named() {
    let mut state = raised("max-in-flight = 11");
    let names: Vec<Name> = state.desired().deployments.keys().cloned().collect();
    let (last, others) = names.split_last().unwrap();
    for name in others {
        for step in [PermitStep::Start, PermitStep::Spend] {
            let permit = Permit { deployment: name.clone(), redeploy: 2, epoch: None, step };
            state = state.after(Verb::Permit(permit), Time(0)).unwrap();
        }
        state = report(&state, name, 2, Outcome::Failed);
    }
    let waits = |state: &State| state.duty(&state.desired().deployments[last]);
    let said = "waiting: 11 of 11 in flight; failed and still counted against max-in-flight: \
                d0, d1, d10, d11, d2, d3, d4, d5, d6, d7 and 1 more";
    assert_eq!(waits(&state), Duty::LocalBoot(said.into()));
    let again = state.adopt(state.desired().clone());
    assert_eq!(waits(&again), Duty::LocalBoot(said.into()), "nor does a revision change it");
    let freed = report(&state, &others[0], 2, Outcome::Adopted);
    assert_eq!(waits(&freed), Duty::Install { permit: true });
}

#[test]
fn a_template_that_breaks_every_machine_breaks_no_more_than_the_limit() {
    let mut dice = Dice(7);
    let mut state = raised(&format!("max-in-flight = {LIMIT}"));
    let names: Vec<Name> = state.desired().deployments.keys().cloned().collect();
    for turn in 0..2000 {
        state = step(&state, &names[dice.roll(names.len())], &mut dice, true);
        if dice.roll(5) == 0 {
            state = state.adopt(state.desired().clone());
        }
        let said = names.iter().find_map(|name| match state.duty(&state.desired().deployments[name]) {
            Duty::LocalBoot(why) if why.starts_with("waiting: ") => Some(why),
            _ => None,
        });
        if let Some(said) = said {
            assert_eq!(said, format!("waiting: 3 of 3 in flight{}", stuck(&state)), "turn {turn}");
        }
    }
    let touched = state.installs().iter().filter(|install| install.redeploy == 2).count();
    assert_eq!(touched, LIMIT);
    let waits = names.iter().filter_map(|name| match state.duty(&state.desired().deployments[name]) {
        Duty::LocalBoot(why) if why.starts_with("waiting: 3 of 3 in flight; ") => Some(why),
        _ => None,
    });
    assert_eq!(waits.count(), MACHINES as usize - LIMIT, "and the others say why they wait");
}

#[test]
fn nothing_is_reinstalled_outside_the_windows() {
    let mut state = raised("windows = [\"Mon-Fri 22:00-05:00 Europe/Berlin\"]");
    let at = |text: &str| Time(text.parse::<jiff::Timestamp>().unwrap().as_millisecond() as u64);
    let name: Name = "d0".parse().unwrap();
    let deployment = state.desired().deployments[&name].clone();
    state.tick(at("2026-11-20T12:00:00Z"));
    let Duty::LocalBoot(why) = state.duty(&deployment) else { panic!("noon") };
    assert!(why.contains("opens at 2026-11-20T21:00:00"), "{why}");
    let permit = Permit { deployment: name.clone(), redeploy: 2, epoch: None, step: PermitStep::Start };
    let raced = state.after(Verb::Permit(permit.clone()), Time(0)).unwrap();
    assert_eq!(raced.install_of(&name).unwrap().redeploy, 1, "nor by a race");
    state.tick(at("2026-11-20T21:00:00Z"));
    assert_eq!(state.duty(&deployment), Duty::Install { permit: true });
    // An installation that has begun continues when the window closes: the machine is between two systems.
    state = state.after(Verb::Permit(permit.clone()), Time(0)).unwrap();
    state.tick(at("2026-11-21T12:00:00Z"));
    assert_eq!(state.duty(&deployment), Duty::Install { permit: false });
}
