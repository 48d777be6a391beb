//! Notices machines that boot again and again and get no further.
//!
//! A boot begins when firmware asks DHCP for a boot file. From what follows until it asks the next time,
//! the furthest stage counts. Some boots in a row, soon after each other, that all end at the same stage or
//! earlier are a loop. Nothing is done about it: booting the disk instead might hide what a person is
//! looking at.

use std::sync::Arc;

use super::{Event, Stage, rename};
use crate::desired::{Desired, Machine, differences};
use crate::model::{Mac, Name, Span, Time};

/// So many boots make a loop …
const BOOTS: u32 = 4;
/// … when they begin within this time.
const WITHIN: Span = Span::seconds(20 * 60);
/// A question without anything fetched since the last one is a repetition, until this long after.
const PATIENCE: Span = Span::seconds(45);
/// Machines watched at most; beyond that all are forgotten and watched anew.
const MACHINES_MAX: usize = 65_536;

/// The machines that boot now. In order, not hashed: the machines of a rack lie side by side, so that a batch of
/// their events copies few nodes.
#[derive(Clone, Debug, Default)]
pub struct Loops {
    tracks: imbl::OrdMap<Booting, Arc<Track>>,
    /// Where the boots end of those that get no further.
    stuck: imbl::OrdMap<Booting, Arc<str>>,
}

/// What boots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Booting {
    /// A machine, with whichever of its cards.
    Machine(Name),
    /// A card that is of no known machine.
    Card(Mac),
}

/// The boots of one machine.
#[derive(Clone, Debug)]
struct Track {
    /// When the boots that are counted began.
    since: Time,
    boots: u32,
    began: Time,
    /// How far the present boot has come, and by what.
    furthest: Stage,
    by: Arc<str>,
    /// Whether an event has reported it already.
    reported: bool,
}

impl Loops {
    /// Applies an event of a card, and of the machine that has it if one is known; returns one for people when it
    /// completes a loop.
    pub fn see(&mut self, event: &Event, machine: Option<&Name>) -> Option<Event> {
        let mac = event.mac?;
        let booting = machine.map_or(Booting::Card(mac), |machine| Booting::Machine(machine.clone()));
        match event.stage {
            Stage::Offer | Stage::Ack if event.ipxe == Some(false) => self.begin(booting, event),
            // iPXE that is handed iPXE, and firmware that is iPXE itself.
            Stage::Ack if event.ipxe == Some(true) => {
                let again = self.tracks.get(&booting).is_none_or(|track| track.furthest > Stage::Loader);
                if again { self.begin(booting, event) } else { None }
            }
            Stage::Progress | Stage::Completed | Stage::Adopted => {
                self.tracks.remove(&booting);
                self.go_on(&booting);
                None
            }
            stage => {
                let is_further = |track: &&Arc<Track>| rank(stage) > rank(track.furthest);
                if self.tracks.get(&booting).filter(is_further).is_some()
                    && let Some(track) = self.tracks.get_mut(&booting).map(Arc::make_mut)
                {
                    (track.furthest, track.by) = (stage, (*event.text).into());
                }
                if stage == Stage::Answers {
                    self.go_on(&booting);
                }
                None
            }
        }
    }

    /// It gets further than before.
    fn go_on(&mut self, booting: &Booting) {
        if !self.stuck.is_empty() {
            self.stuck.remove(booting);
        }
    }

    /// Where the boots of a machine end, if it gets no further.
    pub fn stuck(&self, machine: &Name) -> Option<&Arc<str>> {
        self.stuck.get(&Booting::Machine(machine.clone()))
    }

    /// Where the boots of a card end that is of no known machine.
    pub fn stuck_card(&self, mac: Mac) -> Option<&Arc<str>> {
        self.stuck.get(&Booting::Card(mac))
    }

    /// How many machines and unknown cards get no further.
    pub fn stuck_count(&self) -> usize {
        self.stuck.len()
    }

    /// A card was learned to be of this machine.
    pub(super) fn learn(&mut self, mac: Mac, machine: &Name) {
        self.transfer(&Booting::Card(mac), &Booting::Machine(machine.clone()));
    }

