//! Messages in a stream (RFC 6587): with their length in front (`42 <34>1 …`), or each ended by a line end. Both may
//! follow each other.

/// Longest message that is taken whole, in bytes.
pub const LONGEST: usize = 16 << 10;
/// Largest length in front of a message: more is no syslog.
const COUNT_MAX: usize = 1 << 20;

/// Divides a stream into messages.
#[derive(Debug, Default)]
pub struct Frames {
    /// What has come of the next message.
    pending: Vec<u8>,
    /// How much of a message that was too long still comes.
    skip: Skip,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Skip {
    #[default]
    Nothing,
    Bytes(usize),
    /// To the next line end.
    Line,
}

/// The stream is none of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoFrames;

/// How the message at the beginning ends.
enum Next {
    /// It takes these bytes behind its length.
    Counted {
        from: usize,
        length: usize,
    },
    Line {
        end: usize,
    },
    /// More has to come.
    Open,
}

impl Frames {
    /// Takes what came, and hands on each message that is whole. One that is longer than [`LONGEST`] is cut.
    ///
    /// # Errors
    ///
    /// A length that no message has: the rest of the stream can't be divided.
    pub fn take(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), NoFrames> {
        while !bytes.is_empty() {
            bytes = self.skipped(bytes);
            // A part at a time, so that little is kept however much came.
            let (now, later) = bytes.split_at(bytes.len().min(LONGEST));
            self.pending.extend_from_slice(now);
            bytes = later;
            self.divide(&mut each)?;
        }
        Ok(())
    }

    /// What came of a last message that has no end.
    pub fn end(self, each: impl FnOnce(&[u8])) {
        let is_counted = self.pending.first().is_some_and(u8::is_ascii_digit);
        if !self.pending.is_empty() && !is_counted {
            each(&self.pending);
        }
    }

    fn skipped<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let (skip, rest) = match self.skip {
            Skip::Nothing => (Skip::Nothing, bytes),
            Skip::Bytes(left) if left > bytes.len() => {
                (Skip::Bytes(left - bytes.len()), &bytes[bytes.len()..])
            }
            Skip::Bytes(left) => (Skip::Nothing, &bytes[left..]),
            Skip::Line => match bytes.iter().position(|byte| is_end(*byte)) {
                Some(end) => (Skip::Nothing, &bytes[end + 1..]),
                None => (Skip::Line, &bytes[bytes.len()..]),
            },
        };
        self.skip = skip;
        rest
    }

    fn divide(&mut self, each: &mut impl FnMut(&[u8])) -> Result<(), NoFrames> {
        let mut done = 0;
        loop {
            let rest = &self.pending[done..];
            match next(rest)? {
                Next::Line { end } => {
                    if end > 0 {
                        each(&rest[..end.min(LONGEST)]);
                    }
                    done += end + 1;
                }
                Next::Counted { from, length } if rest.len() >= from + length => {
                    each(&rest[from..from + length.min(LONGEST)]);
                    done += from + length;
                }
                Next::Counted { from, length } if rest.len() >= from + LONGEST => {
                    each(&rest[from..from + LONGEST]);
                    self.skip = Skip::Bytes(from + length - rest.len());
                    done = self.pending.len();
                    break;
                }
                Next::Open if rest.len() >= LONGEST => {
                    each(&rest[..LONGEST]);
                    self.skip = Skip::Line;
                    done = self.pending.len();
                    break;
                }
                Next::Counted { .. } | Next::Open => break,
            }
        }
        self.pending.drain(..done);
        Ok(())
    }
}

/// Some programs end messages with a zero byte.
fn is_end(byte: u8) -> bool {
    matches!(byte, b'\n' | 0)
}

fn next(bytes: &[u8]) -> Result<Next, NoFrames> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    // A message begins with `<`: a digit begins a length.
    if digits > 0 && bytes[0] != b'0' {
        match bytes.get(digits) {
            None if digits <= 7 => return Ok(Next::Open),
            Some(b' ') => {
                let number = std::str::from_utf8(&bytes[..digits]).ok().and_then(|text| text.parse().ok());
                let length = number.filter(|length| *length <= COUNT_MAX).ok_or(NoFrames)?;
                return Ok(Next::Counted { from: digits + 1, length });
            }
            _ => {}
        }
    }
    Ok(match bytes.iter().position(|byte| is_end(*byte)) {
        Some(end) => Next::Line { end },
        None => Next::Open,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The messages of a stream that comes in parts of a size.
    fn divided(stream: &[u8], part: usize) -> Result<Vec<Vec<u8>>, NoFrames> {
        let (mut frames, mut found) = (Frames::default(), Vec::new());
        for part in stream.chunks(part) {
            frames.take(part, |message| found.push(message.to_vec()))?;
        }
        frames.end(|message| found.push(message.to_vec()));
        Ok(found)
    }

    #[test]
    fn both_kinds_of_frames_follow_each_other_whatever_the_parts() {
        let stream = b"5 <1>ab<2>x\n\n<3>y\x006 <4>a\nb2 cd<5>last";
        let expected: [&[u8]; 6] = [b"<1>ab", b"<2>x", b"<3>y", b"<4>a\nb", b"cd", b"<5>last"];
        for part in 1..stream.len() {
            assert_eq!(divided(stream, part).unwrap(), expected, "{part}");
        }
    }

    #[test]
    fn what_is_too_long_is_cut_and_what_follows_is_found() {
        let long = "x".repeat(LONGEST * 3);
        let stream = format!("<1>{long}\n<2>a\n{} <3>{long}<4>b\n", long.len() + 3);
        for part in [1000, LONGEST, LONGEST * 9] {
            let found = divided(stream.as_bytes(), part).unwrap();
            let shape: Vec<(usize, &[u8])> = found.iter().map(|one| (one.len(), &one[..3])).collect();
            assert_eq!(
                shape,
                [(LONGEST, &b"<1>"[..]), (4, b"<2>"), (LONGEST, b"<3>"), (4, b"<4>")],
                "{part}"
            );
        }
        assert_eq!(divided(b"9999999 <1>x", 100), Err(NoFrames));
        assert_eq!(divided(b"123456789012345678901234567890 <1>x", 100), Err(NoFrames));
    }

    proptest! {
        #[test]
        fn parts_make_no_difference_and_little_is_kept(stream in "([0-9]{0,3} )?[<>a\n 1-9]{0,60}", part in 1usize..9) {
            prop_assert_eq!(divided(stream.as_bytes(), part), divided(stream.as_bytes(), 1000));
        }
    }
}
