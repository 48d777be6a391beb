//! The logs of machines, in memory: bounded for each sender and in all, so that one that writes without end takes
//! nothing from others. A daemon that starts again begins with none.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::api::resource::log::{LogLine, LogSender, Logbook, WantedLines};
use crate::model::{Line, Name, Severity, Time};

/// Bounds of what one sender has and may send.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Lines that are kept.
    lines: usize,
    /// Lines at once, when it was silent before.
    burst: u64,
    /// Lines a second when that is used up.
    rate: u64,
}

/// Of a machine: an installer writes some thousand lines, most of them within a minute.
const MACHINE: Bounds = Bounds { lines: 5_000, burst: 10_000, rate: 500 };
/// Of an address that belongs to no machine.
const STRANGER: Bounds = Bounds { lines: 200, burst: 500, rate: 20 };
/// Addresses of no machine that are remembered; of more, the one that was silent longest is forgotten.
const STRANGERS_MAX: usize = 256;
/// What all lines together may take, in bytes.
const BYTES_MAX: usize = 64 << 20;
/// What a line takes besides its texts, about.
const OVERHEAD: usize = 256;

/// Whose line it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Who {
    Machine(Name),
    Address(IpAddr),
}

/// A line as it came, and of whom.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub who: Who,
    pub address: IpAddr,
    pub deployment: Option<Name>,
    pub facility: &'static str,
    pub severity: Severity,
    pub program: Line,
    pub text: Line,
    pub at: Time,
    /// Whether it was in a known form.
    pub is_known: bool,
}

/// All lines; cheap to clone.
#[derive(Clone)]
pub(in crate::daemon) struct Book {
    inner: Arc<Mutex<Inner>>,
    latest: watch::Sender<u64>,
    /// Names this start of the daemon.
    lineage: Arc<str>,
}

struct Inner {
    /// The number of the next line.
    next: u64,
    lines: BTreeMap<u64, Written>,
    senders: HashMap<Who, Sender>,
    bytes: usize,
    /// The number of the last line that was dropped of all.
    dropped: u64,
}

struct Sender {
    /// The numbers of its lines.
    lines: VecDeque<u64>,
    /// The number of the last of its lines that was dropped.
    dropped: u64,
    address: IpAddr,
    last: Time,
    received: u64,
    malformed: u64,
    left_out: u64,
    /// Of those, how many no line has said yet.
    unsaid: u64,
    room: u64,
    counted: Time,
}

