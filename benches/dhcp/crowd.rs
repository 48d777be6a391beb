//! A lean crowd of clients behind a relay: keeps a number of exchanges open at any time, reads and
//! writes messages by batches, and looks at as little of them as it can.

use std::fmt;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::peer::Running;
use super::{Figure, Network, perfdhcp};

const BATCH: usize = 128;
/// An answer that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(1);
/// Machines never seen before are counted from here, beyond those of perfdhcp.
const NEW: u64 = 0x0010_0000_0000;
/// Machines of the paced loads are counted in steps of this.
const PACED: u32 = 1 << 24;

/// How exactly a paced exchange begins at its time.
const TICK: Duration = Duration::from_micros(100);

const LENGTH: usize = 300;
/// Where the value of option 53 stands in our messages.
const KIND: usize = 242;

/// The transaction id is the place of an exchange among those under way, and above it a number.
const PLACES: u32 = 1 << 12;

/// One exchange under way.
#[derive(Clone, Copy)]
struct Exchange {
    number: u32,
    id: u32,
    asked: bool,
    since: Instant,
    /// When the first message was due: a load that is late itself must not look like a quick server.
    due: Instant,
}

/// How long whole exchanges took, in milliseconds.
pub(crate) struct Delays {
    p50: f64,
    p99: f64,
    /// The share of exchanges that came to no end.
    pub lost: f64,
}

impl fmt::Display for Delays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Delays { p50, p99, lost } = self;
        write!(f, "{:>5.2} % lost, an exchange takes p50 {p50:.2} ms, p99 {p99:.2} ms", lost * 100.0)
    }
}

struct Crowd {
    socket: UdpSocket,
    clients: Option<u32>,
    open: Vec<Exchange>,
    next: u32,
    done: u64,
    lost: u64,
    /// Where exchanges begin at their time, not when another one ends.
    paced: Option<Paced>,
    out: Vec<[u8; LENGTH]>,
}

#[derive(Default)]
struct Paced {
    /// Places of exchanges that have ended.
    free: Vec<usize>,
    /// How long each exchange that came to its end took.
    took: Vec<Duration>,
}

pub(crate) fn run(
    network: &Network,
    running: &Running,
    clients: Option<u32>,
    open: usize,
    time: Duration,
) -> Figure {
    let file = std::fs::File::open(format!("/run/netns/{}", network.client)).expect("the namespace exists");
    std::thread::scope(|scope| {
        let play = scope.spawn(|| {
            nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).expect("root may enter namespaces");
            let mut crowd = Crowd::new(clients);
            let before = (running.processor_time(), own_time());
            let started = Instant::now();
            crowd.play(open, time);
            let wall = started.elapsed().as_secs_f64();
            let begun = crowd.done + crowd.lost;
            Figure {
                rate: crowd.done as f64 / wall,
                lost: crowd.lost as f64 / begun.max(1) as f64,
                server: (running.processor_time() - before.0) / wall,
                asking: (own_time() - before.1) / wall,
                asked: 1.0,
                mean: 0.0,
            }
        });
        play.join().expect("the crowd does not panic")
    })
}

/// Begins `rate` exchanges a second, evenly, whatever the server does. Each `load` has machines of its own.
pub(crate) fn paced(network: &Network, clients: Option<u32>, load: u32, rate: f64, time: Duration) -> Delays {
    let file = std::fs::File::open(format!("/run/netns/{}", network.client)).expect("the namespace exists");
    std::thread::scope(|scope| {
        let play = scope.spawn(|| {
            nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).expect("root may enter namespaces");
            let mut crowd = Crowd::new(clients);
            crowd.next = PACED * (load + 1);
            crowd.pace(rate, time)
        });
        play.join().expect("the crowd does not panic")
    })
}

