//! Opening a state directory: what is new, what is old, what was lost.

mod anew;
mod new_entry;

use std::fmt;
use std::io;
use std::path::Path;

use super::damage::Fix;
use super::events::{self, Events};
use super::former::v01::{self, FormerError};
use super::former::{self, FormerFile, records, v02};
use super::last::{self, Last, Said};
use super::log::digest::Keys;
use super::log::disk::{Disk, Files};
use super::log::load::{Image, LoadError, Loaded};
use super::log::read::Mode;
use super::log::{self, Log};
use super::loss::{Accept, Loss};
use super::mark::{self, Mark, MarkError, Phase};
use super::{Damage, Ledger, Saved, Store, StoreError, directory};
use crate::state::record::Record;
use crate::state::{Event, Lease};

pub(super) use new_entry::salvaged;
use new_entry::{NewEntry, carried_over};

/// What a directory of any version leaves behind, besides its key and its records.
const REMAINS: [&str; 7] =
    [former::journal::FILE, events::FILE, v01::JOURNAL, v01::OLD, "history", "inventory.git", "leases.new"];

/// A directory on its way to being open.
struct Opening<'a> {
    directory: &'a Path,
    disk: Files,
    fresh: [u8; 48],
    accept: Accept,
    remarks: Vec<String>,
}

pub(super) fn open(path: &Path, fresh: [u8; 48], accept: Accept) -> Result<(Store, Saved), StoreError> {
    let failed = |cause| StoreError::Directory { path: path.into(), cause };
    let remarks = directory::prepare(path).map_err(failed)?;
    let lock = mark::lock(path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => StoreError::Busy { path: path.into() },
        _ => failed(error),
    })?;
    let mut opening = Opening { directory: path, disk: Files::new(path), fresh, accept, remarks };
    let mark = opening.mark()?;
    let (mut mark, mut log, mut saved) = opening.log(mark)?;
    let (mut last, said) =
        Last::open(path, &mark.record_key).map_err(|error| opening.unusable(last::FILE, &error))?;
    let (events, found) = Events::open(path).map_err(|error| opening.unusable(events::FILE, &error))?;
    saved.judge();
    let is_copy = opening.compare_last(&mut mark, said, log.sequence(), &mut saved)?;
    let cures: Vec<Fix> = saved.damaged.iter().flat_map(Damage::cure).collect();
    // A disk that can't be written shows with the first batch.
    if !cures.is_empty() && log.append_entries(&cures, 0).is_err() {
        opening.remarks.push("what was forgotten of damaged records can't be written".into());
    }
    let (doubtful, conflicts) = saved.settle_conflicts();
    opening.remarks.extend(conflicts);
    if !doubtful.is_empty() && log.append(&doubtful, 0).is_err() {
        opening.remarks.push("that installations became doubtful can't be written".into());
    }
    let tenancies = saved.settle_tenancies();
    if !tenancies.is_empty() && log.append(&tenancies, 0).is_err() {
        opening.remarks.push("the epochs of machines can't be written".into());
    }
    let restored = is_copy.then(|| [vec![Record::Restored(true)], saved.cancel_effects()].concat());
    match restored.map(|records| log.append(&records, 0)) {
        Some(Err(_)) => opening.remarks.push("that it is a copy can't be written".into()),
        _ => last.note(log.sequence()),
    }
    opening.remarks.extend(found.remark);
    // A crash loses events of a second, whose numbers were given away.
    let after = found.events.last().map_or(1, |(number, _)| number + 1);
    saved.next_event = saved.next_event.max(after);
    saved.events = found.events;
    (saved.lineage, saved.token_key) = (mark.lineage, mark.token_key);
    saved.remarks.splice(0..0, opening.remarks);
    let next_event = saved.next_event;
    Ok((Store { log, events, last, next_event, _lock: lock }, saved))
}

