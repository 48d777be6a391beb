//! What the boots of a card showed. Key: the hardware address (6 bytes). Value: how often it booted our agent without a
//! report (1 byte), when last (8), and its boot programs (each: processor, firmware and way as texts, the program's name,
//! since when in 8 bytes). A program that this version does not know is left out.

use super::bytes::{Reader, field, mac, number};
use super::{Kind, Record};
use crate::model::{BootWay, ClientArch, Cpu, Firmware, Mac};
use crate::state::learned::{CardBoots as Value, Learned};
use crate::state::loader;

pub(super) struct CardBoots;

impl Kind for CardBoots {
    const NAME: &'static str = "boots";
    type Key = Mac;
    type Value = Value;

    fn write_key(key: &Mac, out: &mut Vec<u8>) {
        out.extend_from_slice(&key.octets());
    }

    fn read_key(bytes: &[u8]) -> Option<Mac> {
        mac(bytes)
    }

    fn write(value: &Value, out: &mut Vec<u8>) {
        let Value { tries, tried, loaders } = value;
        out.push(*tries);
        out.extend_from_slice(&tried.0.to_le_bytes());
        number(loaders.len() as u64, out);
        for Learned { arch, way, program, since } in loaders {
            for text in [arch.cpu.name(), &arch.firmware.to_string(), way.name(), program] {
                field(text.as_bytes(), out);
            }
            out.extend_from_slice(&since.0.to_le_bytes());
        }
    }

    fn read(card: Mac, bytes: &[u8]) -> Option<Record> {
        let mut reader = Reader(bytes);
        let (tries, tried) = (reader.byte()?, reader.time()?);
        let loaders = reader.list(learned)?.into_iter().flatten().collect();
        Some(Record::CardBoots(card, Some(Value { tries, tried, loaders }.into())))
    }

    fn deletion(card: Mac) -> Option<Record> {
        Some(Record::CardBoots(card, None))
    }
}

fn learned(reader: &mut Reader<'_>) -> Option<Option<Learned>> {
    let (cpu, firmware, way, program) = (reader.text()?, reader.text()?, reader.text()?, reader.text()?);
    let since = reader.time()?;
    let firmware = Firmware::ALL.into_iter().find(|one| one.to_string() == firmware);
    let arch = Cpu::named(cpu).zip(firmware).map(|(cpu, firmware)| ClientArch { cpu, firmware });
    let known = arch.zip(BootWay::named(way)).zip(loader::known(program));
    Some(known.map(|((arch, way), program)| Learned { arch, way, program, since }))
}
