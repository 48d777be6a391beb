//! Identities that board makers put into every board they sell, or placeholders for a missing one: they
//! identify no machine.

/// UUIDs of many boards, as people write them; sent in either byte order (see
/// [`Identity::on_wire`](super::Identity::on_wire)). Of every byte the same value is one too.
const UUIDS: [[u8; 16]; 14] = [
    // AMI's reference BIOS.
    *b"\x03\x00\x02\x00\x04\x00\x05\x00\x00\x06\x00\x07\x00\x08\x00\x09",
    // Counting digits in several forms.
    *b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f",
    *b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff",
    *b"\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef",
    *b"\x12\x34\x56\x78\x90\xab\xcd\xef\x12\x34\x56\x78\x90\xab\xcd\xef",
    *b"\x12\x34\x56\x78\x12\x34\x12\x34\x12\x34\x12\x34\x56\x78\x9a\xbc",
    *b"\x12\x34\x56\x78\x12\x34\x56\x78\x90\xab\xcd\xde\xef\xaa\xbb\xcc",
    *b"\x12\x34\x56\x78\x56\x78\x90\xab\xcd\xde\xef\xaa\xbb\xcc\xdd\xee",
    *b"\x12\x34\x56\x78\x12\x34\x56\x78\x12\x34\x12\x34\x56\x78\x90\xab",
    *b"\x11\x11\x11\x11\x22\x22\x33\x33\x44\x44\x55\x55\x55\x55\x55\x55",
    // Dell boards without a service tag.
    *b"\x4c\x4c\x45\x44\x00\x00\x20\x10\x80\x20\x80\xc0\x4f\x20\x20\x20",
    *b"\x44\x45\x4c\x4c\x00\x00\x10\x20\x80\x20\x80\xc0\x4f\x20\x20\x20",
    // Placeholders for a missing hardware address.
    *b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff",
    *b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00",
];

/// Placeholders of serial numbers and asset tags, in lower case.
const SERIALS: [&str; 34] = [
    "",
    ".",
    "-",
    "0123456789",
    "123456789",
    "1234567890",
    "12345678",
    "asset-1234567890",
    "base board serial number",
    "board serial number",
    "chassis serial number",
    "default",
    "default string",
    "empty",
    "eval",
    "filled by o.e.m.",
    "fill by oem",
    "invalid",
    "n/a",
    "na",
    "no asset information",
    "none",
    "not applicable",
    "not available",
    "not specified",
    "null",
    "o.e.m.",
    "oem",
    "serial",
    "serial number",
    "system serial number",
    "tbd",
    "to be filled by o.e.m.",
    "unknown",
];

/// Whether many boards have this UUID.
pub fn is_junk_uuid(uuid: [u8; 16]) -> bool {
    let mut swapped = uuid;
    swapped[..4].reverse();
    swapped[4..6].reverse();
    swapped[6..8].reverse();
    let same = uuid.iter().all(|byte| *byte == uuid[0]);
    same || UUIDS.contains(&uuid) || UUIDS.contains(&swapped)
}

/// Whether a serial number, asset tag or name is what boards show without one. Letter case, and blanks
/// and NULs around it, do not matter.
pub fn is_junk_serial(text: &str) -> bool {
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_ascii_lowercase();
    let same = text.chars().all(|c| text.starts_with(c));
    // QEMU numbers the IDE and SATA disks of each machine: QM00001, QM00003, …
    let number = text.strip_prefix("qm").filter(|number| number.len() == 5);
    let is_counted = number.is_some_and(|number| number.bytes().all(|digit| digit.is_ascii_digit()));
    same || is_counted || SERIALS.contains(&text.as_str())
}

/// Whether a DHCP client id (option 61, its type byte included) identifies no machine: it is made of a UUID
/// or serial number of many boards, or has no hardware address.
pub fn is_junk_client_id(id: &[u8]) -> bool {
    let uuid = |bytes: &[u8]| bytes.try_into().is_ok_and(is_junk_uuid);
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok_and(is_junk_serial);
    let same = |bytes: &[u8]| bytes.iter().all(|byte| *byte == bytes[0]);
    match id {
        [] => true,
        // PXE: the UUID (PXE 2.1 section 2.2.1); a DUID-UUID behind an IAID (RFC 4361, RFC 6355).
        [0, rest @ ..] if rest.len() == 16 => uuid(rest),
        [255, _, _, _, _, 0, 4, rest @ ..] if rest.len() == 16 => uuid(rest),
        [1, rest @ ..] if rest.len() == 6 => same(rest),
        [0, rest @ ..] => text(rest) || text(id),
        _ => text(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Identity;

    #[test]
    fn what_many_boards_show_is_known_in_either_order() {
        for text in [
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "20202020-2020-2020-2020-202020202020",
            "03000200-0400-0500-0006-000700080009",
            "00020003-0004-0005-0006-000700080009",
            "4c4c4544-0000-2010-8020-80c04f202020",
            "12345678-1234-5678-90ab-cddeefaabbcc",
            "FFFFFFFF-FFFF-FFFF-FFFF-000000000000",
        ] {
            let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
            let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
            let uuid: Vec<u8> = digits.chunks(2).map(byte).collect();
            assert!(is_junk_uuid(uuid.try_into().unwrap()), "{text}");
        }
        for text in ["4c4c4544-0042-3510-8056-b4c04f4e4d32", "00000000-0000-0000-0000-ac1f6b000001"] {
            let Ok(Identity::Uuid(uuid)) = Identity::uuid(text) else { panic!("{text}") };
            assert!(!is_junk_uuid(uuid), "{text}");
        }
    }

    #[test]
    fn serial_numbers_that_nobody_wrote_are_known() {
        for text in [
            "To be filled by O.E.M.",
            "Default string",
            " None ",
            "",
            "00000000",
            "....",
            "N/A\0",
            "XXXX",
            "QM00003",
        ] {
            assert!(is_junk_serial(text), "{text}");
        }
        for text in ["CZ3120ABCD", "rack1", "0000001", "J7K2L33", "QM1", "QMX0001"] {
            assert!(!is_junk_serial(text), "{text}");
        }
    }

    #[test]
    fn client_ids_made_of_junk_are_junk() {
        let ami = UUIDS[0];
        for id in [
            [&[0][..], &ami].concat(),
            [&[255, 1, 2, 3, 4, 0, 4][..], &ami].concat(),
            [&[1][..], &[0; 6]].concat(),
            b"Default string".to_vec(),
            b"\0To be filled by O.E.M.".to_vec(),
            Vec::new(),
        ] {
            assert!(is_junk_client_id(&id), "{id:?}");
        }
        for id in
            [&b"rack1"[..], &[1, 0x52, 0x54, 0, 0xaa, 0, 1], &[255, 1, 2, 3, 4, 0, 3, 0, 1, 2, 3, 4, 5, 6, 7]]
        {
            assert!(!is_junk_client_id(id), "{id:?}");
        }
    }
}
