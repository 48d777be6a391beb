//! One boot from power-on to its end: daemon and machine are started, watched and ended.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Arguments;
use super::daemon::{self, Daemon, Service};
use super::machine::{self, Accelerator, Firmware, Machine, Plan};
use super::network::Tap;
use super::progress::{BootProgress, Step, Verdict};
use super::scratch::{self, Scratch};
use super::serial::{self, Serial};
use super::subject::Subject;
use super::timeline::{Entry, Timeline};
use crate::api::resource::Event;
use crate::cli::exit::say;
use crate::state::Stage;

/// How often everything is polled that sends no event.
const LOOK: Duration = Duration::from_millis(200);

/// Real KVM is at its first DHCP request within five seconds, with any firmware.
const KVM_SILENCE: Duration = Duration::from_secs(10);

/// Where the package voldemort-firmware has its boot programs.
const OWN_PROGRAMS: &str = "/usr/lib/voldemort/firmware";

/// Secure Boot refuses unsigned programs, so only shim and GRUB are offered: those of the distribution, and copies of those
/// in the folder `own`, which has others beside them.
fn signed_programs(own: &Path, scratch: &Scratch) -> io::Result<Vec<PathBuf>> {
    let copies = scratch.join("firmware");
    std::fs::create_dir(&copies).map_err(|error| scratch::named(&copies, error))?;
    for entry in std::fs::read_dir(own).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let is_signed =
            ["shim", "grub"].iter().any(|begin| name.as_encoded_bytes().starts_with(begin.as_bytes()));
        if is_signed && path.is_file() {
            std::fs::copy(&path, copies.join(&name)).map_err(|error| scratch::named(&path, error))?;
        }
    }
    Ok(vec!["/usr/lib/shim".into(), "/usr/lib/grub".into(), copies])
}

/// How a trial ended.
#[derive(Clone, Debug)]
pub(super) enum Ending {
    Done(String),
    Failed(String),
    TimedOut,
    Interrupted,
}

/// A prepared boot. The order of the fields is the order in which they end: the machine before its daemon,
/// the directory with the files of both last.
pub(super) struct Trial {
    machine: Option<Machine>,
    daemon: Option<Daemon>,
    tap: Tap,
    events: Receiver<Event>,
    subject: Subject,
    plan: Plan,
    until: Option<Step>,
    timeout: Duration,
    serial: Serial,
    progress: BootProgress,
    timeline: Timeline,
    /// When the machine in use was switched on.
    powered: Instant,
    /// When the trial began, by both clocks.
    started: Instant,
    epoch: SystemTime,
    /// Restarts of the guest that were seen.
    resets: u32,
    /// Bytes read from the disk when the machine was sent to boot it.
    read_before: Option<u64>,
    scratch: Scratch,
}

impl Trial {
    /// Makes the private network's device and starts the daemon on it. The calling thread is in
    /// the private network already.
    pub(super) fn prepare(arguments: &Arguments, directory: &Path, subject: &Subject) -> io::Result<Trial> {
        scratch::watch_signals()?;
        let scratch = Scratch::new(arguments.keep)?;
        let tap = Tap::new(subject.server, subject.cidr).map_err(io::Error::other)?;
        let absolute = |path: &Path| std::fs::canonicalize(path).map_err(|error| scratch::named(path, error));
        let service = Service {
            program: std::env::current_exe()?,
            inventory: absolute(directory)?,
            environment: arguments.env.clone(),
            media: arguments.media.iter().map(|path| absolute(path)).collect::<io::Result<_>>()?,
            identity: arguments.identity.as_deref().map(absolute).transpose()?,
            address: subject.server,
            firmware: match arguments.firmware {
                Firmware::SecureBoot => signed_programs(Path::new(OWN_PROGRAMS), &scratch)?,
                _ => Vec::new(),
            },
        };
        let mut daemon = Daemon::start(&service, &scratch).map_err(|error| {
            let said = serial::tail(&daemon::log(&scratch), 20).join("\n  ");
            io::Error::new(error.kind(), format!("{error}\n  {said}"))
        })?;
        daemon.wait_until_adopted(scratch.path())?;
        let plan = Plan {
            firmware: arguments.firmware,
            accelerator: Accelerator::probe(),
            mac: subject.mac,
            disk: subject.disk.clone(),
            memory: arguments.memory.unwrap_or_else(|| subject.memory.unwrap_or(0).max(1024)),
        };
        Ok(Trial {
            machine: None,
            daemon: Some(daemon),
            tap,
            events: daemon::follow_events(scratch.path())?,
            subject: subject.clone(),
            plan,
            until: arguments.until,
            timeout: arguments.timeout,
            serial: Serial::follow(&machine::serial_log(&scratch)),
            progress: BootProgress::new(subject.installs, arguments.until),
            timeline: Timeline::default(),
            powered: Instant::now(),
            started: Instant::now(),
            epoch: SystemTime::now(),
            resets: 0,
            read_before: None,
            scratch,
        })
    }

