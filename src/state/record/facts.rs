//! What our agent found out about machines' hardware. Key: the machine's name. Value: the facts as JSON behind their length (see
//! [`crate::model::facts`]), because a later version knows more of them, and an earlier one skips those.

use std::sync::Arc;

use super::bytes::{Reader, field, name};
use super::{Kind, Record};
use crate::model::Name;

pub(super) struct Facts;

impl Kind for Facts {
    const NAME: &'static str = "facts";
    type Key = Name;
    type Value = crate::model::facts::Facts;

    fn write_key(key: &Name, out: &mut Vec<u8>) {
        out.extend_from_slice(key.as_str().as_bytes());
    }

    fn read_key(bytes: &[u8]) -> Option<Name> {
        name(bytes)
    }

    fn write(facts: &Self::Value, out: &mut Vec<u8>) {
        field(&serde_json::to_vec(facts).expect("facts are texts, numbers and lists"), out);
    }

    fn read(machine: Name, bytes: &[u8]) -> Option<Record> {
        let facts = serde_json::from_slice(Reader(bytes).field()?).ok()?;
        Some(Record::Facts(machine, Some(Arc::new(facts))))
    }

    fn deletion(machine: Name) -> Option<Record> {
        Some(Record::Facts(machine, None))
    }
}
