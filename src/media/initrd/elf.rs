//! What is read of ELF files: the machine they are for, whether they need an interpreter, and one section
//! (System V ABI, gABI 4.1, "Object Files"). All are of 64 bits, little endian.

use crate::model::Cpu;

/// An ELF file.
pub(super) struct Elf<'a> {
    bytes: &'a [u8],
}

/// `PT_INTERP`: the program needs a dynamic loader.
const INTERP: u32 = 3;
/// `SHT_NOBITS`: the section has no bytes in the file.
const NOBITS: u32 = 8;

impl<'a> Elf<'a> {
    /// `None` for what is no ELF file of 64 bits, little endian.
    pub(super) fn of(bytes: &'a [u8]) -> Option<Elf<'a>> {
        bytes.starts_with(b"\x7fELF\x02\x01").then_some(Elf { bytes })
    }

    /// The processor: `e_machine`.
    pub(super) fn cpu(&self) -> Option<Cpu> {
        match self.number(18, 2)? {
            62 => Some(Cpu::X86_64),
            183 => Some(Cpu::Aarch64),
            _ => None,
        }
    }

    /// Whether the program is static: it has program headers, and none of them names an interpreter.
    pub(super) fn is_static(&self) -> Option<bool> {
        let (start, size, many) = (self.number(32, 8)?, self.number(54, 2)?, self.number(56, 2)?);
        if many == 0 || size < 4 {
            return None;
        }
        for at in 0..many {
            if self.number(start.checked_add(at.checked_mul(size)?)?, 4)? == u64::from(INTERP) {
                return Some(false);
            }
        }
        Some(true)
    }

    /// The bytes of the section of this name.
    pub(super) fn section(&self, name: &str) -> Option<&'a [u8]> {
        let (start, size) = (self.number(40, 8)?, self.number(58, 2)?);
        let (many, names) = (self.number(60, 2)?, self.number(62, 2)?);
        let header = |at: u64| start.checked_add(at.checked_mul(size)?);
        let names = self.body(header(names)?)?;
        (0..many).find_map(|at| {
            let header = header(at)?;
            let called = names.get(usize::try_from(self.number(header, 4)?).ok()?..)?;
            let called = called.strip_prefix(name.as_bytes())?;
            if called.first() == Some(&0) { self.body(header) } else { None }
        })
    }

    /// The bytes of the section with this header.
    fn body(&self, header: u64) -> Option<&'a [u8]> {
        if self.number(header.checked_add(4)?, 4)? == u64::from(NOBITS) {
            return None;
        }
        let (start, size) =
            (self.number(header.checked_add(24)?, 8)?, self.number(header.checked_add(32)?, 8)?);
        let start = usize::try_from(start).ok()?;
        self.bytes.get(start..start.checked_add(usize::try_from(size).ok()?)?)
    }

    /// A number of `width` bytes at an offset.
    fn number(&self, at: u64, width: usize) -> Option<u64> {
        let at = usize::try_from(at).ok()?;
        let bytes = self.bytes.get(at..at.checked_add(width)?)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}
