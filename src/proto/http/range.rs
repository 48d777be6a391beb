//! `Range: bytes=…` (RFC 9110 section 14): single ranges only.

/// A stretch of the content, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub offset: u64,
    pub length: u64,
}

/// What a Range header asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// No range we know, or several: send everything.
    Whole,
    Part(Stretch),
    /// Outside the content: 416.
    Outside,
}

/// Reads the header's value for a content of `length` bytes. What cannot be read is ignored, as
/// the standard asks.
pub fn parse(value: &str, length: u64) -> Asked {
    let Some((unit, range)) = value.split_once('=') else { return Asked::Whole };
    let Some((first, last)) = range.trim().split_once('-') else { return Asked::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") || range.contains(',') {
        return Asked::Whole;
    }
    match (number(first), number(last)) {
        (Some(first), Some(last)) if last < first => Asked::Whole,
        (Some(first), _) if first >= length => Asked::Outside,
        (Some(first), Some(last)) => part(first, (last - first).saturating_add(1).min(length - first)),
        (Some(first), None) if last.trim().is_empty() => part(first, length - first),
        (None, Some(0)) if first.trim().is_empty() => Asked::Outside,
        // The last bytes of nothing are everything there is.
        (None, Some(_)) if first.trim().is_empty() && length == 0 => Asked::Whole,
        (None, Some(tail)) if first.trim().is_empty() => part(length - tail.min(length), tail.min(length)),
        _ => Asked::Whole,
    }
}

fn part(offset: u64, length: u64) -> Asked {
    Asked::Part(Stretch { offset, length })
}

/// Digits only; a number too large to hold is as good as the largest.
fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_ranges_are_cut_to_the_content() {
        for (value, offset, length) in [
            ("bytes=0-0", 0, 1),
            ("bytes=0-", 0, 100),
            ("bytes=10-19", 10, 10),
            ("Bytes = 90-1000", 90, 10),
            ("bytes=-1", 99, 1),
            ("bytes=-1000", 0, 100),
            ("bytes=5-99999999999999999999999", 5, 95),
        ] {
            assert_eq!(parse(value, 100), part(offset, length), "{value}");
        }
    }

    #[test]
    fn beyond_the_end_is_outside() {
        for value in ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=99999999999999999999-"] {
            assert_eq!(parse(value, 100), Asked::Outside, "{value}");
        }
        assert_eq!(parse("bytes=0-", 0), Asked::Outside);
    }

    #[test]
    fn the_rest_is_ignored() {
        for value in
            ["", "bytes", "bytes=", "bytes=-", "bytes=5-2", "bytes=0-1,5-6", "lines=1-2", "bytes=a-b"]
        {
            assert_eq!(parse(value, 100), Asked::Whole, "{value}");
        }
        assert_eq!(parse("bytes=-5", 0), Asked::Whole);
    }

    /// The bytes that are asked for, one by one, as the standard words it.
    fn meant(first: Option<u64>, last: Option<u64>, length: u64) -> Vec<u64> {
        let all = 0..length;
        match (first, last) {
            (Some(first), last) => {
                all.filter(|at| *at >= first && last.is_none_or(|last| *at <= last)).collect()
            }
            (None, Some(tail)) => all.filter(|at| length - at <= tail).collect(),
            (None, None) => all.collect(),
        }
    }

    proptest::proptest! {
        #[test]
        fn exactly_the_bytes_that_are_meant(first: Option<u8>, last: Option<u8>, length in 0..300u64) {
            let (first, last) = (first.map(u64::from), last.map(u64::from));
            let text = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
            let asked = parse(&format!("bytes={}-{}", text(first), text(last)), length);
            let meant = meant(first, last, length);
            match asked {
                Asked::Part(Stretch { offset, length }) => {
                    assert_eq!((offset..offset + length).collect::<Vec<_>>(), meant);
                }
                Asked::Outside => assert!(meant.is_empty(), "{meant:?}"),
                Asked::Whole => assert!(
                    first.zip(last).is_some_and(|(first, last)| last < first)
                        || meant.len() as u64 == length && (first.is_none() || length == 0)
                ),
            }
        }

        #[test]
        fn no_number_leaves_the_content(first: u64, last: u64, length: u64) {
            for value in [format!("bytes={first}-{last}"), format!("bytes={first}-"), format!("bytes=-{last}")] {
                if let Asked::Part(Stretch { offset, length: part }) = parse(&value, length) {
                    assert!(part > 0 && offset.checked_add(part).is_some_and(|end| end <= length), "{value}");
                }
            }
        }
    }
}
