//! How much one caller may ask of the control API: so many requests a second after a burst, and so many attempts
//! without a valid token. The programs of this project stay far below these numbers, which keep one caller from taking
//! the daemon from all others, and floods of guesses out of the log. A good token is always taken, whatever others at
//! its address try.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::http::header::{CONNECTION, HeaderValue, RETRY_AFTER};
use axum::response::Response;

use super::access::Peer;
use super::problem::problem;
use crate::model::{By, Caller, Role, Token};

/// Most callers and addresses that are remembered of each kind; those beyond share one place.
const PLACES_MAX: usize = 4096;
/// Between two lines of the log about the same caller.
const PERIOD: Duration = Duration::from_secs(60);

/// How many of something are allowed.
#[derive(Clone, Copy, Debug)]
struct Limit {
    /// At once, after a rest.
    burst: u32,
    /// The time in which one more is earned.
    each: Duration,
}

/// Requests of one caller: 500 a second.
const REQUESTS: Limit = Limit { burst: 5000, each: Duration::from_millis(2) };
/// Requests without a token, or with one that is none, from one address: one a second.
const FAILURES: Limit = Limit { burst: 300, each: Duration::from_secs(1) };

/// Who is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    User(u32),
    Token(String),
    /// An IPv4 address, or the network of an IPv6 one: one host has a whole /64.
    Address(IpAddr),
    /// All that there was no place for.
    Others,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::User(uid) => write!(f, "user {uid}"),
            Key::Token(name) => write!(f, "token {name}"),
            Key::Address(IpAddr::V6(network)) => write!(f, "{network}/64"),
            Key::Address(address) => write!(f, "{address}"),
            Key::Others => f.write_str("one of many addresses"),
        }
    }
}

/// What one caller has used.
#[derive(Clone, Copy, Debug)]
struct Account {
    /// When all would be earned again.
    full: Instant,
    refused: u64,
    /// When the log said so last.
    said: Option<Instant>,
}

/// One kind of what is counted.
#[derive(Debug)]
struct Book {
    limit: Limit,
    accounts: Mutex<HashMap<Key, Account>>,
    refused: AtomicU64,
}

impl Book {
    fn new(limit: Limit) -> Book {
        Book { limit, accounts: Mutex::default(), refused: AtomicU64::new(0) }
    }

    /// Takes one; the error is how long the caller has to wait for it, and whether the log should say so.
    fn take(&self, key: Key, now: Instant) -> Result<(), Refused> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if accounts.len() >= PLACES_MAX && !accounts.contains_key(&key) {
            accounts
                .retain(|_, account| account.full > now || account.said.is_some_and(|at| now - at < PERIOD));
        }
        let has_place = accounts.len() < PLACES_MAX || accounts.contains_key(&key);
        let key = if has_place { key } else { Key::Others };
        let account = accounts.entry(key.clone()).or_insert(Account { full: now, refused: 0, said: None });
        let full = account.full.max(now) + self.limit.each;
        let most = now + self.limit.each * self.limit.burst;
        if full <= most {
            account.full = full;
            return Ok(());
        }
        account.refused += 1;
        self.refused.fetch_add(1, Ordering::Relaxed);
        let is_due = account.said.is_none_or(|at| now - at >= PERIOD);
        let count = is_due.then(|| {
            account.said = Some(now);
            std::mem::take(&mut account.refused)
        });
        Err(Refused { key, wait: full - most, count })
    }
}

/// One request too many.
#[derive(Debug)]
struct Refused {
    key: Key,
    wait: Duration,
    /// How many of this caller were refused since the log said so, if it is to say so now.
    count: Option<u64>,
}

impl Refused {
    fn answer(self, what: &str, most: &str) -> Response {
        if let Some(count) = self.count {
            tracing::warn!(
                "API: {} of {} refused: {what} ({count} since this was said last)",
                count,
                self.key
            );
        }
        let seconds = self.wait.as_secs() + 1;
        let why = format!("too many {what} of {}: {most}; try again in {seconds} s", self.key);
        let mut answer = problem(StatusCode::TOO_MANY_REQUESTS, &why);
        answer.headers_mut().insert(RETRY_AFTER, seconds.into());
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        answer
    }
}

/// What all callers have used.
#[derive(Debug)]
pub struct Quotas {
    requests: Book,
    failures: Book,
    connections: AtomicU64,
}

impl Default for Quotas {
    fn default() -> Quotas {
        Quotas {
            requests: Book::new(REQUESTS),
            failures: Book::new(FAILURES),
            connections: AtomicU64::new(0),
        }
    }
}

impl Quotas {
    /// Counts a request of a known caller, or of an address where nobody has to be known; the error is the answer to
    /// one too many. Who administers the host by its socket or the token of the start has no limit: somebody has to
    /// be able to repair things.
    pub fn request(&self, caller: Option<&Caller>, peer: Peer) -> Result<(), Response> {
        let key = match caller {
            Some(Caller { by: By::Token(Token::Start), .. }) => return Ok(()),
            Some(Caller { by: By::User(_), role: Role::Admin }) => return Ok(()),
            Some(Caller { by: By::User(uid), .. }) => Key::User(*uid),
            Some(Caller { by: By::Token(token), .. }) => Key::Token(token.name().to_owned()),
            Some(Caller { by: By::Webhook | By::Daemon | By::Machine, .. }) => return Ok(()),
            None => match address(peer) {
                Some(address) => address,
                None => return Ok(()),
            },
        };
        let most = "500 a second after a burst of 5,000";
        self.requests.take(key, Instant::now()).map_err(|refused| refused.answer("requests", most))
    }

