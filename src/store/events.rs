//! The timeline on disk: a file of its own and a thread that writes it, so that no lease and no
//! installation ever waits for an event, and a disk without room for events loses events alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition};

use super::database::{Snapshot, create_shared, open_shared};
use super::directory;
use super::record::{self, EventRecord};
use crate::state::Event;

/// The file's name in the state directory.
pub(super) const FILE: &str = "events.redb";
pub(super) const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("events");
/// What is known of the log, by name.
const LOG: TableDefinition<&str, u64> = TableDefinition::new("log");
/// The number of a frame that is in the log: one that ends before it lost its end.
const FRAME: &str = "frame";
/// How many events are kept.
pub const EVENTS_MAX: u64 = 20_000;
/// Events that are written together at most, about.
const TOGETHER: usize = 4096;
/// How long an event may wait for others: what a crash loses.
const WAIT: Duration = Duration::from_secs(1);
/// How long nobody looks for more: to wake the thread for each lot would cost more than its events.
const PAUSE: Duration = Duration::from_millis(10);
/// Lots of events that wait for the thread at most.
const QUEUE: usize = 1024;

type Numbered = (u64, Event);

/// Events, and the number of a frame that was in the log when they came.
type Lot = (Vec<Numbered>, u64);

/// What the file held when it was opened.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub events: Vec<Numbered>,
    /// A sentence where some were lost.
    pub remark: Option<String>,
}

/// A way to the thread that writes events.
#[derive(Debug)]
pub(super) struct Events {
    queue: Option<SyncSender<Lot>>,
    thread: Option<JoinHandle<()>>,
    lost: Arc<AtomicU64>,
}

impl Events {
    /// Opens or makes the file.
    pub(super) fn open(directory: &Path) -> Result<(Events, Found), redb::Error> {
        let path = directory.join(FILE);
        let existed = path.exists();
        let (database, found) = match std::panic::catch_unwind(|| read(&path)) {
            Ok(Ok((database, mut found, unread))) => {
                let remark = || format!("{unread} events in {} are damaged", path.display());
                found.remark = (unread > 0).then(remark);
                (database, found)
            }
            Ok(Err(redb::Error::Io(error))) if existed && !is_damage(&error) => return Err(error.into()),
            _ => {
                let remark = existed.then(|| format!("{} is damaged: its events are lost", path.display()));
                if existed {
                    directory::aside(&path)?;
                }
                (make(&path)?, Found { remark, ..Found::default() })
            }
        };
        Ok((Events::start(path, Some(database))?, found))
    }

    /// Puts events into a new file.
    pub(super) fn create(directory: &Path, events: &[Numbered]) -> Result<(), redb::Error> {
        write(&make(&directory.join(FILE))?, events, 0)
    }

    fn start(path: PathBuf, database: Option<Database>) -> std::io::Result<Events> {
        let (queue, waiting) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let mut writer = Writer { path, database, waiting, lost: lost.clone(), fails: false };
        let thread = std::thread::Builder::new().name("events".into()).spawn(move || writer.run())?;
        Ok(Events { queue: Some(queue), thread: Some(thread), lost })
    }

    /// Hands events over, and the number of the log's last frame; never waits. Those that can't be taken are
    /// counted as lost.
    pub(super) fn add(&self, events: Vec<Numbered>, frame: u64) {
        let refused = self.queue.as_ref().and_then(|queue| queue.try_send((events, frame)).err());
        if let Some(TrySendError::Full((events, _)) | TrySendError::Disconnected((events, _))) = refused {
            self.lost.fetch_add(events.len() as u64, Ordering::Relaxed);
        }
    }

    /// Counts those that could not be written since the start.
    pub(super) fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
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
    waiting: Receiver<Lot>,
    lost: Arc<AtomicU64>,
    fails: bool,
}

impl Writer {
    fn run(&mut self) {
        while let Ok((mut events, mut frame)) = self.waiting.recv() {
            let until = Instant::now() + WAIT;
            while events.len() < TOGETHER && Instant::now() < until {
                match self.waiting.try_recv() {
                    Ok((more, later)) => {
                        events.extend(more);
                        frame = frame.max(later);
                    }
                    Err(TryRecvError::Empty) => std::thread::sleep(PAUSE),
                    Err(TryRecvError::Disconnected) => break,
                }
            }
            let written = self.write(&events, frame);
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

    fn write(&mut self, events: &[Numbered], frame: u64) -> Result<(), redb::Error> {
        if self.database.is_none() {
            self.database = Some(open_shared(&self.path)?);
        }
        self.database.as_ref().map_or(Ok(()), |database| write(database, events, frame))
    }
}

fn make(path: &Path) -> Result<Database, redb::Error> {
    directory::create(path)?;
    let database = create_shared(path)?;
    write(&database, &[], 0)?;
    Ok(database)
}

fn write(database: &Database, events: &[Numbered], frame: u64) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    {
        let mut table = write.open_table(TABLE)?;
        for (sequence, event) in events {
            table.insert(sequence, record::write(&EventRecord::of(event)).as_slice())?;
            if let Some(old) = sequence.checked_sub(EVENTS_MAX) {
                table.remove(old)?;
            }
        }
        write.open_table(LOG)?.insert(FRAME, frame)?;
    }
    write.commit()?;
    Ok(())
}

/// What a file holds, and how many events can't be read.
fn read(path: &Path) -> Result<(Database, Found, u64), redb::Error> {
    let database = open_shared(path)?;
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
    Ok((database, Found { events, remark: None }, unread))
}

/// The number of a frame that was in the log of a directory; 0 where none was noted, or it can't be read.
pub(super) fn noted(directory: &Path) -> u64 {
    Snapshot::take(&directory.join(FILE)).and_then(|file| file.read(noted_frame)).unwrap_or(0)
}

/// The number of a frame that was in the log; 0 where none was noted.
fn noted_frame(read: &ReadTransaction) -> Result<u64, redb::Error> {
    match read.open_table(LOG) {
        Ok(table) => Ok(table.get(FRAME)?.map_or(0, |frame| frame.value())),
        // Earlier versions had no log.
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Takes events out of a file, as a crash loses them.
#[cfg(test)]
pub(crate) fn forget_events(directory: &Path, numbers: std::ops::RangeInclusive<u64>) {
    let database = open_shared(&directory.join(FILE)).unwrap();
    let write = database.begin_write().unwrap();
    numbers.for_each(|number| drop(write.open_table(TABLE).unwrap().remove(number).unwrap()));
    write.commit().unwrap();
}

fn is_damage(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    matches!(error.kind(), InvalidData | UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_thread_has_no_room_for_is_counted_as_lost() {
        let (queue, _waiting) = sync_channel(1);
        let events = Events { queue: Some(queue), thread: None, lost: Arc::default() };
        let lost = events.lost();
        let event = || Event::new(Default::default(), crate::state::Stage::ALL[0], "");
        events.add(vec![(1, event())], 1);
        assert_eq!(lost.load(Ordering::Relaxed), 0);
        events.add(vec![(2, event()), (3, event())], 2);
        assert_eq!(lost.load(Ordering::Relaxed), 2);
    }
}