impl Crowd {
    fn new(clients: Option<u32>) -> Crowd {
        let socket = UdpSocket::bind("10.0.0.2:67").expect("port 67 is free there");
        socket.connect("10.0.0.1:67").expect("a datagram socket connects");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time-out can be set");
        let room: libc::c_int = 8 << 20;
        // SAFETY: the option has the size given. Should it fail, more is lost.
        unsafe {
            let size = size_of::<libc::c_int>() as libc::socklen_t;
            let value = (&raw const room).cast();
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, value, size);
        }
        Crowd { socket, clients, open: Vec::new(), next: 0, done: 0, lost: 0, paced: None, out: Vec::new() }
    }

    fn play(&mut self, open: usize, time: Duration) {
        let started = Instant::now();
        let mut looked = started;
        for place in 0..open {
            self.open.push(Exchange { number: 0, id: 0, asked: false, since: started, due: started });
            self.begin(place, started);
        }
        let mut buffers = vec![[0u8; 1024]; BATCH];
        while started.elapsed() < time {
            self.flush();
            let lengths = receive(&self.socket, &mut buffers);
            let now = Instant::now();
            for (buffer, length) in buffers.iter().zip(lengths) {
                self.hear(&buffer[..length], now);
            }
            if now - looked > PATIENCE / 10 {
                looked = now;
                let late = |one: &Exchange| now - one.since > PATIENCE;
                let late: Vec<usize> = (0..open).filter(|place| late(&self.open[*place])).collect();
                self.lost += late.len() as u64;
                late.into_iter().for_each(|place| self.begin(place, now));
            }
        }
    }

    fn pace(&mut self, rate: f64, time: Duration) -> Delays {
        let started = Instant::now();
        let nothing = Exchange { number: 0, id: u32::MAX, asked: false, since: started, due: started };
        self.open = vec![nothing; PLACES as usize];
        self.paced = Some(Paced { free: (0..self.open.len()).collect(), took: Vec::new() });
        self.socket.set_nonblocking(true).expect("a socket can be asked not to wait");
        let mut buffers = vec![[0u8; 1024]; BATCH];
        let mut begun = 0u64;
        while started.elapsed() < time + PATIENCE {
            let now = Instant::now();
            let wanted = (now - started).min(time).as_secs_f64() * rate;
            while (begun as f64) < wanted {
                let due = started + Duration::from_secs_f64(begun as f64 / rate);
                begun += 1;
                // Without a free place it counts as lost: so many answers are missing.
                if let Some(place) = self.paced.as_mut().and_then(|paced| paced.free.pop()) {
                    self.begin(place, now);
                    self.open[place].due = due;
                }
            }
            self.flush();
            wait(&self.socket, TICK);
            let lengths = receive(&self.socket, &mut buffers);
            let now = Instant::now();
            for (buffer, length) in buffers.iter().zip(lengths) {
                self.hear(&buffer[..length], now);
            }
        }
        let mut took = self.paced.take().unwrap_or_default().took;
        took.sort();
        let at =
            |share: f64| took.get((took.len() as f64 * share) as usize).map_or(0.0, Duration::as_secs_f64);
        let lost = 1.0 - took.len() as f64 / begun.max(1) as f64;
        Delays { p50: at(0.5) * 1e3, p99: at(0.99) * 1e3, lost }
    }

    fn begin(&mut self, place: usize, now: Instant) {
        let id = (self.next % (u32::MAX / PLACES)) * PLACES + place as u32;
        self.open[place] = Exchange { number: self.next, id, asked: false, since: now, due: now };
        self.next += 1;
        self.say(place, 1, &[]);
    }

    fn hear(&mut self, message: &[u8], now: Instant) {
        if message.len() < 244 {
            return;
        }
        let word =
            |at: usize| u32::from_be_bytes([message[at], message[at + 1], message[at + 2], message[at + 3]]);
        let place = (word(4) % PLACES) as usize;
        if self.open.get(place).is_none_or(|one| one.id != word(4)) {
            return;
        }
        let kind = option(message, 53).and_then(|value| value.first().copied());
        match (kind, self.open[place].asked) {
            (Some(2), false) => {
                let server = option(message, 54).unwrap_or(&[10, 0, 0, 1]);
                let wanted = [&[50, 4][..], &message[16..20], &[54, 4], server].concat();
                (self.open[place].asked, self.open[place].since) = (true, now);
                self.say(place, 3, &wanted);
            }
            (Some(5), true) => {
                self.done += 1;
                match &mut self.paced {
                    Some(Paced { free, took }) => {
                        took.push(now - self.open[place].due);
                        self.open[place].id = u32::MAX;
                        free.push(place);
                    }
                    None => self.begin(place, now),
                }
            }
            _ => {}
        }
    }

    fn say(&mut self, place: usize, kind: u8, options: &[u8]) {
        let Exchange { number, id, .. } = self.open[place];
        let mac = match self.clients {
            Some(clients) => perfdhcp::FIRST_MAC + u64::from(number % clients),
            None => NEW + u64::from(number),
        };
        let mut message = [0; LENGTH];
        message[..4].copy_from_slice(&[1, 1, 6, 1]);
        message[4..8].copy_from_slice(&id.to_be_bytes());
        message[24..28].copy_from_slice(&Ipv4Addr::new(10, 0, 0, 2).octets());
        message[28..34].copy_from_slice(&mac.to_be_bytes()[2..]);
        message[236..240].copy_from_slice(&[99, 130, 83, 99]);
        message[240..243].copy_from_slice(&[53, 1, kind]);
        // What perfdhcp asks for.
        let rest = [options, &[55, 7, 1, 28, 2, 3, 15, 6, 12, 255]].concat();
        message[KIND + 1..KIND + 1 + rest.len()].copy_from_slice(&rest);
        self.out.push(message);
    }

    fn flush(&mut self) {
        let out = std::mem::take(&mut self.out);
        for batch in out.chunks(BATCH) {
            send(&self.socket, batch);
        }
    }
}

