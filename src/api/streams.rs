//! The clients that watch events: how many there may be, and what is sent to all of them, made once.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::resource::event;
use crate::state::Event;

/// Streams at once, where the limit of open files allows as many.
pub const MAX: usize = 16_384;
/// Files and sockets that are left to everything else, where there are so many: machines alone may have 8,192
/// connections at once (`daemon::http`).
const OTHERS: u64 = 9_216;
/// Events whose text is kept: watchers that are further behind make theirs anew.
const FRAMES: usize = 1_024;

/// The streams of one daemon.
#[derive(Debug)]
pub struct Streams {
    max: usize,
    /// By the caller's name.
    open: Mutex<HashMap<String, usize>>,
    frames: Mutex<Frames>,
}

/// Events as they are sent, by their numbers.
#[derive(Debug, Default)]
struct Frames {
    lineage: String,
    kept: VecDeque<(u64, Bytes)>,
}

impl Streams {
    /// As many as a process can hold that may have so many files and sockets open, and leaves enough to machines.
    pub fn of_files(open_files: u64) -> Streams {
        let rest = open_files.saturating_sub(OTHERS).max(open_files / 4);
        Streams {
            max: usize::try_from(rest).unwrap_or(MAX).min(MAX),
            open: Mutex::default(),
            frames: Mutex::default(),
        }
    }

    /// How many there may be at once.
    pub fn max(&self) -> usize {
        self.max
    }

    /// How many of them one caller may have: there is room for others.
    pub fn caller_max(&self) -> usize {
        self.max - self.max / 16
    }

    /// A place for one more stream of a caller, until it is dropped; the error says why there is none.
    pub fn enter(self: &Arc<Self>, caller: &str) -> Result<Place, String> {
        let mut open = lock(&self.open);
        let own = open.get(caller).copied().unwrap_or_default();
        if own >= self.caller_max() {
            return Err(format!("{caller} watches {own} times already, which is as much as one caller may"));
        }
        let all: usize = open.values().sum();
        if all >= self.max {
            return Err(format!("{all} clients watch already, which is as many as there may be"));
        }
        open.insert(caller.to_owned(), own + 1);
        Ok(Place { streams: self.clone(), caller: caller.to_owned() })
    }

    /// An event as a server-sent one. Watchers ask for the newest ones at the same time, and share them.
    pub fn frame(&self, lineage: &str, sequence: u64, event: &Event) -> Bytes {
        let mut frames = lock(&self.frames);
        if frames.lineage != lineage {
            *frames = Frames { lineage: lineage.to_owned(), kept: VecDeque::new() };
        }
        let place = frames.kept.partition_point(|(number, _)| *number < sequence);
        if let Some((_, frame)) = frames.kept.get(place).filter(|(number, _)| *number == sequence) {
            return frame.clone();
        }
        let frame = frame(lineage, sequence, event);
        if place == frames.kept.len() {
            frames.kept.push_back((sequence, frame.clone()));
            if frames.kept.len() > FRAMES {
                frames.kept.pop_front();
            }
        }
        frame
    }
}

/// `id`, `event` and `data` of an event (the WHATWG's HTML standard, section 9.2.6).
fn frame(lineage: &str, sequence: u64, event: &Event) -> Bytes {
    // A row of texts and numbers is always JSON, of one line.
    let data = serde_json::to_string(&event::one(sequence, event)).unwrap_or_default();
    format!("id: {lineage}.{sequence}\nevent: {}\ndata: {data}\n\n", event.stage.name()).into()
}

/// The place of a stream.
#[derive(Debug)]
pub struct Place {
    streams: Arc<Streams>,
    caller: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = lock(&self.streams.open);
        if let Some(own) = open.get_mut(&self.caller) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.caller);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Time;
    use crate::state::Stage;

    #[test]
    fn one_caller_leaves_room_for_others() {
        let streams = Arc::new(Streams::of_files(64));
        let mut places: Vec<Place> = (0..15).map(|_| streams.enter("one").unwrap()).collect();
        assert!(streams.enter("one").unwrap_err().contains("one watches 15 times already"));
        places.push(streams.enter("two").unwrap());
        assert!(streams.enter("three").unwrap_err().contains("16 clients watch already"));
        places.remove(0);
        streams.enter("one").unwrap();
        drop(places);
        assert!(lock(&streams.open).is_empty());
        assert_eq!(Streams::of_files(1 << 20).max(), MAX);
        assert!(Streams::of_files(1 << 20).caller_max() >= 10_000);
        assert!(Streams::of_files(20_000).caller_max() >= 10_000);
        assert_eq!(Streams::of_files(1_024).max(), 256);
    }

    #[test]
    fn a_frame_is_made_once() {
        let streams = Streams::of_files(64);
        let event = |text: &str| Event::new(Time(1), Stage::Daemon, text.to_owned());
        let first = streams.frame("l", 1, &event("a"));
        assert_eq!(first, streams.frame("l", 1, &event("b")), "not looked at again");
        assert_eq!(first.as_ptr(), streams.frame("l", 1, &event("a")).as_ptr());
        assert!(first.starts_with(b"id: l.1\nevent: daemon\ndata: {") && first.ends_with(b"}\n\n"));
        assert!(streams.frame("m", 1, &event("b")).starts_with(b"id: m.1\n"), "of another lineage");
        for number in 2..5_000 {
            streams.frame("m", number, &event("x"));
        }
        assert_eq!(lock(&streams.frames).kept.len(), FRAMES);
        assert!(streams.frame("m", 1, &event("old")).ends_with(b"\"old\"}\n\n"));
        assert_eq!(lock(&streams.frames).kept.front().unwrap().0, 5_000 - FRAMES as u64);
    }
}
