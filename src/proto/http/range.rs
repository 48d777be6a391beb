//! `Range: bytes=…` (RFC 9110 section 14): one range or a few.

use super::field::trim;

/// Most ranges of one request; a request for more gets the whole content.
const MAX_RANGES: usize = 32;

/// A stretch of the content, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub offset: u64,
    pub length: u64,
}

/// What a Range header asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// No range in bytes, or more than is reasonable: send everything.
    Whole,
    Part(Stretch),
    /// Two or more that do not overlap, in the order they were asked for.
    Parts(Vec<Stretch>),
    /// Outside the content: 416.
    Outside,
}

/// Reads the header's value for a content of `length` bytes. What cannot be read is ignored, as
/// the standard asks; so are ranges that overlap, which only an attacker has a use for.
pub fn parse(value: &str, length: u64) -> Asked {
    let Some((unit, ranges)) = value.split_once('=') else { return Asked::Whole };
    if !trim(unit).eq_ignore_ascii_case("bytes") || ranges.split(',').count() > MAX_RANGES {
        return Asked::Whole;
    }
    let mut parts = Vec::new();
    for range in ranges.split(',').map(trim).filter(|range| !range.is_empty()) {
        match single(range, length) {
            Single::Nonsense => return Asked::Whole,
            Single::Outside => {}
            Single::Inside(stretch) => parts.push(stretch),
        }
    }
    match parts.as_slice() {
        [] if ranges.bytes().all(|byte| matches!(byte, b',' | b' ')) => Asked::Whole,
        [] => Asked::Outside,
        [part] => Asked::Part(*part),
        _ if overlap(&parts) => Asked::Whole,
        _ => Asked::Parts(parts),
    }
}

fn overlap(parts: &[Stretch]) -> bool {
    let mut sorted = parts.to_vec();
    sorted.sort_by_key(|part| part.offset);
    sorted.windows(2).any(|pair| pair[0].offset + pair[0].length > pair[1].offset)
}

enum Single {
    Nonsense,
    Outside,
    Inside(Stretch),
}

fn single(range: &str, length: u64) -> Single {
    let Some((first, last)) = range.split_once('-') else { return Single::Nonsense };
    match (number(first), number(last)) {
        (Some(first), Some(last)) if last < first => Single::Nonsense,
        // Of an empty file, the bytes from the first on are the whole content, and so are its last ones.
        // Tools that continue a download ask for them.
        (Some(0), _) if length == 0 => Single::Nonsense,
        (Some(first), _) if first >= length => Single::Outside,
        (Some(first), Some(last)) => part(first, (last - first).saturating_add(1).min(length - first)),
        (Some(first), None) if trim(last).is_empty() => part(first, length - first),
        (None, Some(0)) if trim(first).is_empty() => Single::Outside,
        (None, Some(_)) if trim(first).is_empty() && length == 0 => Single::Nonsense,
        (None, Some(tail)) if trim(first).is_empty() => part(length - tail.min(length), tail.min(length)),
        _ => Single::Nonsense,
    }
}

fn part(offset: u64, length: u64) -> Single {
    Single::Inside(Stretch { offset, length })
}

/// Digits only; a number too large to hold is as good as the largest.
fn number(text: &str) -> Option<u64> {
    let text = trim(text);
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
            assert_eq!(parse(value, 100), Asked::Part(Stretch { offset, length }), "{value}");
        }
    }

    #[test]
    fn a_few_ranges_that_do_not_overlap_are_parts() {
        let parts = |value: &str| match parse(value, 100) {
            Asked::Parts(parts) => parts.iter().map(|part| (part.offset, part.length)).collect(),
            other => vec![(u64::MAX, matches!(other, Asked::Whole).into())],
        };
        assert_eq!(parts("bytes=0-1,5-6"), [(0, 2), (5, 2)]);
        assert_eq!(parts("bytes=-5, 0-9 ,10-19,"), [(95, 5), (0, 10), (10, 10)]);
        assert_eq!(parse("bytes=200-,0-0,-0", 100), Asked::Part(Stretch { offset: 0, length: 1 }));
        assert_eq!(parse("bytes=200-,100-101", 100), Asked::Outside);
        for overlapping in ["bytes=0-5,5-6", "bytes=0-,-1", "bytes=0-0,0-0"] {
            assert_eq!(parse(overlapping, 100), Asked::Whole, "{overlapping}");
        }
        let many: Vec<String> = (0..MAX_RANGES + 1).map(|at| format!("{at}-{at}")).collect();
        assert_eq!(parse(&format!("bytes={}", many.join(",")), 100), Asked::Whole);
        assert_eq!(parts(&format!("bytes={}", many[1..].join(","))).len(), MAX_RANGES);
    }

    #[test]
    fn beyond_the_end_is_outside() {
        for value in ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=99999999999999999999-"] {
            assert_eq!(parse(value, 100), Asked::Outside, "{value}");
        }
        assert_eq!(parse("bytes=1-", 0), Asked::Outside);
    }

    #[test]
    fn the_rest_is_ignored() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "bytes=0-1,6-5",
            "bytes=,,",
            "lines=1-2",
            "bytes=a-b",
        ] {
            assert_eq!(parse(value, 100), Asked::Whole, "{value}");
        }
        for value in ["bytes=-5", "bytes=0-", "bytes=0-0"] {
            assert_eq!(parse(value, 0), Asked::Whole, "{value}");
        }
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
                Asked::Parts(parts) => panic!("one range was asked for, not {parts:?}"),
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
