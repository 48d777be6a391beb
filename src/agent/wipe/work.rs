//! Wipes one disk.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};

use super::device::{Bench, Device, Seen};
use super::purge::Purge;
use super::{WITHDRAWN, places};
use crate::api::agent::{DiskCertificate, MethodUsed, Samples};
use crate::model::WipeLevel;

/// How much is written, zeroed or read at a time: progress is said in between.
const ZEROED: u64 = 1 << 30;
const DISCARDED: u64 = 32 << 30;
const WRITTEN: u64 = 4 << 20;

/// One disk to be wiped.
pub(super) struct Job<'a> {
    pub disk: &'a Seen,
    pub level: WipeLevel,
    pub seed: u64,
    pub bench: &'a dyn Bench,
    /// The namespaces of its NVMe subsystem that the order names.
    pub ordered: &'a BTreeSet<u32>,
    /// Says what is done and how far it is, in percent.
    pub step: &'a dyn Fn(&str, u8),
    /// Set when the order was withdrawn.
    pub stop: &'a AtomicBool,
}

/// Why a disk is not wiped, with what was tried.
pub(super) struct Failure {
    pub why: String,
    pub tried: Vec<MethodUsed>,
}

impl Job<'_> {
    pub(super) fn run(&self) -> Result<DiskCertificate, Failure> {
        let mut tried = Vec::new();
        let begun = self.bench.now();
        let outcome = match self.bench.open(self.disk) {
            Ok(_) if self.stop.load(Ordering::Relaxed) => Err(WITHDRAWN.into()),
            Ok(mut device) => self.wipe(device.as_mut(), &mut tried),
            Err(why) => Err(why),
        };
        match outcome {
            Ok((reached, samples)) => {
                Ok(self.certificate(reached, tried, samples, self.bench.now().saturating_sub(begun)))
            }
            Err(why) => Err(Failure { why, tried }),
        }
    }

    fn certificate(
        &self,
        reached: WipeLevel,
        methods: Vec<MethodUsed>,
        samples: Option<Samples>,
        seconds: u64,
    ) -> DiskCertificate {
        let facts = &self.disk.facts;
        DiskCertificate {
            id: facts.id.clone(),
            model: facts.model.clone(),
            serial: facts.serial.clone(),
            wwn: facts.wwn.clone(),
            firmware: self.disk.firmware.clone(),
            bytes: facts.bytes,
            asked: self.level.into(),
            reached: reached.into(),
            methods,
            samples,
            seconds,
        }
    }

    /// The level that was reached, and what was read back.
    fn wipe(
        &self,
        device: &mut dyn Device,
        tried: &mut Vec<MethodUsed>,
    ) -> Result<(WipeLevel, Option<Samples>), String> {
        if device.bytes() != self.disk.facts.bytes {
            return Err(format!("it has {} bytes now, and had {}", device.bytes(), self.disk.facts.bytes));
        }
        let outcome = match self.level {
            WipeLevel::Quick => self.quick(device, tried).map(|()| (WipeLevel::Quick, None)),
            WipeLevel::Clear => self.clear(device, tried).map(|samples| (WipeLevel::Clear, Some(samples))),
            WipeLevel::Purge => match self.purge(device, tried)? {
                Some(samples) => Ok((WipeLevel::Purge, Some(samples))),
                None => self.clear(device, tried).map(|samples| (WipeLevel::Clear, Some(samples))),
            },
        };
        // After a failure the kernel goes on with the partitions that it knows, whose places are to be zeroed.
        if outcome.is_ok() {
            device.reread();
        }
        outcome
    }

    fn quick(&self, device: &mut dyn Device, tried: &mut Vec<MethodUsed>) -> Result<(), String> {
        self.ends(device, tried)?;
        let bytes = device.bytes();
        let discarded =
            self.each(0..bytes, DISCARDED, "discard", &mut |at, length| device.discard(at, length));
        tried.push(used("discard", discarded));
        // What was discarded may come back as anything.
        self.ends(device, tried)
    }

    /// Zeros where systems leave signatures, which are read back.
    fn ends(&self, device: &mut dyn Device, tried: &mut Vec<MethodUsed>) -> Result<(), String> {
        (self.step)("signatures", 0);
        let written = self.zero_places(device);
        let fault = written.as_ref().err().map(|error| format!("its ends can't be written: {error}"));
        if fault.is_some() || tried.iter().all(|one| one.method != "signatures") {
            tried.push(used("signatures", written));
        }
        match fault {
            Some(fault) => Err(fault),
            None => match first_trace(self.disk, device)? {
                Some(at) => Err(format!("byte {at} is not zero after zeros were written there")),
                None => Ok(()),
            },
        }
    }

    /// From the last place to the first, each on the disk before the next one: a partition table lies before what it
    /// names. A second try, after a fault or a power cut, sees the same partitions as long as anything is left of them.
    fn zero_places(&self, device: &mut dyn Device) -> io::Result<()> {
        for place in places::signatures(self.disk, device.bytes(), device.block()).into_iter().rev() {
            let mut end = place.end;
            while end > place.start {
                let start = place.start + (end - 1 - place.start) / WRITTEN * WRITTEN;
                write_zeros(device, start, end - start)?;
                device.flush()?;
                end = start;
            }
        }
        Ok(())
    }

    fn clear(&self, device: &mut dyn Device, tried: &mut Vec<MethodUsed>) -> Result<Samples, String> {
        let bytes = device.bytes();
        let zeroed = self.each(0..bytes, ZEROED, "zeroout", &mut |at, length| device.zero(at, length));
        let zeroed = zeroed.and_then(|()| device.flush()).map_err(|error| error.to_string());
        // Zeroing by the disk itself is believed only after a look.
        let zeroed = zeroed.and_then(|()| self.all_zero(device));
        let wiped = zeroed.is_ok();
        tried.push(used("zeroout", zeroed.as_ref().map(drop)));
        if let (true, Ok(samples)) = (wiped, zeroed) {
            return Ok(samples);
        }
        let zeros = vec![0; WRITTEN as usize];
        if self.stop.load(Ordering::Relaxed) {
            return Err(WITHDRAWN.into());
        }
        let written = self.each(0..bytes, WRITTEN, "overwrite", &mut |at, length| {
            device.write(at, &zeros[..length as usize])
        });
        let written = written.and_then(|()| device.flush()).map_err(|error| error.to_string());
        let written = written.and_then(|()| self.all_zero(device));
        tried.push(used("overwrite", written.as_ref().map(drop)));
        written.map_err(|why| format!("it can't be overwritten: {why}"))
    }

    /// Reads samples, all of which have to be zeros.
    fn all_zero(&self, device: &mut dyn Device) -> Result<Samples, String> {
        let (offsets, length) = places::samples(self.seed, device.bytes(), device.block());
        let mut buffer = vec![0; length as usize];
        let total = offsets.len().max(1);
        for (at, offset) in offsets.iter().enumerate() {
            (self.step)("read back", (at * 100 / total) as u8);
            device
                .read(*offset, &mut buffer)
                .map_err(|error| format!("byte {offset} can't be read back: {error}"))?;
            if let Some(place) = buffer.iter().position(|byte| *byte != 0) {
                return Err(format!("byte {} is not zero", offset + place as u64));
            }
        }
        Ok(Samples { seed: self.seed, length, offsets })
    }

    /// `None` where the disk's own commands did not wipe it.
    fn purge(&self, device: &mut dyn Device, tried: &mut Vec<MethodUsed>) -> Result<Option<Samples>, String> {
        let (offsets, length) = places::samples(self.seed, device.bytes(), device.block());
        // A disk that is being sanitized since before the power failed can't be read.
        let before: Vec<Option<Look>> =
            offsets.iter().map(|offset| look(device, *offset, length).ok()).collect();
        let mut looks_wiped = |device: &mut dyn Device| changed(device, &offsets, length, &before);
        let purge = Purge {
            disk: self.disk,
            device: &mut *device,
            bench: self.bench,
            ordered: self.ordered,
            step: self.step,
            stop: self.stop,
            looks_wiped: &mut looks_wiped,
            tried: &mut *tried,
        };
        if !purge.run() {
            return if self.stop.load(Ordering::Relaxed) { Err(WITHDRAWN.into()) } else { Ok(None) };
        }
        // What a crypto erase leaves looks like anything, also like signatures.
        self.ends(device, tried)?;
        Ok(Some(Samples { seed: self.seed, length, offsets }))
    }

    /// Works through a range in steps and says how far it is.
    fn each(
        &self,
        range: Range<u64>,
        step: u64,
        name: &str,
        work: &mut dyn FnMut(u64, u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut at = range.start;
        while at < range.end {
            let done = u128::from(at - range.start) * 100 / u128::from(range.end - range.start);
            (self.step)(name, done as u8);
            if self.stop.load(Ordering::Relaxed) {
                return Err(io::Error::other(WITHDRAWN));
            }
            let length = step.min(range.end - at);
            work(at, length)?;
            at += length;
        }
        Ok(())
    }
}

