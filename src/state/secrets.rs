//! The texts of the names in `{ secret = "NAME" }`.

use std::collections::BTreeMap;
use std::fmt;

/// The secrets of an inventory. They live in memory only and never print.
#[derive(Clone, PartialEq, Eq)]
pub enum Secrets {
    /// Decrypted texts by name.
    Known(BTreeMap<String, String>),
    /// For simulated boots, which have no keys: every name has the text [`Secrets::placeholder`].
    StandIn,
}

impl Secrets {
    /// Secrets without keys: every name has a text, and none of them is secret.
    pub fn stand_in() -> Secrets {
        Secrets::StandIn
    }

    /// The text of a secret; `None` if it is not known here.
    pub fn get(&self, name: &str) -> Option<String> {
        match self {
            Secrets::Known(texts) => texts.get(name).cloned(),
            Secrets::StandIn => Some(Secrets::placeholder(name)),
        }
    }

    /// Every secret that is known here, with its name. None of a stand-in is one.
    pub fn known(&self) -> impl Iterator<Item = (&str, &str)> {
        let texts = match self {
            Secrets::Known(texts) => Some(texts),
            Secrets::StandIn => None,
        };
        texts.into_iter().flatten().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// The text shown in place of a secret: a plain word in every format that answers are written in, so
    /// that the answer file of a simulated boot is as well-formed as the real one.
    pub fn placeholder(name: &str) -> String {
        format!("SECRET-{name}")
    }
}

impl Default for Secrets {
    fn default() -> Secrets {
        Secrets::Known(BTreeMap::new())
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secrets::Known(texts) => f.debug_set().entries(texts.keys()).finish(),
            Secrets::StandIn => f.write_str("StandIn"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rehearsal_knows_every_name_and_a_daemon_only_its_own() {
        let known = Secrets::Known([("a".to_owned(), "hunter2".to_owned())].into());
        assert_eq!(known.get("a").as_deref(), Some("hunter2"));
        assert_eq!(known.get("b"), None);
        assert_eq!(Secrets::stand_in().get("b").as_deref(), Some("SECRET-b"));
    }

    #[test]
    fn texts_never_print() {
        let known = Secrets::Known([("a".to_owned(), "hunter2".to_owned())].into());
        assert_eq!(format!("{known:?}"), "{\"a\"}");
    }
}
