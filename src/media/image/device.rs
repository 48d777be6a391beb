//! An image file as the block device that the parsers read: positioned reads, a deadline, and
//! no way to write.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use hadris_io::{Error, ErrorType};
use hadris_storage::sync::BlockDevice;
use hadris_storage::{BlockIndex, BlockSize};

const BLOCK: u64 = 512;

/// One open image. Reads fail after the deadline, which ends every loop a crafted image could
/// send a parser into.
pub(super) struct Device {
    file: File,
    size: u64,
    deadline: Instant,
}

impl Device {
    /// `size` is the file's length in bytes.
    pub(super) fn new(file: File, size: u64, deadline: Instant) -> Device {
        Device { file, size, deadline }
    }

    /// Length of the file in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Reads what exists; the rest of the last block is zeros.
    fn fill(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if Instant::now() > self.deadline {
            return Err(io::Error::other("reading its directories took too long"));
        }
        let present = self.size.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let (wanted, padding) = buffer.split_at_mut(present);
        padding.fill(0);
        self.file.read_exact_at(wanted, offset)
    }
}

impl ErrorType for Device {
    type Error = io::Error;
}

impl BlockDevice for Device {
    fn block_size(&self) -> BlockSize {
        BlockSize::new(BLOCK as u32).expect("512 is a power of two")
    }

    fn block_count(&self) -> u64 {
        self.size.div_ceil(BLOCK)
    }

    fn read_blocks(&mut self, first: BlockIndex, buffer: &mut [u8]) -> Result<(), Error<io::Error>> {
        let offset = first.get().saturating_mul(BLOCK);
        self.fill(offset, buffer).map_err(|error| Error::device(error, "reading the image failed"))
    }
}
