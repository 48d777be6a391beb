//! The turn from one segment to the next: what is made ahead and put in order behind, by a thread, so that no
//! append waits for it.

use std::io;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use super::digest::{FileKeys, Keys};
use super::disk::Disk;
use super::frame::{self, FIRST, FileKind, Position, SEALED};
use super::{AHEAD, put_segment, segment, snapshot};

/// A segment that is written to no more.
#[derive(Debug)]
pub(super) struct Past<D: Disk> {
    pub number: u64,
    pub file: D::File,
    pub own: FileKeys,
    /// Where its chain and its frames end.
    pub position: Position,
    pub end: u64,
}

/// What a thread brought.
#[derive(Debug)]
enum Done<D: Disk> {
    /// The next segment, and how far it holds zeros.
    Made(D::File, u64),
    /// A snapshot of this length.
    Merged(u64),
}

/// What was made for the next turn, and is being done for the last one.
#[derive(Debug)]
pub(super) struct Turn<D: Disk> {
    next: Option<(D::File, u64)>,
    /// Waits until a frame of the segment behind it is on disk.
    past: Option<Past<D>>,
    work: Option<Receiver<io::Result<Done<D>>>>,
}

impl<D: Disk> Default for Turn<D> {
    fn default() -> Turn<D> {
        Turn { next: None, past: None, work: None }
    }
}

impl<D: Disk> Turn<D> {
    /// The next segment, if it is wanted and there.
    pub(super) fn next_if(&mut self, is_wanted: bool) -> Option<(D::File, u64)> {
        if is_wanted { self.next.take() } else { None }
    }

    pub(super) fn keep(&mut self, past: Past<D>) {
        self.past = Some(past);
    }

    /// Whether a segment waits to be merged.
    pub(super) fn past(&self) -> bool {
        self.past.is_some()
    }

    /// Has the segment `number` made, unless it is there or is being made.
    pub(super) fn make(&mut self, disk: &D, keys: &Keys, number: u64) -> io::Result<()> {
        if self.next.is_some() || self.work.is_some() {
            return Ok(());
        }
        let (own, keys) = (disk.clone(), keys.clone());
        self.spawn(disk, move || {
            let mut bytes = frame::begin(&keys, FileKind::Segment, number).to_vec();
            bytes.resize(FIRST + AHEAD as usize, 0);
            let file = put_segment(&own, number, &bytes)?;
            Ok(Done::Made(file, bytes.len() as u64))
        })
    }

    /// Has everything before the segment `number` merged into a snapshot.
    pub(super) fn merge(&mut self, disk: &D, keys: &Keys, number: u64) -> io::Result<()> {
        let Some(past) = self.past.take() else { return Ok(()) };
        let (own, keys) = (disk.clone(), keys.clone());
        self.spawn(disk, move || {
            seal(&own, past);
            let merged = snapshot::merge(&own, &keys, number);
            merged.map(Done::Merged).inspect_err(|_| drop(own.remove(snapshot::DRAFT)))
        })
    }

    fn spawn(
        &mut self,
        disk: &D,
        work: impl FnOnce() -> io::Result<Done<D>> + Send + 'static,
    ) -> io::Result<()> {
        let (tell, outcome) = sync_channel(1);
        disk.spawn(Box::new(move || drop(tell.send(work()))))?;
        self.work = Some(outcome);
        Ok(())
    }

    /// What the thread brought since: the length of a new snapshot, if it is one.
    pub(super) fn look(&mut self) -> Option<io::Result<Option<u64>>> {
        let done = match self.work.as_ref()?.try_recv() {
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err(io::Error::other("the thread ended early")),
            Ok(done) => done,
        };
        self.work = None;
        Some(done.map(|done| match done {
            Done::Made(file, zeroed) => {
                self.next = Some((file, zeroed));
                None
            }
            Done::Merged(length) => Some(length),
        }))
    }

    /// Waits until no thread is at work.
    pub(super) fn wait(&mut self) {
        if let Some(work) = self.work.take() {
            let _ = work.recv();
        }
    }
}

/// Says in a segment that another follows, and gives the rest of it back. It is known without it, too, unless that one
/// is lost: nobody waits for this to be on disk.
fn seal<D: Disk>(disk: &D, past: Past<D>) {
    let Past { number, file, own, position, end } = past;
    let mut bytes = Vec::new();
    frame::write_end(&mut bytes, &own, position, SEALED, position);
    let sealed = disk.write(&file, &bytes, end);
    let sealed = sealed.and_then(|()| disk.cut(&file, end + bytes.len() as u64));
    if let Err(error) = sealed {
        tracing::warn!("{} can't be sealed: {error}", disk.show(&segment(number)));
    }
}
