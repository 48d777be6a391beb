//! A machine with disks in memory.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::MIB;
use crate::agent::wipe::device::{Bench, Commands, Device, Refusal, Seen};
use crate::agent::wipe::{ata, nvme};
use crate::api::agent::DiskFacts;

/// Pages that hold something else than zeros are kept; one without bytes is full of the first secret.
const PAGE: u64 = 64 << 10;
const SECRET: u8 = 0x53;

/// A disk, with its faults.
#[derive(Clone)]
pub(super) struct Fake {
    pub name: String,
    pub path: String,
    pub pages: BTreeMap<u64, Vec<u8>>,
    pub partitions: Vec<Range<u64>>,
    pub used_by: Vec<String>,
    pub read_only: bool,
    pub ignores_zero: bool,
    pub ignores_writes: bool,
    pub fails_to_open: bool,
    pub panics: bool,
    /// A byte that can't be written.
    pub broken: Option<u64>,
    pub writes: usize,
    /// Whether all that was written is on the disk.
    pub is_flushed: bool,
    pub is_reread: bool,
    pub commands: Commands,
    pub namespace: u32,
    pub namespaces: Vec<u32>,
    pub sanitizes: u8,
    pub formats_at_all: bool,
    pub formats_all: bool,
    pub manages: bool,
    /// Opcodes with the lower bits of dword 10 that are refused.
    pub refuses: Vec<(u8, u32)>,
    /// Actions that end with a failure.
    pub fails: Vec<u32>,
    pub formats_nothing: bool,
    pub formats: Vec<u32>,
    /// The action that runs, and after how many looks it ends.
    pub running: Option<(u32, u32)>,
    pub last: u16,
    pub action: u32,
    pub started: usize,
    pub ata_word: u16,
    pub ata_commands: Vec<u8>,
    pub frozen: bool,
}

impl Fake {
    pub(super) fn new(name: &str) -> Fake {
        let mut disk = Fake {
            name: name.into(),
            path: format!("/dev/{name}"),
            pages: BTreeMap::new(),
            partitions: Vec::new(),
            used_by: Vec::new(),
            read_only: false,
            ignores_zero: false,
            ignores_writes: false,
            fails_to_open: false,
            panics: false,
            broken: None,
            writes: 0,
            is_flushed: true,
            is_reread: false,
            commands: Commands::None,
            namespace: 1,
            namespaces: vec![1],
            sanitizes: 0,
            formats_at_all: false,
            formats_all: false,
            manages: false,
            refuses: Vec::new(),
            fails: Vec::new(),
            formats_nothing: false,
            formats: Vec::new(),
            running: None,
            last: 0,
            action: 0,
            started: 0,
            ata_word: 0,
            ata_commands: Vec::new(),
            frozen: false,
        };
        // Data everywhere, also where samples of any seed begin.
        for page in 0..disk.bytes() / PAGE {
            disk.pages.insert(page, Vec::new());
        }
        disk
    }

    pub(super) fn nvme(name: &str) -> Fake {
        Fake { commands: Commands::Nvme, ..Fake::new(name) }
    }

    pub(super) fn ata(name: &str, actions: u16) -> Fake {
        let sanitizes = if actions == 0 { 0 } else { 1 << 12 };
        Fake { commands: Commands::Ata, ata_word: actions | sanitizes, ..Fake::new(name) }
    }

    pub(super) fn sanitizing(self, actions: u8) -> Fake {
        Fake { sanitizes: actions, ..self }
    }

    pub(super) fn formatting(self) -> Fake {
        Fake { formats_at_all: true, ..self }
    }

    fn bytes(&self) -> u64 {
        600 * MIB
    }

    /// How many pages hold something.
    pub(super) fn traces(&self) -> usize {
        self.pages.len()
    }

    pub(super) fn secret_is_there(&self) -> bool {
        self.pages.values().any(Vec::is_empty)
    }

    pub(super) fn put(&mut self, at: u64, bytes: &[u8]) {
        for (offset, byte) in (at..).zip(bytes) {
            let page = self.pages.entry(offset / PAGE).or_insert_with(|| vec![0; PAGE as usize]);
            page.resize(PAGE as usize, SECRET);
            page[(offset % PAGE) as usize] = *byte;
        }
        self.pages.retain(|_, page| page.is_empty() || page.iter().any(|byte| *byte != 0));
    }

    fn clear(&mut self, at: u64, length: u64) {
        let pages = at.div_ceil(PAGE)..(at + length) / PAGE;
        self.pages.retain(|page, _| !pages.contains(page));
        assert!(at.is_multiple_of(PAGE) && length.is_multiple_of(PAGE), "tests zero whole pages");
    }