/// The value of an option.
fn option(message: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut area = message.get(240..)?;
    loop {
        let (&code, rest) = area.split_first()?;
        if code == 0 {
            area = rest;
            continue;
        }
        let (&length, rest) = rest.split_first()?;
        let (value, rest) = rest.split_at_checked(usize::from(length))?;
        if code == wanted {
            return Some(value);
        }
        area = rest;
    }
}

fn empty() -> libc::mmsghdr {
    // SAFETY: all zeros are a header without anything.
    unsafe { std::mem::zeroed() }
}

/// Until something comes, or the time is over: finer than a socket's own time-out, which counts in ticks of the
/// kernel.
fn wait(socket: &UdpSocket, time: Duration) {
    let mut sockets = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    let _ = ppoll(&mut sockets, Some(time.into()), None);
}

/// The lengths of what has come: at least one, unless nothing comes for a while.
fn receive(socket: &UdpSocket, buffers: &mut [[u8; 1024]]) -> Vec<usize> {
    let mut slices: Vec<libc::iovec> = buffers
        .iter_mut()
        .map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() })
        .collect();
    let mut headers = vec![empty(); slices.len()];
    for (header, slice) in headers.iter_mut().zip(&mut slices) {
        header.msg_hdr.msg_iov = slice;
        header.msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: the headers point to buffers that live and are as long as they say.
    let count = unsafe {
        let flags = libc::MSG_WAITFORONE;
        libc::recvmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            headers.len() as u32,
            flags,
            std::ptr::null_mut(),
        )
    };
    let count = usize::try_from(count).unwrap_or(0);
    headers[..count].iter().map(|header| header.msg_len as usize).collect()
}

fn send(socket: &UdpSocket, messages: &[[u8; LENGTH]]) {
    let mut slices: Vec<libc::iovec> = messages
        .iter()
        .map(|one| libc::iovec { iov_base: one.as_ptr().cast_mut().cast(), iov_len: one.len() })
        .collect();
    let mut headers = vec![empty(); slices.len()];
    for (header, slice) in headers.iter_mut().zip(&mut slices) {
        header.msg_hdr.msg_iov = slice;
        header.msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: as above; what is sent is only read.
    unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as u32, 0) };
}

/// Seconds of processor time that this thread has used.
fn own_time() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("usage can be asked for");
    (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6
}