    /// Boots, and watches until it is over. Machine and daemon have ended afterwards.
    pub(super) fn run(&mut self) -> Ending {
        let ending = self.boot().unwrap_or_else(|error| Ending::Failed(error.to_string()));
        self.machine = None;
        self.daemon = None;
        ending
    }

    fn boot(&mut self) -> io::Result<Ending> {
        self.started = Instant::now();
        self.epoch = SystemTime::now();
        self.power_on()?;
        loop {
            if scratch::interrupted() {
                return Ok(Ending::Interrupted);
            }
            if self.elapsed() > self.timeout {
                return Ok(Ending::TimedOut);
            }
            if let Some(verdict) = self.look()? {
                return Ok(match verdict {
                    Verdict::Done(reason) => Ending::Done(reason),
                    Verdict::Failed(reason) => Ending::Failed(reason),
                });
            }
        }
    }

    fn power_on(&mut self) -> io::Result<()> {
        let Plan { firmware, accelerator, mac, .. } = &self.plan;
        let text = format!("{mac}, firmware {}, {}", firmware.name(), accelerator.name());
        let now = self.elapsed();
        self.timeline.add(now, "power", &text);
        self.serial = Serial::follow(&machine::serial_log(&self.scratch));
        self.resets = 0;
        self.powered = Instant::now();
        match Machine::start(&self.plan, &self.tap, &self.scratch) {
            Ok(machine) => self.machine = Some(machine),
            Err(error) if self.plan.accelerator == Accelerator::Kvm => {
                return self.fall_back(&error.to_string());
            }
            Err(error) => {
                let said = serial::tail(&machine::qemu_log(&self.scratch), 5).join("\n  ");
                return Err(io::Error::new(error.kind(), format!("{error}\n  {said}")));
            }
        }
        Ok(())
    }

    /// Restarts the boot with emulation because this KVM can't run firmware. Only while nothing can have
    /// been written to the disk.
    fn fall_back(&mut self, why: &str) -> io::Result<()> {
        self.machine = None;
        let now = self.elapsed();
        self.timeline.add(
            now,
            "notice",
            &format!("KVM can't run this firmware ({why}): starting again with emulation"),
        );
        self.plan.accelerator = Accelerator::Tcg;
        self.progress = BootProgress::new(self.subject.installs, self.until);
        self.power_on()
    }