    /// Before anything is written: whether it can be.
    fn begin_write(&mut self, at: u64, length: u64) -> io::Result<()> {
        self.writes += 1;
        if self.broken.is_some_and(|byte| (at..at + length).contains(&byte)) {
            return Err(io::Error::other("medium error"));
        }
        assert!(at != 0 || self.is_flushed, "the partition table goes when all before is on the disk");
        self.is_flushed = false;
        Ok(())
    }

    fn sanitized(&mut self) {
        self.pages.clear();
        // What a crypto erase leaves.
        if self.action & 7 == 4 {
            self.put(0, b"noise");
        }
    }

    fn log(&mut self, data: &mut [u8]) {
        match &mut self.running {
            Some((action, 0)) => {
                self.action = *action;
                self.running = None;
                self.last = if self.fails.contains(&(self.action & 7)) { 3 } else { 0x101 };
                if self.last == 0x101 {
                    self.sanitized();
                }
            }
            Some((action, left)) => {
                *left -= 1;
                self.action = *action;
                data[..2].copy_from_slice(&0x4000_u16.to_le_bytes());
                data[2] = 2;
                data[4..8].copy_from_slice(&self.action.to_le_bytes());
                return;
            }
            None => {}
        }
        data[..2].copy_from_slice(&[0xff, 0xff]);
        data[2..4].copy_from_slice(&self.last.to_le_bytes());
        data[4..8].copy_from_slice(&self.action.to_le_bytes());
    }
}

