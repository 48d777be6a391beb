//! A forge that answers late, and refuses.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use super::net::{Net, within};

#[derive(Default)]
pub(crate) struct Forge {
    /// How long an answer takes; without it there is none before [`Forge::let_answer`].
    delay: Option<Duration>,
    may_answer: AtomicBool,
    /// Requests since the start.
    pub(crate) asked: AtomicU64,
    /// Requests that wait for their answers, and the most that there were at once.
    pub(crate) now: AtomicU64,
    pub(crate) most: AtomicU64,
}

impl Forge {
    /// Listens on the server's loopback address; returns the port too.
    pub(crate) fn start(net: &Net, delay: Option<Duration>) -> (Arc<Forge>, u16) {
        let listener = within(&net.server, || TcpListener::bind("127.0.0.1:0").unwrap());
        let port = listener.local_addr().unwrap().port();
        let forge = Arc::new(Forge { delay, ..Forge::default() });
        let shared = forge.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (forge, stream) = (shared.clone(), stream.unwrap());
                std::thread::spawn(move || forge.serve(stream));
            }
        });
        (forge, port)
    }

    pub(crate) fn let_answer(&self) {
        self.may_answer.store(true, SeqCst);
    }

    fn serve(&self, mut stream: TcpStream) {
        self.asked.fetch_add(1, SeqCst);
        self.most.fetch_max(self.now.fetch_add(1, SeqCst) + 1, SeqCst);
        let _ = stream.read(&mut [0; 4096]);
        match self.delay {
            Some(delay) => std::thread::sleep(delay),
            None => {
                while !self.may_answer.load(SeqCst) {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
        // The client may ask again before this continues.
        self.now.fetch_sub(1, SeqCst);
        let _ = stream.write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
}
