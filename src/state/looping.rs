//! Notices machines that boot again and again and get no further.
//!
//! A boot begins when firmware asks DHCP for a boot file. From what follows until it asks the next time,
//! the furthest stage counts. Some boots in a row, soon after each other, that all end at the same stage or
//! earlier are a loop. Nothing is done about it: booting the disk instead might hide what a person is
//! looking at.

use std::sync::Arc;

use super::{Event, Stage};
use crate::model::{Mac, Span, Time};

/// So many boots make a loop …
const BOOTS: u32 = 4;
/// … when they begin within this time.
const WITHIN: Span = Span::seconds(20 * 60);
/// A question without anything fetched since the last one is a repetition, until this long after.
const PATIENCE: Span = Span::seconds(45);
/// Machines watched at most; beyond that all are forgotten and watched anew.
const MACHINES_MAX: usize = 65_536;

/// The machines that boot now. In order, not hashed: the cards of a rack lie side by side, so that a batch of their
/// events copies few nodes.
#[derive(Clone, Debug, Default)]
pub struct Loops {
    tracks: imbl::OrdMap<Mac, Arc<Track>>,
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
    told: bool,
}

impl Loops {
    /// Applies an event; returns one for people when it completes a loop.
    pub fn see(&mut self, event: &Event) -> Option<Event> {
        let mac = event.mac?;
        match event.stage {
            Stage::Offer | Stage::Ack if event.ipxe == Some(false) => self.begin(mac, event),
            // iPXE that is handed iPXE, and firmware that is iPXE itself.
            Stage::Ack if event.ipxe == Some(true) => {
                let again = self.tracks.get(&mac).is_none_or(|track| track.furthest > Stage::Loader);
                if again { self.begin(mac, event) } else { None }
            }
            Stage::Progress | Stage::Completed => {
                self.tracks.remove(&mac);
                None
            }
            stage => {
                let is_further = |track: &&Arc<Track>| rank(stage) > rank(track.furthest);
                if self.tracks.get(&mac).filter(is_further).is_some()
                    && let Some(track) = self.tracks.get_mut(&mac).map(Arc::make_mut)
                {
                    (track.furthest, track.by) = (stage, (*event.text).into());
                }
                None
            }
        }
    }

    fn begin(&mut self, mac: Mac, event: &Event) -> Option<Event> {
        if self.tracks.len() >= MACHINES_MAX {
            self.tracks = imbl::OrdMap::new();
        }
        let fresh = || Track {
            since: event.at,
            boots: 1,
            began: event.at,
            furthest: Stage::Offer,
            by: Arc::default(),
            told: false,
        };
        let Some(track) = self.tracks.get(&mac) else {
            self.tracks.insert(mac, fresh().into());
            return None;
        };
        if event.at < track.since || event.at < track.began {
            // The clock was set back: how long ago those boots were is not known.
            let told = track.told;
            self.tracks.insert(mac, Track { told, ..fresh() }.into());
            return None;
        }
        if rank(track.furthest) == 0 && event.at < track.began + PATIENCE {
            return None;
        }
        let track = Arc::make_mut(self.tracks.get_mut(&mac)?);
        if event.at >= track.since + WITHIN {
            let told = track.told && event.at < track.began + WITHIN;
            *track = Track { told, ..fresh() };
            return None;
        }
        track.boots += 1;
        let (furthest, by) = (track.furthest, std::mem::take(&mut track.by));
        (track.began, track.furthest) = (event.at, Stage::Offer);
        if track.boots < BOOTS || track.told {
            return None;
        }
        track.told = true;
        let minutes = event.at.since(track.since).as_seconds().div_ceil(60);
        let text = format!(
            "has begun to boot {} times within {minutes} min and gets no further than {}",
            track.boots,
            reached(furthest, &by)
        );
        Some(Event { stage: Stage::Stuck, text: text.into(), ipxe: None, arch: None, ..event.clone() })
    }
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
        let mut told = Vec::new();
        for boot in 0..count {
            let start = 1_000_000 + boot * apart;
            let firmware = [Stage::Offer, Stage::Ack].map(|stage| event(start, stage, Some(false)));
            let rest = stages.iter().map(|stage| event(start + 5, *stage, Some(true)));
            told.extend(firmware.into_iter().chain(rest).filter_map(|event| loops.see(&event)));
        }
        told.into_iter().map(|event| event.text.into()).collect()
    }

    #[test]
    fn a_loader_that_never_runs_is_told_of_once() {
        let told = boots(&mut Loops::default(), 10, 60, &[Stage::Loader, Stage::Loader]);
        assert_eq!(told.len(), 1, "{told:?}");
        let start = "has begun to boot 4 times within 3 min and gets no further than its boot program (snponly.efi): ";
        assert!(told[0].starts_with(start), "{told:?}");
    }

    #[test]
    fn every_end_has_its_own_advice() {
        for (stages, word) in [
            (&[][..], "UDP port 69"),
            (&[Stage::Loader, Stage::Script], "its script"),
            (&[Stage::Loader, Stage::Ack, Stage::LocalBoot], "its own disk"),
        ] {
            let told = boots(&mut Loops::default(), 6, 100, stages);
            assert!(told.len() == 1 && told[0].contains(word), "{told:?}");
        }
    }

    #[test]
    fn boots_before_a_clock_was_set_back_count_no_more() {
        let mut loops = Loops::default();
        assert!(boots(&mut loops, 3, 60, &[Stage::Loader]).is_empty());
        // An hour earlier, two boots, three quarters of an hour apart.
        let earlier = |loops: &mut Loops, start: u64| {
            let rest = [event(start, Stage::Offer, Some(false)), event(start + 5, Stage::Loader, Some(true))];
            rest.into_iter().filter_map(|event| loops.see(&event)).count()
        };
        assert_eq!(earlier(&mut loops, 996_400) + earlier(&mut loops, 999_100), 0);
        // A loop is noticed as ever.
        let told: usize = (0..4).map(|boot| earlier(&mut loops, 900_000 + boot * 60)).sum();
        assert_eq!(told, 1);
    }

    #[test]
    fn ordinary_boots_are_none() {
        let installing = [Stage::Loader, Stage::Script, Stage::Kernel, Stage::Answers, Stage::Completed];
        assert!(boots(&mut Loops::default(), 10, 60, &installing).is_empty());
        assert!(boots(&mut Loops::default(), 10, 600, &[Stage::Loader]).is_empty(), "now and then");
        assert!(boots(&mut Loops::default(), 3, 60, &[Stage::Loader]).is_empty());
        let mut loops = Loops::default();
        let asked = (0..20).filter_map(|second| loops.see(&event(second, Stage::Offer, Some(false))));
        assert_eq!(asked.count(), 0, "repeated questions are one boot");
    }
}
