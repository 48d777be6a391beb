//! A disk that fails, in memory: full, with errors from some step on, with sectors that arrive in any order or not at
//! all before a power cut, with a cache that lies, slow. What it does follows from its seed alone. The log over it
//! is the third ledger of the tests and of the simulation.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::log::disk::{Disk, SHORTEST};

mod ledger;

pub use ledger::{FaultyLog, Found};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// How many more bytes fit; `None` for any number.
    pub room: Option<u64>,
    /// How many more writes, cuts, syncs and changes of names succeed; the one after is done in part and fails,
    /// as do all after it.
    pub steps: Option<u64>,
    /// Whether `sync` answers without having done anything: a write is lost by a power cut.
    pub lies: bool,
    /// How long a sync takes at most, in milliseconds.
    pub slow: u64,
}

/// A disk of this kind; its clones are the same disk.
#[derive(Clone, Debug)]
pub struct Faulty(Arc<Mutex<Model>>);

#[derive(Clone, Debug, Default)]
struct Model {
    names: BTreeMap<String, usize>,
    /// As they would be after a power cut, without the changes that follow.
    durable_names: BTreeMap<String, usize>,
    changes: Vec<NameChange>,
    files: Vec<File>,
    faults: Faults,
    dice: u64,
    /// How many steps were done, and how many of them changed or synced names.
    steps: u64,
    name_steps: u64,
    /// What was to be done beside the caller, if it waits for `Faulty::work`.
    deferred: Option<Deferred>,
    waited: u64,
    /// The length that segments have at least, if it is not the usual one.
    shortest: Option<u64>,
}

#[derive(Default)]
struct Deferred(VecDeque<Box<dyn FnOnce() + Send>>);

/// Work of a process that was killed is not done by the next one.
impl Clone for Deferred {
    fn clone(&self) -> Deferred {
        Deferred::default()
    }
}

impl std::fmt::Debug for Deferred {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} deferred", self.0.len())
    }
}

#[derive(Clone, Debug)]
enum NameChange {
    Put(String, usize),
    Remove(String),
}

