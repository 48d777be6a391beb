//! The firmware's own description of the machine (DMTF DSP0134, System Management BIOS), raw as the kernel has it.

use super::Root;

/// Structure types.
pub(super) const FIRMWARE: u8 = 0;
pub(super) const SYSTEM: u8 = 1;
const MEMORY_DEVICE: u8 = 17;
const END: u8 = 127;

/// All structures of a machine.
#[derive(Debug, Default)]
pub(super) struct Table {
    structures: Vec<Structure>,
    /// Major and minor version of the specification.
    version: (u8, u8),
}

#[derive(Debug)]
struct Structure {
    kind: u8,
    /// With its header of four bytes.
    formatted: Vec<u8>,
    texts: Vec<String>,
}

impl Table {
    pub(super) fn read(root: &Root) -> Table {
        let bytes = root.bytes("sys/firmware/dmi/tables/DMI").unwrap_or_default();
        let entry = root.bytes("sys/firmware/dmi/tables/smbios_entry_point").unwrap_or_default();
        Table { structures: structures(&bytes), version: version(&entry) }
    }

    pub(super) fn has(&self, kind: u8) -> bool {
        self.first(kind).is_some()
    }

    /// The text that the byte at this offset of the first structure of a type names.
    pub(super) fn text(&self, kind: u8, at: usize) -> Option<String> {
        let structure = self.first(kind)?;
        let number = usize::from(*structure.formatted.get(at)?);
        let text = structure.texts.get(number.checked_sub(1)?)?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The system's UUID (7.2.1): since version 2.6 its first three fields are little-endian. All zeros or all
    /// ones mean that there is none.
    pub(super) fn uuid(&self) -> Option<String> {
        let bytes: [u8; 16] = self.first(SYSTEM)?.formatted.get(8..24)?.try_into().ok()?;
        if bytes == [0; 16] || bytes == [255; 16] {
            return None;
        }
        let order: [usize; 16] = if self.version >= (2, 6) {
            [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15]
        } else {
            [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
        };
        let digits = crate::model::hex(&order.map(|at| bytes[at]));
        Some(format!(
            "{}-{}-{}-{}-{}",
            &digits[..8],
            &digits[8..12],
            &digits[12..16],
            &digits[16..20],
            &digits[20..]
        ))
    }

    /// What all memory devices hold together, in bytes (7.18.1); `None` if no size is known.
    pub(super) fn memory(&self) -> Option<u64> {
        let devices = self.structures.iter().filter(|structure| structure.kind == MEMORY_DEVICE);
        let total: u64 = devices.filter_map(|device| device_size(&device.formatted)).sum();
        (total > 0).then_some(total)
    }

    fn first(&self, kind: u8) -> Option<&Structure> {
        self.structures.iter().find(|structure| structure.kind == kind)
    }
}

fn device_size(device: &[u8]) -> Option<u64> {
    match u16::from_le_bytes(device.get(0x0c..0x0e)?.try_into().ok()?) {
        0 | 0xffff => None,
        0x7fff => {
            let mebibytes = u32::from_le_bytes(device.get(0x1c..0x20)?.try_into().ok()?) & 0x7fff_ffff;
            Some(u64::from(mebibytes) << 20)
        }
        kibibytes if kibibytes & 0x8000 != 0 => Some(u64::from(kibibytes & 0x7fff) << 10),
        mebibytes => Some(u64::from(mebibytes) << 20),
    }
}

/// Of the entry point with 32 (5.2.1) or 64 bits (5.2.2).
fn version(entry: &[u8]) -> (u8, u8) {
    match entry {
        [b'_', b'S', b'M', b'3', b'_', _, _, major, minor, ..] => (*major, *minor),
        [b'_', b'S', b'M', b'_', _, _, major, minor, ..] => (*major, *minor),
        // What has no entry point is recent.
        _ => (3, 0),
    }
}

/// Each has a type, its length, a handle, its fields, and then texts until two NUL (6.1.2, 6.1.3).
fn structures(bytes: &[u8]) -> Vec<Structure> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let [kind, length, ..] = rest
        && *length >= 4
        && rest.len() >= usize::from(*length)
        && *kind != END
    {
        let (formatted, texts) = rest.split_at(usize::from(*length));
        let end = texts.windows(2).position(|pair| pair == [0, 0]).unwrap_or(texts.len());
        let words =
            texts[..end].split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned());
        let words = if end == 0 { Vec::new() } else { words.collect() };
        found.push(Structure { kind: *kind, formatted: formatted.to_vec(), texts: words });
        rest = texts.get(end + 2..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn structure(kind: u8, fields: &[u8], texts: &[&str]) -> Vec<u8> {
        let mut bytes = vec![kind, fields.len() as u8 + 4, 0, 0];
        bytes.extend_from_slice(fields);
        texts.iter().for_each(|text| bytes.extend([text.as_bytes(), &[0]].concat()));
        bytes.push(0);
        if texts.is_empty() {
            bytes.push(0);
        }
        bytes
    }

    fn table(version: (u8, u8)) -> Table {
        let mut system = vec![1, 2, 0, 3];
        system.extend(0x10..0x20);
        let mut memory = vec![0; 0x1c];
        memory[8..10].copy_from_slice(&0x7fffu16.to_le_bytes());
        memory[0x18..0x1c].copy_from_slice(&65_536u32.to_le_bytes());
        let small = [&[0; 8][..], &512u16.to_le_bytes(), &[0; 20]].concat();
        let empty = [&[0; 8][..], &[0; 22]].concat();
        let bytes = [
            structure(0, &[1, 2, 0, 0, 3], &["SeaBIOS", "1.16", " 04/01/2014 "]),
            structure(1, &system, &["ACME", "Anvil", "  "]),
            structure(17, &memory, &[]),
            structure(17, &small, &[]),
            structure(17, &empty, &[]),
            structure(127, &[], &[]),
            structure(1, &system, &["after", "the", "end"]),
        ];
        Table { structures: structures(&bytes.concat()), version }
    }

    #[test]
    fn fields_are_read() {
        let table = table((2, 8));
        assert_eq!(table.text(SYSTEM, 4).as_deref(), Some("ACME"));
        assert_eq!(table.text(SYSTEM, 5).as_deref(), Some("Anvil"));
        assert_eq!(
            (table.text(SYSTEM, 6), table.text(SYSTEM, 7), table.text(SYSTEM, 200)),
            (None, None, None)
        );
        assert_eq!(table.text(FIRMWARE, 8).as_deref(), Some("04/01/2014"));
        assert_eq!(table.uuid().as_deref(), Some("13121110-1514-1716-1819-1a1b1c1d1e1f"));
        assert_eq!(table.memory(), Some((65_536 + 512) << 20));
        let old = self::table((2, 5));
        assert_eq!(old.uuid().as_deref(), Some("10111213-1415-1617-1819-1a1b1c1d1e1f"));
    }

    #[test]
    fn versions_are_read() {
        assert_eq!(version(b"_SM_\x00\x1f\x02\x08rest"), (2, 8));
        assert_eq!(version(b"_SM3_\x00\x18\x03\x02\x00"), (3, 2));
    }

    proptest::proptest! {
        #[test]
        fn noise_is_harmless(bytes: Vec<u8>) {
            let table = Table { structures: structures(&bytes), version: (3, 0) };
            let _ = (table.uuid(), table.memory(), table.text(SYSTEM, 4), table.text(FIRMWARE, 5));
        }
    }
}