impl Book {
    /// An empty one, whose numbers belong to `lineage`.
    pub(in crate::daemon) fn new(lineage: &str) -> Book {
        let inner = Inner { next: 1, lines: BTreeMap::new(), senders: HashMap::new(), bytes: 0, dropped: 0 };
        Book { inner: Arc::new(Mutex::new(inner)), latest: watch::Sender::new(0), lineage: lineage.into() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a sender may send one more message. It is counted either way.
    pub(super) fn admits(&self, who: &Who, address: IpAddr, at: Time) -> bool {
        let mut inner = self.lock();
        let sender = inner.sender(who, address, at);
        sender.received += 1;
        let has_room = sender.has_room(bounds(who), at);
        if !has_room {
            (sender.left_out, sender.unsaid) = (sender.left_out + 1, sender.unsaid + 1);
        }
        has_room
    }

    /// Takes a line in that was admitted.
    pub(super) fn add(&self, line: Written) {
        let mut inner = self.lock();
        inner.add(line);
        let newest = inner.next - 1;
        drop(inner);
        self.latest.send_if_modified(|latest| std::mem::replace(latest, newest) != newest);
    }

    /// Counts what was no message.
    pub(super) fn count_malformed(&self, who: Who, address: IpAddr, at: Time) {
        self.lock().sender(&who, address, at).malformed += 1;
    }
}

impl Logbook for Book {
    fn latest(&self) -> watch::Receiver<u64> {
        self.latest.subscribe()
    }

    fn lineage(&self) -> String {
        self.lineage.to_string()
    }

    fn after(&self, sequence: u64, limit: usize, wanted: &WantedLines) -> (u64, Vec<(u64, LogLine)>) {
        let inner = self.lock();
        let fits = |who: &Who, address: IpAddr, deployment: Option<&Name>| match &wanted.name {
            None => true,
            Some(name) => {
                matches!(who, Who::Machine(machine) if machine.as_str() == name)
                    || deployment.is_some_and(|deployment| deployment.as_str() == name)
                    || name.parse() == Ok(address)
            }
        };
        let dropped = match &wanted.name {
            None => inner.dropped,
            Some(_) => {
                let of = inner.senders.iter().filter(|(who, sender)| {
                    let last = sender.lines.back().and_then(|last| inner.lines.get(last));
                    fits(who, sender.address, last.and_then(|last| last.deployment.as_ref()))
                });
                of.map(|(_, sender)| sender.dropped).max().unwrap_or(0)
            }
        };
        let lines = inner.lines.range(sequence.saturating_add(1)..).filter(|(_, line)| {
            fits(&line.who, line.address, line.deployment.as_ref())
                && wanted.severity.is_none_or(|least| line.severity <= least)
                && wanted.since.is_none_or(|since| line.at >= since)
        });
        let lines = lines.take(limit).map(|(number, line)| (*number, line.shown(*number))).collect();
        (dropped + 1, lines)
    }

    fn senders(&self) -> Vec<LogSender> {
        let inner = self.lock();
        let mut senders: Vec<(&Who, &Sender)> = inner.senders.iter().collect();
        senders.sort_by_key(|(who, _)| *who);
        senders.into_iter().map(|(who, sender)| sender.shown(who)).collect()
    }
}

impl Inner {
    fn sender(&mut self, who: &Who, address: IpAddr, at: Time) -> &mut Sender {
        let is_new_stranger = matches!(who, Who::Address(_)) && !self.senders.contains_key(who);
        if is_new_stranger {
            let strangers = self.senders.iter().filter(|(who, _)| matches!(who, Who::Address(_)));
            let all: Vec<(Time, &Who)> = strangers.map(|(who, sender)| (sender.last, who)).collect();
            if all.len() >= STRANGERS_MAX
                && let Some(silent) = all.into_iter().min().map(|(_, who)| who.clone())
            {
                self.forget(&silent);
            }
        }
        let sender = self.senders.entry(who.clone()).or_insert_with(|| Sender::new(who, address, at));
        (sender.address, sender.last) = (address, at);
        sender
    }

    fn add(&mut self, line: Written) {
        let number = self.next;
        let bounds = bounds(&line.who);
        let sender = self.sender(&line.who, line.address, line.at);
        sender.malformed += u64::from(!line.is_known);
        let unsaid = std::mem::take(&mut sender.unsaid);
        if unsaid > 0 {
            let text =
                format!("{unsaid} lines before this one were left out, because they were too many").into();
            let program: Line = "voldemort".into();
            self.put(number, Written { program, text, severity: Severity::Warning, ..line.clone() }, bounds);
        }
        self.put(self.next, line, bounds);
    }

    fn put(&mut self, number: u64, line: Written, bounds: Bounds) {
        self.next = number + 1;
        self.bytes += line.size();
        let excess = match self.senders.get_mut(&line.who) {
            Some(sender) => {
                sender.lines.push_back(number);
                (sender.lines.len() > bounds.lines).then(|| sender.lines[0])
            }
            None => None,
        };
        self.lines.insert(number, line);
        if let Some(excess) = excess {
            self.drop_line(excess);
        }
        while self.bytes > BYTES_MAX
            && let Some(oldest) = self.lines.first_key_value().map(|(number, _)| *number)
        {
            self.drop_line(oldest);
        }
    }

    /// The oldest of a sender.
    fn drop_line(&mut self, number: u64) {
        let Some(line) = self.lines.remove(&number) else { return };
        self.bytes -= line.size();
        self.dropped = self.dropped.max(number);
        if let Some(sender) = self.senders.get_mut(&line.who) {
            sender.lines.pop_front();
            sender.dropped = number;
        }
    }

    fn forget(&mut self, who: &Who) {
        let lines = self.senders.get(who).map(|sender| sender.lines.clone()).unwrap_or_default();
        lines.into_iter().for_each(|number| self.drop_line(number));
        self.senders.remove(who);
    }
}

fn bounds(who: &Who) -> Bounds {
    match who {
        Who::Machine(_) => MACHINE,
        Who::Address(_) => STRANGER,
    }
}

impl Sender {
    fn new(who: &Who, address: IpAddr, at: Time) -> Sender {
        Sender {
            lines: VecDeque::new(),
            dropped: 0,
            address,
            last: at,
            received: 0,
            malformed: 0,
            left_out: 0,
            unsaid: 0,
            room: bounds(who).burst,
            counted: at,
        }
    }

    /// Whether it may send one more line now.
    fn has_room(&mut self, bounds: Bounds, now: Time) -> bool {
        // A clock that was set back leaves nothing out.
        self.counted = self.counted.min(now);
        let earned = now.since(self.counted).as_seconds() * bounds.rate;
        if earned > 0 {
            self.room = bounds.burst.min(self.room.saturating_add(earned));
            self.counted = now;
        }
        let has_room = self.room > 0;
        self.room = self.room.saturating_sub(1);
        has_room
    }

    fn shown(&self, who: &Who) -> LogSender {
        let machine = match who {
            Who::Machine(machine) => Some(machine.to_string()),
            Who::Address(_) => None,
        };
        LogSender {
            name: machine.clone().unwrap_or_else(|| self.address.to_string()),
            machine,
            address: self.address,
            kept: self.lines.len() as u64,
            received: self.received,
            malformed: self.malformed,
            left_out: self.left_out,
            last: self.last.to_string(),
        }
    }
}

impl Written {
    fn size(&self) -> usize {
        OVERHEAD + self.text.len() + self.program.len()
    }

    fn shown(&self, seq: u64) -> LogLine {
        let machine = match &self.who {
            Who::Machine(machine) => Some(machine.to_string()),
            Who::Address(_) => None,
        };
        LogLine {
            seq,
            at: self.at.to_string(),
            at_ms: self.at.0,
            machine,
            deployment: self.deployment.as_ref().map(ToString::to_string),
            address: self.address,
            facility: self.facility.to_owned(),
            severity: self.severity.into(),
            program: Some(self.program.to_string()).filter(|program| !program.is_empty()),
            text: self.text.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(who: &Who, address: u32, text: &str, at: u64) -> Written {
        Written {
            who: who.clone(),
            address: std::net::Ipv4Addr::from(address).into(),
            deployment: None,
            facility: "user",
            severity: Severity::Info,
            program: "p".into(),
            text: text.into(),
            at: Time(at),
            is_known: true,
        }
    }

    fn send(book: &Book, line: Written) {
        if book.admits(&line.who, line.address, line.at) {
            book.add(line);
        }
    }

    fn texts(book: &Book, after: u64, name: &str) -> (u64, Vec<String>) {
        let wanted = WantedLines { name: Some(name.into()), ..WantedLines::default() };
        let (oldest, lines) = book.after(after, usize::MAX, &wanted);
        (oldest, lines.into_iter().map(|(_, line)| line.text).collect())
    }

    #[test]
    fn a_machine_that_floods_loses_its_own_oldest_lines_alone() {
        let book = Book::new("start");
        let [one, two] = ["one", "two"].map(|name| Who::Machine(name.parse().unwrap()));
        send(&book, line(&two, 2, "quiet", 0));
        for number in 0..MACHINE.burst + 7 {
            send(&book, line(&one, 1, &number.to_string(), 0));
        }
        assert_eq!(texts(&book, 0, "two"), (1, vec!["quiet".to_owned()]));
        let (oldest, kept) = texts(&book, 0, "one");
        assert_eq!((kept.len(), kept.last().unwrap().as_str()), (MACHINE.lines, "9999"));
        assert_eq!(oldest, 2 + MACHINE.burst - MACHINE.lines as u64);
        send(&book, line(&one, 1, "later", 1000));
        let (_, kept) = texts(&book, 2 + MACHINE.burst - 1, "one");
        assert_eq!(kept, ["7 lines before this one were left out, because they were too many", "later"]);
        let senders = book.senders();
        assert_eq!((senders[0].left_out, senders[0].kept, senders[1].kept), (7, MACHINE.lines as u64, 1));
    }

    #[test]
    fn strangers_and_all_together_are_bounded() {
        let book = Book::new("start");
        for number in 0..STRANGERS_MAX as u32 + 9 {
            let who = Who::Address(std::net::Ipv4Addr::from(number).into());
            send(&book, line(&who, number, "x", u64::from(number)));
        }
        assert_eq!(book.senders().len(), STRANGERS_MAX);
        assert_eq!(texts(&book, 0, "0.0.0.0").1.len(), 0);
        assert_eq!(texts(&book, 0, "0.0.0.9").1.len(), 1);
        let long = "x".repeat(1900);
        for number in 0..10_000u32 {
            for count in 0..5 {
                let who = Who::Machine(format!("m{}", number / 2).parse().unwrap());
                send(&book, line(&who, number, &format!("{count}{long}"), 0));
            }
        }
        let inner = book.lock();
        assert!(inner.bytes <= BYTES_MAX && inner.bytes > BYTES_MAX / 2);
        assert_eq!(inner.bytes, inner.lines.values().map(Written::size).sum::<usize>());
        assert_eq!(inner.lines.len(), inner.senders.values().map(|sender| sender.lines.len()).sum::<usize>());
    }

    #[test]
    fn what_is_wanted_is_chosen() {
        let book = Book::new("start");
        let who = Who::Machine("one".parse().unwrap());
        book.add(Written { severity: Severity::Error, ..line(&who, 1, "bad", 5) });
        book.add(Written { deployment: Some("web".parse().unwrap()), ..line(&who, 1, "good", 9) });
        let count = |wanted: WantedLines| book.after(0, 100, &wanted).1.len();
        assert_eq!(count(WantedLines { severity: Some(Severity::Warning), ..Default::default() }), 1);
        assert_eq!(count(WantedLines { since: Some(Time(6)), ..Default::default() }), 1);
        assert_eq!(texts(&book, 0, "web").1, ["good"]);
        assert_eq!(texts(&book, 1, "0.0.0.1").1, ["good"]);
        assert_eq!(texts(&book, 0, "other").1.len(), 0);
    }
}
