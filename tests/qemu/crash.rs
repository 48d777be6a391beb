//! kill -9 of the daemon in the middle of a boot: the machine is installed exactly once.

use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use voldemort::api::resource::{Deployment, Event};
use voldemort::cli::try_::daemon::{Daemon, Service, client, follow_events};
use voldemort::cli::try_::disk::{Bus, Disk};
use voldemort::cli::try_::machine::{Accelerator, Firmware, Machine, Plan, disk_image, serial_log};
use voldemort::cli::try_::network::{self, Tap};
use voldemort::cli::try_::scratch::Scratch;

use crate::kit::{Kit, installations, kit};

/// Emulation on a busy host takes a minute for what takes seconds elsewhere.
const PATIENCE: Duration = Duration::from_secs(240);

/// A machine, its network and the daemon's settings; the daemon itself comes and goes.
struct Lab {
    machine: Machine,
    service: Service,
    scratch: Scratch,
    _tap: Tap,
}

impl Lab {
    /// Enters a private network for good: to be called in a thread of its own.
    fn start(kit: &Kit) -> (Lab, Daemon, Receiver<Event>) {
        network::enter().unwrap();
        let scratch = Scratch::new(false).unwrap();
        let address = "10.0.10.1".parse().unwrap();
        let tap = Tap::new(address, "10.0.10.0/24".parse().unwrap()).unwrap();
        let service = Service {
            identity: None,
            program: PathBuf::from(env!("CARGO_BIN_EXE_voldemort")),
            inventory: kit.inventory.clone(),
            environment: None,
            media: vec![kit.media.clone()],
            address,
            firmware: Vec::new(),
        };
        let daemon = Daemon::start(&service, &scratch).unwrap();
        let events = follow_events(scratch.path()).unwrap();
        let plan = Plan {
            firmware: Firmware::Bios,
            accelerator: Accelerator::Tcg,
            mac: "52:54:00:de:00:01".parse().unwrap(),
            disk: Disk::on(Bus::Virtio),
            memory: 1024,
        };
        let machine = Machine::start(&plan, &tap, &scratch).unwrap();
        (Lab { machine, service, scratch, _tap: tap }, daemon, events)
    }

    fn restart_daemon(&self) -> (Daemon, Receiver<Event>) {
        let daemon = Daemon::start(&self.service, &self.scratch).unwrap();
        (daemon, follow_events(self.scratch.path()).unwrap())
    }

    fn installations(&self) -> u32 {
        installations(&disk_image(&self.scratch))
    }

    fn phase(&self) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = client(self.scratch.path());
        let deployment = runtime.block_on(client.get::<Deployment>("/v1/deployments/demo-1"));
        deployment.unwrap().phase.to_string()
    }

    fn wait_for_greetings(&self, count: usize) {
        wait_until("the greeting of the disk", || {
            let serial = std::fs::read(serial_log(&self.scratch)).unwrap_or_default();
            let needle = b"runs from its own disk";
            serial.windows(needle.len()).filter(|window| window == needle).count() == count
        });
    }
}

fn wait_for(events: &Receiver<Event>, stage: &str) {
    let started = Instant::now();
    while let Ok(event) = events.recv_timeout(PATIENCE.saturating_sub(started.elapsed())) {
        if event.stage.as_str() == stage {
            return;
        }
    }
    panic!("{stage} did not happen");
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "{what} did not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a test in a thread of its own, so that the private network ends with it.
fn alone(test: impl FnOnce(&Kit) + Send + 'static) {
    let Some(kit) = kit(true) else { return };
    let outcome = std::thread::scope(|scope| scope.spawn(|| test(&kit)).join());
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn a_daemon_killed_before_the_answers_installs_once() {
    alone(|kit| {
        let (lab, daemon, events) = Lab::start(kit);
        wait_for(&events, "initrd");
        daemon.crash().unwrap();
        let (_daemon, events) = lab.restart_daemon();
        wait_for(&events, "completed");
        wait_for(&events, "local-boot");
        lab.wait_for_greetings(1);
        assert_eq!(lab.installations(), 1);
        assert_eq!(lab.phase(), "installed");
    });
}

#[test]
fn a_lost_completion_report_never_becomes_a_second_installation() {
    alone(|kit| {
        let (mut lab, daemon, events) = Lab::start(kit);
        wait_for(&events, "answers");
        // The disk is being written, nothing was reported yet.
        wait_until("the installation", || lab.installations() == 1);
        daemon.crash().unwrap();
        wait_until("the restart of the machine", || {
            lab.machine.qmp().status().unwrap();
            lab.machine.qmp().resets() > 0
        });
        let (_daemon, events) = lab.restart_daemon();
        wait_for(&events, "local-boot");
        lab.wait_for_greetings(1);
        assert_eq!(lab.phase(), "unreported");
        // Nor does the next boot, or the one after it.
        lab.machine.qmp().reset().unwrap();
        wait_for(&events, "local-boot");
        lab.wait_for_greetings(2);
        assert_eq!(lab.installations(), 1);
        assert_eq!(lab.phase(), "unreported");
    });
}
