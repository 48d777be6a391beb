//! One transfer to one client: what to send next, when to repeat it, and how it ended.
//!
//! The bytes themselves stay outside: the sender says which stretch of the file is due. Time is a duration
//! since any fixed moment; only differences matter.

use std::time::Duration;

use super::Grant;
use super::packet::Packet;
use super::rtt::Patience;

/// A client that made no progress for so long is gone.
const PATIENCE_ENDS: Duration = Duration::from_secs(30);

/// Most sends to a client that never answered anything: the source address of the request may be forged,
/// and its owner must not be flooded.
const UNANSWERED_SENDS: u8 = 3;

/// Go-back-N from the first block the client has not acknowledged.
#[derive(Clone, Debug)]
pub struct Sender {
    length: u64,
    block: u16,
    window: u16,
    /// Still unanswered, if the client asked for options.
    offer: Option<Vec<u8>>,
    /// Blocks the client has; blocks count from 1 and never roll over in here.
    acked: u64,
    /// Last block sent since the last step back.
    sent: u64,
    /// Last block ever sent.
    highest: u64,
    /// Something is due now.
    due: bool,
    /// When the present window began to leave.
    sent_at: Duration,
    /// The present window, or its offer, was sent before, at least in part.
    copies: bool,
    /// So was the window before it: its copies may still cause repeated acknowledgements.
    copies_before: bool,
    answered: bool,
    /// How often something was sent before the first answer.
    unanswered: u8,
    patience: Patience,
    progress_at: Duration,
    outcome: Option<Outcome>,
}

/// What to put on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transmit {
    /// The OACK packet.
    Offer(Vec<u8>),
    /// Each block of the run as a DATA packet of its own.
    Blocks(Run),
}

/// Consecutive blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Number of the first block, not rolled over.
    pub first: u64,
    /// How many; the last one may be short or empty.
    pub count: u16,
    /// Where the first block's data begins in the file.
    pub offset: u64,
    /// Data bytes in all blocks together.
    pub length: usize,
}

/// How a transfer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every block was acknowledged.
    Complete,
    /// Every block but the last was acknowledged; some clients just stop there.
    LastAckMissing,
    /// The client only asked for the size (EDK2, BIOS ROMs), or sent nothing more after the options. Not a
    /// failure.
    Probed,
    /// The client ended it.
    Aborted { code: u16, text: String },
    /// The client stopped answering, or its port is closed.
    Silent,
}

impl Sender {
    /// A transfer of `length` bytes in the agreed shape.
    pub fn new(length: u64, grant: Grant, now: Duration) -> Sender {
        let Grant { block, window, timeout, reply } = grant;
        Sender {
            length,
            block: block.max(1),
            window: window.max(1),
            offer: reply,
            acked: 0,
            sent: 0,
            highest: 0,
            due: true,
            sent_at: now,
            copies: false,
            copies_before: false,
            answered: false,
            unanswered: 0,
            patience: Patience::new(timeout),
            progress_at: now,
            outcome: None,
        }
    }

    /// Set once the transfer is over.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// Bytes the client has acknowledged.
    pub fn delivered(&self) -> u64 {
        self.length.min(self.acked.saturating_mul(self.block.into()))
    }

    /// Whether the client has answered at all.
    pub fn answered(&self) -> bool {
        self.answered
    }

    /// Whether [`Sender::poll_transmit`] has something.
    pub fn is_due(&self) -> bool {
        self.due && self.outcome.is_none()
    }

    /// When [`Sender::handle_timeout`] is to be called, if nothing comes before.
    pub fn deadline(&self) -> Duration {
        (self.sent_at + self.patience.wait()).min(self.progress_at + PATIENCE_ENDS)
    }

    /// What is due at `now`; the rest of the window at once.
    pub fn poll_transmit(&mut self, now: Duration) -> Option<Transmit> {
        if !self.is_due() {
            return None;
        }
        self.due = false;
        self.sent_at = now;
        self.unanswered = self.unanswered.saturating_add(1);
        if let Some(offer) = &self.offer {
            return Some(Transmit::Offer(offer.clone()));
        }
        let last = self.last().min(self.acked + u64::from(self.window));
        let run = self.run(self.sent + 1, last);
        self.sent = last;
        self.highest = self.highest.max(last);
        Some(Transmit::Blocks(run))
    }

