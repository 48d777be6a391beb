//! Which of the disks that are there an order means.

use super::device::Seen;
use crate::api::agent::OrderedDisk;

/// What is to be done with the disks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Read,
    Write,
}

/// The disks in the order of the order.
///
/// # Errors
/// Every disk that is not there, is there more than once, is another than the order says, or can't be written.
pub(super) fn select<'s>(
    ordered: &[OrderedDisk],
    seen: &'s [Seen],
    what: Use,
) -> Result<Vec<&'s Seen>, String> {
    let mut wrong = Vec::new();
    let mut chosen: Vec<&Seen> = Vec::new();
    for one in ordered {
        match find(one, seen) {
            Ok(disk) if chosen.iter().any(|other| std::ptr::eq(*other, disk)) => {
                wrong.push(format!("the order names {} twice", disk.name()));
            }
            Ok(disk) => {
                if what == Use::Write {
                    wrong.extend(unfit(disk));
                }
                chosen.push(disk);
            }
            Err(why) => wrong.push(why),
        }
    }
    match wrong.is_empty() {
        true => Ok(chosen),
        false => Err(format!("nothing was written: {}", wrong.join("; "))),
    }
}

fn find<'s>(ordered: &OrderedDisk, seen: &'s [Seen]) -> Result<&'s Seen, String> {
    let same: Vec<&Seen> = seen.iter().filter(|disk| disk.facts.id == ordered.id).collect();
    let disk = match same[..] {
        [] => {
            let there: Vec<String> = seen.iter().map(|disk| disk.facts.id.clone()).collect();
            let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
            return Err(format!("the disk {} is not there (there: {there})", ordered.id));
        }
        [disk] => disk,
        _ => {
            let paths: Vec<&str> = same.iter().map(|disk| disk.facts.path.as_str()).collect();
            return Err(format!(
                "{} all say that they are {}: they can't be told apart, or are several ways to one disk",
                paths.join(" and "),
                ordered.id
            ));
        }
    };
    if disk.facts.bytes != ordered.bytes {
        return Err(format!(
            "{} has {} bytes, and the order says {}",
            disk.name(),
            disk.facts.bytes,
            ordered.bytes
        ));
    }
    if ordered.serial.is_some() && ordered.serial != disk.facts.serial {
        let serial = ordered.serial.as_deref().unwrap_or_default();
        return Err(format!(
            "{} is not the disk with the serial number {serial} that the order says",
            disk.name()
        ));
    }
    Ok(disk)
}

/// Why a disk can't be written.
fn unfit(disk: &Seen) -> Vec<String> {
    let mut why = Vec::new();
    if disk.facts.read_only {
        why.push(format!("{} is read-only", disk.name()));
    }
    if !disk.used_by.is_empty() {
        why.push(format!("{} is in use: {}", disk.name(), disk.used_by.join(", ")));
    }
    if disk.facts.bytes == 0 {
        why.push(format!("{} has no capacity", disk.name()));
    }
    why
}
