//! The disks of the machine that this program runs on.

mod block;
mod sys;

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::device::{Bench, Device, Seen};
use crate::api::agent::DiskFacts;

/// This machine.
pub(super) struct Machine<F> {
    /// Reads what is known of its disks.
    facts: F,
}

impl<F: Fn() -> Vec<DiskFacts> + Sync> Machine<F> {
    /// This machine, whose disks `facts` finds.
    pub(super) fn new(facts: F) -> Machine<F> {
        Machine { facts }
    }
}

impl<F: Fn() -> Vec<DiskFacts> + Sync> Bench for Machine<F> {
    fn disks(&self) -> Vec<Seen> {
        sys::stop_arrays(Path::new("/"));
        (self.facts)().into_iter().map(|facts| sys::seen(Path::new("/"), facts)).collect()
    }

    fn open(&self, disk: &Seen) -> Result<Box<dyn Device>, String> {
        match block::Disk::open(&disk.facts) {
            Ok(disk) => Ok(Box::new(disk)),
            Err(error) => Err(format!("it can't be opened: {error}")),
        }
    }

    fn now(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
    }

    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn kernel(&self) -> String {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
        release.map(|text| text.trim().to_owned()).unwrap_or_default()
    }
}
