//! Cards in no manifest. Key: the hardware address (6 bytes). Value: the name of the machine that it was
//! learned to be of.

use super::bytes::{Reader, field, mac};
use super::{Kind, Record};
use crate::model::{Mac, Name};

pub(super) struct Card;

impl Kind for Card {
    const NAME: &'static str = "card";
    type Key = Mac;
    type Value = Name;

    fn write_key(key: &Mac, out: &mut Vec<u8>) {
        out.extend_from_slice(&key.octets());
    }

    fn read_key(bytes: &[u8]) -> Option<Mac> {
        mac(bytes)
    }

    fn write(machine: &Name, out: &mut Vec<u8>) {
        field(machine.as_str().as_bytes(), out);
    }

    fn read(mac: Mac, bytes: &[u8]) -> Option<Record> {
        let machine = Reader(bytes).name()?;
        Some(Record::Card(mac, Some(machine)))
    }

    fn deletion(mac: Mac) -> Option<Record> {
        Some(Record::Card(mac, None))
    }
}
