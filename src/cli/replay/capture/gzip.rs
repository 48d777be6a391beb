//! Files compressed by gzip (RFC 1952), by the zlib that this program has for git.

use std::mem::MaybeUninit;

use libz_sys::{
    Z_BUF_ERROR, Z_NO_FLUSH, Z_OK, Z_STREAM_END, inflate, inflateEnd, inflateInit2_, inflateReset, z_stream,
    zlibVersion,
};

/// Most bytes that are unpacked: a capture is held in memory, and a small file can hold much.
const UNPACKED_MAX: usize = 1 << 30;
/// Bytes unpacked at a time.
const STEP: usize = 64 << 10;
/// The largest window, and a gzip header before it (zlib.h, inflateInit2).
const WINDOW: i32 = 15 + 16;

/// What a file held.
pub(super) struct Unpacked {
    pub bytes: Vec<u8>,
    /// Whether its end was there.
    pub whole: bool,
}

/// A stream of zlib's, ended when dropped.
struct Stream(Box<z_stream>);

impl Stream {
    fn open() -> Option<Stream> {
        let mut stream: Box<MaybeUninit<z_stream>> = Box::new(MaybeUninit::zeroed());
        let size = size_of::<z_stream>() as i32;
        // SAFETY: zlib needs its stream zeroed (null pointers for its own allocator, which z_stream's
        // function pointers may not be for Rust, so it stays a MaybeUninit until zlib has filled it in),
        // and the version and size that it was compiled with.
        unsafe {
            if inflateInit2_(stream.as_mut_ptr(), WINDOW, zlibVersion(), size) != Z_OK {
                return None;
            }
            Some(Stream(stream.assume_init()))
        }
    }

    /// Unpacks once; returns how many bytes of `input` were used and of `output` filled, and zlib's result.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> (usize, usize, i32) {
        let input = &input[..input.len().min(STEP)];
        let (taken, room) = (input.len() as u32, output.len().min(STEP) as u32);
        self.0.next_in = input.as_ptr().cast_mut();
        self.0.avail_in = taken;
        self.0.next_out = output.as_mut_ptr();
        self.0.avail_out = room;
        // SAFETY: the stream was initialised; input is only read and output only written as far as the
        // two counts say, which are no longer than the slices.
        let said = unsafe { inflate(&mut *self.0, Z_NO_FLUSH) };
        ((taken - self.0.avail_in) as usize, (room - self.0.avail_out) as usize, said)
    }

    fn reset(&mut self) -> bool {
        // SAFETY: the stream was initialised.
        unsafe { inflateReset(&mut *self.0) == Z_OK }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: the stream was initialised, and is used no more.
        unsafe { inflateEnd(&mut *self.0) };
    }
}

/// All members of a file, one after the other; of one that is cut off what there is.
pub(super) fn unpack(mut input: &[u8]) -> Result<Unpacked, &'static str> {
    let mut stream = Stream::open().ok_or("zlib has no memory")?;
    let mut bytes = Vec::new();
    let mut buffer = vec![0; STEP];
    loop {
        let (used, filled, said) = stream.step(input, &mut buffer);
        input = &input[used..];
        bytes.extend_from_slice(&buffer[..filled]);
        if bytes.len() > UNPACKED_MAX {
            return Err("it unpacks to more than 1 GiB");
        }
        match said {
            // Another member may follow, or what a disk or tape left behind it.
            Z_STREAM_END if input.starts_with(&super::GZIP) && stream.reset() => {}
            Z_STREAM_END => return Ok(Unpacked { bytes, whole: true }),
            Z_OK if used > 0 || filled > 0 => {}
            Z_OK | Z_BUF_ERROR => return Ok(Unpacked { bytes, whole: false }),
            _ => return Err("it is damaged"),
        }
    }
}
