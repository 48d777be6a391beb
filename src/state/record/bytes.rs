//! The parts that values are made of.

use crate::model::{Mac, Name, Time};

/// Appends a number of any size, seven bits a byte, the lowest first (LEB128).
pub(super) fn number(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends bytes behind their length.
pub(super) fn field(value: &[u8], out: &mut Vec<u8>) {
    number(value.len() as u64, out);
    out.extend_from_slice(value);
}

/// Appends bytes behind one more than their length; a zero where there are none.
pub(super) fn optional(value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        None => out.push(0),
        Some(value) => {
            number(value.len() as u64 + 1, out);
            out.extend_from_slice(value);
        }
    }
}

/// Takes values from the beginning of bytes, in the order they were written. Every answer of `None`
/// means that the bytes are something else.
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: u64) -> Option<&'a [u8]> {
        let (value, rest) = self.0.split_at_checked(usize::try_from(count).ok()?)?;
        self.0 = rest;
        Some(value)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    /// Eight bytes, little-endian.
    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    pub(super) fn time(&mut self) -> Option<Time> {
        self.u64().map(Time)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn field(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(length)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.field()?).ok()
    }

    pub(super) fn name(&mut self) -> Option<Name> {
        self.text()?.parse().ok()
    }

    pub(super) fn mac(&mut self) -> Option<Mac> {
        mac(self.take(6)?)
    }

    pub(super) fn optional(&mut self) -> Option<Option<&'a [u8]>> {
        match self.number()? {
            0 => Some(None),
            more => Some(Some(self.take(more - 1)?)),
        }
    }

    pub(super) fn optional_text(&mut self) -> Option<Option<&'a str>> {
        self.optional()?.map(std::str::from_utf8).transpose().ok()
    }

    pub(super) fn optional_name(&mut self) -> Option<Option<Name>> {
        self.optional_text()?.map(str::parse).transpose().ok()
    }

    /// As many of something as the number before them says.
    pub(super) fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.number()?;
        // Each takes a byte at least: a number that is wrong must not reserve memory.
        if count > self.0.len() as u64 {
            return None;
        }
        (0..count).map(|_| one(self)).collect()
    }
}

pub(super) fn mac(bytes: &[u8]) -> Option<Mac> {
    Mac::new(bytes.try_into().ok()?).ok()
}

/// A whole key or value that is a name.
pub(super) fn name(bytes: &[u8]) -> Option<Name> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}
