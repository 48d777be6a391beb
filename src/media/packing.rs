//! Recognises files that are no image, by their first bytes.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Place, bytes, and what such a file is with the way out. Sources: RFC 1952, the .xz format 1.2.1,
/// RFC 8878, bzip2's and lzip's manuals, APPNOTE.TXT 4.3.7, 7zFormat.txt, QEMU's docs/interop/qcow2,
/// VMDK 5.0, VHDX 1.0, UEFI 5.3.2.
const KNOWN: [(u64, &[u8], &str); 11] = [
    (0, &[0x1f, 0x8b], "compressed with gzip: unpack it with `gunzip`"),
    (0, &[0xfd, b'7', b'z', b'X', b'Z', 0], "compressed with xz: unpack it with `unxz`"),
    (0, &[0x28, 0xb5, 0x2f, 0xfd], "compressed with zstd: unpack it with `unzstd`"),
    (0, b"BZh", "compressed with bzip2: unpack it with `bunzip2`"),
    (0, b"LZIP", "compressed with lzip: unpack it with `lzip -d`"),
    (0, b"PK\x03\x04", "a ZIP archive: unpack it with `unzip`"),
    (0, &[b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c], "a 7-Zip archive: unpack it with `7z x`"),
    (0, b"QFI\xfb", "a disk of a virtual machine (qcow2) and no image of an installer's disc"),
    (0, b"KDMV", "a disk of a virtual machine (VMDK) and no image of an installer's disc"),
    (0, b"vhdxfile", "a disk of a virtual machine (VHDX) and no image of an installer's disc"),
    (512, b"EFI PART", "an image of a whole disk with partitions and no image of an installer's disc"),
];

/// What the file is instead of an image.
pub(super) fn name(file: &File) -> Option<&'static str> {
    let found = |(place, bytes, _): &&(u64, &[u8], &str)| {
        let mut head = [0; 16];
        let head = &mut head[..bytes.len()];
        file.read_exact_at(head, *place).is_ok() && head == *bytes
    };
    KNOWN.iter().find(found).map(|(_, _, name)| *name).or_else(|| is_page(file).then_some(PAGE))
}

const PAGE: &str = "a web page: the download did not bring the image";

/// HTML begins in any case of letters, and behind blanks.
fn is_page(file: &File) -> bool {
    let mut head = [0; 64];
    let length = file.read_at(&mut head, 0).unwrap_or_default();
    let text = head[..length].trim_ascii_start().to_ascii_lowercase();
    [&b"<!doctype html"[..], b"<html"].iter().any(|begin| text.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_image_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.iso");
        let named = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            name(&File::open(&path).unwrap())
        };
        for (place, bytes, words) in KNOWN {
            let mut file = vec![0; place as usize];
            file.extend(bytes);
            assert_eq!(named(&file), Some(words));
        }
        for page in [&b"<!DOCTYPE html>"[..], b"<!doctype HTML public", b"\r\n  <HTML lang=en>", b"<html>"] {
            assert_eq!(named(page), Some(PAGE));
        }
        assert_eq!((named(b""), named(b"text"), named(&[0; 4096])), (None, None, None));
    }
}
