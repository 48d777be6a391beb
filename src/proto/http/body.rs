//! The body of a request, of which the beginning is kept.

use super::field;
use super::request::{BadRequest, Framing};
use crate::model::printable;

/// Longest line between chunks, in bytes.
const MAX_CHUNK_LINE: usize = 256;

/// Takes a body apart as its bytes come in.
#[derive(Clone, Debug)]
pub struct BodyReader {
    state: State,
    kept: Vec<u8>,
    keep: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes to come, then the end.
    Plain(u64),
    /// A line with the next chunk's size is due.
    Size,
    Chunk(u64),
    /// The line end after a chunk.
    ChunkEnd,
    /// Lines after the last chunk, up to an empty one.
    Trailer,
    Done,
}

impl BodyReader {
    /// Keeps the first `keep` bytes, drops the rest.
    pub fn new(framing: Framing, keep: usize) -> BodyReader {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Plain(length),
            Framing::Chunked => State::Size,
        };
        BodyReader { state, kept: Vec::new(), keep }
    }

    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// No more of the body will be kept.
    pub fn is_full(&self) -> bool {
        self.kept.len() == self.keep
    }

    /// What was kept so far.
    pub fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// Reads on; returns how many of `bytes` belong to the body and were used. With fewer than all
    /// used and the body not done, more bytes are needed.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<usize, BadRequest> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            let step = match self.state {
                State::Done => return Ok(used),
                State::Plain(left) | State::Chunk(left) => self.data(left, rest),
                State::Size | State::ChunkEnd | State::Trailer => match line(rest)? {
                    Some((line, length)) => {
                        self.state = self.after(line)?;
                        length
                    }
                    None => return Ok(used),
                },
            };
            if step == 0 && !self.is_done() {
                return Ok(used);
            }
            used += step;
        }
    }

    fn data(&mut self, left: u64, rest: &[u8]) -> usize {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
        let room = self.keep - self.kept.len();
        self.kept.extend(&rest[..length.min(room)]);
        let left = left - length as u64;
        self.state = match self.state {
            State::Plain(_) if left == 0 => State::Done,
            State::Plain(_) => State::Plain(left),
            _ if left == 0 => State::ChunkEnd,
            _ => State::Chunk(left),
        };
        length
    }

    /// The state after a line between chunks.
    fn after(&self, line: &[u8]) -> Result<State, BadRequest> {
        match self.state {
            State::ChunkEnd if line.is_empty() => Ok(State::Size),
            State::ChunkEnd => Err(BadRequest::Framing),
            State::Trailer if line.is_empty() => Ok(State::Done),
            State::Trailer if field::is_field(line) => Ok(State::Trailer),
            State::Trailer => Err(BadRequest::Framing),
            _ => match field::chunk_size(line).ok_or(BadRequest::Framing)? {
                0 => Ok(State::Trailer),
                size => Ok(State::Chunk(size)),
            },
        }
    }
}

/// The first line without its end, and its length with it; `None` while it is not complete. A bare LF does
/// not end a line: implementations differ about it, and so would about where the next request begins.
fn line(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, BadRequest> {
    match bytes.iter().take(MAX_CHUNK_LINE).position(|byte| *byte == b'\n') {
        Some(end) => {
            let line = bytes[..end].strip_suffix(b"\r").ok_or(BadRequest::Framing)?;
            Ok(Some((line, end + 1)))
        }
        None if bytes.len() >= MAX_CHUNK_LINE => Err(BadRequest::Framing),
        None => Ok(None),
    }
}

/// Most characters of a note.
const MAX_NOTE: usize = 512;

/// One line made of what a client added to its report: the query and the body's beginning, decoded, made
/// printable and cut.
pub fn note(query: &str, body: &[u8]) -> String {
    let query = super::super::path::percent_decode(query).unwrap_or_else(|_| query.to_owned());
    let body = String::from_utf8_lossy(body);
    let mut note = String::new();
    for word in [query.as_str(), body.as_ref()].into_iter().flat_map(str::split_whitespace) {
        if !note.is_empty() {
            note.push(' ');
        }
        note.push_str(&printable::line(word));
    }
    note.chars().take(MAX_NOTE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `bytes` in pieces of `size`; returns the kept part and what was left over.
    fn read(framing: Framing, bytes: &[u8], size: usize) -> Result<(Vec<u8>, usize), BadRequest> {
        let mut reader = BodyReader::new(framing, 8);
        let (mut start, mut end) = (0, 0);
        while !reader.is_done() && end < bytes.len() {
            end = (end + size).min(bytes.len());
            start += reader.feed(&bytes[start..end])?;
        }
        assert!(reader.is_done(), "not done");
        Ok((reader.kept().to_vec(), bytes.len() - start))
    }

    #[test]
    fn bodies_arrive_in_any_pieces() {
        let chunked = b"5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: x\r\n\r\nGET";
        for size in 1..chunked.len() + 1 {
            assert_eq!(read(Framing::Chunked, chunked, size).unwrap().0, b"hello wo");
            assert_eq!(read(Framing::Length(5), b"helloGET", size).unwrap().0, b"hello");
        }
        assert_eq!(read(Framing::Chunked, chunked, 999).unwrap().1, 3);
        assert_eq!(read(Framing::Length(0), b"GET", 9).unwrap(), (vec![], 3));
    }

    #[test]
    fn broken_chunks_are_refused() {
        for bytes in
            [&b"x\r\n"[..], b"\r\n\r\n", b"2\r\nabc\r\n", b"fffffffffffffffff\r\n", b"-1\r\n", b"1\nx\n0\n\n"]
        {
            assert_eq!(read(Framing::Chunked, bytes, 99), Err(BadRequest::Framing), "{bytes:?}");
        }
        assert_eq!(read(Framing::Chunked, &[b'1'; 300], 300), Err(BadRequest::Framing));
    }

    #[test]
    fn notes_are_one_printable_line() {
        assert_eq!(note("step=late%0acommand", b"exit\r\n 1\x1b[31m"), "step=late command exit 1\\u{1b}[31m");
        assert_eq!(note("", &[b'x'; 2000]).len(), MAX_NOTE);
        assert_eq!(note("100%", b""), "100%");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in "[0-9a-f;\\r\\n]{0,60}", size in 1..20usize) {
            let mut reader = BodyReader::new(Framing::Chunked, 8);
            let (mut start, mut end) = (0, 0);
            while end < bytes.len() {
                end = (end + size).min(bytes.len());
                let Ok(used) = reader.feed(&bytes.as_bytes()[start..end]) else { break };
                start += used;
            }
            assert!(start <= bytes.len() && reader.kept().len() <= 8);
        }
    }
}
