//! Opening a state directory: what is new, what is old, what was lost.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use super::events::Events;
use super::former::{self, FormerError};
use super::journal::{self, Journal, JournalError};
use super::last::{self, Extent, Last, Said};
use super::mark::{self, Mark, MarkError, Phase};
use super::record;
use super::records::{self, Change, Head, Records, RecordsError};
use super::{Batch, Damage, Lists, Saved, Store, StoreError, directory};
use crate::model::Name;
use crate::state::Install;

/// What a directory of any version leaves behind, besides its key and its records.
const REMAINS: [&str; 7] = [
    journal::FILE,
    super::events::FILE,
    former::JOURNAL,
    former::OLD,
    "history",
    "inventory.git",
    "leases.new",
];

/// A part of a state directory whose loss a person can agree to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Leases of IPv4 addresses.
    Leases,
    /// Installations, assignments, protections and everything else but leases of IPv4 addresses.
    Records,
    /// The key: what the records say is taken over without proof.
    Key,
}

impl Loss {
    pub const ALL: [Loss; 3] = [Loss::Leases, Loss::Records, Loss::Key];

    /// What follows from agreeing, as the end of a sentence.
    pub(super) fn then(self) -> &'static str {
        match self {
            Loss::Leases => " (leases that can still be read are kept; addresses may be given to others)",
            Loss::Records => {
                " (installations are doubtful then: machines boot their disks until somebody settles them)"
            }
            Loss::Key => {
                " (records are taken over unproven; installations are doubtful then: machines boot their disks \
                 until somebody settles them)"
            }
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Loss::Leases => "leases",
            Loss::Records => "records",
            Loss::Key => "key",
        })
    }
}

impl std::str::FromStr for Loss {
    type Err = String;

    fn from_str(text: &str) -> Result<Loss, String> {
        let found = Loss::ALL.into_iter().find(|loss| loss.to_string() == text);
        found.ok_or_else(|| format!("{text} is not one of leases, records, key"))
    }
}

/// Losses that somebody agreed to.
#[derive(Clone, Debug, Default)]
pub struct Accept(pub Vec<Loss>);

impl Accept {
    /// The loss is agreed to, or an error that tells how to agree.
    fn or_refuse(&self, loss: Loss, what: String) -> Result<String, StoreError> {
        match self.0.contains(&loss) {
            true => Ok(format!("{what}; --accept-loss {loss} agreed to it")),
            false => Err(StoreError::Lost { what, loss }),
        }
    }
}

/// A directory on its way to being open.
struct Opening<'a> {
    directory: &'a Path,
    fresh: [u8; 48],
    accept: Accept,
    remarks: Vec<String>,
}

pub fn open(path: &Path, fresh: [u8; 48], accept: Accept) -> Result<(Store, Saved), StoreError> {
    let failed = |cause| StoreError::Directory { path: path.into(), cause };
    let remarks = directory::prepare(path).map_err(failed)?;
    let lock = mark::lock(path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => StoreError::Busy { path: path.into() },
        _ => failed(error),
    })?;
    let mut opening = Opening { directory: path, fresh, accept, remarks };
    let mark = opening.mark()?;
    let (mut mark, mut records, mut saved) = opening.records(mark)?;
    let (mut last, said) =
        Last::open(path, mark.record_key.clone()).map_err(|error| opening.unusable(last::FILE, &error))?;
    if let Said::Extent(extent) = said {
        saved.journal = saved.journal.max(extent.journal);
    }
    let (journal, leases, seen) = opening.journal(&mark, &mut saved)?;
    opening.compare_last(&mut mark, said, seen, &mut saved)?;
    let cures: Vec<Change> = saved.damaged.iter().flat_map(Damage::cure).collect();
    if saved.restored {
        records.restore(saved.batch);
    }
    // A disk that can't be written shows with the first batch.
    if (!cures.is_empty() || saved.restored) && records.write(&cures, |_| {}).is_err() {
        opening.remarks.push("what was found out about the state directory can't be written".into());
    } else {
        last.note(Extent { batch: records.batch(), journal: journal.position() });
    }
    let (events, found, remark) =
        Events::open(path).map_err(|error| opening.unusable(super::events::FILE, &error))?;
    opening.remarks.extend(remark);
    // A crash loses events of a second, whose numbers were given away.
    let after = found.last().map_or(1, |(number, _)| number + 1);
    saved.next_event = saved.next_event.max(after);
    saved.events = found;
    saved.leases = leases;
    (saved.lineage, saved.token_key) = (mark.lineage, mark.token_key);
    saved.remarks.splice(0..0, opening.remarks);
    let kept = saved.kept.clone();
    let directory = path.to_path_buf();
    Ok((Store { directory, records, journal, events, last, kept, wanted: 0, _lock: lock }, saved))
}

