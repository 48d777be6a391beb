//! ISO 9660: the best of the trees on a disc, and what firmware boots from it.

use std::io;
use std::sync::Arc;

use hadris_fs::{Error, MountOptions, NodeId};
use hadris_iso::sync::IsoFs;
use hadris_iso::{CacheOptions, Detail, Namespace};

use super::device::Device;
use super::disc::{Disc, Trouble};
use super::tree::{Kind, Tree};
use super::walk::walk;
use crate::model::Extent;

/// Hard-linked files remembered, so that a disc full of them is not searched again for each.
const MOST_HARD_LINKS: usize = 1 << 20;
/// Sixteen reserved sectors and the first volume descriptor (ECMA-119 6.2.1, 8).
const FIRST_DESCRIPTOR_END: u64 = 17 * 2048;
/// Extents fetched at a time.
const EXTENTS: usize = 512;
/// Longest System Use continuation area read, and most of them for one record.
const MOST_AREAS: usize = 32;
const LONGEST_AREA: usize = 64 << 10;

/// An ISO 9660 volume.
pub(super) struct Volume {
    pub label: String,
    pub tree: Tree,
    /// Its names are the short ones in capitals: neither Rock Ridge nor Joliet has others.
    pub is_plain: bool,
}

/// The ISO 9660 volume on `device`.
pub(super) fn read(device: Device, most: usize) -> Result<Volume, Trouble> {
    let mut disc = mount(device, Namespace::Preferred)?;
    let is_plain = disc.namespace() == Namespace::Primary;
    let tree = walk(&mut disc, most)?;
    let label = match hadris_fs::sync::FileSystem::label(&mut disc, &mut [0; 256]) {
        Ok(label) => label.unwrap_or_default().to_owned(),
        Err(_) => String::new(),
    };
    Ok(Volume { label, tree, is_plain })
}

fn mount(device: Device, namespace: Namespace) -> Result<IsoFs<Device>, Trouble> {
    if device.size() < FIRST_DESCRIPTOR_END {
        return Err(Trouble::Unrecognised);
    }
    let disc = IsoFs::mount_namespace(device, MountOptions::new(), namespace)
        .map_err(|error| <IsoFs<Device> as Disc>::trouble(error.error(), "the volume descriptors"))?;
    Ok(disc.with_cache(CacheOptions::new().with_links(MOST_HARD_LINKS)))
}

impl Disc for IsoFs<Device> {
    fn file(&mut self, node: NodeId) -> Result<Kind, Error<io::Error>> {
        if let Some(why) = unservable(self, node)? {
            return Ok(Kind::Refused(why.into()));
        }
        let mut extents: Vec<Extent> = Vec::new();
        let mut buffer = [hadris_fs::Extent::new(0, 0); EXTENTS];
        let mut from = 0;
        loop {
            let count = self.extents(node, from, &mut buffer)?;
            for extent in &buffer[..count] {
                push(&mut extents, Extent { offset: extent.offset(), length: extent.len() });
                from = extent.file_offset() + extent.len();
            }
            if count < EXTENTS {
                return Ok(Kind::File(Arc::from(extents)));
            }
        }
    }

    fn is_outside(error: &Error<io::Error>) -> bool {
        Detail::of(error) == Some(Detail::OutsideImage)
    }
}

/// Adds a stretch, as one with the last where they touch: the extents of a large file do.
pub(super) fn push(extents: &mut Vec<Extent>, next: Extent) {
    match extents.last_mut() {
        Some(last) if last.offset.checked_add(last.length) == Some(next.offset) => last.length += next.length,
        _ => extents.push(next),
    }
}