    /// Counts a request by TCP without a good token; the error is the answer to one too many.
    pub fn failure(&self, peer: Peer) -> Result<(), Response> {
        let Some(key) = address(peer) else { return Ok(()) };
        let most = "one a second after 300; a good token is taken all the same";
        let what = "attempts without a good token";
        self.failures.take(key, Instant::now()).map_err(|refused| refused.answer(what, most))
    }

    /// A connection was refused, because its caller had all that it may have.
    pub fn connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// How often each limit was met since the daemon began.
    pub fn refused(&self) -> [(&'static str, u64); 3] {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("connections", count(&self.connections)),
            ("failures", count(&self.failures.refused)),
            ("requests", count(&self.requests.refused)),
        ]
    }
}

/// The one whose requests from the network are counted together; `None` for the socket.
fn address(peer: Peer) -> Option<Key> {
    match peer {
        Peer::Network(address) => Some(Key::Address(network(address))),
        Peer::Socket { .. } => None,
    }
}

/// An IPv4 address as it is; of an IPv6 address the first 64 bits.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX))),
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEAR: Peer = Peer::Network(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn caller(by: By, role: Role) -> Caller {
        Caller { by, role }
    }

    #[test]
    fn what_was_used_is_earned_again() {
        let book = Book::new(Limit { burst: 3, each: Duration::from_secs(10) });
        let (start, key) = (Instant::now(), || Key::User(7));
        let take = |at: u64| book.take(key(), start + Duration::from_secs(at));
        assert!((0..3).all(|_| take(0).is_ok()));
        let refused = take(0).unwrap_err();
        assert_eq!((refused.wait, refused.count), (Duration::from_secs(10), Some(1)));
        assert_eq!(take(4).unwrap_err().wait, Duration::from_secs(6));
        assert!(take(10).is_ok() && take(10).is_err());
        // Said once a minute, with all that was refused meanwhile.
        assert_eq!(take(10).unwrap_err().count, None);
        assert!((0..3).all(|_| take(60).is_ok()));
        assert_eq!(take(60).unwrap_err().count, Some(4));
        assert_eq!(book.refused.load(Ordering::Relaxed), 5);
        assert!(book.take(Key::User(8), start).is_ok(), "each caller has its own");
        assert!((0..3).all(|_| take(1000).is_ok()) && take(1000).is_err(), "no more than the burst is kept");
    }

    #[test]
    fn memory_is_bounded_and_known_callers_keep_their_place() {
        let book = Book::new(Limit { burst: 2, each: Duration::from_secs(10) });
        let now = Instant::now();
        let address = |number: u32| Key::Address(IpAddr::from(number.to_be_bytes()));
        for number in 0..PLACES_MAX as u32 {
            book.take(address(number), now).unwrap();
        }
        let beyond: Vec<bool> =
            (0..5).map(|more| book.take(address(9_000_000 + more), now).is_ok()).collect();
        assert_eq!(beyond, [true, true, false, false, false], "they share one place");
        assert!(book.take(address(5), now).is_ok());
        assert!(book.accounts.lock().unwrap().len() <= PLACES_MAX + 1);
        // Who has rested is forgotten.
        let later = now + Duration::from_secs(100);
        assert!(book.take(address(9_000_009), later).is_ok());
        assert!(book.accounts.lock().unwrap().len() < 10);
    }

    #[test]
    fn whoever_repairs_is_never_locked_out() {
        let quotas = Quotas::default();
        let viewer = caller(By::Token(Token::Named("ci".parse().unwrap())), Role::Viewer);
        let socket = Peer::Socket { uid: 7, role: None };
        let refused = (0..7000).filter(|_| quotas.request(Some(&viewer), NEAR).is_err()).count();
        assert!(refused > 1000, "{refused}");
        // Time goes on: what refills may let one more through.
        let answer = (0..7000).find_map(|_| quotas.request(Some(&viewer), NEAR).err()).unwrap();
        assert_eq!(answer.status(), 429);
        assert!(answer.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
        assert!((0..400).filter(|_| quotas.failure(NEAR).is_err()).count() >= 90);
        let other = Peer::Network([192, 0, 2, 7].into());
        for (caller, peer) in [
            (Some(caller(By::User(0), Role::Admin)), socket),
            (Some(caller(By::User(7), Role::Editor)), socket),
            (Some(caller(By::Token(Token::Start), Role::Admin)), NEAR),
            (Some(caller(By::Token(Token::Viewer), Role::Viewer)), NEAR),
            (None, other),
        ] {
            assert!(quotas.request(caller.as_ref(), peer).is_ok(), "{caller:?}");
        }
        assert!(quotas.failure(other).is_ok() && quotas.failure(socket).is_ok());
        let [connections, failures, requests] = quotas.refused();
        assert!(connections.1 == 0 && failures.1 >= 90 && requests.1 as usize > refused);
    }

    #[test]
    fn a_host_has_one_place_whichever_of_its_addresses_it_uses() {
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:aaaa::1"), "2001:db8:1:2::");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
    }
}