/// Zeros by the kernel, else by writing them.
fn write_zeros(device: &mut dyn Device, at: u64, length: u64) -> io::Result<()> {
    device.zero(at, length).or_else(|_| device.write(at, &vec![0; length as usize]))
}

/// The first byte that is not zero where systems leave signatures.
pub(super) fn first_trace(disk: &Seen, device: &mut dyn Device) -> Result<Option<u64>, String> {
    let mut buffer = vec![0; WRITTEN as usize];
    for place in places::signatures(disk, device.bytes(), device.block()) {
        let mut at = place.start;
        while at < place.end {
            let part = &mut buffer[..WRITTEN.min(place.end - at) as usize];
            device.read(at, part).map_err(|error| format!("byte {at} can't be read: {error}"))?;
            if let Some(found) = part.iter().position(|byte| *byte != 0) {
                return Ok(Some(at + found as u64));
            }
            at += part.len() as u64;
        }
    }
    Ok(None)
}

/// What a sample holds: one byte over and over, or anything.
#[derive(PartialEq, Eq)]
enum Look {
    Uniform,
    Mixed([u8; 32]),
}

fn look(device: &mut dyn Device, offset: u64, length: u64) -> io::Result<Look> {
    let mut buffer = vec![0; length as usize];
    device.read(offset, &mut buffer)?;
    let first = buffer.first().copied().unwrap_or_default();
    Ok(match buffer.iter().all(|byte| *byte == first) {
        true => Look::Uniform,
        false => Look::Mixed(Sha256::digest(&buffer).into()),
    })
}

/// Whether no sample holds what it held before, but for those that hold one byte only.
fn changed(
    device: &mut dyn Device,
    offsets: &[u64],
    length: u64,
    before: &[Option<Look>],
) -> Result<(), String> {
    for (offset, before) in offsets.iter().zip(before) {
        let now = look(device, *offset, length);
        let now = now.map_err(|error| format!("byte {offset} can't be read back: {error}"))?;
        if now != Look::Uniform && before.as_ref() == Some(&now) {
            return Err(format!("byte {offset} and what follows is as it was before"));
        }
    }
    Ok(())
}

fn used<T, E: ToString>(method: &str, result: Result<T, E>) -> MethodUsed {
    let status = result.map_or_else(|error| error.to_string(), |_| "ok".to_owned());
    MethodUsed { method: method.into(), status }
}
