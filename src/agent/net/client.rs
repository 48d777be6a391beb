//! One card's way to an address and to keep it (RFC 2131 section 4.4): bytes and times in, bytes out.

use std::time::Duration;

use super::message::{Answer, Lease, Sender, answer, discover, extend, request};
use crate::model::Mac;

/// Pauses between tries: the first answers get lost while a switch opens its port (spanning tree, up to 50 s).
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(16);
/// How often an offer is asked for before another is sought.
const REQUESTS: u32 = 4;
/// Shortest time between two tries to extend a lease (RFC 2131 section 4.4.5).
const EXTENSION_PAUSE: Duration = Duration::from_secs(60);

/// What a message changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The address is to be used from now on; also after each extension.
    Bound(Lease),
    /// The address must no longer be used.
    Lost,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Seeking,
    Asking { offer: Lease },
    Bound { lease: Lease, since: Duration },
}

/// The client of one card. Times are those since the agent started.
#[derive(Clone, Debug)]
pub struct Client {
    mac: Mac,
    transaction: u32,
    phase: Phase,
    /// When this exchange began.
    began: Duration,
    /// When the next message is due.
    due: Duration,
    tries: u32,
}

impl Client {
    /// `dice` is any number that differs between machines and starts.
    pub fn new(mac: Mac, dice: u32, now: Duration) -> Client {
        Client { mac, transaction: dice, phase: Phase::Seeking, began: now, due: now, tries: 0 }
    }

    /// When [`Client::next`] is to be called again at the latest.
    pub fn due(&self) -> Duration {
        self.due
    }

    /// The lease in use.
    pub fn lease(&self) -> Option<&Lease> {
        match &self.phase {
            Phase::Bound { lease, .. } => Some(lease),
            _ => None,
        }
    }

    /// The message to broadcast now, if one is due, and whether the address has just been lost.
    pub fn next(&mut self, now: Duration) -> (Option<Vec<u8>>, Option<Heard>) {
        if now < self.due {
            return (None, None);
        }
        let mut heard = None;
        if self.end().is_some_and(|end| now >= end) {
            self.begin(now);
            heard = Some(Heard::Lost);
        } else if matches!(self.phase, Phase::Asking { .. }) && self.tries >= REQUESTS {
            self.begin(now);
        }
        let sender = self.sender(now);
        let message = match &self.phase {
            Phase::Seeking => discover(sender),
            Phase::Asking { offer } => request(sender, offer),
            Phase::Bound { lease, .. } => extend(sender, lease),
        };
        self.due = match &self.phase {
            Phase::Bound { lease, since } => next_extension(*since, lease.seconds, now),
            _ => now + self.pause(),
        };
        self.tries += 1;
        (Some(message), heard)
    }

    /// A UDP payload that came to the client's port.
    pub fn hear(&mut self, payload: &[u8], now: Duration) -> Option<Heard> {
        match (answer(payload, self.sender(now))?, &self.phase) {
            (Answer::Offer(offer), Phase::Seeking) => {
                self.phase = Phase::Asking { offer };
                (self.tries, self.due) = (0, now);
                None
            }
            (Answer::Ack(lease), Phase::Asking { offer }) if lease.server == offer.server => {
                Some(self.bind(lease, now))
            }
            (Answer::Ack(new), Phase::Bound { lease, .. }) if new.address == lease.address => {
                Some(self.bind(new, now))
            }
            (Answer::Nak, Phase::Asking { .. }) => {
                self.begin(now);
                // The server says that its own offer is not to be had: not at once again.
                self.due = now + FIRST_PAUSE;
                None
            }
            (Answer::Nak, Phase::Bound { .. }) => {
                self.begin(now);
                Some(Heard::Lost)
            }
            _ => None,
        }
    }

    fn bind(&mut self, lease: Lease, now: Duration) -> Heard {
        self.phase = Phase::Bound { lease: lease.clone(), since: now };
        self.tries = 0;
        self.due = next_extension(now, lease.seconds, now);
        Heard::Bound(lease)
    }

    /// A new exchange: answers to the old one count no more.
    fn begin(&mut self, now: Duration) {
        self.transaction = self.transaction.wrapping_mul(0x9e37_79b1).wrapping_add(1);
        self.phase = Phase::Seeking;
        (self.began, self.due, self.tries) = (now, now, 0);
    }

    /// When the lease ends; `None` without one and for one that lasts for ever.
    fn end(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Bound { lease, since } if lease.seconds != u32::MAX => {
                Some(*since + Duration::from_secs(u64::from(lease.seconds)))
            }
            _ => None,
        }
    }

    /// 1, 2, 4, 8 and then 16 seconds, shifted by up to a quarter so that a rack that was switched on at once does
    /// not keep in step.
    fn pause(&self) -> Duration {
        let pause = (FIRST_PAUSE * (1 << self.tries.min(4))).min(LONGEST_PAUSE);
        let octets = self.mac.octets();
        pause + pause / 1024 * ((u32::from(octets[5] ^ octets[4]) + self.tries * 37) % 256)
    }

    fn sender(&self, now: Duration) -> Sender {
        let seconds = now.saturating_sub(self.began).as_secs();
        Sender { mac: self.mac, transaction: self.transaction, seconds: seconds.min(0xffff) as u16 }
    }
}

