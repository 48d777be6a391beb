//! Installations of a machine. Key: the machine's name. Value: a list; of each the machine, its cards, the
//! deployment, its former names, the name it was used under, epoch, `redeploy`, stage (1 byte), since when (8),
//! digest, flags (1: again, 2: closed, 4: plain URLs, 8: conflict), its other marks (a byte each: 0 for a client id, 1
//! for a UUID; then its bytes), all behind the length of the whole. Earlier versions wrote no marks.

use std::sync::Arc;

use super::bytes::{Reader, field, name, number};
use super::{Kind, Record};
use crate::model::{Identity, Name};
use crate::state::{Install, InstallStage};

pub(super) struct Installs;

const AGAIN: u8 = 1;
const CLOSED: u8 = 2;
const PLAIN_URLS: u8 = 4;
const CONFLICT: u8 = 8;

impl Kind for Installs {
    const NAME: &'static str = "install";
    type Key = Name;
    type Value = [Install];

    fn write_key(key: &Name, out: &mut Vec<u8>) {
        out.extend_from_slice(key.as_str().as_bytes());
    }

    fn read_key(bytes: &[u8]) -> Option<Name> {
        name(bytes)
    }

    fn write(list: &[Install], out: &mut Vec<u8>) {
        number(list.len() as u64, out);
        for install in list {
            // The length is known afterwards; four bytes are kept for it.
            let at = out.len();
            out.extend_from_slice(&[0; 4]);
            write(install, out);
            let length = (out.len() - at - 4) as u32;
            out[at..at + 4].copy_from_slice(&length.to_le_bytes());
        }
    }

    fn read(machine: Name, bytes: &[u8]) -> Option<Record> {
        let list = Reader(bytes).list(|reader| {
            let length = u32::from_le_bytes(reader.take(4)?.try_into().ok()?);
            read(reader.take(length.into())?)
        });
        Some(Record::Installs(machine, list?.into()))
    }

    fn deletion(machine: Name) -> Option<Record> {
        Some(Record::Installs(machine, Arc::default()))
    }
}

fn write(install: &Install, out: &mut Vec<u8>) {
    let Install {
        machine,
        cards,
        marks,
        deployment,
        former,
        used_as,
        epoch,
        redeploy,
        stage,
        since,
        digest,
        again,
        closed,
        plain_urls,
        conflict,
    } = install;
    let named = |name: &Name, out: &mut Vec<u8>| field(name.as_str().as_bytes(), out);
    named(machine, out);
    number(cards.len() as u64, out);
    cards.iter().for_each(|card| out.extend_from_slice(&card.octets()));
    named(deployment, out);
    number(former.len() as u64, out);
    former.iter().for_each(|name| named(name, out));
    named(used_as, out);
    number(*epoch, out);
    number(*redeploy, out);
    out.push(code(*stage));
    out.extend_from_slice(&since.0.to_le_bytes());
    field(digest.as_bytes(), out);
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    let flags = flag(*again, AGAIN) | flag(*closed, CLOSED) | flag(*plain_urls, PLAIN_URLS);
    out.push(flags | flag(*conflict, CONFLICT));
    number(marks.len() as u64, out);
    marks.iter().for_each(|mark| write_mark(mark, out));
}

fn write_mark(mark: &Identity, out: &mut Vec<u8>) {
    let (code, bytes) = match mark {
        Identity::ClientId(id) => (0, &id[..]),
        Identity::Uuid(uuid) => (1, &uuid[..]),
    };
    out.push(code);
    field(bytes, out);
}

/// Nothing for a mark of a kind that only later versions know.
fn read_mark(reader: &mut Reader) -> Option<Option<Identity>> {
    Some(match (reader.byte()?, reader.field()?) {
        (0, id) => Some(Identity::ClientId(id.into())),
        (1, uuid) => Some(Identity::Uuid(uuid.try_into().ok()?)),
        _ => None,
    })
}

fn read(bytes: &[u8]) -> Option<Install> {
    let mut reader = Reader(bytes);
    let machine = reader.name()?;
    let cards = reader.list(Reader::mac)?.into();
    let deployment = reader.name()?;
    let former = reader.list(Reader::name)?.into();
    let used_as = reader.name()?;
    let (epoch, redeploy) = (reader.number()?, reader.number()?);
    let (stage, since) = (stage(reader.byte()?)?, reader.time()?);
    let digest = reader.text()?.into();
    let flags = reader.byte()?;
    let marks = if reader.0.is_empty() {
        Vec::new()
    } else {
        reader.list(read_mark)?.into_iter().flatten().collect()
    };
    Some(Install {
        machine,
        cards,
        marks: marks.into(),
        deployment,
        former,
        used_as,
        epoch,
        redeploy,
        stage,
        since,
        digest,
        again: flags & AGAIN != 0,
        closed: flags & CLOSED != 0,
        plain_urls: flags & PLAIN_URLS != 0,
        conflict: flags & CONFLICT != 0,
    })
}

fn code(stage: InstallStage) -> u8 {
    match stage {
        InstallStage::Doubtful => 0,
        InstallStage::Approved => 1,
        InstallStage::Started => 2,
        InstallStage::Spent => 3,
        InstallStage::Unreported => 4,
        InstallStage::Failed => 5,
        InstallStage::Installed => 6,
    }
}

fn stage(byte: u8) -> Option<InstallStage> {
    InstallStage::ALL.into_iter().find(|stage| code(*stage) == byte)
}
