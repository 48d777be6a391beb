//! The daemon's output on stdout and stderr, written by threads that do nothing else.
//!
//! The reader of these pipes may stop reading, and a disk behind them may fill up: a write then waits for
//! ever or fails. No thread that serves machines may wait for that, so each stream has a bounded queue and
//! a thread. Lines that find the queue full, or that can't be written, are counted and dropped.

use std::fmt::Debug;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::{FormatFields, MakeWriter};

use crate::model::printable;

/// Lines that may wait for one stream.
const WAITING: usize = 8_192;
/// Lines that wait together are written together, up to about so many bytes.
const TOGETHER: usize = 64 * 1024;
/// Rest after a write. Lines that come meanwhile are written together: to wake the thread costs more than a line.
const REST: Duration = Duration::from_millis(5);
/// How long the last lines may take at the end of the process.
const FLUSH: Duration = Duration::from_secs(1);

static STDOUT: LazyLock<Stream> = LazyLock::new(|| Stream::open("stdout", io::stdout));
static STDERR: LazyLock<Stream> = LazyLock::new(|| Stream::open("stderr", io::stderr));

/// Whether lines are JSON objects.
static JSON: AtomicBool = AtomicBool::new(false);

/// From now on each line on stdout and stderr is a JSON object with the fields `timestamp`, `level`, `target` and `message`,
/// and those that the line has besides (docs/reference/logs.md). To be called before [`start`].
pub fn write_json() {
    JSON.store(true, Ordering::Relaxed);
}

fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// Sends the log to stderr. `VOLDEMORT_LOG` sets the level (`warn`, `debug`, `voldemort::daemon=trace`). Panics are
/// logged as well: the usual hook writes to stderr itself.
pub fn start() {
    let filter = EnvFilter::try_from_env("VOLDEMORT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let ansi =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // A second daemon in one process (tests) keeps the first one's log.
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Stderr);
    let started = match is_json() {
        true => {
            subscriber.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
        }
        false => subscriber.with_ansi(ansi).fmt_fields(fields()).try_init(),
    };
    if started.is_ok() {
        std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    }
}

/// Fields as `tracing_subscriber` writes them, in one printable line: names and texts come off the wire, out of
/// files and from other servers, and none may end the line or drive a terminal.
fn fields() -> impl for<'writer> FormatFields<'writer> + Send + Sync + 'static {
    let write = |writer: &mut Writer<'_>, field: &Field, value: &dyn Debug| {
        let text = format!("{value:?}");
        match field.name() {
            "message" => write!(writer, "{}", printable::line(&text)),
            name => write!(writer, "{name}={}", printable::line(&text)),
        }
    };
    debug_fn(write).delimited(" ")
}

/// A line on stdout, for the person or program that started the daemon.
pub fn say(line: impl Into<String>) {
    let line = line.into();
    let text = match is_json() {
        true => {
            let now = jiff::Timestamp::now().to_string();
            let object = serde_json::json!({ "timestamp": now, "level": "INFO", "target": "voldemort", "message": line });
            printable::json(&format!("{object}\n"))
        }
        false => format!("{}\n", printable::line(&line)),
    };
    STDOUT.put(text.into_bytes());
}

/// Lines that were dropped since the start, on both streams.
pub fn dropped() -> u64 {
    STDOUT.dropped() + STDERR.dropped()
}

/// Waits until what was said so far is written, for a second at most. To be called at the end of the process.
pub fn flush() {
    let end = Instant::now() + FLUSH;
    for stream in [&*STDOUT, &*STDERR] {
        stream.flush(end);
    }
}

/// The stream that [`tracing_subscriber`] writes each line to.
struct Stderr;

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Stderr;

    fn make_writer(&'a self) -> Stderr {
        Stderr
    }
}

impl Write for Stderr {
    /// Never fails and never waits.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // The text of JSON objects is as it came in: what could drive a terminal is escaped here.
        let text = is_json().then(|| printable::json(&String::from_utf8_lossy(line)).into_bytes());
        STDERR.put(text.unwrap_or_else(|| line.to_vec()));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Item {
    Line(Vec<u8>),
    /// Answered when everything before it is written.
    Flush(SyncSender<()>),
}

/// One of the process's streams.
struct Stream {
    queue: SyncSender<Item>,
    dropped: Arc<AtomicU64>,
}

impl Stream {
    fn open<W: Write>(name: &str, stream: impl FnOnce() -> W + Send + 'static) -> Stream {
        let (queue, items) = sync_channel(WAITING);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = dropped.clone();
        // Without the thread, every line is dropped and counted, because nothing reads the queue.
        let _ = crate::thread::start(name, move || write_all(stream(), &items, &counter));
        Stream { queue, dropped }
    }