    /// A packet from the client's address and port. Anything but ACK and ERROR changes nothing.
    pub fn handle(&mut self, now: Duration, packet: &Packet<'_>) {
        match packet {
            _ if self.outcome.is_some() => {}
            Packet::Ack(number) if self.offer.is_some() => self.accepted(now, *number),
            Packet::Ack(number) => self.acknowledged(now, *number),
            Packet::Error { code, text } => self.ended_by_client(*code, text),
            Packet::Read(_) | Packet::Write => {}
        }
    }

    /// The deadline has passed: repeat, or give up.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.outcome.is_some() || now < self.deadline() {
            return;
        }
        let unheard = !self.answered && self.unanswered >= UNANSWERED_SENDS;
        if unheard || now >= self.progress_at + PATIENCE_ENDS {
            return self.handle_gone();
        }
        self.patience.double();
        self.go_back();
    }

    /// The client's port is closed (ICMP), or the client sent nothing for too long.
    pub fn handle_gone(&mut self) {
        let outcome = match self.offer {
            Some(_) => Outcome::Probed,
            // A client that never answered may never have asked.
            None if self.answered && self.acked + 1 == self.last() => Outcome::LastAckMissing,
            None => Outcome::Silent,
        };
        self.outcome.get_or_insert(outcome);
    }

    /// Number of the last block, the one that is shorter than the others.
    fn last(&self) -> u64 {
        self.length / u64::from(self.block) + 1
    }

    fn run(&self, first: u64, last: u64) -> Run {
        let block = u64::from(self.block);
        let offset = (first - 1) * block;
        let count = last + 1 - first;
        let length = (count * block).min(self.length - offset);
        Run {
            first,
            count: u16::try_from(count).unwrap_or(self.window),
            offset,
            length: usize::try_from(length).unwrap_or(0),
        }
    }

    fn accepted(&mut self, now: Duration, number: u16) {
        if number != 0 {
            return;
        }
        self.offer = None;
        self.progress(now);
    }

    fn acknowledged(&mut self, now: Duration, number: u16) {
        let ahead = u64::from(number.wrapping_sub(self.acked as u16));
        if ahead == 0 {
            return self.repeated(now);
        }
        if ahead > self.highest - self.acked {
            return;
        }
        self.acked += ahead;
        if self.acked == self.last() {
            self.outcome = Some(Outcome::Complete);
            return;
        }
        // An earlier block than the last one sent: the rest of the window is lost (RFC 7440).
        self.sent = self.acked;
        self.progress(now);
    }

    /// The client acknowledged the block before the window once more. One block at a time this proves
    /// nothing, and answering it doubles the traffic for ever (the Sorcerer's Apprentice, RFC 1123
    /// 4.2.3.1). With a window it is how a client reports that the first block is lost (RFC 7440); this
    /// counts once, and again only when repeated blocks of this sender can no longer be the cause.
    fn repeated(&mut self, now: Duration) {
        let old = now.saturating_sub(self.sent_at) >= self.patience.usual();
        let believed = old || !(self.copies || self.copies_before);
        if self.window > 1 && self.sent > self.acked && believed {
            self.go_back();
        }
    }

    fn progress(&mut self, now: Duration) {
        if !self.copies {
            self.patience.learn(now.saturating_sub(self.sent_at));
        }
        self.copies_before = self.copies;
        self.copies = self.highest > self.acked;
        self.patience.reset();
        self.answered = true;
        self.progress_at = now;
        self.due = true;
    }

    fn go_back(&mut self) {
        self.copies = true;
        self.sent = self.acked;
        self.due = true;
    }

    fn ended_by_client(&mut self, code: u16, text: &str) {
        let probe = self.acked == 0 && matches!(code, 0 | 8);
        self.outcome = Some(match probe {
            true => Outcome::Probed,
            false => Outcome::Aborted { code, text: text.to_owned() },
        });
    }
}

#[cfg(test)]
#[path = "sender_tests.rs"]
mod tests;
