//! The timeline on disk: a file of its own and a thread that writes it, so that no lease and no
//! installation ever waits for an event, and a disk without room for events loses events alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::directory;
use super::record::{self, EventRecord};
use super::records::{create_shared, open_checked, open_shared};
use crate::state::Event;

/// The file's name in the state directory.
pub const FILE: &str = "events.redb";
pub const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("events");
/// How many events are kept.
pub const EVENTS_MAX: u64 = 20_000;
/// Events that are written together at most, about.
const TOGETHER: usize = 4096;
/// How long an event may wait for others: what a crash loses.
const WAIT: Duration = Duration::from_secs(1);
/// Lots of events that wait for the thread at most.
const QUEUE: usize = 1024;

type Numbered = (u64, Event);

/// A way to the thread that writes events.
#[derive(Debug)]
pub struct Events {
    queue: Option<SyncSender<Vec<Numbered>>>,
    thread: Option<JoinHandle<()>>,
    lost: Arc<AtomicU64>,
}

impl Events {
    /// Opens or makes the file: the events in it, and a sentence where some were lost.
    pub fn open(directory: &Path) -> Result<(Events, Vec<Numbered>, Option<String>), redb::Error> {
        let path = directory.join(FILE);
        let existed = path.exists();
        let (database, events, remark) = match std::panic::catch_unwind(|| read(&path)) {
            Ok(Ok((database, events, unread))) => {
                let remark =
                    (unread > 0).then(|| format!("{unread} events in {} are damaged", path.display()));
                (database, events, remark)
            }
            Ok(Err(redb::Error::Io(error))) if existed && !is_damage(&error) => return Err(error.into()),
            _ => {
                let remark = existed.then(|| format!("{} is damaged: its events are lost", path.display()));
                if existed {
                    directory::aside(&path)?;
                }
                (make(&path)?, Vec::new(), remark)
            }
        };
        Ok((Events::start(path, Some(database))?, events, remark))
    }

    /// Puts events into a new file.
    pub fn create(directory: &Path, events: &[Numbered]) -> Result<(), redb::Error> {
        write(&make(&directory.join(FILE))?, events)
    }

    fn start(path: PathBuf, database: Option<Database>) -> std::io::Result<Events> {
        let (queue, waiting) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let mut writer = Writer { path, database, waiting, lost: lost.clone(), fails: false };
        let thread = std::thread::Builder::new().name("events".into()).spawn(move || writer.run())?;
        Ok(Events { queue: Some(queue), thread: Some(thread), lost })
    }

    /// Hands events over; never waits. Those that can't be taken are counted as lost.
    pub fn add(&self, events: Vec<Numbered>) {
        if events.is_empty() {
            return;
        }
        let refused = self.queue.as_ref().and_then(|queue| queue.try_send(events).err());
        if let Some(TrySendError::Full(events) | TrySendError::Disconnected(events)) = refused {
            self.lost.fetch_add(events.len() as u64, Ordering::Relaxed);
        }
    }

    /// How many could not be written since the start.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's own side.
struct Writer {
    path: PathBuf,
    /// `None` after an error, until it was opened anew.
    database: Option<Database>,
    waiting: Receiver<Vec<Numbered>>,
    lost: Arc<AtomicU64>,
    fails: bool,
}

impl Writer {
    fn run(&mut self) {
        while let Ok(mut events) = self.waiting.recv() {
            let until = Instant::now() + WAIT;
            let mut open = true;
            while open && events.len() < TOGETHER {
                match self.waiting.recv_timeout(until.saturating_duration_since(Instant::now())) {
                    Ok(more) => events.extend(more),
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => open = false,
                }
            }
            // What is damaged below its records may make the library panic.
            let written = catch_unwind(AssertUnwindSafe(|| self.write(&events)));
            let written = written
                .unwrap_or_else(|_| Err(redb::Error::Corrupted("its pages contradict each other".into())));
            if let Err(error) = &written {
                self.database = None;
                self.lost.fetch_add(events.len() as u64, Ordering::Relaxed);
                if !self.fails {
                    tracing::warn!("events can't be written to {}: {error}", self.path.display());
                }
            }
            self.fails = written.is_err();
        }
    }

    fn write(&mut self, events: &[Numbered]) -> Result<(), redb::Error> {
        if self.database.is_none() {
            self.database = Some(open_shared(&self.path)?);
        }
        self.database.as_ref().map_or(Ok(()), |database| write(database, events))
    }
}

fn make(path: &Path) -> Result<Database, redb::Error> {
    directory::create(path)?;
    let database = create_shared(path)?;
    write(&database, &[])?;
    Ok(database)
}

fn write(database: &Database, events: &[Numbered]) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    {
        let mut table = write.open_table(TABLE)?;
        for (sequence, event) in events {
            table.insert(sequence, record::write(&EventRecord::of(event)).as_slice())?;
            if let Some(old) = sequence.checked_sub(EVENTS_MAX) {
                table.remove(old)?;
            }
        }
    }
    write.commit()?;
    Ok(())
}

/// The events of a file, and how many can't be read.
fn read(path: &Path) -> Result<(Database, Vec<Numbered>, u64), redb::Error> {
    let database = open_checked(path)?;
    let (mut events, mut unread) = (Vec::new(), 0);
    let read = database.begin_read()?;
    for row in read.open_table(TABLE)?.iter()? {
        let (sequence, event) = row?;
        match record::read::<EventRecord>(event.value()).and_then(EventRecord::into_event) {
            Ok(event) => events.push((sequence.value(), event)),
            Err(_) => unread += 1,
        }
    }
    drop(read);
    Ok((database, events, unread))
}

fn is_damage(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    matches!(error.kind(), InvalidData | UnexpectedEof)
}
