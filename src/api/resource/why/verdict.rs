//! How the last boot of a machine ended, in one sentence.

use crate::desired::Deployment;
use crate::state::{Event, Stage};

/// Most steps of a boot that are shown.
const STEPS_MAX: usize = 200;

/// The events since firmware last asked for an address. Later stages of one boot ask again, but
/// do not name the firmware's processor, or are iPXE that was loaded before.
pub(super) fn last_boot<'a>(events: &[&'a (u64, Event)]) -> Vec<&'a (u64, Event)> {
    let asks = |event: &Event| matches!(event.stage, Stage::Offer | Stage::Silence);
    let begins = |at: usize| {
        let (_, event) = events[at];
        let before =
            events[..at].iter().rev().map(|(_, event)| event).find(|event| event.stage != Stage::Offer);
        let chained = event.ipxe == Some(true) && before.is_some_and(|before| before.stage == Stage::Loader);
        let repeated = at > 0 && asks(&events[at - 1].1) && event.at.since(events[at - 1].1.at).0 < 60_000;
        asks(event) && event.arch.is_some() && !chained && !repeated
    };
    let start = (0..events.len()).rev().find(|at| begins(*at)).unwrap_or(0);
    let start = start.max(events.len().saturating_sub(STEPS_MAX));
    events[start..].to_vec()
}

/// How a boot ended, of a machine that has this deployment.
pub(super) fn verdict(boot: &[&(u64, Event)], deployment: Option<&Deployment>) -> String {
    let by_hand = boot.iter().rev().find(|(_, event)| event.stage == Stage::Adopted);
    let boot: Vec<_> = boot.iter().copied().filter(|(_, event)| event.stage.is_of_machine()).collect();
    let (Some((_, last)), boot) = (boot.last(), &*boot) else {
        if let Some((_, adopted)) = by_hand {
            return format!("it was never seen on the network: {}", adopted.text);
        }
        return "it was never seen on the network; check the cable, the hardware address and whether the \
                firmware boots from the network"
            .into();
    };
    let bad = boot
        .iter()
        .rev()
        .map(|(_, event)| event)
        .find(|event| matches!(event.stage, Stage::Failed | Stage::Refused | Stage::Silence));
    let reached = boot.iter().map(|(_, event)| event.stage).filter(|stage| *stage <= Stage::LocalBoot).max();
    match (reached, bad) {
        (_, Some(bad)) if bad.stage == Stage::Failed => {
            format!("the installer reported failure: {}", bad.text)
        }
        (Some(Stage::Completed), _) => "it was installed".into(),
        (Some(Stage::LocalBoot), _) => {
            format!("it was sent to its own disk: {}", last_of(boot, Stage::LocalBoot))
        }
        (_, Some(bad)) if std::ptr::eq(bad, last) => format!("it stopped at {}: {}", bad.stage, bad.text),
        (Some(stage), bad) => {
            let reached = reached_only(boot, stage, deployment);
            match bad {
                Some(bad) => format!("{reached}; before that at {}: {}", bad.stage, bad.text),
                None => reached,
            }
        }
        (None, Some(bad)) => format!("it stopped at {}: {}", bad.stage, bad.text),
        (None, None) => format!("last seen at {}: {}", last.stage, last.text),
    }
}

/// What it means that a boot got as far as `stage`, which is not its end, and no further.
fn reached_only(boot: &[&(u64, Event)], stage: Stage, deployment: Option<&Deployment>) -> String {
    let text = last_of(boot, stage);
    let is_offered = ["boot file ", "configuration ", "files by TFTP"].iter().any(|what| text.contains(what));
    let installs = deployment.is_none_or(Deployment::installs);
    let has_initrd = deployment.is_none_or(|deployment| !deployment.boot.initrd.is_empty());
    let runs = "nothing more is expected: what it boots runs from the network and reports nothing";
    match stage {
        Stage::Offer | Stage::Ack if !is_offered => {
            let why = match text.split_once("but no boot file: ") {
                Some((_, why)) => why.to_owned(),
                None if deployment.is_none() => "nothing is deployed to it".into(),
                None => "it did not ask to boot, or another server's answer has that".into(),
            };
            format!("it was given no boot file ({why}); last: {text}")
        }
        Stage::Offer => format!(
            "it was offered an address and asked for none: another server may have answered, or the daemon's packets do \
             not reach it; last: {text}"
        ),
        Stage::Ack => format!(
            "it got its address and fetched nothing: TFTP or HTTP may be blocked, or the firmware did not like the boot \
             file; last: {text}"
        ),
        Stage::Loader => format!(
            "it fetched its boot program, which asked for no script: it may not fit this firmware (Secure Boot?); last: {text}"
        ),
        Stage::Script => format!("it got its script and fetched no kernel; last: {text}"),
        Stage::Kernel if has_initrd => format!("it fetched its kernel and no initrd; last: {text}"),
        Stage::Kernel | Stage::Initrd if !installs => {
            format!("it fetched all that it boots; {runs}; last: {text}")
        }
        Stage::Kernel | Stage::Initrd if deployment.is_some_and(|deployment| !deployment.has_answers()) => {
            format!(
                "it fetched all that it boots, and has not reported its end yet: its installer fetches no answers from here; \
             last: {text}"
            )
        }
        Stage::Kernel | Stage::Initrd => format!(
            "it fetched kernel and initrd and asked for no answers: does the installer find its network? last: {text}"
        ),
        Stage::Answers => format!("it got its answers and has not reported yet; last: {text}"),
        _ => format!("it is under way and has not reported its end yet; last: {text}"),
    }
}

