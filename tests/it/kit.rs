//! What the tests of the byte servers share: a tree of names in memory, and servers on loopback.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use voldemort::daemon::request_handler::Method;
use voldemort::daemon::{Opened, RequestHandler};
use voldemort::media::identity::of as identity;
use voldemort::model::{Content, Extent};
use voldemort::proto::tree::{Artifact, Asker, Refusal, RefusalReason};
use voldemort::state::Stage;

/// Serves what it was given, and writes down what it was asked.
#[derive(Default)]
pub(crate) struct Shelf {
    pub names: BTreeMap<String, Content>,
    pub asked: Mutex<Vec<(Method, String, String)>>,
    /// Bytes sent and whether that was all.
    ended: Mutex<Vec<(u64, bool)>>,
    more: Notify,
}

impl Shelf {
    pub(crate) fn with(names: &[(&str, Content)]) -> Arc<Shelf> {
        let names = names.iter().map(|(name, content)| ((*name).to_owned(), content.clone())).collect();
        Arc::new(Shelf { names, ..Shelf::default() })
    }

    pub(crate) fn asked(&self) -> Vec<(Method, String, String)> {
        self.asked.lock().unwrap().clone()
    }

    /// Waits until `count` transfers have been reported. For one waiter at a time.
    pub(crate) async fn ended(&self, count: usize) -> Vec<(u64, bool)> {
        loop {
            let ended = self.ended.lock().unwrap().clone();
            if ended.len() >= count {
                return ended;
            }
            self.more.notified().await;
        }
    }
}

impl RequestHandler for Shelf {
    async fn open(&self, _asker: &mut Asker, method: Method, path: &str, note: &str) -> Opened {
        self.asked.lock().unwrap().push((method, path.to_owned(), note.to_owned()));
        let refuse = |reason, text: &str| {
            Opened::Refuse(Refusal { reason, text: text.to_owned(), mac: None, deployment: None })
        };
        match path {
            "completed" => Opened::Accepted,
            "forbidden" => refuse(RefusalReason::Forbidden, "not for you"),
            "gone" => refuse(RefusalReason::Gone, "it was there once"),
            "busy" => refuse(RefusalReason::Busy, "too much to do"),
            path => match self.names.get(path) {
                Some(content) => Opened::Serve(artifact(content.clone())),
                None => refuse(RefusalReason::NotFound, "no such name"),
            },
        }
    }

    fn done(&self, _asker: Asker, _artifact: &Artifact, sent: u64, complete: bool) {
        self.ended.lock().unwrap().push((sent, complete));
        self.more.notify_one();
    }
}

fn artifact(content: Content) -> Artifact {
    Artifact {
        content,
        media_type: "application/octet-stream",
        etag: "tag".to_owned(),
        stage: Stage::File,
        mac: None,
        deployment: None,
        text: String::new(),
    }
}

/// Bytes that repeat only after a long while.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

pub(crate) fn memory(bytes: &[u8]) -> Content {
    Content::Bytes(bytes.to_vec().into())
}

/// The given extents of a file that exists.
pub(crate) fn disk(path: &Path, extents: &[(u64, u64)]) -> Content {
    let extents = extents.iter().map(|(offset, length)| Extent { offset: *offset, length: *length });
    Content::File {
        path: Arc::from(path),
        id: identity(&std::fs::metadata(path).unwrap()),
        extents: extents.collect(),
    }
}

pub(crate) fn loopback(last: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, last), 0)
}

/// A running server, ended in an orderly way by [`Running::stop`].
pub(crate) struct Running {
    pub address: SocketAddrV4,
    pub shelf: Arc<Shelf>,
    stop: watch::Sender<bool>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Running {
    pub(crate) fn new<F>(
        address: SocketAddrV4,
        shelf: Arc<Shelf>,
        run: impl FnOnce(Arc<Shelf>, watch::Receiver<bool>) -> F,
    ) -> Running
    where
        F: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(Arc::clone(&shelf), stopped));
        Running { address, shelf, stop, task }
    }

    pub(crate) fn begin_stop(&self) {
        self.stop.send_replace(true);
    }

    pub(crate) async fn stop(self) {
        self.begin_stop();
        self.task.await.unwrap().unwrap();
    }
}

/// Whether a program the test needs is there; says so if not.
pub(crate) fn has(program: &str) -> bool {
    let found = std::process::Command::new(program).arg("-V").output().is_ok();
    if !found {
        eprintln!("SKIPPED: `{program}` is not installed");
    }
    found
}

/// Runs a test that measures the memory of its process in one of its own; true in there.
pub(crate) fn alone(test: &str) -> bool {
    const MARK: &str = "VOLDEMORT_TEST_ALONE";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let status = child.args([test, "--exact", "--nocapture"]).env(MARK, "1").status().unwrap();
    assert!(status.success(), "{test}");
    false
}

/// Resident memory of this process, in bytes.
pub(crate) fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