    /// What was counted for `former` counts for `now`, unless that has something of its own.
    fn transfer(&mut self, former: &Booting, now: &Booting) {
        if let Some(track) = self.tracks.remove(former) {
            self.tracks.entry(now.clone()).or_insert(track);
        }
        if let Some(text) = self.stuck.remove(former) {
            self.stuck.entry(now.clone()).or_insert(text);
        }
    }

    /// Another revision was adopted: what is known of a machine goes with it under a new name, what is known of a
    /// card to the machine that has it now, and what other metal did is not held against this.
    pub(super) fn follow(&mut self, before: &Desired, after: &Desired) {
        if self.tracks.is_empty() && self.stuck.is_empty() {
            return;
        }
        let machine = |name: &Name| Booting::Machine(name.clone());
        for (former, now) in rename::machines(before, after) {
            self.transfer(&machine(&former), &machine(&now));
        }
        for one in differences(&before.machines, &after.machines) {
            let is_gone = match (one.before, one.after) {
                (Some(before), Some(after)) => !have_in_common(before, after),
                (_, after) => after.is_none(),
            };
            if is_gone {
                self.tracks.remove(&machine(one.name));
                self.stuck.remove(&machine(one.name));
            }
            for mac in one.after.iter().flat_map(|after| &after.macs) {
                self.learn(*mac, one.name);
            }
        }
    }

    fn begin(&mut self, booting: Booting, event: &Event) -> Option<Event> {
        if self.tracks.len() >= MACHINES_MAX {
            self.tracks = imbl::OrdMap::new();
            // Those of manifests are not more than there are machines.
            let known = self.stuck.iter().filter(|(one, _)| matches!(one, Booting::Machine(_)));
            self.stuck = known.map(|(one, text)| (one.clone(), text.clone())).collect();
        }
        let fresh = || Track {
            since: event.at,
            boots: 1,
            began: event.at,
            furthest: Stage::Offer,
            by: Arc::default(),
            reported: false,
        };
        let Some(track) = self.tracks.get(&booting) else {
            self.tracks.insert(booting, fresh().into());
            return None;
        };
        if event.at < track.since || event.at < track.began {
            // The clock was set back: how long ago those boots were is not known.
            let reported = track.reported;
            self.tracks.insert(booting, Track { reported, ..fresh() }.into());
            return None;
        }
        if rank(track.furthest) == 0 && event.at < track.began + PATIENCE {
            return None;
        }
        let track = Arc::make_mut(self.tracks.get_mut(&booting)?);
        if event.at >= track.since + WITHIN {
            let reported = track.reported && event.at < track.began + WITHIN;
            *track = Track { reported, ..fresh() };
            return None;
        }
        track.boots += 1;
        let (furthest, by) = (track.furthest, std::mem::take(&mut track.by));
        (track.began, track.furthest) = (event.at, Stage::Offer);
        if track.boots < BOOTS || track.reported {
            return None;
        }
        track.reported = true;
        let minutes = event.at.since(track.since).as_seconds().div_ceil(60);
        let text = format!(
            "has begun to boot {} times within {minutes} min and gets no further than {}",
            track.boots,
            reached(furthest, &by)
        );
        self.stuck.insert(booting, text.as_str().into());
        Some(Event { stage: Stage::Stuck, text: text.into(), ipxe: None, arch: None, ..event.clone() })
    }
}

/// Whether two machines of one name may be the same metal: they have a network card or another mark in common.
fn have_in_common(before: &Machine, after: &Machine) -> bool {
    before.macs.iter().any(|mac| after.macs.contains(mac))
        || before.ids.iter().any(|mark| after.ids.contains(mark))
}

/// How far a stage is; 0 for those that are no step of a boot.
fn rank(stage: Stage) -> u8 {
    match stage {
        Stage::Loader => 1,
        Stage::Script => 2,
        Stage::Kernel => 3,
        Stage::Initrd => 4,
        Stage::Answers => 5,
        Stage::LocalBoot => 6,
        _ => 0,
    }
}

