//! Dates as HTTP writes them: whole seconds, GMT.

use jiff::Timestamp;
use jiff::fmt::rfc2822::{DateTimeParser, DateTimePrinter};

use super::field::trim;
use crate::model::Time;

/// `Sun, 06 Nov 1994 08:49:37 GMT`; `None` outside the years the format can hold.
pub(super) fn print(time: Time) -> Option<String> {
    let stamp = Timestamp::from_second(i64::try_from(time.seconds()).ok()?).ok()?;
    DateTimePrinter::new().timestamp_to_rfc9110_string(&stamp).ok()
}

/// Reads what [`print`] writes; seconds since the epoch. No boot client sends the two older forms of RFC
/// 9110 5.6.7, so they count as no date.
pub(super) fn parse(text: &str) -> Option<u64> {
    let stamp = DateTimeParser::new().parse_timestamp(trim(text)).ok()?;
    u64::try_from(stamp.as_second()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_the_standard_reads_and_prints() {
        let text = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(parse(text), Some(784_111_777));
        assert_eq!(print(Time(784_111_777_999)).as_deref(), Some(text));
        assert_eq!(parse("yesterday"), None);
    }
}