impl Opening<'_> {
    /// Whether the directory is a copy, or an earlier state, of the one that was written to: a lineage of its
    /// own then, whose installations are doubtful, as `voldemort state restore` makes it.
    fn compare_last(
        &mut self,
        mark: &mut Mark,
        said: Said,
        sequence: u64,
        saved: &mut Saved,
    ) -> Result<bool, StoreError> {
        let shown = self.directory.display();
        let what = match said {
            Said::Frame(known) if known > sequence => format!(
                "the log in {shown} is an older copy: it knows of {sequence} changes, and {known} were made; what was \
                 installed since is not known"
            ),
            Said::Copied | Said::Backup => format!(
                "the state directory {shown} is a copy of the one that was written to; what was installed since it \
                 was copied is not known"
            ),
            Said::Frame(_) | Said::Nothing => return Ok(false),
        };
        saved.restored = true;
        self.begin_lineage(mark)?;
        self.remarks
            .push(format!("{what}: all installations are doubtful, as after `voldemort state restore`"));
        Ok(true)
    }

    /// Makes the directory one of another lineage: what was given out before opens nothing. Records are proven as before.
    fn begin_lineage(&self, mark: &mut Mark) -> Result<(), StoreError> {
        let (phase, record_key) = (mark.phase, mark.record_key);
        *mark = Mark { record_key, ..Mark::new(phase, &self.fresh) };
        mark.write(self.directory).map_err(|error| self.failed(error))
    }

    fn failed(&self, cause: io::Error) -> StoreError {
        StoreError::Directory { path: self.directory.into(), cause }
    }

    fn unusable(&self, file: &str, why: &dyn fmt::Display) -> StoreError {
        StoreError::Unusable(format!("{} can't be used: {why}", self.directory.join(file).display()))
    }

    fn image(&self) -> Result<Image, StoreError> {
        Image::read(&self.disk).map_err(|error| StoreError::Unusable(error.to_string()))
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
            Phase::Making => {
                self.refuse_remains()?;
                self.make(&mut mark)?;
            }
            Phase::Upgrading => self.upgrade01(&mut mark)?,
            Phase::Ready if mark.is_former => self.upgrade02(&mut mark)?,
            Phase::Tidying => self.tidy(&mut mark)?,
            Phase::Ready => self.compare_former()?,
        }
        Ok(mark)
    }

    fn unmarked(&mut self) -> Result<Mark, StoreError> {
        let at = |name: &str| self.directory.join(name);
        let places = former::places(self.directory);
        let is_ours = |(name, place): &(&str, FormerFile)| match *name {
            records::FILE => *place != FormerFile::Empty,
            _ => *place == FormerFile::Text,
        };
        if places.iter().any(is_ours) || !self.image()?.is_empty() {
            let what = format!(
                "{} is missing, although {} was initialised, so that no record can be proven",
                mark::path(self.directory).display(),
                self.directory.display()
            );
            return self.without_key(what);
        }
        let former = at(v01::FILE);
        let empty = std::fs::metadata(&former).is_ok_and(|metadata| metadata.len() == 0);
        if former.exists() && !empty {
            let mut mark = Mark::new(Phase::Upgrading, &self.fresh);
            self.upgrade01(&mut mark)?;
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
            return self.start_over_with_leases(1);
        }
        mark.write(self.directory).map_err(|error| self.failed(error))?;
        self.make(&mut mark)?;
        Ok(mark)
    }

    /// Makes everything but the key. What a daemon left that died while it did is gone.
    fn make(&mut self, mark: &mut Mark) -> Result<(), StoreError> {
        self.fill(mark, 1, &[], &[])?;
        mark.enter(Phase::Ready, self.directory).map_err(|error| self.failed(error))
    }

    /// Puts records and events into new files, and texts into the places of former ones.
    fn fill(
        &self,
        mark: &Mark,
        next_event: u64,
        entries: &[NewEntry],
        events: &[(u64, Event)],
    ) -> Result<(), StoreError> {
        self.write_log(mark, 1, 0, next_event, entries)?;
        Events::create(self.directory, events).map_err(|error| self.unusable(events::FILE, &error))?;
        former::refuse(self.directory).map_err(|error| self.failed(error))
    }

    fn write_log(
        &self,
        mark: &Mark,
        number: u64,
        sequence: u64,
        next_event: u64,
        entries: &[NewEntry],
    ) -> Result<(), StoreError> {
        let keys = Keys::new(&mark.record_key);
        Log::create(&self.disk, &keys, number, sequence, next_event, entries.iter())
            .map_err(|error| self.unusable(log::SNAPSHOT, &error))
    }

    /// The leases of earlier versions that can be read, whatever else was lost.
    fn salvaged_leases(&self) -> Result<Vec<Lease>, StoreError> {
        let later = v02::salvaged_leases(self.directory);
        let later = later.map_err(|error| self.unusable(former::journal::FILE, &error))?;
        Ok(if later.is_empty() { v01::salvaged_leases(self.directory) } else { later })
    }

    /// The key is gone: if a person accepts that, the records are used as they are, under a new key.
    fn without_key(&mut self, what: String) -> Result<Mark, StoreError> {
        let remark = self.accept.or_refuse(Loss::Key, what)?;
        self.remarks.push(remark);
        if former::place_of(self.directory, records::FILE) == FormerFile::Other {
            let read = v02::unproven(self.directory);
            let saved = read.map_err(|error| self.unusable(records::FILE, &error))?;
            let leases = self.salvaged_leases()?;
            let next_event = saved.next_event;
            let entries = carried_over(Saved { leases, restored: true, ..saved });
            return self.start_over(&entries, next_event);
        }
        let image = self.image()?;
        let (laid, _, next_event) = image.salvage(None);
        // No more than a segment was begun, where a start ended that should have written what is left.
        if laid.entries.is_empty() {
            return self.start_over_with_leases(next_event.max(1));
        }
        let entries = salvaged(&laid);
        self.start_over(&entries, next_event)
    }

    /// Takes over what version 0.1 wrote. Until the last step its files count, and a crash repeats this.
    fn upgrade01(&mut self, mark: &mut Mark) -> Result<(), StoreError> {
        let at = |name: &str| self.directory.join(name);
        let (former, old) = (at(v01::FILE), at(v01::OLD));
        let source = if old.exists() { &old } else { &former };
        let saved = match v01::read(self.directory, source) {
            Ok(saved) => saved,
            Err(FormerError::Busy) => return Err(StoreError::Busy { path: self.directory.into() }),
            Err(FormerError::File(what)) => return Err(StoreError::Unusable(what)),
            Err(FormerError::Lost(what)) => {
                let remark = self.accept.or_refuse(Loss::Leases, what)?;
                self.remarks.push(remark);
                v01::read_without_leases(source)
                    .map_err(|error| self.unusable(v01::FILE, &format!("{error:?}")))?
            }
            Err(FormerError::Unusable(what)) => {
                let remark = self.accept.or_refuse(Loss::Records, what)?;
                self.remarks.push(remark);
                *mark = self.start_over_with_leases(1)?;
                return Ok(());
            }
        };
        (mark.lineage, mark.token_key) = (saved.lineage.clone(), saved.token_key);
        let failed = |error| StoreError::Directory { path: self.directory.into(), cause: error };
        mark.enter(Phase::Upgrading, self.directory).map_err(failed)?;
        if !old.exists() {
            std::fs::hard_link(&former, &old).or_else(|_| std::fs::rename(&former, &old)).map_err(failed)?;
            directory::sync(&old).map_err(failed)?;
        }
        let next = saved.events.last().map_or(1, |(number, _)| number + 1);
        let events = saved.events.clone();
        self.fill(mark, next, &carried_over(saved), &events)?;
        mark.enter(Phase::Ready, self.directory).map_err(failed)?;
        self.forget_former().map_err(failed)?;
        self.remarks
            .push(format!("the state directory {} of version 0.1 was upgraded", self.directory.display()));
        Ok(())
    }

    /// Takes over records and leases that lay in files of their own. Until the key says so, those count.
    fn upgrade02(&mut self, mark: &mut Mark) -> Result<(), StoreError> {
        let (mut saved, head) = match v02::records(self.directory, &mark.record_key) {
            Ok(read) => read,
            Err(v02::Lost::Unusable(error)) => return Err(error),
            Err(v02::Lost::Records(what) | v02::Lost::Leases(what)) => {
                let remark = self.accept.or_refuse(Loss::Records, what)?;
                self.remarks.push(remark);
                *mark = self.start_over_with_leases(1)?;
                return Ok(());
            }
        };
        saved.leases = match v02::leases(self.directory, &mark.record_key, &head, &mut saved) {
            Ok(leases) => leases,
            Err(v02::Lost::Unusable(error)) => return Err(error),
            Err(v02::Lost::Records(what) | v02::Lost::Leases(what)) => {
                let remark = self.accept.or_refuse(Loss::Leases, what)?;
                self.remarks.push(remark);
                self.salvaged_leases()?
            }
        };
        self.remarks.append(&mut saved.remarks);
        let next_event = saved.next_event;
        self.write_log(mark, 1, 0, next_event, &carried_over(saved))?;
        mark.enter(Phase::Tidying, self.directory).map_err(|error| self.failed(error))?;
        self.remarks.push(format!(
            "the state directory {} of an earlier version was upgraded",
            self.directory.display()
        ));
        self.tidy(mark)
    }

    /// The log counts: what an earlier version wrote is replaced by texts that it refuses.
    fn tidy(&mut self, mark: &mut Mark) -> Result<(), StoreError> {
        former::refuse(self.directory).map_err(|error| self.failed(error))?;
        mark.enter(Phase::Ready, self.directory).map_err(|error| self.failed(error))
    }

    /// What earlier versions left in a directory of today, and whether one ran again since.
    fn compare_former(&mut self) -> Result<(), StoreError> {
        for (name, place) in former::places(self.directory) {
            let file = self.directory.join(name);
            match place {
                FormerFile::Text => {}
                FormerFile::Empty => self.remarks.push(format!(
                    "{} was missing, which keeps earlier versions from taking this directory for theirs; it is \
                     there again",
                    file.display()
                )),
                FormerFile::Other => {
                    return Err(StoreError::Unusable(format!(
                        "{} is not the text that voldemort put there: state of another version or directory was \
                         mixed into {}. Move that file away if {} is right, or restore a backup (`voldemort state \
                         restore`)",
                        file.display(),
                        self.directory.display(),
                        self.directory.join(log::SNAPSHOT).display()
                    )));
                }
            }
        }
        let mended = former::refuse(self.directory).and_then(|()| self.forget_former());
        mended.map_err(|error| self.failed(error))
    }

    fn forget_former(&self) -> io::Result<()> {
        for name in [v01::OLD, v01::JOURNAL, "leases.new"] {
            directory::remove(&self.directory.join(name))?;
        }
        Ok(())
    }

    /// Opens the log; one of which something was lost is refused, or written anew with what is left.
    fn log(&mut self, mut mark: Mark) -> Result<(Mark, Log<Files>, Saved), StoreError> {
        let keys = Keys::new(&mark.record_key);
        let noted = events::noted(self.directory);
        let read = |loaded: &Loaded| {
            loaded.reaches(noted)?;
            Ok((Saved::of(&loaded.laid), remarks(loaded)))
        };
        let what = match Log::open(&self.disk, &keys, read) {
            Ok((log, (mut saved, remarks))) => {
                saved.next_event = log.next_event();
                self.remarks.extend(remarks);
                return Ok((mark, log, saved));
            }
            Err(error @ LoadError::File { .. }) => return Err(StoreError::Unusable(error.to_string())),
            Err(error) => error.to_string(),
        };
        let image = self.image()?;
        let (laid, sequence, next_event) = image.salvage(Some(&keys));
        let passed = image.load(&keys, None, Mode::WithoutLeases, &|name| self.disk.show(name));
        match passed.and_then(|loaded| loaded.reaches(noted).map(|()| loaded)) {
            Ok(loaded) => {
                let what = format!("{what}: leases of IPv4 addresses were lost");
                let remark = self.accept.or_refuse(Loss::Leases, what)?;
                self.remarks.push(remark);
                let entries: Vec<NewEntry> = loaded.laid.raws().map(NewEntry::Raw).collect();
                self.keep_log_aside()?;
                self.write_log(&mark, image.free_number(&keys), sequence, loaded.next_event, &entries)?;
            }
            Err(_) => {
                let what = format!("{what}: what was installed, assigned and protected is not known");
                let remark = self.accept.or_refuse(Loss::Records, what)?;
                self.remarks.push(remark);
                let number = image.free_number(&keys);
                self.renew(&mut mark, number, sequence, next_event, &salvaged(&laid))?;
            }
        }
        let opened = Log::open(&self.disk, &keys, |loaded| Ok(Saved::of(&loaded.laid)));
        let (log, mut saved) = opened.map_err(|error| StoreError::Unusable(error.to_string()))?;
        saved.next_event = log.next_event();
        Ok((mark, log, saved))
    }
}

/// What a person should know of how the log was read.
fn remarks(loaded: &Loaded) -> Vec<String> {
    let torn = (loaded.end.torn > 0).then(|| {
        format!(
            "{}: a crash cut the last write short ({} bytes); it was never acknowledged",
            log::segment(loaded.number),
            loaded.end.torn
        )
    });
    let mended = loaded.mended.iter().map(|(file, count)| {
        format!(
            "{file}: {count} damaged places that hold records together were put right; no record was lost"
        )
    });
    torn.into_iter().chain(mended).collect()
}
