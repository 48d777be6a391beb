//! The progress of a boot: how far it got, whether it is over, and the usual cause of a failure at its last
//! step. Pure: events come in, a verdict goes out.

use std::time::Duration;

use crate::state::Stage;

/// The steps of a boot, in the order of a successful one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Step {
    /// The machine was switched on
    Power,
    /// DHCP: an address and a boot program were offered
    Offer,
    /// DHCP: the address was confirmed
    Ack,
    /// The boot program was fetched
    Loader,
    /// The script that leads to the installer was served
    Script,
    Kernel,
    Initrd,
    /// The answer file was served
    Answers,
    /// The installer reported progress
    Progress,
    /// The installer reported completion
    Completed,
    /// The machine restarted itself
    Reboot,
    /// The script that boots the machine's own disk was served
    LocalBoot,
    /// The disk was read after that
    Disk,
}

impl Step {
    /// The step of one of the daemon's events; `None` for events that are no step.
    pub fn of(stage: Stage) -> Option<Step> {
        Some(match stage {
            Stage::Offer => Step::Offer,
            Stage::Ack => Step::Ack,
            Stage::Loader => Step::Loader,
            Stage::Script => Step::Script,
            Stage::Kernel => Step::Kernel,
            Stage::Initrd => Step::Initrd,
            Stage::Answers => Step::Answers,
            Stage::Progress => Step::Progress,
            Stage::Completed => Step::Completed,
            Stage::LocalBoot => Step::LocalBoot,
            Stage::File
            | Stage::Failed
            | Stage::Refused
            | Stage::Stuck
            | Stage::Silence
            | Stage::Adopted
            | Stage::Daemon
            | Stage::Audit => {
                return None;
            }
        })
    }

    /// The name in the timeline.
    pub fn name(self) -> &'static str {
        match self {
            Step::Power => "power",
            Step::Offer => "offer",
            Step::Ack => "ack",
            Step::Loader => "loader",
            Step::Script => "script",
            Step::Kernel => "kernel",
            Step::Initrd => "initrd",
            Step::Answers => "answers",
            Step::Progress => "progress",
            Step::Completed => "completed",
            Step::Reboot => "reboot",
            Step::LocalBoot => "local-boot",
            Step::Disk => "disk",
        }
    }

    /// The usual cause when a boot ends at this step.
    pub fn usual_cause(self) -> &'static str {
        match self {
            Step::Power => {
                "the daemon sent no offer: lines with `silence` above have the reason (not in the manifests, no \
                 dynamic range, no boot program for this firmware)"
            }
            Step::Offer => "the firmware did not accept the offer, or another DHCP server answered first",
            Step::Ack => "the boot program was not requested: does the answer name one, is it installed?",
            Step::Loader => "the boot program did not start, or found no network: is it for this firmware?",
            Step::Script => {
                "the kernel was not fetched: is its path in the boot right, can the image be read?"
            }
            Step::Kernel => "the initrd was not fetched: is its path right, is there memory for it?",
            Step::Initrd => {
                "the installer did not ask for its answers: does the kernel line name {{ answers_url }}, has \
                 the initrd a driver for the card (virtio-net), does the kernel line name a console?"
            }
            Step::Answers => {
                "the installer read its answers and never reported: a question without an answer, a disk of \
                 another name, no package mirror (there is no internet here), or no call of {{ completed_url }}"
            }
            Step::Progress => "the installer stopped half-way: see its own log or the serial line",
            Step::Completed => "the installer reported completion and did not restart the machine",
            Step::Reboot => "after its restart the machine did not come back to the network",
            Step::LocalBoot => "the disk was not booted: has it a boot loader for this firmware?",
            Step::Disk => "nothing: the disk was booted",
        }
    }
}

/// The rest of a terminal escape sequence whose first character is cut off (ECMA-48 5.4).
fn without_escape(part: &str) -> String {
    let text = match part.strip_prefix('[') {
        Some(rest) => rest.trim_start_matches(|character| !('\x40'..='\x7e').contains(&character)).get(1..),
        None => Some(part),
    };
    text.unwrap_or_default().trim().to_owned()
}

/// How a boot ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Done(String),
    /// Why.
    Failed(String),
}

/// The progress of one boot.
#[derive(Clone, Debug)]
pub struct BootProgress {
    /// Whether an installation is expected, or a machine that runs from the network.
    installs: bool,
    until: Option<Step>,
    reached: Vec<(Duration, Step)>,
    greeting: Option<String>,
}

