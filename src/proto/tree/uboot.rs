//! The first file that U-Boot's `dhcp` boot target asks for, on any board: `boot.scr.uimg`, a script in an
//! image of its own. It sends U-Boot to the machine's `pxelinux.cfg/…`, which many boards look for by
//! themselves and QEMU's do not: they would go on to EFI programs, where shim does not start (U-Boot
//! 2023.01: "Failed to load image grubaa64.efi: Unsupported").

use bytes::Bytes;

use super::{Answer, Artifact, Refusal, RefusalReason, script};
use crate::model::{Content, Mac};
use crate::state::{Duty, Stage, State};

/// The name, in whatever folder.
pub(super) const FILE: &str = "boot.scr.uimg";
const SCRIPT: &[u8] = b"pxe get && pxe boot\n";
const HEADER: usize = 64;
/// The script's length and the zero that ends the list of lengths come before the script itself.
const LENGTHS: usize = 8;
const DATA: usize = LENGTHS + SCRIPT.len();
static IMAGE: [u8; HEADER + DATA] = image();

/// The script; a machine that boots its own disk, and nothing else this once, gets "not found" and continues with the
/// next of its boot targets.
pub(super) fn open(state: &State, mac: Option<Mac>) -> Answer {
    let deployment = mac.and_then(|mac| state.deployment_of(mac));
    let leads_elsewhere =
        |mac| state.due_boot(mac).is_some() || state.agent_boot(mac, || None, None).is_some();
    if let Some(deployment) = deployment
        && !mac.is_some_and(leads_elsewhere)
        && let Duty::LocalBoot(reason) = state.duty(deployment)
    {
        return Answer::Refuse(Refusal::new(
            RefusalReason::NotFound,
            format!("boots its own disk: {reason}"),
        ));
    }
    Answer::Serve(Artifact {
        content: Content::Bytes(Bytes::from_static(&IMAGE)),
        media_type: "application/octet-stream",
        etag: script::digest(&IMAGE),
        stage: Stage::Loader,
        mac,
        deployment: deployment.map(|deployment| deployment.name.clone()),
        text: format!("{FILE}, which leads to pxelinux.cfg"),
    })
}

/// The script in U-Boot's legacy image format (u-boot `include/image.h`, `struct legacy_img_hdr`):
/// every number big-endian, `source` looks at the magic number, both checksums and the kind.
const fn image() -> [u8; HEADER + DATA] {
    const MAGIC: u32 = 0x2705_1956;
    const LINUX: u8 = 5;
    const ARM64: u8 = 22;
    const KIND_SCRIPT: u8 = 6;
    let mut image = [0; HEADER + DATA];
    put(&mut image, HEADER, &(SCRIPT.len() as u32).to_be_bytes());
    put(&mut image, HEADER + LENGTHS, SCRIPT);
    let (_, data) = image.split_at(HEADER);
    let sum = crc32(data);
    put(&mut image, 0, &MAGIC.to_be_bytes());
    put(&mut image, 12, &(DATA as u32).to_be_bytes());
    put(&mut image, 24, &sum.to_be_bytes());
    put(&mut image, 28, &[LINUX, ARM64, KIND_SCRIPT, 0]);
    put(&mut image, 32, b"voldemort");
    // The header's own checksum is made with zeros in its place.
    let (header, _) = image.split_at(HEADER);
    let sum = crc32(header);
    put(&mut image, 4, &sum.to_be_bytes());
    image
}

const fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    let mut n = 0;
    while n < bytes.len() {
        image[at + n] = bytes[n];
        n += 1;
    }
}

/// The checksum of zlib and Ethernet.
const fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = !0_u32;
    let mut n = 0;
    while n < bytes.len() * 8 {
        let bit = (bytes[n / 8] >> (n % 8)) as u32 & 1;
        sum = (sum >> 1) ^ (0xEDB8_8320 & ((sum ^ bit) & 1).wrapping_neg());
        n += 1;
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_what_mkimage_makes() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926, "the check value of CRC-32");
        assert_eq!(IMAGE[..4], [0x27, 0x05, 0x19, 0x56]);
        assert_eq!(IMAGE[HEADER..HEADER + LENGTHS], [0, 0, 0, 20, 0, 0, 0, 0]);
        let mut header = IMAGE[..HEADER].to_vec();
        let said = u32::from_be_bytes(header[4..8].try_into().unwrap());
        header[4..8].fill(0);
        assert_eq!(said, crc32(&header));
        assert_eq!(IMAGE[24..28], crc32(&IMAGE[HEADER..]).to_be_bytes());
    }
}