    /// Waits a moment for an event, and polls the rest.
    fn look(&mut self) -> io::Result<Option<Verdict>> {
        let event = match self.events.recv_timeout(LOOK) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("the daemon's events ended")),
        };
        if !self.daemon.as_mut().is_some_and(Daemon::is_alive) {
            return Err(io::Error::other("the daemon ended"));
        }
        // The machine first: its restart comes before the daemon's events about it.
        let verdict = self.look_at_machine()?.or(match event {
            Some(event) => self.event(&event)?,
            None => None,
        });
        let verdict = verdict.or_else(|| self.look_at_serial());
        Ok(verdict.or_else(|| self.progress.tick(self.elapsed())))
    }

    fn look_at_machine(&mut self) -> io::Result<Option<Verdict>> {
        let now = self.elapsed();
        let Some(machine) = &mut self.machine else { return Ok(None) };
        if let Some(status) = machine.ended()? {
            return Ok(self.powered_off(&status.to_string()));
        }
        let Ok(status) = machine.qmp().status() else { return Ok(None) };
        if status == "internal-error" {
            return self.stopped();
        }
        let kvm = self.plan.accelerator == Accelerator::Kvm;
        if kvm && self.progress.last() == Step::Power && self.powered.elapsed() > KVM_SILENCE {
            self.fall_back("no sign of life from the firmware")?;
            return Ok(None);
        }
        let resets = machine.qmp().resets();
        if resets > self.resets {
            self.resets = resets;
            self.timeline.add(now, "reboot", "the machine restarted itself");
            if let Some(verdict) = self.progress.rebooted(now) {
                return Ok(Some(verdict));
            }
        }
        self.look_at_disk()
    }

    fn look_at_disk(&mut self) -> io::Result<Option<Verdict>> {
        let (Some(before), Some(machine)) = (self.read_before, &mut self.machine) else { return Ok(None) };
        let Ok(read) = machine.qmp().bytes_read() else { return Ok(None) };
        let now = self.elapsed();
        let had = self.progress.has(Step::Disk);
        let fresh = read.saturating_sub(before);
        let verdict = self.progress.disk_read(now, fresh);
        if !had && self.progress.has(Step::Disk) {
            self.timeline.add(
                now,
                "disk",
                &format!("the machine reads its own disk ({} KiB so far)", fresh >> 10),
            );
        }
        Ok(verdict)
    }

    /// QEMU is gone: the guest switched its machine off, or QEMU itself failed.
    fn powered_off(&mut self, status: &str) -> Option<Verdict> {
        let said = serial::tail(&machine::qemu_log(&self.scratch), 3).join("; ");
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        Some(Verdict::Failed(format!("the machine was switched off, QEMU ended with {status}{said}")))
    }

    /// The accelerator met an instruction that it can't execute.
    fn stopped(&mut self) -> io::Result<Option<Verdict>> {
        if self.plan.accelerator == Accelerator::Kvm && !self.progress.has(Step::Answers) {
            self.fall_back("internal error")?;
            return Ok(None);
        }
        Ok(Some(Verdict::Failed("QEMU stopped the machine: internal error".into())))
    }

    fn event(&mut self, event: &Event) -> io::Result<Option<Verdict>> {
        let ours = event.deployment.as_deref() == Some(self.deployment().as_str())
            || event.mac.as_deref() == Some(self.subject.mac.to_string().as_str())
            || (event.mac.is_none() && event.deployment.is_none());
        if !ours {
            return Ok(None);
        }
        let at = self.since_power_on(event.at_ms);
        self.timeline.add(at, event.stage.as_str(), &event.text);
        if event.stage == Stage::LocalBoot && self.read_before.is_none() {
            self.read_before = match &mut self.machine {
                Some(machine) => Some(machine.qmp().bytes_read()?),
                None => None,
            };
        }
        Ok(event.stage.known().and_then(|stage| self.progress.event(at, stage, &event.text)))
    }

    fn look_at_serial(&mut self) -> Option<Verdict> {
        for line in self.serial.lines() {
            let had = self.progress.greeting().is_some();
            let verdict = self.progress.serial(&line);
            if let Some(greeting) = self.progress.greeting().filter(|_| !had) {
                self.timeline.add(self.started.elapsed(), "greeting", greeting);
            }
            if verdict.is_some() {
                return verdict;
            }
        }
        None
    }

    /// Converts the daemon's clock, milliseconds since 1970, to this process's.
    fn since_power_on(&self, at_ms: u64) -> Duration {
        let epoch = self.epoch.duration_since(UNIX_EPOCH).unwrap_or_default();
        Duration::from_millis(at_ms).saturating_sub(epoch)
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn last(&self) -> Step {
        self.progress.last()
    }

    pub(super) fn deployment(&self) -> String {
        self.subject.deployment.to_string()
    }

    pub(super) fn accelerator(&self) -> Accelerator {
        self.plan.accelerator
    }

    pub(super) fn timeline(&self) -> &[Entry] {
        self.timeline.entries()
    }

    /// Where the files are, if they stay.
    pub(super) fn kept(&self) -> Option<&Path> {
        self.scratch.is_kept().then(|| self.scratch.path())
    }

    /// The last lines of the serial line and of the daemon.
    pub(super) fn show_logs(&self) {
        let logs =
            [("serial line", machine::serial_log(&self.scratch)), ("daemon", daemon::log(&self.scratch))];
        for (what, path) in logs {
            say(format_args!("the last of the {what}:"));
            for line in serial::tail(&path, 15) {
                say(format_args!("  | {line}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secure_boot_is_offered_our_own_signed_programs_and_no_others() {
        let own = tempfile::tempdir().unwrap();
        for name in ["shimx64.efi.signed", "grubnetx64.efi.signed", "ipxe.efi", "snponly.efi"] {
            std::fs::write(own.path().join(name), name).unwrap();
        }
        let scratch = Scratch::new(false).unwrap();
        let folders = signed_programs(own.path(), &scratch).unwrap();
        let names = |folder: &Path| -> Vec<String> {
            let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
            let mut names: Vec<String> =
                entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        assert_eq!(names(folders.last().unwrap()), ["grubnetx64.efi.signed", "shimx64.efi.signed"]);
        let none = Scratch::new(false).unwrap();
        let folders = signed_programs(&own.path().join("gone"), &none).unwrap();
        assert!(names(folders.last().unwrap()).is_empty());
    }
}
