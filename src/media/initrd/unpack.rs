//! Unpacks gzip, xz and Zstandard, whichever the first bytes show.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;

/// Most memory that a stream may have its unpacker take: `xz -9` takes 64 MiB, `zstd --ultra -22` 128 MiB.
const MOST_MEMORY: u64 = 130 << 20;
/// How much is read from the disk at a time.
const BUFFER: usize = 256 << 10;

/// The plain bytes of `packed`; those that are not packed come as they are.
///
/// # Errors
/// Those of reading the first bytes.
pub(super) fn unpacked<'a>(packed: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut packed = BufReader::with_capacity(BUFFER, packed);
    let mut head = Vec::new();
    packed.by_ref().take(6).read_to_end(&mut head)?;
    let kind = Kind::of(&head);
    let whole = Cursor::new(head).chain(packed);
    Ok(match kind {
        Kind::Gzip => Box::new(MultiGzDecoder::new(whole)),
        Kind::Xz => Box::new(XzReader::new_mem_limit(whole, true, (MOST_MEMORY >> 10) as u32)),
        Kind::Zstd => Box::new(Frames { packed: Some(whole), frame: None }),
        Kind::Plain => Box::new(whole),
    })
}

/// Whether bytes that begin like this are packed.
pub(super) fn is_packed(head: &[u8]) -> bool {
    !matches!(Kind::of(head), Kind::Plain)
}

enum Kind {
    Gzip,
    Xz,
    Zstd,
    Plain,
}

impl Kind {
    /// Sources: RFC 1952, the .xz format 1.2.1, RFC 8878.
    fn of(head: &[u8]) -> Kind {
        match head {
            [0x1f, 0x8b, ..] => Kind::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Kind::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Kind::Zstd,
            _ => Kind::Plain,
        }
    }
}

/// Zstandard: one frame after the other.
struct Frames<R: BufRead> {
    /// What is not begun.
    packed: Option<R>,
    frame: Option<StreamingDecoder<R, ruzstd::decoding::FrameDecoder>>,
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(frame) = &mut self.frame {
                let read = frame.read(into)?;
                if read > 0 || into.is_empty() {
                    return Ok(read);
                }
            }
            if let Some(frame) = self.frame.take() {
                self.packed = Some(frame.into_inner());
            }
            let Some(mut packed) = self.packed.take() else { return Ok(0) };
            if packed.fill_buf()?.is_empty() {
                return Ok(0);
            }
            let begun = StreamingDecoder::new_with_max_window_size(packed, MOST_MEMORY);
            self.frame = Some(begun.map_err(io::Error::other)?);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        unpacked(packed)?.read_to_end(&mut plain)?;
        Ok(plain)
    }

    /// `printf hello | xz` and `printf hello | zstd`, of xz 5.4.1 and zstd 1.5.4.
    const XZ: [u8; 64] = *include_bytes!("../../../tests/fixtures/packages/hello.xz");
    const ZSTD: [u8; 18] = *include_bytes!("../../../tests/fixtures/packages/hello.zst");

    #[test]
    fn every_packing_gives_the_same_bytes_and_two_streams_both() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"hello").unwrap();
        let gzip = gzip.finish().unwrap();
        for packed in [&gzip[..], &XZ, &ZSTD] {
            assert_eq!(read(packed).unwrap(), b"hello");
            assert_eq!(read(&[packed, packed].concat()).unwrap(), b"hellohello");
            assert!(read(&packed[..packed.len() - 3]).is_err(), "it ends early");
            for at in 6..packed.len() {
                let mut bent = packed.to_vec();
                bent[at] ^= 0x55;
                // Some bits say nothing: a time, a name of a system. What comes must end.
                let _ = read(&bent);
            }
        }
        assert_eq!((read(b"").unwrap(), read(b"plain").unwrap()), (b"".to_vec(), b"plain".to_vec()));
    }

    /// A stream that wants 1.5 GiB for its dictionary (`xz --lzma2=dict=1536MiB`), of 68 bytes.
    #[test]
    fn a_stream_does_not_decide_how_much_memory_it_takes() {
        let error = read(include_bytes!("../../../tests/fixtures/packages/greedy.xz")).unwrap_err();
        assert!(error.to_string().contains("mem"), "{error}");
        // Frame header: a window descriptor of exponent 31 (2 TiB), RFC 8878 3.1.1.1.2.
        let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 0x01, 0x00, 0x00];
        assert!(read(&window).is_err());
    }
}