/// Bytes read from the disk beyond a look for a boot sector or partition table.
const BOOTED: u64 = 16 << 10;
/// How long a booted disk may take to print a greeting on the serial line; not all do.
const GREETING: Duration = Duration::from_secs(15);
/// How long a machine that runs from the network must stay up after its last file.
const SETTLED: Duration = Duration::from_secs(20);

impl BootProgress {
    pub fn new(installs: bool, until: Option<Step>) -> BootProgress {
        BootProgress { installs, until, reached: vec![(Duration::ZERO, Step::Power)], greeting: None }
    }

    /// The last step that was reached. Restarts and repeated DHCP do not go back behind a step of the same
    /// boot.
    pub fn last(&self) -> Step {
        let boot = self.reached.iter().rposition(|(_, step)| *step == Step::Reboot).unwrap_or(0);
        self.reached[boot..].iter().map(|(_, step)| *step).max().unwrap_or(Step::Power)
    }

    pub fn has(&self, step: Step) -> bool {
        self.reached.iter().any(|(_, reached)| *reached == step)
    }

    pub fn greeting(&self) -> Option<&str> {
        self.greeting.as_deref()
    }

    /// The daemon sent an event of this stage.
    pub fn event(&mut self, at: Duration, stage: Stage, text: &str) -> Option<Verdict> {
        if stage == Stage::Failed {
            return Some(Verdict::Failed(format!("the installer reported failure: {text}")));
        }
        let step = Step::of(stage)?;
        if step == Step::LocalBoot && !self.has(Step::Completed) {
            let before =
                if self.has(Step::Answers) { "completion was reported" } else { "anything was installed" };
            self.reached.push((at, step));
            return Some(Verdict::Failed(format!("was sent to its own disk before {before}: {text}")));
        }
        self.reach(at, step)
    }

    /// The guest restarted its machine.
    pub fn rebooted(&mut self, at: Duration) -> Option<Verdict> {
        if !self.installs && self.has(Step::Kernel) {
            return Some(Verdict::Failed("the machine restarted instead of running".into()));
        }
        self.reach(at, Step::Reboot)
    }

    /// The disk had so many bytes read since the machine was sent to it.
    pub fn disk_read(&mut self, at: Duration, bytes: u64) -> Option<Verdict> {
        if bytes < BOOTED || self.has(Step::Disk) || !self.has(Step::LocalBoot) {
            return None;
        }
        self.reach(at, Step::Disk)
    }

    /// A line arrived on the serial port.
    pub fn serial(&mut self, line: &str) -> Option<Verdict> {
        const HOPELESS: [(&str, &str); 3] = [
            ("No bootable device", "the firmware found nothing to boot"),
            ("UEFI Interactive Shell", "the firmware found nothing to boot and opened its shell"),
            ("Kernel panic - not syncing", "the kernel panicked"),
        ];
        if let Some((_, why)) = HOPELESS.iter().find(|(sign, _)| line.contains(sign)) {
            return Some(Verdict::Failed(format!("{why}: {}", line.trim())));
        }
        let greets = |part: &&str| part.contains("runs from its own disk") || part.contains(" login:");
        if self.has(Step::LocalBoot) && self.greeting.is_none() {
            // Boot loaders draw on a screen: what they print is cut by cursor movements.
            self.greeting = line.split('\x1b').find(greets).map(without_escape);
        }
        None
    }

    /// The verdict if enough time has passed.
    pub fn tick(&self, now: Duration) -> Option<Verdict> {
        if self.installs { self.installed(now) } else { self.running(now) }
    }

    fn installed(&self, now: Duration) -> Option<Verdict> {
        let (at, _) = self.reached.iter().find(|(_, step)| *step == Step::Disk)?;
        let all = self.has(Step::Completed) && self.has(Step::Reboot) && self.has(Step::LocalBoot);
        let waited = self.greeting.is_some() || now.saturating_sub(*at) >= GREETING;
        (all && waited).then(|| Verdict::Done("installed once, and booted from its own disk".into()))
    }

    fn running(&self, now: Duration) -> Option<Verdict> {
        let files = |step: &Step| matches!(step, Step::Kernel | Step::Initrd);
        let last = self.reached.iter().rposition(|(_, step)| files(step))?;
        let (at, _) = self.reached[last];
        let address = self.reached[last..].iter().any(|(_, step)| *step == Step::Ack);
        let done =
            Verdict::Done("kernel and initrd were fetched and the machine runs from the network".into());
        (address || now.saturating_sub(at) >= SETTLED).then_some(done)
    }