/// Half of the time has to pass before the first try, then half of what remains, down to a minute (RFC 2131
/// section 4.4.5), and the end of the lease is not slept over.
fn next_extension(since: Duration, seconds: u32, now: Duration) -> Duration {
    if seconds == u32::MAX {
        return now + Duration::from_secs(1 << 31);
    }
    let end = since + Duration::from_secs(u64::from(seconds));
    let pause = (end.saturating_sub(now) / 2).max(EXTENSION_PAUSE);
    (now + pause).min(end)
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::{GIVEN, reply};
    use super::*;

    const OFFER: u8 = 2;
    const ACK: u8 = 5;
    const NAK: u8 = 6;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn client() -> Client {
        Client::new("52:54:00:aa:00:01".parse().unwrap(), 99, at(0))
    }

    fn kind(message: &[u8]) -> u8 {
        message[242]
    }

    /// Brings a client to its lease of an hour at this time.
    fn bound(client: &mut Client, now: Duration) {
        client.next(now);
        assert_eq!(client.hear(&reply(client.sender(now), OFFER, [10, 0, 0, 50], &GIVEN), now), None);
        let (message, _) = client.next(now);
        assert_eq!(kind(&message.unwrap()), 3, "the offer is asked for at once");
        let heard = client.hear(&reply(client.sender(now), ACK, [10, 0, 0, 50], &GIVEN), now);
        assert!(matches!(heard, Some(Heard::Bound(lease)) if lease.seconds == 3600));
    }

    #[test]
    fn the_pauses_grow_and_end_nowhere() {
        let mut client = client();
        let mut sent = Vec::new();
        for second in 0..200 {
            if client.next(at(second)).0.is_some() {
                sent.push(second);
            }
        }
        assert_eq!(sent[..3], [0, 2, 5]);
        assert!((10..20).contains(&sent.len()), "{sent:?}");
        assert!(sent.windows(2).all(|pair| pair[1] - pair[0] <= 21), "{sent:?}");
    }

    #[test]
    fn a_lease_is_extended_and_lost() {
        let mut client = client();
        bound(&mut client, at(10));
        assert_eq!(client.due(), at(10 + 1800));
        let (message, heard) = client.next(at(1810));
        assert_eq!((kind(&message.unwrap()), heard), (3, None));
        assert_eq!(client.due(), at(1810 + 900));
        let ack = reply(client.sender(at(1811)), ACK, [10, 0, 0, 50], &GIVEN);
        assert!(matches!(client.hear(&ack, at(1811)), Some(Heard::Bound(_))));
        assert_eq!(client.due(), at(1811 + 1800));
        // Nobody answers any more.
        let mut now = at(1811);
        let mut lost = None;
        while lost.is_none() {
            now = client.due().max(now);
            lost = client.next(now).1;
        }
        assert_eq!((lost, now), (Some(Heard::Lost), at(1811 + 3600)));
        assert_eq!(client.lease(), None);
        bound(&mut client, now + at(30));
    }

    #[test]
    fn refusals_begin_anew() {
        let mut client = client();
        bound(&mut client, at(0));
        let nak = reply(client.sender(at(5)), NAK, [0; 4], &[]);
        assert_eq!(client.hear(&nak, at(5)), Some(Heard::Lost));
        assert_eq!(client.hear(&nak, at(6)), None, "it is of an exchange that is over");
        let (message, _) = client.next(at(6));
        assert_eq!(kind(&message.unwrap()), 1);
    }

    #[test]
    fn an_offer_that_is_not_kept_is_given_up() {
        let mut client = client();
        client.next(at(0));
        client.hear(&reply(client.sender(at(0)), OFFER, [10, 0, 0, 50], &GIVEN), at(0));
        let kinds: Vec<u8> =
            (0..60).filter_map(|second| client.next(at(second)).0).map(|message| kind(&message)).collect();
        assert_eq!(kinds[..5], [3, 3, 3, 3, 1], "{kinds:?}");
    }

    #[test]
    fn a_lease_for_ever_is_never_extended() {
        let mut client = client();
        client.next(at(0));
        let mut given = GIVEN;
        given[2] = (51, &[255; 4]);
        client.hear(&reply(client.sender(at(0)), OFFER, [10, 0, 0, 50], &given), at(0));
        client.next(at(0));
        client.hear(&reply(client.sender(at(0)), ACK, [10, 0, 0, 50], &given), at(0));
        assert_eq!(client.next(at(86_400 * 365)), (None, None));
    }
}
