//! Streams of events: very many at once, and over restarts and restored states of the daemon.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::callers::House;
use super::daemon::{Daemon, VOLDEMORT, VOLDEMORTCTL};
use super::net::{Net, within};

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
        Stream::of("/v1/events", socket, after)
    }

    fn of(path: &str, socket: &Path, after: Option<&str>) -> (u16, Stream) {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let last = after.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n");
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

/// Machines that log, and lines of each: together more than a watcher may be behind, and each fewer than are kept of it.
const LOGGING: u8 = 4;
const LINES: usize = 4_000;

/// Lines of syslog over one connection, as the machine of this number.
fn log(net: &Net, machine: u8, lines: usize) {
    let address = |text: String| text.parse::<SocketAddr>().unwrap().into();
    within(&net.client, || {
        let mut stream = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        stream.bind(&address(format!("10.0.10.{}:0", 40 + machine))).unwrap();
        stream.connect(&address("10.0.10.1:514".into())).unwrap();
        let line = |number: usize| format!("<13>1 - - - - - - {machine}/{number} {}\n", "x".repeat(200));
        stream.write_all((0..lines).map(line).collect::<String>().as_bytes()).unwrap();
    });
}

#[test]
fn a_watcher_that_does_not_read_is_ended_as_slow_and_misses_nothing() {
    let Some(house) = House::behind(&[], "") else { return };
    let socket = house.socket();
    let House { net, folder, daemon, .. } = house;
    assert_eq!(daemon.stop(), Some(0));
    let (config, manifest) = (folder.path().join("voldemort.toml"), folder.path().join("inventory/lab.toml"));
    let add = |file: &Path, more: String| {
        std::fs::write(file, std::fs::read_to_string(file).unwrap() + &more).unwrap();
    };
    add(&config, "\n[syslog]\nlisten = [\"tcp:10.0.10.1:514\"]\n".into());
    for machine in 0..LOGGING {
        let address = format!("10.0.10.{}", 40 + machine);
        let mac = format!("00:11:22:33:55:{machine:02x}");
        add(
            &manifest,
            format!("[deployment.d-{machine}]\nmac = '{mac}'\naddress = '{address}'\nboot = 'local'\n"),
        );
        net.client_ip(&["address", "add", &format!("{address}/24"), "dev", "cli"]);
    }
    let daemon = Daemon::start(&net, &config, manifest.parent().unwrap().to_str().unwrap());
    let open = |after: Option<&str>| {
        let (status, stream) = Stream::of("/v1/logs", &socket, after);
        assert_eq!(status, 200);
        stream
    };
    // It is up to date, and then does not read any more.
    let mut slow = open(None);
    log(&net, 0, 1);
    let mut seen = vec![slow.find("0/0 ")];
    (0..LOGGING).for_each(|machine| log(&net, machine, LINES));
    // Who begins late and reads is behind as well, and gets all.
    let all = 1 + usize::from(LOGGING) * LINES;
    let mut other = open(None);
    let lines: Vec<Event> = std::iter::from_fn(|| other.next()).take(all).collect();
    assert!(lines.len() == all && lines.iter().all(|event| event.kind == "line"), "{:?}", lines.last());
    let end = loop {
        let event = slow.next().expect("the stream says why it ends");
        match event.kind.as_str() {
            "line" => seen.push(event),
            _ => break event,
        }
    };
    assert_eq!(end.kind, "slow", "{end:?}");
    assert_eq!(slow.next(), None, "it is the last event");
    let last = seen.last().unwrap().id.clone();
    assert!(end.data.ends_with(&format!("go on with Last-Event-ID {last}")), "{}", end.data);
    assert!(seen.len() + 10_000 < all, "{} lines were taken by nobody", seen.len());
    let mut again = open(Some(&last));
    seen.extend(std::iter::from_fn(|| again.next()).take(all - seen.len()));
    assert!(seen == lines, "nothing is missed, and nothing comes twice");
    assert_eq!(daemon.stop(), Some(0));
}