    fn reach(&mut self, at: Duration, step: Step) -> Option<Verdict> {
        self.reached.push((at, step));
        (self.until == Some(step)).then(|| Verdict::Done(format!("reached {}", step.name())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// The progress after these events, one second apart.
    fn after(installs: bool, stages: &[&str]) -> BootProgress {
        let mut progress = BootProgress::new(installs, None);
        for (second, stage) in (1..).zip(stages) {
            let verdict = match *stage {
                "reboot" => progress.rebooted(seconds(second)),
                _ => progress.event(seconds(second), Stage::named(stage).unwrap(), ""),
            };
            assert_eq!(verdict, None, "{stage}");
        }
        progress
    }

    const INSTALL: [&str; 8] =
        ["offer", "ack", "loader", "script", "kernel", "initrd", "answers", "completed"];

    #[test]
    fn an_installation_is_done_when_its_disk_was_booted() {
        let mut progress = after(true, &[&INSTALL[..], &["reboot", "offer", "ack", "local-boot"]].concat());
        assert_eq!(progress.disk_read(seconds(20), 512), None);
        assert_eq!(progress.tick(seconds(100)), None, "a boot sector alone is no boot");
        assert_eq!(progress.disk_read(seconds(21), 200_000), None);
        assert_eq!(progress.tick(seconds(22)), None, "there is time for a greeting");
        assert_eq!(
            progress.serial("\x1b[0mWelcome\x1b[1;1Hvoldemort demo: demo-1 runs from its own disk\r"),
            None
        );
        assert_eq!(progress.greeting(), Some("voldemort demo: demo-1 runs from its own disk"));
        assert!(matches!(progress.tick(seconds(22)), Some(Verdict::Done(_))));
    }

    #[test]
    fn a_disk_may_be_silent() {
        let mut progress = after(true, &[&INSTALL[..], &["reboot", "local-boot"]].concat());
        progress.disk_read(seconds(20), 200_000);
        assert!(matches!(progress.tick(seconds(20) + GREETING), Some(Verdict::Done(_))));
    }

    #[test]
    fn completion_alone_is_not_enough() {
        let mut progress = after(true, &INSTALL);
        progress.disk_read(seconds(20), 200_000);
        assert_eq!(progress.tick(seconds(1000)), None);
        assert_eq!(progress.last(), Step::Completed);
    }

    #[test]
    fn a_local_boot_without_a_report_is_a_failure() {
        let mut progress = after(true, &INSTALL[..7]);
        progress.rebooted(seconds(9));
        let verdict = progress.event(seconds(10), Stage::LocalBoot, "never reported");
        assert!(
            matches!(verdict, Some(Verdict::Failed(why)) if why.contains("before completion was reported"))
        );
    }

    #[test]
    fn failures_speak() {
        let mut progress = after(true, &INSTALL[..6]);
        assert_eq!(progress.last(), Step::Initrd);
        let verdict = progress.serial("[ 1.2] Kernel panic - not syncing: VFS");
        assert!(matches!(verdict, Some(Verdict::Failed(why)) if why.contains("VFS")));
        let verdict = progress.event(seconds(9), Stage::Failed, "no such disk");
        assert_eq!(verdict, Some(Verdict::Failed("the installer reported failure: no such disk".into())));
    }

    #[test]
    fn the_last_step_is_the_furthest_of_the_boot_under_way() {
        let progress =
            after(true, &["offer", "ack", "loader", "offer", "ack", "script", "kernel", "initrd", "ack"]);
        assert_eq!(progress.last(), Step::Initrd);
        let progress = after(true, &[&INSTALL[..], &["reboot"]].concat());
        assert_eq!(progress.last(), Step::Reboot);
    }

    #[test]
    fn without_a_template_the_machine_only_has_to_run() {
        let progress = after(false, &["offer", "ack", "script", "kernel", "initrd"]);
        assert_eq!(progress.tick(seconds(6)), None);
        assert!(matches!(progress.tick(seconds(5) + SETTLED), Some(Verdict::Done(_))));
        let mut progress = after(false, &["offer", "ack", "script", "kernel", "initrd", "offer", "ack"]);
        assert!(
            matches!(progress.tick(seconds(8)), Some(Verdict::Done(_))),
            "its kernel asked for an address"
        );
        assert!(matches!(progress.rebooted(seconds(9)), Some(Verdict::Failed(_))));
    }

    #[test]
    fn until_ends_it_early() {
        let mut progress = BootProgress::new(true, Some(Step::Answers));
        assert_eq!(progress.event(seconds(1), Stage::Offer, ""), None);
        assert_eq!(
            progress.event(seconds(2), Stage::Answers, ""),
            Some(Verdict::Done("reached answers".into()))
        );
    }
}