fn last_of(boot: &[&(u64, Event)], stage: Stage) -> String {
    boot.iter()
        .rev()
        .find(|(_, event)| event.stage == stage)
        .map(|(_, event)| event.text.to_string())
        .unwrap_or_default()
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ClientArch, Time};

    fn event(at: u64, stage: Stage, firmware: bool, ipxe: Option<bool>) -> (u64, Event) {
        let arch = ClientArch::from_code(7).filter(|_| firmware);
        (at, Event { arch, ipxe, ..Event::new(Time(at * 1000), stage, stage.to_string()) })
    }

    fn verdict_of(events: &[(u64, Event)]) -> (Vec<u64>, String) {
        let own: Vec<&(u64, Event)> = events.iter().collect();
        let boot = last_boot(&own);
        (boot.iter().map(|(number, _)| *number).collect(), verdict(&boot, None))
    }

    #[test]
    fn a_boot_begins_with_firmware_and_holds_all_its_stages() {
        let events = [
            event(1, Stage::Offer, true, Some(false)),
            event(2, Stage::Ack, true, Some(false)),
            event(3, Stage::LocalBoot, false, None),
            event(900, Stage::Offer, true, Some(false)),
            event(901, Stage::Offer, true, Some(false)),
            event(902, Stage::Ack, true, Some(false)),
            event(903, Stage::Loader, false, None),
            event(904, Stage::Offer, true, Some(true)),
            event(905, Stage::Ack, true, Some(true)),
            event(906, Stage::Script, false, None),
            event(907, Stage::Kernel, false, None),
            event(920, Stage::Offer, false, None),
            event(921, Stage::Ack, false, None),
        ];
        let (boot, verdict) = verdict_of(&events);
        assert_eq!(boot, [900, 901, 902, 903, 904, 905, 906, 907, 920, 921]);
        assert_eq!(verdict, "it fetched its kernel and no initrd; last: kernel");
        assert_eq!(verdict_of(&events[..3]).1, "it was sent to its own disk: local-boot");
        assert_eq!(
            verdict_of(&events[..5]).1,
            "it was given no boot file (nothing is deployed to it); last: offer"
        );
        let offered = |text: &str| {
            let (number, offer) = event(1, Stage::Offer, true, None);
            verdict_of(&[(number, Event { text: text.into(), ..offer })]).1
        };
        assert!(
            offered("offered 10.0.0.9, boot file x by TFTP")
                .starts_with("it was offered an address and asked for none")
        );
        let missing = offered("offered 10.0.0.9, but no boot file: no ipxe.efi");
        assert!(missing.starts_with("it was given no boot file (no ipxe.efi)"), "{missing}");
        assert!(verdict_of(&[]).1.starts_with("it was never seen"));
    }

    #[test]
    fn what_a_person_said_is_no_boot() {
        let said = |stage| {
            let (number, event) = event(1, stage, false, None);
            (number, Event { text: "a person said that it is installed".into(), ..event })
        };
        assert!(verdict_of(&[said(Stage::Daemon)]).1.starts_with("it was never seen"));
        assert_eq!(
            verdict_of(&[said(Stage::Adopted)]).1,
            "it was never seen on the network: a person said that it is installed"
        );
        let seen =
            [event(1, Stage::Offer, true, None), event(2, Stage::Ack, false, None), said(Stage::Adopted)];
        assert!(verdict_of(&seen).1.starts_with("it was given no boot file"), "{}", verdict_of(&seen).1);
    }

    #[test]
    fn what_went_wrong_is_named() {
        let refused = [event(1, Stage::Offer, true, None), event(2, Stage::Refused, false, None)];
        assert_eq!(verdict_of(&refused).1, "it stopped at refused: refused");
        let failed = [event(1, Stage::Answers, false, None), event(2, Stage::Failed, false, None)];
        assert_eq!(verdict_of(&failed).1, "the installer reported failure: failed");
        let silent = [event(1, Stage::Silence, true, None)];
        assert_eq!(verdict_of(&silent).1, "it stopped at silence: silence");
    }
}
