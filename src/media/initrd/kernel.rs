//! Which release a kernel is, as its image says.

use std::io::{self, Read};

use super::unpack::unpacked;

/// Most bytes of an image that are looked through, unpacked.
const MOST: u64 = 256 << 20;
/// What stands before the release in every kernel (`linux_banner`).
const BANNER: &[u8] = b"Linux version ";

/// The release that a kernel's image names, as in `6.1.0-50-amd64`; `None` where it is packed in a way that hides it.
///
/// # Errors
/// Those of reading.
pub(super) fn release(image: impl Read) -> io::Result<Option<String>> {
    let mut image = unpacked(image)?.take(MOST);
    let mut head = Vec::new();
    image.by_ref().take(64 << 10).read_to_end(&mut head)?;
    if let Some(found) = of_setup(&head) {
        return Ok(Some(found));
    }
    // The image of an EFI kernel that unpacks itself (include/linux/pe.h, LINUX_EFI_ZBOOT): the kernel is within.
    if head.get(4..8) == Some(b"zimg") {
        let at = head.get(8..12).and_then(|at| at.try_into().ok()).map_or(0, u32::from_le_bytes);
        let mut whole = io::Cursor::new(head).chain(image);
        io::copy(&mut whole.by_ref().take(u64::from(at)), &mut io::sink())?;
        return of_banner(unpacked(whole)?.take(MOST));
    }
    of_banner(io::Cursor::new(head).chain(image))
}

/// x86: Documentation/arch/x86/boot.rst, `kernel_version` at 0x20e counts from 0x200.
fn of_setup(head: &[u8]) -> Option<String> {
    if head.get(0x202..0x206) != Some(b"HdrS") {
        return None;
    }
    let at = u16::from_le_bytes(head.get(0x20e..0x210)?.try_into().ok()?);
    word(head.get(0x200 + usize::from(at)..)?)
}

/// The first word of a text that is not empty.
fn word(text: &[u8]) -> Option<String> {
    let end = text.iter().take(256).position(|byte| *byte == b' ' || *byte == 0)?;
    let word = std::str::from_utf8(&text[..end]).ok()?;
    let fine = |c: char| c.is_ascii_graphic();
    (word.starts_with(|c: char| c.is_ascii_digit()) && word.chars().all(fine)).then(|| word.to_owned())
}

fn of_banner(mut image: impl Read) -> io::Result<Option<String>> {
    const CHUNK: usize = 256 << 10;
    /// Longer than any banner's part that is read.
    const KEPT: usize = 512;
    let mut window: Vec<u8> = Vec::with_capacity(CHUNK + KEPT);
    loop {
        let got = image.by_ref().take(CHUNK as u64).read_to_end(&mut window)?;
        let places = window.windows(BANNER.len()).enumerate().filter(|(_, found)| *found == BANNER);
        if let Some(found) = places.filter_map(|(at, _)| word(&window[at + BANNER.len()..])).next() {
            return Ok(Some(found));
        }
        if got == 0 {
            return Ok(None);
        }
        let kept = window.len().saturating_sub(KEPT);
        window.drain(..kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_image_tells_its_release() {
        let mut x86 = vec![0; 0x400];
        x86[0x202..0x206].copy_from_slice(b"HdrS");
        x86[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        x86[0x300..0x310].copy_from_slice(b"6.1.0-50-amd64 (");
        let release = |bytes: &[u8]| release(bytes).unwrap();
        assert_eq!(release(&x86).as_deref(), Some("6.1.0-50-amd64"));
        // A number that leads out of the image.
        x86[0x20e..0x210].copy_from_slice(&0xffff_u16.to_le_bytes());
        assert_eq!(release(&x86), None);
        // The banner lies across two chunks.
        let mut arm64 = vec![0; (256 << 10) + (64 << 10) - 20];
        arm64.extend(b"Linux version %s\0Linux version 6.12.1-arm64 (x)");
        assert_eq!(release(&arm64).as_deref(), Some("6.12.1-arm64"));
        let mut gzip = flate2::read::GzEncoder::new(&arm64[..], flate2::Compression::fast());
        let mut packed = Vec::new();
        gzip.read_to_end(&mut packed).unwrap();
        assert_eq!(release(&packed).as_deref(), Some("6.12.1-arm64"));
        let mut zboot = b"MZ\0\0zimg".to_vec();
        zboot.extend(64_u32.to_le_bytes());
        zboot.resize(64, 0);
        zboot.extend(&packed);
        assert_eq!(release(&zboot).as_deref(), Some("6.12.1-arm64"));
        assert_eq!((release(b""), release(b"nothing")), (None, None));
    }
}