#[derive(Clone, Debug, Default)]
struct File {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

#[derive(Clone, Debug)]
enum Pending {
    /// A sector or a part of one.
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Faulty {
    /// An empty disk without faults.
    pub fn new(seed: u64) -> Faulty {
        Faulty(Arc::new(Mutex::new(Model { dice: seed, ..Model::default() })))
    }

    /// The same disk with segments that may be so short, in bytes.
    pub fn with_segments(self, shortest: u64) -> Faulty {
        self.model().shortest = Some(shortest);
        self
    }

    pub fn set(&self, faults: Faults) {
        self.model().faults = faults;
    }

    /// How many writes, cuts, syncs and changes of names there were.
    pub fn steps(&self) -> u64 {
        self.model().steps
    }

    /// How many of them changed or synced the names of files.
    pub fn name_steps(&self) -> u64 {
        self.model().name_steps
    }

    /// From now on, what is to be done beside the caller is done by [`Faulty::work`], and not at once.
    pub fn defer(&self) {
        self.model().deferred.get_or_insert_default();
    }

    /// How much waits to be done.
    pub fn deferred(&self) -> usize {
        self.model().deferred.as_ref().map_or(0, |deferred| deferred.0.len())
    }

    /// Does what was deferred.
    pub fn work(&self) {
        let next = || self.model().deferred.as_mut()?.0.pop_front();
        while let Some(work) = next() {
            work();
        }
    }

    /// How long it took, in milliseconds of its own clock.
    pub fn waited(&self) -> u64 {
        self.model().waited
    }

    /// What a power cut leaves, as a new disk without faults: of each file what was synced and any part of what
    /// was not, of the names those changes that were synced and some of the first that were not.
    pub fn after_power_cut(&self, seed: u64) -> Faulty {
        let model = self.model();
        let mut dice = seed;
        let mut names = model.durable_names.clone();
        let kept = roll(&mut dice) as usize % (model.changes.len() + 1);
        model.changes[..kept].iter().for_each(|change| apply(&mut names, change));
        let files = model.files.iter().map(|file| file.after_power_cut(&mut dice)).collect();
        let (durable_names, shortest) = (names.clone(), model.shortest);
        let mut left = Model { names, durable_names, files, dice, shortest, ..Model::default() };
        left.forget_unnamed();
        Faulty(Arc::new(Mutex::new(left)))
    }

    /// What a process leaves that is killed, as a new disk without faults: all that it wrote. What was not synced may
    /// still be lost by a power cut.
    pub fn after_kill(&self) -> Faulty {
        let mut left = Model { faults: Faults::default(), steps: 0, waited: 0, ..self.model().clone() };
        left.forget_unnamed();
        Faulty(Arc::new(Mutex::new(left)))
    }

    /// Changes the bytes of a file, as a disk does that forgets.
    pub fn harm(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut model = self.model();
        if let Some(file) = model.names.get(name).copied() {
            change(&mut model.files[file].bytes);
            model.files[file].durable = model.files[file].bytes.clone();
        }
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl File {
    fn after_power_cut(&self, dice: &mut u64) -> File {
        let mut durable = self.durable.clone();
        for pending in self.pending.iter().filter(|_| roll(dice).is_multiple_of(2)) {
            pending.reach(&mut durable);
        }
        File { bytes: durable.clone(), durable, pending: Vec::new() }
    }

    fn write(&mut self, bytes: &[u8], at: usize) {
        write(&mut self.bytes, bytes, at);
        let mut begin = at;
        while begin < at + bytes.len() {
            let end = ((begin / SECTOR + 1) * SECTOR).min(at + bytes.len());
            self.pending.push(Pending::Write(begin, bytes[begin - at..end - at].to_vec()));
            begin = end;
        }
    }
}

impl Pending {
    /// It arrives on the disk.
    fn reach(&self, durable: &mut Vec<u8>) {
        match self {
            Pending::Write(at, bytes) => write(durable, bytes, *at),
            Pending::Length(length) => durable.resize(*length, 0),
        }
    }
}

impl Model {
    /// The same for a step that is about names.
    fn name_step(&mut self) -> io::Result<()> {
        self.name_steps += 1;
        self.step()
    }

    /// Whether this step is done; in part where it is the first that fails.
    fn step(&mut self) -> io::Result<()> {
        self.steps += 1;
        match &mut self.faults.steps {
            Some(0) => Err(io::Error::from_raw_os_error(libc::EIO)),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn file(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The bytes of files that have no name any more are nobody's, once no process has them open.
    fn forget_unnamed(&mut self) {
        let changed = self.changes.iter().filter_map(|change| match change {
            NameChange::Put(_, file) => Some(file),
            NameChange::Remove(_) => None,
        });
        let named: BTreeSet<usize> =
            self.names.values().chain(self.durable_names.values()).chain(changed).copied().collect();
        let unnamed = self.files.iter_mut().enumerate().filter(|(number, _)| !named.contains(number));
        unnamed.for_each(|(_, file)| *file = File::default());
    }

    fn change(&mut self, change: NameChange) {
        apply(&mut self.names, &change);
        self.changes.push(change);
    }
}

impl Disk for Faulty {
    type File = usize;

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let model = self.model();
        Ok(model.files[model.file(name)?].bytes.clone())
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.model().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<usize> {
        let mut model = self.model();
        model.name_step()?;
        if let Ok(file) = model.file(name) {
            model.files[file].bytes.clear();
            model.files[file].pending.push(Pending::Length(0));
            return Ok(file);
        }
        let file = model.files.len();
        model.files.push(File::default());
        model.change(NameChange::Put(name.into(), file));
        Ok(file)
    }

    fn open(&self, name: &str) -> io::Result<usize> {
        self.model().file(name)
    }

    fn write(&self, file: &usize, bytes: &[u8], at: u64) -> io::Result<()> {
        let (mut model, at) = (self.model(), at as usize);
        let grows = (at + bytes.len()).saturating_sub(model.files[*file].bytes.len()) as u64;
        if let Some(room) = model.faults.room {
            if grows > room {
                let fits = bytes.len().saturating_sub((grows - room) as usize);
                model.files[*file].write(&bytes[..fits], at);
                model.faults.room = Some(0);
                return Err(io::Error::from_raw_os_error(libc::ENOSPC));
            }
            model.faults.room = Some(room - grows);
        }
        if let Err(error) = model.step() {
            let part = roll(&mut model.dice) as usize % (bytes.len() + 1);
            model.files[*file].write(&bytes[..part], at);
            return Err(error);
        }
        model.files[*file].write(bytes, at);
        Ok(())
    }

    fn cut(&self, file: &usize, length: u64) -> io::Result<()> {
        let mut model = self.model();
        model.step()?;
        let file = &mut model.files[*file];
        let freed = file.bytes.len().saturating_sub(length as usize) as u64;
        file.bytes.resize(length as usize, 0);
        file.pending.push(Pending::Length(length as usize));
        if let Some(room) = &mut model.faults.room {
            *room += freed;
        }
        Ok(())
    }

    fn sync(&self, file: &usize) -> io::Result<()> {
        let mut model = self.model();
        model.step()?;
        let slow = model.faults.slow;
        model.waited += roll(&mut model.dice) % (slow + 1);
        if !model.faults.lies {
            let File { durable, pending, .. } = &mut model.files[*file];
            pending.drain(..).for_each(|pending| pending.reach(durable));
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut model = self.model();
        model.name_step()?;
        let file = model.file(from)?;
        // A power cut between the two leaves the file under both names.
        model.change(NameChange::Put(to.into(), file));
        model.change(NameChange::Remove(from.into()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut model = self.model();
        if model.file(name).is_err() {
            return Ok(());
        }
        model.name_step()?;
        model.change(NameChange::Remove(name.into()));
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut model = self.model();
        model.name_step()?;
        if !model.faults.lies {
            model.durable_names = model.names.clone();
            model.changes.clear();
        }
        Ok(())
    }

    fn has_room(&self, bytes: usize) -> io::Result<()> {
        let mut model = self.model();
        model.step()?;
        match model.faults.room {
            Some(room) if room < bytes as u64 => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
            _ => Ok(()),
        }
    }

    fn spawn(&self, work: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        if let Some(deferred) = &mut self.model().deferred {
            deferred.0.push_back(work);
            return Ok(());
        }
        work();
        Ok(())
    }

    fn show(&self, name: &str) -> String {
        name.into()
    }

    fn shortest(&self) -> u64 {
        self.model().shortest.unwrap_or(SHORTEST)
    }
}

fn apply(names: &mut BTreeMap<String, usize>, change: &NameChange) {
    match change {
        NameChange::Put(name, file) => drop(names.insert(name.clone(), *file)),
        NameChange::Remove(name) => drop(names.remove(name)),
    }
}

fn write(file: &mut Vec<u8>, bytes: &[u8], at: usize) {
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

/// The next number (SplitMix64).
fn roll(dice: &mut u64) -> u64 {
    *dice = dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut number = *dice;
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
