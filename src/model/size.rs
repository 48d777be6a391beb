//! Amounts of memory.

use std::fmt;
use std::str::FromStr;

/// A number of bytes, written as in `16 GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

/// Units by name, the largest first; IEC 80000-13.
const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an amount of memory is written as in \"16 GiB\" or \"512 MiB\"")]
pub struct SizeError;

impl Size {
    /// As manifests write it, in the largest unit that leaves a whole number; what is below a KiB is left out.
    pub fn written(self) -> String {
        let (name, unit) = UNITS.iter().find(|(_, unit)| self.0.is_multiple_of(*unit)).unwrap_or(&UNITS[3]);
        format!("{} {name}", self.0 / unit)
    }
}

impl FromStr for Size {
    type Err = SizeError;

    /// A whole number above zero, then a unit; blanks between them do not matter.
    fn from_str(text: &str) -> Result<Size, SizeError> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or(SizeError)?;
        let number: u64 = text[..digits].parse().map_err(|_| SizeError)?;
        let unit = text[digits..].trim_start_matches(' ');
        let (_, bytes) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(SizeError)?;
        number.checked_mul(*bytes).filter(|bytes| *bytes > 0).map(Size).ok_or(SizeError)
    }
}

impl fmt::Display for Size {
    /// In the largest unit that leaves a whole number, else with one decimal place of the largest
    /// that leaves one above it; rounded up.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((name, unit)) = UNITS.iter().find(|(_, unit)| self.0 >= *unit) else {
            return write!(f, "{} bytes", self.0);
        };
        if self.0.is_multiple_of(*unit) {
            return write!(f, "{} {name}", self.0 / unit);
        }
        let tenths = (u128::from(self.0) * 10).div_ceil(u128::from(*unit));
        write!(f, "{}.{} {name}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_print() {
        for (text, bytes) in
            [("16 GiB", 16 << 30), ("512MiB", 512 << 20), ("1 TiB", 1 << 40), ("3 KiB", 3 << 10)]
        {
            let size: Size = text.parse().unwrap();
            assert_eq!(size, Size(bytes));
            assert_eq!(size.to_string().parse(), Ok(size));
        }
        assert_eq!(Size((3 << 29) + 1).to_string(), "1.6 GiB");
        assert_eq!(Size(12).to_string(), "12 bytes");
        assert_eq!(
            (Size(3 << 29).written().as_str(), Size(1025 << 30).written().as_str()),
            ("1536 MiB", "1025 GiB")
        );
        for text in ["", "16", "GiB", "16 GB", "16G", "-1 GiB", "0 GiB", "1.5 GiB", "99999999999 TiB", "é"] {
            assert_eq!(text.parse::<Size>(), Err(SizeError), "{text}");
        }
    }
}
