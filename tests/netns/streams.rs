//! Streams of events: very many at once, and over restarts and restored states of the daemon.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::callers::House;
use super::daemon::{Daemon, VOLDEMORT, VOLDEMORTCTL};

/// A client that watches.
struct Stream(BufReader<UnixStream>);

#[derive(Debug, PartialEq)]
struct Event {
    id: String,
    kind: String,
    data: String,
}

impl Stream {
    /// Begins after the event of this id; with the status of the answer.
    fn open(socket: &Path, after: Option<&str>) -> (u16, Stream) {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let last = after.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let head = "GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n";
        write!(stream, "{head}{last}\r\n").unwrap();
        let mut stream = Stream(BufReader::new(stream));
        let status = stream.line().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        while stream.line().is_some_and(|line| !line.is_empty()) {}
        (status, stream)
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).unwrap();
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// `None` when the daemon ended the stream.
    fn next(&mut self) -> Option<Event> {
        let mut event = Event { id: String::new(), kind: String::new(), data: String::new() };
        loop {
            match self.line()?.split_once(": ") {
                Some(("id", id)) => event.id = id.to_owned(),
                Some(("event", kind)) => event.kind = kind.to_owned(),
                Some(("data", data)) => {
                    event.data = data.to_owned();
                    return Some(event);
                }
                _ => {}
            }
        }
    }

    /// The first event with this text.
    fn find(&mut self, text: &str) -> Event {
        std::iter::from_fn(|| self.next()).find(|event| event.data.contains(text)).expect(text)
    }
}

fn order(socket: &Path, word: &str) {
    let output = Command::new(VOLDEMORTCTL).arg("--server").arg(socket).arg(word).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn number(id: &str) -> u64 {
    id.rsplit('.').next().unwrap().parse().unwrap()
}

#[test]
fn more_watchers_than_connections_leave_the_api_to_others() {
    let Some(house) = House::behind(&[], "") else { return };
    let socket = house.socket();
    let seen = Stream::open(&socket, None).1.next().unwrap().id;
    let mut streams: Vec<Stream> = (0..700)
        .map(|_| {
            let (status, stream) = Stream::open(&socket, Some(&seen));
            assert_eq!(status, 200);
            stream
        })
        .collect();
    // Twice: this is more than all connections that requests may have.
    for word in ["suspend", "resume"] {
        order(&socket, word);
    }
    let first: Vec<Event> = streams.iter_mut().map(|stream| stream.find("uspended")).collect();
    assert!(first.iter().all(|event| *event == first[0]), "all get the same");
    drop(streams);
    order(&socket, "suspend");
    assert_eq!(house.daemon.stop(), Some(0));
}

#[test]
fn a_stream_goes_on_over_a_restart_and_begins_again_with_another_state() {
    let Some(house) = House::behind(&[], "") else { return };
    let socket = house.socket();
    let House { net, folder, daemon, .. } = house;
    let (config, state) = (folder.path().join("voldemort.toml"), folder.path().join("state"));
    let inventory = folder.path().join("inventory").display().to_string();
    let voldemort = |words: &[&str]| {
        let output = Command::new(VOLDEMORT).args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let mut stream = Stream::open(&socket, None).1;
    order(&socket, "suspend");
    let seen = stream.find("uspended");
    let copy = folder.path().join("copy").display().to_string();
    voldemort(&["state", "backup", &copy, "--directory", &state.display().to_string()]);
    // It ends when the daemon does, and nothing is missed over the restart.
    order(&socket, "resume");
    assert_eq!(daemon.stop(), Some(0));
    let mut last = seen;
    while let Some(event) = stream.next() {
        assert_eq!(number(&event.id), number(&last.id) + 1);
        last = event;
    }
    let daemon = Daemon::start(&net, &config, &inventory);
    let (status, mut stream) = Stream::open(&socket, Some(&last.id));
    assert_eq!(status, 200);
    order(&socket, "suspend");
    for _ in 0..2 {
        let event = stream.next().unwrap();
        assert_eq!(number(&event.id), number(&last.id) + 1);
        last = event;
    }
    // A restored state is another line of events, even where it has events of these numbers.
    assert_eq!(daemon.stop(), Some(0));
    std::fs::rename(&state, folder.path().join("lost")).unwrap();
    voldemort(&["state", "restore", &copy, "--directory", &state.display().to_string()]);
    let daemon = Daemon::start(&net, &config, &inventory);
    assert_eq!(Stream::open(&socket, Some(&last.id)).0, 410);
    let (status, mut again) = Stream::open(&socket, None);
    assert_eq!(status, 200);
    let lineage = |id: &str| id.rsplit_once('.').unwrap().0.to_owned();
    assert_ne!(lineage(&again.next().unwrap().id), lineage(&last.id));
    assert_eq!(daemon.stop(), Some(0));
}
