//! Where something stands in a file, as bytes; lines and columns are counted only for output.

/// A stretch of bytes in one of the files of `Sources`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// Index into `Sources`.
    pub file: u32,
    pub start: u32,
    pub end: u32,
}

impl Mark {
    /// Files are bounded (`MANIFEST_MAX_BYTES`), so offsets fit; a longer one is cut to the limit.
    pub fn new(file: u32, range: std::ops::Range<usize>) -> Mark {
        let narrow = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Mark { file, start: narrow(range.start), end: narrow(range.end) }
    }

    pub fn range(&self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A value with the place it was written at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked<T> {
    pub value: T,
    pub mark: Mark,
}

impl<T> Marked<T> {
    pub fn new(value: T, mark: Mark) -> Marked<T> {
        Marked { value, mark }
    }
}