/// The last thing that worked, and what to look at.
fn reached(furthest: Stage, by: &str) -> String {
    let (what, look) = match furthest {
        Stage::Loader => (
            "its boot program",
            "the program does not run there (Secure Boot, or a driver of its own that hangs): try another \
             one with `loader`",
        ),
        Stage::Script => ("its script", "no kernel is fetched: look at the machine's screen"),
        Stage::Kernel | Stage::Initrd => {
            ("kernel and initrd", "the system does not come up: look at its console and command line")
        }
        Stage::Answers => ("its answers", "the installer ends without a report: look at its console"),
        Stage::LocalBoot => (
            "its own disk",
            "the disk does not boot: look at its boot order, or raise `redeploy` to install again",
        ),
        _ => {
            return "the answer to its DHCP question: it fetches nothing; is UDP port 69 or TCP port 80 \
                    blocked on the way?"
                .into();
        }
    };
    match by.is_empty() {
        true => format!("{what}: {look}"),
        false => format!("{what} ({by}): {look}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seconds: u64, stage: Stage, ipxe: Option<bool>) -> Event {
        let mac = Some(Mac::new([0x52, 0x54, 0, 0, 0, 1]).unwrap());
        Event { mac, ipxe, ..Event::new(Time(seconds * 1000), stage, "snponly.efi") }
    }

    /// Boots that each reach `stages`, a minute apart; how many events of a loop they make.
    fn boots(loops: &mut Loops, count: u64, apart: u64, stages: &[Stage]) -> Vec<String> {
        let mut reported = Vec::new();
        for boot in 0..count {
            let start = 1_000_000 + boot * apart;
            let firmware = [Stage::Offer, Stage::Ack].map(|stage| event(start, stage, Some(false)));
            let rest = stages.iter().map(|stage| event(start + 5, *stage, Some(true)));
            reported.extend(firmware.into_iter().chain(rest).filter_map(|event| loops.see(&event, None)));
        }
        reported.into_iter().map(|event| event.text.into()).collect()
    }

    #[test]
    fn a_loader_that_never_runs_is_told_of_once() {
        let reported = boots(&mut Loops::default(), 10, 60, &[Stage::Loader, Stage::Loader]);
        assert_eq!(reported.len(), 1, "{reported:?}");
        let start = "has begun to boot 4 times within 3 min and gets no further than its boot program (snponly.efi): ";
        assert!(reported[0].starts_with(start), "{reported:?}");
    }

    #[test]
    fn every_end_has_its_own_advice() {
        for (stages, word) in [
            (&[][..], "UDP port 69"),
            (&[Stage::Loader, Stage::Script], "its script"),
            (&[Stage::Loader, Stage::Ack, Stage::LocalBoot], "its own disk"),
        ] {
            let reported = boots(&mut Loops::default(), 6, 100, stages);
            assert!(reported.len() == 1 && reported[0].contains(word), "{reported:?}");
        }
    }

    #[test]
    fn boots_before_a_clock_was_set_back_count_no_more() {
        let mut loops = Loops::default();
        assert!(boots(&mut loops, 3, 60, &[Stage::Loader]).is_empty());
        // An hour earlier, two boots, three quarters of an hour apart.
        let earlier = |loops: &mut Loops, start: u64| {
            let rest = [event(start, Stage::Offer, Some(false)), event(start + 5, Stage::Loader, Some(true))];
            rest.into_iter().filter_map(|event| loops.see(&event, None)).count()
        };
        assert_eq!(earlier(&mut loops, 996_400) + earlier(&mut loops, 999_100), 0);
        // A loop is noticed as ever.
        let reported: usize = (0..4).map(|boot| earlier(&mut loops, 900_000 + boot * 60)).sum();
        assert_eq!(reported, 1);
    }

    #[test]
    fn ordinary_boots_are_none() {
        let installing = [Stage::Loader, Stage::Script, Stage::Kernel, Stage::Answers, Stage::Completed];
        assert!(boots(&mut Loops::default(), 10, 60, &installing).is_empty());
        assert!(boots(&mut Loops::default(), 10, 600, &[Stage::Loader]).is_empty(), "now and then");
        assert!(boots(&mut Loops::default(), 3, 60, &[Stage::Loader]).is_empty());
        let mut loops = Loops::default();
        let asked = (0..20).filter_map(|second| loops.see(&event(second, Stage::Offer, Some(false)), None));
        assert_eq!(asked.count(), 0, "repeated questions are one boot");
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn card(number: u8) -> Mac {
        Mac::new([0x52, 0x54, 0, 0, 0, number]).unwrap()
    }

    /// Machines by their names, with their cards.
    fn desired(machines: &[(&str, &[u8])]) -> Desired {
        let mut desired = Desired::default();
        for (machine, cards) in machines {
            let (name, macs): (Name, Vec<Mac>) =
                (name(machine), cards.iter().map(|one| card(*one)).collect());
            macs.iter().for_each(|mac| drop(desired.macs.insert(*mac, name.clone())));
            let machine = Machine {
                name: name.clone(),
                macs,
                ids: Vec::new(),
                labels: Default::default(),
                protect: None,
                options: Default::default(),
                power: None,
                power_on: false,
                loader: Vec::new(),
                origin: crate::model::Origin { file: "a.toml".into(), line: 1, column: 1 },
            };
            desired.machines.insert(name, Arc::new(machine));
        }
        desired
    }

    /// Boots that get to the boot program, each from the next of these cards; how many loops they complete.
    fn boot(loops: &mut Loops, machine: Option<&Name>, first: u64, cards: &[u8]) -> usize {
        let one = |(boot, number): (usize, &u8)| {
            let start = 1_000_000 + (first + boot as u64) * 60;
            let events =
                [event(start, Stage::Offer, Some(false)), event(start + 5, Stage::Loader, Some(true))];
            let events = events.map(|event| Event { mac: Some(card(*number)), ..event });
            events.iter().filter_map(|event| loops.see(event, machine)).count()
        };
        cards.iter().enumerate().map(one).sum()
    }

    #[test]
    fn a_machine_boots_in_a_loop_whichever_card_it_uses() {
        let (mut loops, web) = (Loops::default(), name("web"));
        assert_eq!(boot(&mut loops, Some(&web), 0, &[1, 2, 1, 2, 1]), 1);
        assert!(loops.stuck(&web).is_some_and(|text| text.contains("4 times")));
        // Its other card gets further: that ends it.
        let answers = Event { mac: Some(card(2)), ..event(1_000_400, Stage::Answers, None) };
        assert_eq!(loops.see(&answers, Some(&web)), None);
        assert_eq!((loops.stuck(&web), loops.stuck_count()), (None, 0));
        assert_eq!(boot(&mut Loops::default(), None, 0, &[1, 2, 1, 2, 1]), 0, "two strangers");
    }

    #[test]
    fn what_a_card_did_goes_to_the_machine_that_it_is_learned_to_be_of() {
        let (mut loops, web) = (Loops::default(), name("web"));
        assert_eq!(boot(&mut loops, None, 0, &[1, 1, 1]), 0);
        loops.learn(card(1), &web);
        assert_eq!(boot(&mut loops, Some(&web), 3, &[1]), 1);
        assert!(loops.stuck_card(card(1)).is_none() && loops.stuck(&web).is_some());
        // The same where a manifest says so.
        assert_eq!(boot(&mut loops, None, 0, &[7, 7, 7, 7]), 1);
        loops.follow(&Desired::default(), &desired(&[("web", &[1]), ("db", &[7])]));
        assert!(loops.stuck_card(card(7)).is_none() && loops.stuck(&name("db")).is_some());
    }

    #[test]
    fn it_follows_a_renamed_machine_and_no_exchanged_one() {
        let before = desired(&[("web", &[1]), ("db", &[2]), ("old", &[3])]);
        let mut loops = Loops::default();
        for (machine, number) in [("web", 1), ("db", 2), ("old", 3)] {
            assert_eq!(boot(&mut loops, Some(&name(machine)), 0, &[number; 4]), 1);
        }
        // Another name; other metal under the same name; a second card and no more than that.
        let after = desired(&[("site", &[1]), ("db", &[4]), ("old", &[3, 5])]);
        loops.follow(&before, &after);
        let stuck = ["web", "site", "db", "old"].map(|machine| loops.stuck(&name(machine)).is_some());
        assert_eq!(stuck, [false, true, false, true]);
        assert_eq!(boot(&mut loops, Some(&name("site")), 4, &[1]), 0, "it was reported already");
        assert_eq!(boot(&mut loops, Some(&name("db")), 4, &[4, 4, 4]), 0, "its boots are counted anew");
        assert_eq!(boot(&mut loops, Some(&name("old")), 4, &[5]), 0, "it was reported already");
        loops.follow(&after, &desired(&[("site", &[1])]));
        assert_eq!(loops.stuck_count(), 1);
    }
}
