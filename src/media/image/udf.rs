//! UDF (ECMA-167): the tree that holds the large files of Windows discs.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use hadris_fs::{Error, ErrorKind, MountOptions, NodeId};
use hadris_udf::sync::UdfFs;
use hadris_udf::{Detail, UdfId};

use super::device::Device;
use super::disc::{Disc, Trouble};
use super::iso::push;
use super::tree::{Kind, Tree};
use super::walk::walk;
use crate::model::Extent;

/// Extents fetched at a time, and most that one file may have.
const EXTENTS: usize = 512;
const MOST_EXTENTS: usize = 1 << 16;
/// The volume recognition sequence: from sector 16, this many sectors are looked at.
const SECTOR: u64 = 2048;
const RECOGNITION: std::ops::Range<u64> = 16..80;

/// Whether the recognition sequence of `file` announces UDF (ECMA-167 3/9.1).
pub(super) fn present(file: &File) -> bool {
    RECOGNITION.into_iter().any(|sector| {
        let mut head = [0; 6];
        let read = file.read_exact_at(&mut head, sector * SECTOR).is_ok();
        read && (&head[1..] == b"NSR02" || &head[1..] == b"NSR03")
    })
}

/// Label and tree of the UDF volume on `device`.
pub(super) fn read(device: Device, most: usize) -> Result<(String, Tree), Trouble> {
    let mut disc = UdfFs::mount(device, MountOptions::new()).map_err(|error| match error.kind() {
        // Packet writing and UDF 2.50: such a disc is as good as its ISO 9660 side.
        ErrorKind::Unsupported => Trouble::Unrecognised,
        _ => <UdfFs<Device> as Disc>::trouble(error.error(), "the UDF volume descriptors"),
    })?;
    let tree = walk(&mut disc, most)?;
    Ok((disc.info().id(UdfId::Volume).to_owned(), tree))
}

impl Disc for UdfFs<Device> {
    fn file(&mut self, node: NodeId) -> Result<Kind, Error<io::Error>> {
        let length = hadris_fs::sync::FileSystem::stat(self, node)?.len();
        let mut extents: Vec<Extent> = Vec::new();
        let mut buffer = [hadris_fs::Extent::new(0, 0); EXTENTS];
        let mut from = 0;
        loop {
            let count = self.extents(node, from, &mut buffer)?;
            for extent in &buffer[..count] {
                // A hole or an unwritten stretch reads as zeros that lie nowhere in the image.
                if extent.is_unwritten() || extent.file_offset() != from {
                    return Ok(Kind::Refused("the file has holes".into()));
                }
                push(&mut extents, Extent { offset: extent.offset(), length: extent.len() });
                from += extent.len();
            }
            if extents.len() > MOST_EXTENTS {
                return Ok(Kind::Refused("the file is scattered over too many places".into()));
            }
            if count < EXTENTS {
                break;
            }
        }
        if from == length {
            Ok(Kind::File(Arc::from(extents)))
        } else {
            Ok(Kind::Refused("the file has holes".into()))
        }
    }

    fn is_outside(error: &Error<io::Error>) -> bool {
        Detail::of(error) == Some(Detail::OutsideImage)
    }
}
