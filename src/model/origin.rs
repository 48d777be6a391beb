//! Where a value was written.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use super::Name;

/// A file of an inventory: its path in it, and its source where there are several. People see it as
/// `lab:racks/one.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FilePath {
    shown: Arc<str>,
    /// How many bytes of that are the source's name; 0 for a file of an only source.
    source: u8,
}

impl FilePath {
    /// The file at `path` in its inventory.
    pub fn new(source: Option<&Name>, path: &Arc<str>) -> FilePath {
        match source {
            None => FilePath { shown: path.clone(), source: 0 },
            // A name has 63 bytes at most.
            Some(name) => {
                FilePath { shown: format!("{name}:{path}").into(), source: name.as_str().len() as u8 }
            }
        }
    }

    /// As versions until November 2026 stored it: what stands before the first colon is a source if it can be one.
    pub fn of_former(shown: &str) -> FilePath {
        let source = shown.split_once(':').and_then(|(source, _)| source.parse::<Name>().ok());
        FilePath { shown: shown.into(), source: source.map_or(0, |name| name.as_str().len() as u8) }
    }

    /// The name of its source; `None` for an only one.
    pub fn source(&self) -> Option<&str> {
        (self.source > 0).then(|| &self.shown[..usize::from(self.source)])
    }

    /// Its path in its inventory.
    pub fn inside(&self) -> &str {
        match self.source {
            0 => &self.shown,
            length => &self.shown[usize::from(length) + 1..],
        }
    }

    /// Whether an earlier version did not note which file it is.
    pub fn is_unknown(&self) -> bool {
        self.shown.is_empty()
    }

    /// As people see it.
    pub fn shown(&self) -> &Arc<str> {
        &self.shown
    }
}

impl From<&str> for FilePath {
    fn from(path: &str) -> FilePath {
        FilePath { shown: path.into(), source: 0 }
    }
}

/// By sources, then by paths.
impl Ord for FilePath {
    fn cmp(&self, other: &FilePath) -> Ordering {
        (self.source(), self.inside()).cmp(&(other.source(), other.inside()))
    }
}

impl PartialOrd for FilePath {
    fn partial_cmp(&self, other: &FilePath) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// A place in a manifest: its file, line and column counted from 1 (columns in characters).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    pub file: FilePath,
    pub line: u32,
    pub column: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_in_a_path_is_no_source() {
        let lab: Name = "lab".parse().unwrap();
        let (own, alone) = (FilePath::new(Some(&lab), &"a.toml".into()), FilePath::from("lab:a.toml"));
        assert_eq!((own.to_string(), alone.to_string()), ("lab:a.toml".into(), "lab:a.toml".into()));
        assert_eq!((own.source(), own.inside()), (Some("lab"), "a.toml"));
        assert_eq!((alone.source(), alone.inside()), (None, "lab:a.toml"));
        assert_ne!(own, alone);
        assert_eq!(FilePath::of_former("lab:a.toml"), own);
        assert_eq!(FilePath::of_former("A:b.toml"), FilePath::from("A:b.toml"));
    }
}