impl Opening<'_> {
    fn failed(&self, cause: io::Error) -> StoreError {
        StoreError::Directory { path: self.directory.into(), cause }
    }

    fn unusable(&self, file: &str, why: &dyn fmt::Display) -> StoreError {
        StoreError::Unusable(format!("{} can't be used: {why}", self.directory.join(file).display()))
    }

    /// The directory's key; where there is none, the directory is made, upgraded, or refused.
    fn mark(&mut self) -> Result<Mark, StoreError> {
        let key = mark::path(self.directory);
        let mut mark = match Mark::read(self.directory) {
            Ok(Some(mark)) => mark,
            Ok(None) => return self.unmarked(),
            Err(MarkError::File(error)) => return Err(self.unusable(mark::FILE, &error)),
            Err(MarkError::Later(first)) => {
                return Err(self.unusable(
                    mark::FILE,
                    &format!("a later version wrote it (\"{}\")", first.escape_debug()),
                ));
            }
            Err(MarkError::Damaged) => {
                let what = format!("{} is damaged, so that no record can be proven", key.display());
                return self.without_key(what);
            }
        };
        match mark.phase {
            Phase::Making => self.make(&mut mark)?,
            Phase::Upgrading => self.upgrade(&mut mark)?,
            Phase::Ready => self.compare_former()?,
        }
        Ok(mark)
    }

    fn unmarked(&mut self) -> Result<Mark, StoreError> {
        let at = |name: &str| self.directory.join(name);
        if at(records::FILE).exists() || former::is_refusal(self.directory) {
            let what = format!(
                "{} is missing, although {} was initialised, so that no record can be proven",
                mark::path(self.directory).display(),
                self.directory.display()
            );
            return self.without_key(what);
        }
        let former = at(former::FILE);
        let empty = std::fs::metadata(&former).is_ok_and(|metadata| metadata.len() == 0);
        if former.exists() && !empty {
            let mut mark = Mark::new(Phase::Upgrading, &self.fresh);
            self.upgrade(&mut mark)?;
            return Ok(mark);
        }
        let mut mark = Mark::new(Phase::Making, &self.fresh);
        let remains = REMAINS.into_iter().find(|name| at(name).exists());
        if empty || remains.is_some() {
            let state = if empty { "empty" } else { "missing" };
            let beside = remains.map(|name| format!(", although {} is there", at(name).display()));
            let what = format!("{} is {state}{}", former.display(), beside.unwrap_or_default());
            let remark = self.accept.or_refuse(Loss::Records, what)?;
            self.remarks.push(remark);
            return self.start_over(mark);
        }
        mark.write(self.directory).map_err(|error| self.failed(error))?;
        self.make(&mut mark)?;
        Ok(mark)
    }

    /// Makes everything but the key. What a daemon left that died while it did is gone.
    fn make(&mut self, mark: &mut Mark) -> Result<(), StoreError> {
        self.fill(mark, Head::default(), &Batch::default())?;
        mark.enter(Phase::Ready, self.directory).map_err(|error| self.failed(error))
    }

    /// Puts a batch into new files.
    fn fill(&self, mark: &Mark, head: Head, batch: &Batch) -> Result<(), StoreError> {
        directory::remove(&self.directory.join(last::FILE)).map_err(|error| self.failed(error))?;
        let changes = batch.changes(None);
        Records::create(self.directory, mark.record_key.clone(), head, &changes)
            .map_err(|error| self.unusable(records::FILE, &error))?;
        Journal::create(self.directory, mark.record_key.salt(), 1, 1, &batch.leases)
            .map_err(|error| self.unusable(journal::FILE, &error))?;
        Events::create(self.directory, &batch.events)
            .map_err(|error| self.unusable(super::events::FILE, &error))?;
        former::refuse(self.directory).map_err(|error| self.failed(error))
    }

    /// A directory whose records are gone, which somebody agreed to: another lineage, in doubt.
    fn start_over(&mut self, mut mark: Mark) -> Result<Mark, StoreError> {
        let salvaged = self.salvaged()?;
        for name in [former::FILE, former::OLD, former::JOURNAL, records::FILE, super::events::FILE] {
            if name != former::FILE || !former::is_refusal(self.directory) {
                directory::aside(&self.directory.join(name)).map_err(|error| self.failed(error))?;
            }
        }
        mark.enter(Phase::Making, self.directory).map_err(|error| self.failed(error))?;
        let head = Head { restored: true, ..Head::default() };
        self.fill(&mark, head, &Batch { leases: salvaged, ..Batch::default() })?;
        mark.enter(Phase::Ready, self.directory).map_err(|error| self.failed(error))?;
        Ok(mark)
    }

    /// The leases that can be read, whatever else was lost.
    fn salvaged(&self) -> Result<Vec<crate::state::Lease>, StoreError> {
        let today = Journal::salvage(self.directory).map_err(|error| self.unusable(journal::FILE, &error))?;
        match std::fs::read(self.directory.join(former::JOURNAL)) {
            Ok(bytes) if today.is_empty() => {
                let mut leases = std::collections::BTreeMap::new();
                let _ = journal::former::replay(&bytes, &mut leases);
                Ok(leases.into_values().collect())
            }
            _ => Ok(today),
        }
    }

    /// The key is gone: with somebody's word the records are believed as they are, under a new one.
    fn without_key(&mut self, what: String) -> Result<Mark, StoreError> {
        let remark = self.accept.or_refuse(Loss::Key, what)?;
        self.remarks.push(remark);
        let mark = Mark::new(Phase::Making, &self.fresh);
        if !self.directory.join(records::FILE).exists() {
            return self.start_over(mark);
        }
        let unusable = |error: RecordsError| match error {
            RecordsError::Busy => StoreError::Busy { path: self.directory.into() },
            RecordsError::File(error) => self.unusable(records::FILE, &error),
            RecordsError::Foreign => self.unusable(records::FILE, &"nothing in it can be read"),
            RecordsError::Damaged(why) => self.unusable(records::FILE, &why),
        };
        let known = records::read_unsealed(self.directory).map_err(unusable)?;
        let head = known.iter().find(|(kind, ..)| kind == records::HEAD);
        let head: Head = head.and_then(|(.., value)| record::read(value).ok()).unwrap_or_default();
        let others = known.into_iter().filter(|(kind, ..)| kind != records::HEAD);
        let changes: Vec<Change> = others.map(|(kind, name, value)| Change::put(kind, name, value)).collect();
        let leases = self.salvaged()?;
        directory::aside(&self.directory.join(records::FILE)).map_err(|error| self.failed(error))?;
        let head = Head { restored: true, journal: (0, 0), ..head };
        Records::create(self.directory, mark.record_key.clone(), head, &changes)
            .map_err(|error| self.unusable(records::FILE, &error))?;
        Journal::create(self.directory, mark.record_key.salt(), 1, 1, &leases)
            .map_err(|error| self.unusable(journal::FILE, &error))?;
        let mut mark = mark;
        mark.enter(Phase::Ready, self.directory).map_err(|error| self.failed(error))?;
        Ok(mark)
    }

    /// Takes over what version 0.1 wrote. Until the last step its files count, and a crash repeats this.
    fn upgrade(&mut self, mark: &mut Mark) -> Result<(), StoreError> {
        let at = |name: &str| self.directory.join(name);
        let (former, old) = (at(former::FILE), at(former::OLD));
        let source = if old.exists() { &old } else { &former };
        let read = former::read(self.directory, source).map_err(|error| match error {
            FormerError::Busy => StoreError::Busy { path: self.directory.into() },
            FormerError::Lost(what) => StoreError::Lost { what, loss: Loss::Leases },
            FormerError::File(what) => StoreError::Unusable(what),
            FormerError::Unusable(what) => StoreError::Lost { what, loss: Loss::Records },
        });
        let saved = match read {
            Ok(saved) => saved,
            Err(StoreError::Lost { what, loss }) => {
                let remark = self.accept.or_refuse(loss, what)?;
                self.remarks.push(remark);
                match loss {
                    Loss::Leases => former::read_without_leases(source)
                        .map_err(|error| self.unusable(former::FILE, &format!("{error:?}")))?,
                    _ => return self.start_over(mark.clone()).map(|started| *mark = started),
                }
            }
            Err(other) => return Err(other),
        };
        (mark.lineage, mark.token_key) = (saved.lineage.clone(), saved.token_key);
        let failed = |error| StoreError::Directory { path: self.directory.into(), cause: error };
        mark.enter(Phase::Upgrading, self.directory).map_err(failed)?;
        if !old.exists() {
            std::fs::hard_link(&former, &old).or_else(|_| std::fs::rename(&former, &old)).map_err(failed)?;
            directory::sync(&old).map_err(failed)?;
        }
        let next = saved.events.last().map_or(1, |(number, _)| number + 1);
        let head = Head { serial: saved.serial, events: next, ..Head::default() };
        self.fill(mark, head, &batch_of(saved))?;
        mark.enter(Phase::Ready, self.directory).map_err(failed)?;
        self.forget_former().map_err(failed)?;
        self.remarks
            .push(format!("the state directory {} of version 0.1 was upgraded", self.directory.display()));
        Ok(())
    }

    /// What version 0.1 left in a directory of today, and whether it ran again since.
    fn compare_former(&mut self) -> Result<(), StoreError> {
        if former::is_refusal(self.directory) {
            return self.forget_former().map_err(|error| self.failed(error));
        }
        let file = self.directory.join(former::FILE);
        match std::fs::metadata(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                former::refuse(self.directory).map_err(|error| self.failed(error))?;
                self.remarks.push(format!(
                    "{} was missing, which keeps version 0.1 from taking this directory for a new one; it is there again",
                    file.display()
                ));
                Ok(())
            }
            Err(error) => Err(self.unusable(former::FILE, &error)),
            Ok(_) => Err(StoreError::Unusable(format!(
                "{} is not the text that voldemort put there: state of another version or directory was mixed into \
                 {}. Move that file away if {} is right, or put a backup back (`voldemort state restore`)",
                file.display(),
                self.directory.display(),
                self.directory.join(records::FILE).display()
            ))),
        }
    }

    fn forget_former(&self) -> io::Result<()> {
        for name in [former::OLD, former::JOURNAL, "leases.new"] {
            directory::remove(&self.directory.join(name))?;
        }
        Ok(())
    }

    fn records(&mut self, mark: Mark) -> Result<(Mark, Records, Saved), StoreError> {
        let path = self.directory.join(records::FILE);
        let lost = match std::fs::metadata(&path) {
            Ok(metadata) if metadata.len() == 0 => "is empty".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => "is missing".to_owned(),
            Err(error) => return Err(self.unusable(records::FILE, &error)),
            Ok(_) => match Records::open(self.directory, mark.record_key.clone()) {
                Ok((records, contents)) => return Ok((mark, records, Saved::of(contents))),
                Err(RecordsError::Busy) => return Err(StoreError::Busy { path: self.directory.into() }),
                Err(RecordsError::File(error)) => return Err(self.unusable(records::FILE, &error)),
                Err(RecordsError::Foreign) => {
                    format!(
                        "belongs to another state directory than {}",
                        mark::path(self.directory).display()
                    )
                }
                Err(RecordsError::Damaged(why)) => format!("is damaged ({why})"),
            },
        };
        let what =
            format!("{} {lost}: what was installed, assigned and protected is not known", path.display());
        let remark = self.accept.or_refuse(Loss::Records, what)?;
        self.remarks.push(remark);
        let mark = self.start_over(Mark::new(Phase::Making, &self.fresh))?;
        let opened = Records::open(self.directory, mark.record_key.clone());
        let (records, contents) =
            opened.map_err(|error| self.unusable(records::FILE, &format!("{error:?}")))?;
        Ok((mark, records, Saved::of(contents)))
    }

    fn journal(
        &mut self,
        mark: &Mark,
        saved: &mut Saved,
    ) -> Result<(Journal, Vec<crate::state::Lease>, u64), StoreError> {
        let salt = mark.record_key.salt();
        match Journal::open(self.directory, salt, saved.journal) {
            Ok((journal, leases, told)) => {
                if told.torn > 0 {
                    self.remarks.push(format!(
                        "{}: a crash cut the last write short ({} bytes); it was never acknowledged",
                        self.directory.join(journal::FILE).display(),
                        told.torn
                    ));
                }
                Ok((journal, leases, told.batch))
            }
            Err(JournalError::File { path, cause }) => {
                Err(StoreError::Unusable(format!("{} can't be used: {cause}", path.display())))
            }
            Err(lost) => {
                let remark = self.accept.or_refuse(Loss::Leases, lost.to_string())?;
                self.remarks.push(remark);
                let leases = self.salvaged()?;
                directory::aside(&self.directory.join(journal::FILE)).map_err(|error| self.failed(error))?;
                let journal =
                    Journal::create(self.directory, salt, saved.journal.0 + 1, saved.batch, &leases)
                        .map_err(|error| self.unusable(journal::FILE, &error))?;
                Ok((journal, leases, 0))
            }
        }
    }

    /// Whether the records are those that were written last, and the directory the one that they were
    /// written to. `seen` is how many batches the journal of leases knows of. A copy is what
    /// `voldemort state restore` makes: a lineage of its own, whose installations are doubtful.
    fn compare_last(
        &mut self,
        mark: &mut Mark,
        said: Said,
        seen: u64,
        saved: &mut Saved,
    ) -> Result<(), StoreError> {
        let known = match said {
            Said::Extent(extent) => extent.batch.max(seen),
            Said::Nothing | Said::Copied | Said::Backup => seen,
        };
        let what = match (known > saved.batch, said) {
            (true, _) => format!(
                "{} is an older copy: it knows of {} changes, and {known} were made; what was installed since is \
                 not known",
                self.directory.join(records::FILE).display(),
                saved.batch
            ),
            (false, Said::Copied | Said::Backup) => format!(
                "the state directory {} is a copy of the one that was written to; what was installed since it was \
                 copied is not known",
                self.directory.display()
            ),
            (false, _) => return Ok(()),
        };
        saved.batch = saved.batch.max(known);
        saved.restored = true;
        let (phase, record_key) = (mark.phase, mark.record_key.clone());
        *mark = Mark { record_key, ..Mark::new(phase, &self.fresh) };
        mark.write(self.directory).map_err(|error| self.failed(error))?;
        self.remarks
            .push(format!("{what}: all installations are doubtful, as after `voldemort state restore`"));
        Ok(())
    }
}

/// Everything of a directory, to be written anew.
fn batch_of(saved: Saved) -> Batch {
    let mut by_machine: BTreeMap<Name, Vec<Install>> = BTreeMap::new();
    for install in saved.installs {
        by_machine.entry(install.machine.clone()).or_default().push(install);
    }
    Batch {
        leases: saved.leases,
        leases6: saved.leases6,
        installs: by_machine.into_iter().map(|(machine, list)| (machine, list.into())).collect(),
        lists: Some(Lists {
            assignments: saved.assignments.into_iter().map(|(name, machine)| (name, Some(machine))).collect(),
            protected: saved.protected.into_iter().map(|name| (name, true)).collect(),
            served: saved.served.into_iter().map(|(name, one)| (name, Some(one.into()))).collect(),
        }),
        kept: saved.kept.map(Into::into),
        events: saved.events,
        notes: saved.notes.into_iter().map(|(name, note)| (name.into(), note)).collect(),
        ..Batch::default()
    }
}
