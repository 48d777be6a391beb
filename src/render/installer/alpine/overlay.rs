//! The overlay (`apkovl`): a tar archive (POSIX.1-1988, ustar) in gzip with the script in its place. The same script
//! gives the same bytes.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

const BLOCK: usize = 512;

/// What stands for an entry in a header.
enum Entry<'a> {
    Folder,
    File { mode: u32, bytes: &'a [u8] },
    Link(&'a str),
}

/// The overlay in which the live system runs `script` at the end of its start.
pub fn pack(script: &str) -> Vec<u8> {
    let empty = || Entry::File { mode: 0o644, bytes: b"" };
    let entries = [
        ("etc/", Entry::Folder),
        // Asks the initramfs for the services that it starts without an overlay.
        ("etc/.default_boot_services", empty()),
        ("etc/local.d/", Entry::Folder),
        ("etc/local.d/install.start", Entry::File { mode: 0o755, bytes: script.as_bytes() }),
        ("etc/runlevels/", Entry::Folder),
        ("etc/runlevels/default/", Entry::Folder),
        ("etc/runlevels/default/local", Entry::Link("/etc/init.d/local")),
    ];
    let mut archive = Vec::with_capacity(script.len() + 16 * BLOCK);
    for (path, entry) in entries {
        add(&mut archive, path, &entry);
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::new(6));
    gzip.write_all(&archive).and_then(|()| gzip.finish()).expect("a Vec takes all bytes")
}

fn add(archive: &mut Vec<u8>, path: &str, entry: &Entry) {
    let (kind, mode, bytes, target) = match *entry {
        Entry::Folder => (b'5', 0o755, &b""[..], ""),
        Entry::File { mode, bytes } => (b'0', mode, bytes, ""),
        Entry::Link(target) => (b'2', 0o777, &b""[..], target),
    };
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, path);
    put(100, &format!("{mode:07o}"));
    // Owner, group, size, time.
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", bytes.len()));
    put(136, "00000000000");
    // The sum is taken with blanks in its own place.
    put(148, "        ");
    put(157, target);
    put(257, "ustar");
    put(263, "00");
    put(265, "root");
    put(297, "root");
    header[156] = kind;
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    archive.extend(header);
    archive.extend(bytes);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn the_script_is_in_its_place() {
        let script = "#!/bin/sh\necho \"it's\"\n".repeat(40);
        let packed = pack(&script);
        assert_eq!(packed, pack(&script));
        let mut archive = Vec::new();
        GzDecoder::new(&packed[..]).read_to_end(&mut archive).unwrap();
        assert_eq!(archive.len() % BLOCK, 0);
        let at = archive.windows(script.len()).position(|bytes| bytes == script.as_bytes()).unwrap();
        let header = &archive[at - BLOCK..at];
        assert_eq!(&header[..25], b"etc/local.d/install.start");
        assert_eq!(&header[100..107], b"0000755");
    }
}