    fn put(&self, line: Vec<u8>) {
        if self.queue.try_send(Item::Line(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Whether everything was written before `end`. A full queue has no reader: there is nothing to wait
    /// for.
    fn flush(&self, end: Instant) -> bool {
        let (done, flushed) = sync_channel(1);
        let patience = end.saturating_duration_since(Instant::now());
        self.queue.try_send(Item::Flush(done)).is_ok() && flushed.recv_timeout(patience).is_ok()
    }
}

/// Writes lines as long as there are senders. After a gap, the first line says how many are missing.
fn write_all(mut stream: impl Write, items: &Receiver<Item>, dropped: &AtomicU64) {
    let mut said = 0;
    loop {
        match items.recv_timeout(Duration::from_secs(1)) {
            Ok(Item::Flush(done)) => drop(done.send(())),
            Ok(Item::Line(line)) => {
                let (text, count, flush) = gather(line, items);
                let missing = dropped.load(Ordering::Relaxed);
                if missing > said && writeln!(stream, "({} lines were dropped here)", missing - said).is_ok()
                {
                    said = missing;
                }
                if stream.write_all(&text).and_then(|()| stream.flush()).is_err() {
                    dropped.fetch_add(count, Ordering::Relaxed);
                }
                match flush {
                    Some(done) => drop(done.send(())),
                    None => std::thread::sleep(REST),
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// A line with those that wait behind it, how many they are, and the senders to be notified when they are
/// written.
fn gather(line: Vec<u8>, items: &Receiver<Item>) -> (Vec<u8>, u64, Option<SyncSender<()>>) {
    let (mut text, mut count) = (line, 1);
    while text.len() < TOGETHER {
        match items.try_recv() {
            Ok(Item::Line(line)) => {
                text.extend(line);
                count += 1;
            }
            Ok(Item::Flush(done)) => return (text, count, Some(done)),
            Err(_) => break,
        }
    }
    (text, count, None)
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use super::*;

    /// A pipe whose reader can stop reading.
    #[derive(Clone, Default)]
    struct Pipe(Arc<(Mutex<Reader>, Condvar)>);

    #[derive(Default)]
    struct Reader {
        is_open: bool,
        read: Vec<u8>,
    }

    impl Pipe {
        fn open(&self) {
            self.0.0.lock().unwrap().is_open = true;
            self.0.1.notify_all();
        }
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let reader = self.0.0.lock().unwrap();
            let mut reader = self.0.1.wait_while(reader, |reader| !reader.is_open).unwrap();
            reader.read.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_that_stopped_and_the_gap_is_said() {
        let pipe = Pipe::default();
        let given = pipe.clone();
        let stream = Stream::open("test", move || given);
        for number in 0..2 * WAITING {
            stream.put(format!("{number:999}\n").into_bytes());
        }
        let dropped = stream.dropped();
        // Besides those that wait, the lines that were gathered before the writer stood still.
        let gathered = TOGETHER / 1000 + 1;
        assert!(dropped >= (WAITING - gathered) as u64, "{dropped}");
        pipe.open();
        let end = Instant::now() + Duration::from_secs(60);
        let flush = || {
            while !stream.flush(end) {
                assert!(Instant::now() < end, "the queue was never written out");
                std::thread::yield_now();
            }
        };
        flush();
        stream.put(b"later\n".to_vec());
        flush();
        let text = String::from_utf8(pipe.0.0.lock().unwrap().read.clone()).unwrap();
        let said = text.lines().filter_map(|line| line.strip_suffix(" lines were dropped here)"));
        let said: u64 = said.map(|count| count.trim_start_matches('(').parse::<u64>().unwrap()).sum();
        assert_eq!(said, dropped);
        assert!(text.lines().any(|line| line.trim() == "0") && text.ends_with("later\n"));
    }

    #[test]
    fn a_broken_pipe_costs_lines_and_nothing_else() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let stream = Stream::open("test", || Broken);
        stream.put(b"a\n".to_vec());
        stream.put(b"b\n".to_vec());
        stream.flush(Instant::now() + Duration::from_secs(20));
        assert_eq!(stream.dropped(), 2);
    }
}
