//! Resource names.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A resource's name: `[a-z0-9]([a-z0-9-]*[a-z0-9])?`, at most 63 characters, so that it is
/// also a host name label.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Why a text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a name can't be empty")]
    Empty,
    #[error("a name has at most 63 characters")]
    Long,
    #[error("a name begins and ends with a lower-case letter or digit")]
    Edge,
    #[error("a name consists of lower-case letters, digits and hyphens")]
    Character,
}

impl Name {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Name, NameError> {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        match bytes {
            [] => Err(NameError::Empty),
            _ if bytes.len() > 63 => Err(NameError::Long),
            _ if !bytes.iter().all(|&byte| inner(byte) || byte == b'-') => Err(NameError::Character),
            [first, .., last] if !inner(*first) || !inner(*last) => Err(NameError::Edge),
            [only] if !inner(*only) => Err(NameError::Edge),
            _ => Ok(Name(text.into())),
        }
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_host_name_rule() {
        for good in ["a", "web-1", "9", "rack1-u01"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        assert_eq!("".parse::<Name>(), Err(NameError::Empty));
        assert_eq!("-a".parse::<Name>(), Err(NameError::Edge));
        assert_eq!("a-".parse::<Name>(), Err(NameError::Edge));
        assert_eq!("-".parse::<Name>(), Err(NameError::Edge));
        assert_eq!("Web".parse::<Name>(), Err(NameError::Character));
        assert_eq!("a.b".parse::<Name>(), Err(NameError::Character));
        assert_eq!("a".repeat(64).parse::<Name>(), Err(NameError::Long));
    }
}
