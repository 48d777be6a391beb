//! Points in time and durations, as plain numbers: the pure rooms get the clock as an argument.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

/// Milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

/// A duration in milliseconds; in manifests a text such as `90s`, `15m`, `8h`, `1h30m`, `2d`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub u64);

/// The text is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a duration is a number with a unit (s, m, h, d), such as 90s, 8h or 1h30m")]
pub struct SpanError;

impl Time {
    pub fn seconds(self) -> u64 {
        self.0 / 1000
    }

    /// How long after `earlier`; zero if it is not after it.
    pub fn since(self, earlier: Time) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Span {
    pub const fn seconds(seconds: u64) -> Span {
        Span(seconds * 1000)
    }

    /// Whole seconds, rounded down.
    pub fn as_seconds(self) -> u64 {
        self.0 / 1000
    }
}

impl Add<Span> for Time {
    type Output = Time;
    fn add(self, span: Span) -> Time {
        Time(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Time {
    type Output = Time;
    fn sub(self, span: Span) -> Time {
        Time(self.0.saturating_sub(span.0))
    }
}

impl fmt::Display for Time {
    /// RFC 3339 in UTC with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i64::try_from(self.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) {
            Some(stamp) => write!(f, "{stamp:.3}"),
            None => write!(f, "@{}ms", self.0),
        }
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Span, SpanError> {
        let mut rest = text;
        let mut total = 0u64;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(SpanError)?;
            let number: u64 = rest[..digits].parse().map_err(|_| SpanError)?;
            let unit = match rest.as_bytes()[digits] {
                b's' => 1,
                b'm' => 60,
                b'h' => 3600,
                b'd' => 86400,
                _ => return Err(SpanError),
            };
            total =
                number.checked_mul(unit * 1000).and_then(|part| total.checked_add(part)).ok_or(SpanError)?;
            rest = &rest[digits + 1..];
        }
        if text.is_empty() { Err(SpanError) } else { Ok(Span(total)) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1000;
        if self.0 == 0 {
            return f.write_str("0s");
        }
        if seconds == 0 {
            return write!(f, "{}ms", self.0);
        }
        let parts = [
            (seconds / 86400, "d"),
            (seconds / 3600 % 24, "h"),
            (seconds / 60 % 60, "m"),
            (seconds % 60, "s"),
        ];
        for (number, unit) in parts.into_iter().filter(|(number, _)| *number > 0) {
            write!(f, "{number}{unit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_and_print() {
        for text in ["90s", "8h", "1h30m", "2d"] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }
        assert_eq!("1h30m".parse::<Span>().unwrap(), Span::seconds(5400));
        for text in ["", "8", "h", "8 h", "-1s", "99999999999999999999s", "é"] {
            assert_eq!(text.parse::<Span>(), Err(SpanError), "{text}");
        }
    }

    #[test]
    fn times_print_as_rfc_3339() {
        assert_eq!(Time(1_700_000_000_123).to_string(), "2023-11-14T22:13:20.123Z");
    }
}
