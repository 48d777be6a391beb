//! State directories of aa93fd4: `records.redb`, `leases4.journal` beside it, and the key of today.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use bytes::Bytes;

use super::super::StoreError;
use super::super::damage::Damage;
use super::super::saved::Saved;
use super::record::{self, InstallRecord, Lease6Record, RevisionRecord, ServedRecord, Unusable};
use super::records::{self, Contents, RecordsError};
use super::seal::{Key, Unfit};
use super::{journal, seal};
use crate::model::Name;
use crate::state::record::RecordKind;
use crate::state::{Lease, Revision};

/// Why the records can't be used.
#[derive(Debug)]
pub(crate) enum Lost {
    /// The system does not let a file be read.
    Unusable(StoreError),
    Records(String),
    Leases(String),
}

/// The records but for leases of IPv4 addresses. With these come the number of batches and the least position of
/// the journal, for [`leases`].
pub(crate) fn records(directory: &Path, record_key: &[u8; 32]) -> Result<(Saved, records::Head), Lost> {
    let path = directory.join(records::FILE);
    let lost = match std::fs::metadata(&path) {
        Ok(metadata) if metadata.len() == 0 => "is empty".to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => "is missing".to_owned(),
        Err(error) => return Err(unusable(&path, &error)),
        Ok(_) => match records::open(directory, &Key::new(*record_key)) {
            Ok(contents) => {
                let head = contents.head.clone();
                return Ok((saved_of(contents), head));
            }
            Err(RecordsError::File(error)) => return Err(unusable(&path, &error)),
            Err(RecordsError::Foreign) => "belongs to another state directory than its key".into(),
            Err(RecordsError::Damaged(why)) => format!("is damaged ({why})"),
        },
    };
    Err(Lost::Records(format!(
        "{} {lost}: what was installed, assigned and protected is not known",
        path.display()
    )))
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> Lost {
    Lost::Unusable(StoreError::Unusable(format!("{} can't be used: {error}", path.display())))
}

/// Whatever can be read of the records, proven by no key.
pub(crate) fn unproven(directory: &Path) -> Result<Saved, RecordsError> {
    records::open_unsealed(directory).map(saved_of)
}

/// The leases of IPv4 addresses. What the journal says of the records is added to `saved`.
pub(crate) fn leases(
    directory: &Path,
    record_key: &[u8; 32],
    head: &records::Head,
    saved: &mut Saved,
) -> Result<Vec<Lease>, Lost> {
    let path = directory.join(journal::FILE);
    let lost = |why: &dyn std::fmt::Display| {
        Lost::Leases(format!("{}: {why}, so that leases of IPv4 addresses were lost", path.display()))
    };
    let bytes = match std::fs::read(&path) {
        Ok(bytes) if bytes.is_empty() => return Err(lost(&"it is empty")),
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(lost(&"it is missing")),
        Err(error) => return Err(unusable(&path, &error)),
    };
    let mut leases = BTreeMap::new();
    let salt = seal::Key::new(*record_key).salt();
    let summary =
        journal::replay(&bytes, &salt, &mut leases).and_then(|summary| summary.reaches(head.journal));
    let summary = summary.map_err(|damage| lost(&damage))?;
    if summary.torn > 0 {
        saved.remarks.push(format!(
            "{}: a crash cut the last write short ({} bytes); it was never acknowledged",
            path.display(),
            summary.torn
        ));
    }
    if summary.batch > head.batch {
        saved.restored = true;
        saved.remarks.push(format!(
            "{} is an older copy than the journal of leases beside it: all installations are doubtful",
            directory.join(records::FILE).display()
        ));
    }
    Ok(leases.into_values().collect())
}

/// The leases that can be read of a journal that is damaged or whose key was lost; none if it is gone.
pub(crate) fn salvaged_leases(directory: &Path) -> io::Result<Vec<Lease>> {
    let bytes = match std::fs::read(directory.join(journal::FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read?,
    };
    let mut leases: BTreeMap<Ipv4Addr, Lease> = BTreeMap::new();
    journal::salvage(&bytes, &mut leases);
    Ok(leases.into_values().collect())
}

fn saved_of(contents: Contents) -> Saved {
    let Contents { head, records, unfit, incomplete } = contents;
    let (serial, restored, next_event) = (head.serial, head.restored, head.events);
    let mut saved = Saved { serial, restored, next_event, ..Saved::default() };
    let mut kept = None;
    let mut files = BTreeMap::new();
    let good: BTreeSet<(String, String)> =
        records.iter().map(|(kind, name, _)| (kind.clone(), name.clone())).collect();
    for (kind, name, value) in records {
        let Some(kind) = kind_of(&kind) else {
            saved.remarks.push(format!("this version knows no records of the kind {kind}"));
            continue;
        };
        let taken = match kind {
            RecordKind::Revision => record::read::<RevisionRecord>(&value).map(|one| kept = one.into_saved()),
            RecordKind::File => {
                files.insert(name.as_str().into(), Bytes::from(value));
                Ok(())
            }
            other => take(&mut saved, other, &name, &value),
        };
        if let Err(why) = taken {
            saved.damaged.push(Damage { kind, names: vec![name], why: format!("can't be read: {why}") });
        }
    }
    for (kind, Unfit { mut names }) in unfit {
        // Where the damage is in the name, the other name may be a record of its own.
        names.retain(|name| !good.contains(&(kind.clone(), name.clone())));
        if let Some(kind) = kind_of(&kind) {
            saved.damaged.push(Damage { kind, names, why: "does not fit its digest".into() });
        } else {
            saved.restored = true;
        }
    }
    if incomplete {
        saved.restored = true;
        saved.remarks.push(
            "records of the state directory are missing, or are earlier ones; which of them is unknown, so \
             that all installations are doubtful"
                .into(),
        );
    }
    saved.kept = kept.map(|kept| Revision::of(&kept, &files));
    saved
}

fn kind_of(text: &str) -> Option<RecordKind> {
    RecordKind::ALL.iter().copied().find(|kind| kind.name() == text)
}

fn take(saved: &mut Saved, kind: RecordKind, name: &str, value: &[u8]) -> Result<(), Unusable> {
    let named = |text: &str| text.parse::<Name>().map_err(|error| format!("{text}: {error}"));
    let text = || std::str::from_utf8(value).map_err(|error| error.to_string());
    match kind {
        RecordKind::Lease6 => {
            let address: std::net::Ipv6Addr = name.parse().map_err(|error| format!("{name}: {error}"))?;
            saved.leases6.push(record::read::<Lease6Record>(value)?.into_lease(address.into())?);
        }
        RecordKind::Installs => {
            for one in record::read::<Vec<InstallRecord>>(value)? {
                saved.installs.push(one.into_install(None)?);
            }
        }
        RecordKind::Assignment => saved.assignments.push((named(name)?, named(text()?)?)),
        RecordKind::Served => {
            saved.served.push((named(name)?, record::read::<ServedRecord>(value)?.into_served()?));
        }
        RecordKind::Protection => saved.protected.push(named(name)?),
        RecordKind::Note => drop(saved.notes.insert(name.to_owned(), value.to_vec())),
        RecordKind::Card => {
            let mac = name.parse().map_err(|error| format!("{name}: {error}"))?;
            saved.cards.push((mac, named(text()?)?));
        }
        RecordKind::UsedPlan => {
            let serial = text()?.parse().map_err(|error| format!("{error}"))?;
            saved.used.push((name.to_owned(), serial));
        }
        other => return Err(format!("that version had no records of the kind {}", other.name())),
    }
    Ok(())
}
