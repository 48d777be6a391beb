//! The clients that watch events: how many there may be, and what is sent to all of them, made once.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::masked;
use super::resource::event;
use crate::model::credential::Masker;
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
    /// For who is shown everything.
    frames: Mutex<Frames>,
    /// For all others.
    masked: Mutex<Frames>,
}

/// Events as they are sent, by their numbers.
#[derive(Debug, Default)]
struct Frames {
    lineage: String,
    /// What they are masked by.
    masker: Option<Arc<Masker>>,
    kept: VecDeque<(u64, Bytes)>,
}

impl Frames {
    fn are_of(&self, lineage: &str, masker: Option<&Arc<Masker>>) -> bool {
        self.lineage == lineage && self.masker.as_ref().map(Arc::as_ptr) == masker.map(Arc::as_ptr)
    }
}

impl Streams {
    /// As many as a process can hold that may have so many files and sockets open, and leaves enough to machines.
    pub fn of_files(open_files: u64) -> Streams {
        let rest = open_files.saturating_sub(OTHERS).max(open_files / 4);
        Streams {
            max: usize::try_from(rest).unwrap_or(MAX).min(MAX),
            open: Mutex::default(),
            frames: Mutex::default(),
            masked: Mutex::default(),
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

    /// An event as a server-sent one, masked where there is a masker. Watchers ask for the newest ones at the same
    /// time, and share them.
    pub fn frame(&self, lineage: &str, sequence: u64, event: &Event, masker: Option<&Arc<Masker>>) -> Bytes {
        let mut frames = lock(if masker.is_some() { &self.masked } else { &self.frames });
        if !frames.are_of(lineage, masker) {
            let masker = masker.cloned();
            *frames = Frames { lineage: lineage.to_owned(), masker, kept: VecDeque::new() };
        }
        let place = frames.kept.partition_point(|(number, _)| *number < sequence);
        if let Some((_, frame)) = frames.kept.get(place).filter(|(number, _)| *number == sequence) {
            return frame.clone();
        }
        let frame = frame(lineage, sequence, event, masker.map(|masker| &**masker));
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
fn frame(lineage: &str, sequence: u64, event: &Event, masker: Option<&Masker>) -> Bytes {
    let data = masked::row(&event::one(sequence, event), masker);
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

    fn event(text: &str) -> Event {
        Event::new(Time(1), Stage::Daemon, text.to_owned())
    }

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
        let frame =
            |lineage: &str, number: u64, text: &str| streams.frame(lineage, number, &event(text), None);
        let first = frame("l", 1, "a");
        assert_eq!(first, frame("l", 1, "b"), "not looked at again");
        assert_eq!(first.as_ptr(), frame("l", 1, "a").as_ptr());
        assert!(first.starts_with(b"id: l.1\nevent: daemon\ndata: {") && first.ends_with(b"}\n\n"));
        assert!(frame("m", 1, "b").starts_with(b"id: m.1\n"), "of another lineage");
        for number in 2..5_000 {
            frame("m", number, "x");
        }
        assert_eq!(lock(&streams.frames).kept.len(), FRAMES);
        assert!(frame("m", 1, "old").ends_with(b"\"old\"}\n\n"));
        assert_eq!(lock(&streams.frames).kept.front().unwrap().0, 5_000 - FRAMES as u64);
    }

    #[test]
    fn who_is_shown_no_credentials_shares_frames_without_them() {
        let streams = Streams::of_files(64);
        let said = event("Command line: inst.vncpassword=hunter4 luks-key=hunter5");
        let masker = |names: &[&'static str]| Arc::new(Masker::new(names.iter().copied()));
        let (plain, luks) = (masker(&[]), masker(&["luks_key"]));
        let frame = |masker: Option<&Arc<Masker>>| {
            String::from_utf8(streams.frame("l", 1, &said, masker).to_vec()).unwrap()
        };
        for _ in 0..2 {
            assert!(frame(None).contains("inst.vncpassword=hunter4 luks-key=hunter5"));
            assert!(frame(Some(&plain)).contains("inst.vncpassword=(masked) luks-key=hunter5"));
            assert!(frame(Some(&luks)).contains("inst.vncpassword=(masked) luks-key=(masked)"));
        }
        let masked = streams.frame("l", 1, &said, Some(&luks));
        assert!(masked.starts_with(b"id: l.1\nevent: daemon\ndata: {") && masked.ends_with(b"}\n\n"));
        assert_eq!(masked.as_ptr(), streams.frame("l", 1, &said, Some(&luks)).as_ptr(), "made once");
    }
}