/// Why the bytes on the disc are not the file's bytes, if so. The parser leaves this to its caller: node
/// ids are the offsets of directory records (documented there), so the record is read again.
fn unservable(disc: &mut IsoFs<Device>, node: NodeId) -> Result<Option<&'static str>, Error<io::Error>> {
    let mut record = [0; 255];
    let length = fetch(disc, node.get(), &mut record)?.min(usize::from(record[0]));
    let record = &record[..length];
    if record.len() < 34 {
        return Ok(None);
    }
    // ECMA-119 9.1.7 and 9.1.8: file unit size and interleave gap.
    if record[26] != 0 || record[27] != 0 {
        return Ok(Some("the file is interleaved on the disc"));
    }
    let rock_ridge = disc.namespace() == Namespace::RockRidge;
    let name = usize::from(record[32]);
    let area = record.get(33 + name + (name + 1) % 2..).unwrap_or_default().to_vec();
    if rock_ridge && is_zisofs(disc, area)? {
        return Ok(Some("the file is compressed with zisofs: unpack the image and make it again without"));
    }
    Ok(None)
}

/// Whether a System Use area (SUSP 1.12) or its continuations hold a zisofs entry `ZF`.
fn is_zisofs(disc: &mut IsoFs<Device>, mut area: Vec<u8>) -> Result<bool, Error<io::Error>> {
    for _ in 0..MOST_AREAS {
        let mut next = None;
        let mut rest = area.as_slice();
        while let [a, b, length, _, ..] = *rest {
            let Some(entry) = rest.get(..usize::from(length).max(4)) else { break };
            match &[a, b] {
                b"ZF" => return Ok(true),
                b"ST" | b"\0\0" => break,
                b"CE" if entry.len() >= 28 => next = Some((word(entry, 4), word(entry, 12), word(entry, 20))),
                _ => {}
            }
            rest = &rest[entry.len()..];
        }
        let Some((block, offset, length)) = next else { return Ok(false) };
        let start = block.saturating_mul(u64::from(disc.info().block_size())).saturating_add(offset);
        area = vec![0; (length as usize).min(LONGEST_AREA)];
        let present = fetch(disc, start, &mut area)?;
        area.truncate(present);
    }
    Ok(false)
}

/// The little-endian half of a both-endian number.
fn word(entry: &[u8], at: usize) -> u64 {
    entry.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes).into()
}

/// Reads up to the end of the image; returns how many bytes there were.
fn fetch(disc: &mut IsoFs<Device>, offset: u64, buffer: &mut [u8]) -> Result<usize, Error<io::Error>> {
    let size = disc.device().size();
    let present = size.saturating_sub(offset).min(buffer.len() as u64) as usize;
    disc.read_raw(offset, &mut buffer[..present])?;
    Ok(present)
}

/// The machine an El Torito entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    Bios,
    Efi,
    Other(u8),
}

/// One entry of an El Torito boot catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootImage {
    pub platform: Platform,
    pub bootable: bool,
    /// Where the part that firmware loads lies in the image.
    pub extent: Extent,
}

pub(super) fn boot_images(device: Device) -> Result<Vec<BootImage>, Trouble> {
    let mut disc = match mount(device, Namespace::Primary) {
        Err(Trouble::Unrecognised) => return Ok(Vec::new()),
        other => other?,
    };
    let mut buffer = vec![0; 64 << 10];
    let catalogue = disc
        .boot_catalog(&mut buffer)
        .map_err(|error| <IsoFs<Device> as Disc>::trouble(&error, "the boot catalogue"))?;
    let Some(catalogue) = catalogue else { return Ok(Vec::new()) };
    let entries: Vec<_> = catalogue.entries().collect();
    Ok(entries
        .iter()
        .map(|entry| BootImage {
            platform: match entry.platform() {
                hadris_iso::Platform::X86 => Platform::Bios,
                hadris_iso::Platform::Efi => Platform::Efi,
                other => Platform::Other(other.id()),
            },
            bootable: entry.is_bootable(),
            extent: {
                let image = disc.boot_image(entry);
                Extent { offset: image.offset(), length: image.len() }
            },
        })
        .collect())
}
