//! Words of closed lists on the wire: the same text as everywhere. A daemon of a later version may send one
//! that this program does not know: it is shown as it came, and is equal to none of the known ones.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::Words;

/// A word as it came over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word<T> {
    Known(T),
    Unknown(String),
}

impl<T: Words> Word<T> {
    pub fn known(&self) -> Option<T> {
        match self {
            Word::Known(value) => Some(*value),
            Word::Unknown(_) => None,
        }
    }

    pub fn as_str(&self) -> &str {
        match self {
            Word::Known(value) => value.text(),
            Word::Unknown(text) => text,
        }
    }
}

impl<T: Words> From<T> for Word<T> {
    fn from(value: T) -> Word<T> {
        Word::Known(value)
    }
}

impl<T: Words> PartialEq<T> for Word<T> {
    fn eq(&self, value: &T) -> bool {
        self.known() == Some(*value)
    }
}

/// No word at all, as of something that nothing is known of.
impl<T> Default for Word<T> {
    fn default() -> Word<T> {
        Word::Unknown(String::new())
    }
}

/// A text; a later version may have more words.
impl<T: Words> JsonSchema for Word<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Word".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words: Vec<&str> = T::all().iter().map(|value| value.text()).collect();
        json_schema!({ "type": "string", "examples": words })
    }
}

impl<T: Words> fmt::Display for Word<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<T: Words> Serialize for Word<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de, T: Words> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Word<T>, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(T::named(&text).map_or(Word::Unknown(text), Word::Known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Phase;

    #[test]
    fn a_word_is_its_text_and_one_of_a_later_version_passes_through() {
        let known: Word<Phase> = serde_json::from_str("\"network-boot\"").unwrap();
        assert!(known == Phase::NetworkBoot && known != Phase::Installed);
        assert_eq!(serde_json::to_string(&known).unwrap(), "\"network-boot\"");
        let later: Word<Phase> = serde_json::from_str("\"dreaming\"").unwrap();
        assert!(Phase::ALL.iter().all(|phase| later != *phase));
        assert_eq!(serde_json::to_string(&later).unwrap(), "\"dreaming\"");
        assert_eq!(format!("{later:<10}|"), "dreaming  |");
    }
}
