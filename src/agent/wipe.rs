//! Wipes the disks that an order names, and says what was done (NIST SP 800-88r2: clear, purge; quick is none of them).
//!
//! | level | methods, in order | then |
//! |---|---|---|
//! | `quick` | zeros at both ends of the disk and of its partitions, and where other signatures lie; discard | those places are read back |
//! | `clear` | the kernel's zeroing of the whole disk; else zeros written to it | samples of the whole disk are read back |
//! | `purge` | NVMe sanitize (block erase, crypto erase, overwrite), else NVMe format with secure erase; ATA sanitize | samples must differ from before; zeros at both ends |
//!
//! A method counts only when the disk itself says afterwards that it succeeded. Another one follows only after a status
//! that says it did not, or where a disk has none; all of them are in the certificate. ATA SECURITY ERASE is never used: it
//! locks disks. Where `purge` has no method left, `clear` follows, and the certificate says which level was reached.
//!
//! What is decided lies here and in files without devices; [`device`] is what a disk can do, and [`rim`] does it.

mod ata;
mod device;
mod fleet;
mod nvme;
mod places;
mod purge;
mod rim;
mod select;
#[cfg(test)]
mod tests;
mod work;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use device::{Bench, Seen};

use super::facts::{self, Calls, Root};
use crate::api::agent::{DiskCertificate, DiskFacts, DiskProgress, OrderResult, OrderedDisk};
use crate::model::WipeLevel;

/// Hears how far each disk is, and says whether to go on: the order may have been withdrawn. It is called at least
/// once a minute while there is something to do.
pub type Hears<'a> = &'a mut dyn FnMut(Vec<DiskProgress>) -> ControlFlow<()>;

/// Wipes these disks of this machine, all of them or none: nothing is written if one of them is not there, is there
/// twice, is in use or can't be written. `Done` or `Failed`, each with its certificate.
pub fn wipe(level: WipeLevel, disks: &[OrderedDisk], hears: Hears<'_>) -> OrderResult {
    wipe_at(&rim::Machine::new(disks_here), level, disks, hears)
}

/// What was done to each disk, a line for each: it goes to the machine's console, and with that to its timeline.
pub fn summary(result: &OrderResult) -> Vec<String> {
    let certificate = match result {
        OrderResult::Done { certificate } | OrderResult::Failed { certificate, .. } => certificate.as_ref(),
        _ => None,
    };
    certificate.into_iter().flat_map(|certificate| &certificate.disks).map(line).collect()
}

fn line(disk: &DiskCertificate) -> String {
    let methods: Vec<String> =
        disk.methods.iter().map(|one| format!("{} {}", one.method, one.status)).collect();
    let read_back = disk.samples.as_ref().map_or_else(String::new, |samples| {
        let (many, length, seed) = (samples.offsets.len(), samples.length, samples.seed);
        format!(", read back at {many} places of {length} bytes (seed {seed})")
    });
    let serial = disk.serial.as_deref().unwrap_or("none");
    let (id, reached, asked) = (&disk.id, disk.reached.as_str(), disk.asked.as_str());
    let methods = methods.join("; ");
    format!("wiped {id} (serial {serial}): {reached}, asked was {asked}; {methods}{read_back}")
}

/// Reads back what was wiped: the places where systems leave signatures hold only zeros. `Done`, `NotBlank` or `Failed`.
pub fn verify(disks: &[OrderedDisk], hears: Hears<'_>) -> OrderResult {
    verify_at(&rim::Machine::new(disks_here), disks, hears)
}

/// The disks of this machine, under the names by which the daemon knows them.
fn disks_here() -> Vec<DiskFacts> {
    let calls =
        Calls { permanent_mac: &|_| None, neighbours: &BTreeMap::new(), blank: &|_| false, bmc: None };
    facts::read(&Root::new("/"), &calls).disks
}

fn wipe_at(bench: &dyn Bench, level: WipeLevel, disks: &[OrderedDisk], hears: Hears<'_>) -> OrderResult {
    let seen = bench.disks();
    match select::select(disks, &seen, select::Use::Write) {
        Ok(chosen) => fleet::wipe(level, &chosen, bench, hears),
        Err(why) => failed(why),
    }
}

fn verify_at(bench: &dyn Bench, disks: &[OrderedDisk], hears: Hears<'_>) -> OrderResult {
    let seen = bench.disks();
    let chosen = match select::select(disks, &seen, select::Use::Read) {
        Ok(chosen) => chosen,
        Err(why) => return failed(why),
    };
    for disk in chosen {
        let progress = DiskProgress { id: disk.facts.id.clone(), step: "read back".into(), percent: 0 };
        if hears(vec![progress]).is_break() {
            return failed(WITHDRAWN.into());
        }
        match trace(disk, bench) {
            Ok(None) => {}
            Ok(Some(at)) => {
                return OrderResult::NotBlank { why: format!("{} has data at byte {at}", disk.name()) };
            }
            Err(why) => return failed(format!("{}: {why}", disk.name())),
        }
    }
    OrderResult::Done { certificate: None }
}

fn trace(disk: &Seen, bench: &dyn Bench) -> Result<Option<u64>, String> {
    let mut device = bench.open(disk)?;
    work::first_trace(disk, device.as_mut())
}

const WITHDRAWN: &str = "the order was withdrawn meanwhile";

fn failed(why: String) -> OrderResult {
    OrderResult::Failed { why, certificate: None }
}