/// The machine.
pub(super) struct Room {
    disks: Vec<Arc<Mutex<Fake>>>,
    open: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Room {
    pub(super) fn of(disks: impl IntoIterator<Item = Fake>) -> Room {
        let disks = disks.into_iter().map(|disk| Arc::new(Mutex::new(disk))).collect();
        Room { disks, open: Arc::default(), most: Arc::default() }
    }

    pub(super) fn disk<T>(&self, name: &str, look: impl FnOnce(&Fake) -> T) -> T {
        let find = |disk: &&Arc<Mutex<Fake>>| disk.lock().is_ok_and(|disk| disk.name == name);
        look(&self.disks.iter().find(find).unwrap().lock().unwrap())
    }

    pub(super) fn change(&self, name: &str, change: impl FnOnce(&mut Fake)) {
        let find = |disk: &&Arc<Mutex<Fake>>| disk.lock().unwrap().name == name;
        change(&mut self.disks.iter().find(find).unwrap().lock().unwrap());
    }

    pub(super) fn all(&self, holds: impl Fn(&Fake) -> bool) -> bool {
        self.disks.iter().all(|disk| holds(&disk.lock().unwrap()))
    }

    pub(super) fn most_at_once(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

impl Bench for Room {
    fn disks(&self) -> Vec<Seen> {
        let seen = |disk: &Arc<Mutex<Fake>>| {
            let disk = disk.lock().unwrap();
            let namespace = (disk.commands == Commands::Nvme).then(|| ("nqn.x".to_owned(), disk.namespace));
            Seen {
                facts: DiskFacts {
                    id: format!("serial:{}", disk.name),
                    path: disk.path.clone(),
                    serial: Some(disk.name.clone()),
                    bytes: disk.bytes(),
                    read_only: disk.read_only,
                    ..DiskFacts::default()
                },
                firmware: Some("FW1".into()),
                used_by: disk.used_by.clone(),
                partitions: disk.partitions.clone(),
                namespace,
            }
        };
        self.disks.iter().map(seen).collect()
    }

    fn open(&self, disk: &Seen) -> Result<Box<dyn Device>, String> {
        let find = |one: &&Arc<Mutex<Fake>>| one.lock().is_ok_and(|one| one.path == disk.facts.path);
        let found = self.disks.iter().find(find).unwrap().clone();
        if found.lock().unwrap().fails_to_open {
            return Err("it is away".into());
        }
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(open, Ordering::SeqCst);
        Ok(Box::new(Open { disk: found, open: self.open.clone() }))
    }

    fn now(&self) -> u64 {
        1_700_000_000
    }

    fn pause(&self, _: Duration) {}

    fn kernel(&self) -> String {
        "6.1.0-50-amd64".into()
    }
}

struct Open {
    disk: Arc<Mutex<Fake>>,
    open: Arc<AtomicUsize>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Open {
    fn with<T>(&self, work: impl FnOnce(&mut Fake) -> T) -> T {
        work(&mut self.disk.lock().unwrap())
    }
}

fn busy(disk: &Fake) -> io::Result<()> {
    match disk.running {
        Some(_) => Err(io::Error::other("it is being sanitized")),
        None => Ok(()),
    }
}

impl Device for Open {
    fn bytes(&self) -> u64 {
        self.with(|disk| disk.bytes())
    }

    fn block(&self) -> u64 {
        4096
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.with(|disk| {
            busy(disk)?;
            into.fill(0);
            for page in at / PAGE..(at + into.len() as u64).div_ceil(PAGE) {
                let Some(bytes) = disk.pages.get(&page) else { continue };
                let start = (page * PAGE).max(at);
                let end = ((page + 1) * PAGE).min(at + into.len() as u64);
                let into = &mut into[(start - at) as usize..(end - at) as usize];
                match bytes.is_empty() {
                    // No two bytes after each other are the same.
                    true => {
                        into.chunks_mut(2).for_each(|pair| pair.copy_from_slice(&[SECRET, 1][..pair.len()]))
                    }
                    false => into.copy_from_slice(
                        &bytes[(start - page * PAGE) as usize..(end - page * PAGE) as usize],
                    ),
                }
            }
            Ok(())
        })
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(|disk| {
            busy(disk)?;
            disk.begin_write(at, bytes.len() as u64)?;
            if !disk.ignores_writes {
                assert!(bytes.iter().all(|byte| *byte == 0), "only zeros are written");
                disk.clear(at, bytes.len() as u64);
            }
            Ok(())
        })
    }

    fn zero(&mut self, at: u64, length: u64) -> io::Result<()> {
        self.with(|disk| {
            busy(disk)?;
            disk.begin_write(at, length)?;
            assert!(!disk.panics, "a fault of the program");
            if !disk.ignores_zero {
                disk.clear(at, length);
            }
            Ok(())
        })
    }

    fn discard(&mut self, _: u64, _: u64) -> io::Result<()> {
        self.with(|disk| disk.writes += 1);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.with(|disk| disk.is_flushed = true);
        Ok(())
    }

    fn reread(&mut self) {
        self.with(|disk| disk.is_reread = true);
    }

    fn commands(&self) -> Commands {
        self.with(|disk| disk.commands)
    }

    fn nvme(&mut self, command: &nvme::Command, data: &mut [u8]) -> Result<u32, Refusal> {
        const INVALID: Refusal = Refusal::Nvme(1);
        self.with(|disk| {
            let nvme::Command { opcode, cdw10, .. } = *command;
            if disk.refuses.iter().any(|(refused, low)| (*refused, *low) == (opcode, cdw10 & 7)) {
                return Err(INVALID);
            }
            match (opcode, cdw10) {
                (0x06, 1) => {
                    data[256] = u8::from(disk.formats_at_all) << 1 | u8::from(disk.manages) << 3;
                    data[516] = disk.namespaces.len() as u8;
                    data[524] = if disk.formats_all { 3 } else { 0 };
                    data[328] = disk.sanitizes;
                }
                (0x06, 0) => (data[26], data[29]) = (0x12, 1),
                (0x06, 2) => {
                    for (at, number) in disk.namespaces.iter().enumerate() {
                        data[at * 4..at * 4 + 4].copy_from_slice(&number.to_le_bytes());
                    }
                }
                (0x02, _) if cdw10 & 0xff == 0x81 => disk.log(data),
                // Exit failure mode.
                (0x84, _) if cdw10 & 7 == 1 => disk.last = 0,
                (0x84, _) => {
                    assert!(cdw10 & 8 != 0, "it can be left again after a failure");
                    disk.started += 1;
                    disk.running = Some((cdw10, 3));
                }
                (0x80, _) => {
                    assert_ne!(cdw10 >> 9 & 7, 0, "a format that erases nothing");
                    disk.formats.push(cdw10);
                    if !disk.formats_nothing {
                        disk.pages.clear();
                    }
                }
                _ => return Err(INVALID),
            }
            Ok(0)
        })
    }

    fn ata(&mut self, command: &ata::Command, data: &mut [u8]) -> Result<ata::Registers, Refusal> {
        self.with(|disk| {
            disk.ata_commands.push(command.command);
            match (command.command, command.feature) {
                (0xec, _) => data[118..120].copy_from_slice(&disk.ata_word.to_le_bytes()),
                (0xb4, 0) => {
                    let count = match &mut disk.running {
                        _ if disk.frozen => 1 << 13,
                        Some((_, 0)) => {
                            disk.running = None;
                            disk.sanitized();
                            1 << 15
                        }
                        Some((_, left)) => {
                            *left -= 1;
                            1 << 14
                        }
                        None => 0,
                    };
                    return Ok(ata::Registers { count, lba: 0x4000 });
                }
                (0xb4, 0x12) if command.lba == 0x426b_4572 => disk.running = Some((0, 3)),
                _ => return Err(Refusal::Ata { status: 0x51, error: 4 }),
            }
            Ok(ata::Registers::default())
        })
    }
}
