//! A model client on a network that loses, doubles and reorders, driven by a seed.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::Just;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// xorshift64: the same seed, the same network.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.roll() % 100 < chance
    }
}

#[derive(Clone, Copy)]
struct Network {
    seed: u64,
    loss: u64,
    copies: u64,
    late: u64,
}

const CLEAN: Network = Network { seed: 1, loss: 0, copies: 0, late: 0 };

enum Flying {
    Offer,
    Data { number: u16, bytes: Vec<u8> },
    Ack(u16),
}

/// A receiver after RFC 7440: acknowledges a full window, the last block, and any gap.
struct Client {
    block: usize,
    window: u64,
    received: Vec<u8>,
    blocks: u64,
    since_ack: u64,
    finished: bool,
    every_ack_twice: bool,
}

impl Client {
    fn take(&mut self, packet: &Flying) -> Vec<Flying> {
        let answers = match packet {
            Flying::Offer if self.blocks == 0 => vec![Flying::Ack(0)],
            Flying::Data { number, bytes } if *number == (self.blocks + 1) as u16 && !self.finished => {
                self.received.extend(bytes);
                self.blocks += 1;
                self.since_ack += 1;
                self.finished = bytes.len() < self.block;
                let due = self.finished || self.since_ack == self.window;
                if due { self.ack() } else { vec![] }
            }
            Flying::Data { .. } => self.ack(),
            _ => vec![],
        };
        let again = if self.every_ack_twice && !answers.is_empty() { self.ack() } else { vec![] };
        answers.into_iter().chain(again).collect()
    }

    fn ack(&mut self) -> Vec<Flying> {
        self.since_ack = 0;
        vec![Flying::Ack(self.blocks as u16)]
    }
}

struct Played {
    outcome: Outcome,
    received: Vec<u8>,
    /// DATA packets that left.
    packets: u64,
    took: Duration,
}

fn grant(block: u16, window: u16, offer: bool) -> Grant {
    Grant { block, window, timeout: None, reply: offer.then(|| vec![0, 6]) }
}

fn file(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 7) as u8).collect()
}

fn play(file: &[u8], grant: Grant, network: Network, every_ack_twice: bool) -> Played {
    let mut dice = Dice(network.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut air: BTreeMap<(Duration, u64), (bool, Flying)> = BTreeMap::new();
    let mut serial = 0u64;
    let mut client = Client {
        block: grant.block.into(),
        window: grant.window.into(),
        received: Vec::new(),
        blocks: 0,
        since_ack: 0,
        finished: false,
        every_ack_twice,
    };
    let block = usize::from(grant.block);
    let mut now = Duration::ZERO;
    let mut sender = Sender::new(file.len() as u64, grant, now);
    let mut packets = 0;
    let mut fly =
        |dice: &mut Dice, air: &mut BTreeMap<_, _>, now: Duration, to_client, make: &dyn Fn() -> Flying| {
            let copies = if dice.percent(network.copies) { 2 } else { 1 };
            for _ in 0..copies {
                if dice.percent(network.loss) {
                    continue;
                }
                let late = if dice.percent(network.late) { MS * 3 } else { Duration::ZERO };
                serial += 1;
                air.insert((now + MS / 2 + late, serial), (to_client, make()));
            }
        };
    loop {
        while let Some(transmit) = sender.poll_transmit(now) {
            match transmit {
                Transmit::Offer(_) => fly(&mut dice, &mut air, now, true, &|| Flying::Offer),
                Transmit::Blocks(run) => {
                    let start = run.offset as usize;
                    let data = &file[start..start + run.length];
                    for index in 0..usize::from(run.count) {
                        let bytes =
                            &data[(index * block).min(data.len())..((index + 1) * block).min(data.len())];
                        let number = (run.first + index as u64) as u16;
                        packets += 1;
                        fly(&mut dice, &mut air, now, true, &|| Flying::Data {
                            number,
                            bytes: bytes.to_vec(),
                        });
                    }
                }
            }
        }
        if let Some(outcome) = sender.outcome() {
            let outcome = outcome.clone();
            return Played { outcome, received: client.received, packets, took: now };
        }
        let next = air.first_key_value().map(|((at, _), _)| *at);
        if next.is_none_or(|at| at > sender.deadline()) {
            now = now.max(sender.deadline());
            sender.handle_timeout(now);
            continue;
        }
        let Some(((at, _), (to_client, packet))) = air.pop_first() else { continue };
        now = now.max(at);
        match packet {
            packet if to_client => {
                for answer in client.take(&packet) {
                    let Flying::Ack(number) = answer else { continue };
                    fly(&mut dice, &mut air, now, false, &|| Flying::Ack(number));
                }
            }
            Flying::Ack(number) => sender.handle(now, &Packet::Ack(number)),
            _ => {}
        }
    }
}

#[test]
fn every_size_arrives_whole() {
    for length in [0, 1, 511, 512, 513, 1024, 1468, 1468 * 7, 100_000] {
        for (block, window, offer) in [(512, 1, false), (512, 4, true), (1468, 1, true), (1468, 64, true)] {
            let file = file(length);
            let played = play(&file, grant(block, window, offer), CLEAN, false);
            assert_eq!(played.outcome, Outcome::Complete, "{length} {block} {window}");
            assert!(played.received == file, "{length} {block} {window}");
            assert_eq!(played.packets, length as u64 / u64::from(block) + 1);
        }
    }
}

#[test]
fn block_numbers_roll_over() {
    let file = file(8 * 140_000);
    for window in [1, 7, 64] {
        let played = play(&file, grant(8, window, true), CLEAN, false);
        assert_eq!(played.outcome, Outcome::Complete);
        assert!(played.received == file, "window {window}");
    }
}

#[test]
fn bad_networks_cost_time_and_nothing_else() {
    let file = file(300_000);
    for seed in 1..40 {
        for window in [1, 4, 16, 64] {
            let network = Network { seed, loss: 5, copies: 3, late: 3 };
            let played = play(&file, grant(1468, window, true), network, false);
            assert!(
                matches!(played.outcome, Outcome::Complete | Outcome::LastAckMissing),
                "seed {seed} window {window}: {:?}",
                played.outcome
            );
            assert!(played.received == file, "seed {seed} window {window}");
            assert!(played.took < Duration::from_secs(60), "seed {seed} window {window}: {:?}", played.took);
        }
    }
}

#[test]
fn a_lost_first_block_of_a_window_costs_no_time_out() {
    let mut sender = Sender::new(1_000_000, grant(1000, 4, false), Duration::ZERO);
    assert!(sender.poll_transmit(Duration::ZERO).is_some());
    sender.handle(MS, &Packet::Ack(4));
    assert!(sender.poll_transmit(MS).is_some());
    // Blocks 6, 7, 8 arrive without 5: three times "I have 4".
    for _ in 0..3 {
        sender.handle(MS * 2, &Packet::Ack(4));
    }
    let Some(Transmit::Blocks(run)) = sender.poll_transmit(MS * 2) else { panic!("nothing sent") };
    assert_eq!((run.first, run.count), (5, 4));
    assert_eq!(sender.poll_transmit(MS * 2), None);
}

#[test]
fn the_sorcerers_apprentice_stays_idle() {
    let file = file(512 * 2000);
    let one = play(&file, grant(512, 1, true), CLEAN, true);
    assert_eq!((one.outcome, one.packets), (Outcome::Complete, 2001));
    let window = play(&file, grant(512, 4, true), CLEAN, true);
    assert_eq!(window.outcome, Outcome::Complete);
    assert!(window.packets < 2001 * 2, "{} packets", window.packets);
}

#[test]
fn an_acknowledgement_inside_the_window_moves_it() {
    let mut sender = Sender::new(1_000_000, grant(1000, 8, false), Duration::ZERO);
    assert!(sender.poll_transmit(Duration::ZERO).is_some());
    sender.handle(MS, &Packet::Ack(3));
    let expected = Run { first: 4, count: 8, offset: 3000, length: 8000 };
    assert_eq!(sender.poll_transmit(MS), Some(Transmit::Blocks(expected)));
    for stale in [2, 12, 40_000, 65_535] {
        sender.handle(MS, &Packet::Ack(stale));
        assert_eq!(sender.poll_transmit(MS), None, "{stale}");
    }
}

#[test]
fn size_probes_are_no_failures() {
    for code in [0, 8] {
        let mut sender = Sender::new(10, grant(512, 1, true), Duration::ZERO);
        assert!(sender.poll_transmit(Duration::ZERO).is_some());
        sender.handle(MS, &Packet::Error { code, text: "User aborted the transfer".into() });
        assert_eq!(sender.outcome(), Some(&Outcome::Probed));
        assert!(!sender.answered());
    }
    let mut started = Sender::new(5000, grant(512, 1, false), Duration::ZERO);
    assert!(started.poll_transmit(Duration::ZERO).is_some());
    started.handle(MS, &Packet::Ack(1));
    started.handle(MS, &Packet::Error { code: 3, text: "disk full".into() });
    assert_eq!(started.outcome(), Some(&Outcome::Aborted { code: 3, text: "disk full".into() }));
    assert_eq!(started.delivered(), 512);
}

/// Runs the clock with no client at all; counts what was sent.
fn silence(sender: &mut Sender, mut now: Duration) -> (u32, Duration) {
    let mut sent = 0;
    while sender.outcome().is_none() {
        sent += u32::from(sender.poll_transmit(now).is_some());
        now = sender.deadline();
        sender.handle_timeout(now);
    }
    (sent, now)
}

#[test]
fn silence_ends_a_transfer_after_half_a_minute() {
    let mut started = Sender::new(5000, grant(512, 1, true), Duration::ZERO);
    assert!(started.poll_transmit(Duration::ZERO).is_some());
    started.handle(MS, &Packet::Ack(0));
    let (sent, ended) = silence(&mut started, MS);
    assert_eq!((started.outcome(), ended), (Some(&Outcome::Silent), PATIENCE_ENDS + MS));
    assert!((5..10).contains(&sent), "{sent}");

    let mut nearly = Sender::new(10, grant(512, 1, true), Duration::ZERO);
    assert!(nearly.poll_transmit(Duration::ZERO).is_some());
    nearly.handle(MS, &Packet::Ack(0));
    silence(&mut nearly, MS);
    assert_eq!(nearly.outcome(), Some(&Outcome::LastAckMissing));
}

/// A request with a forged source address floods nobody, whatever it asks for, and proves nothing.
#[test]
fn who_never_answers_is_sent_to_three_times() {
    for window in [1, 16, 64] {
        for (offer, length) in [(true, 5000), (false, 5000), (false, 10), (true, 0)] {
            for timeout in [None, Some(Duration::from_millis(10)), Some(Duration::from_secs(255))] {
                let grant = Grant { timeout, ..grant(512, if offer { window } else { 1 }, offer) };
                let mut sender = Sender::new(length, grant, Duration::ZERO);
                let (sent, ended) = silence(&mut sender, Duration::ZERO);
                let outcome = if offer { Outcome::Probed } else { Outcome::Silent };
                assert_eq!((sender.outcome(), sent), (Some(&outcome), 3), "{offer} {length}");
                assert!(ended <= Duration::from_secs(10), "{ended:?}");
            }
        }
    }
}

#[test]
fn the_last_block_may_be_empty() {
    let mut sender = Sender::new(512, grant(512, 4, false), Duration::ZERO);
    let expected = Run { first: 1, count: 2, offset: 0, length: 512 };
    assert_eq!(sender.poll_transmit(Duration::ZERO), Some(Transmit::Blocks(expected)));
    sender.handle(MS, &Packet::Ack(2));
    assert_eq!(sender.outcome(), Some(&Outcome::Complete));
}

proptest::proptest! {
    #[test]
    fn no_packets_break_the_sender(length in 0..5000u64, window in 1..9u16, said: Vec<(u16, u16)>) {
        let mut sender = Sender::new(length, grant(64, window, length % 2 == 0), Duration::ZERO);
        let mut now = Duration::ZERO;
        for (number, wait) in said {
            while let Some(transmit) = sender.poll_transmit(now) {
                if let Transmit::Blocks(run) = transmit {
                    assert!(run.count >= 1 && run.count <= window);
                    assert!(run.offset + run.length as u64 <= length);
                }
            }
            now += MS * u32::from(wait % 900);
            sender.handle_timeout(now);
            sender.handle(now, &Packet::Ack(number % 90));
        }
        assert!(sender.delivered() <= length);
    }

    /// However bad the network: the client receives the beginning of the file, and all of it if the
    /// transfer counts as complete.
    #[test]
    fn every_transfer_ends_and_none_is_corrupt(
        length in 0..60_000usize,
        block in proptest::prelude::prop_oneof![Just(8u16), Just(512), Just(1468)],
        window in 1..65u16,
        offer: bool,
        seed: u64,
        loss in 0..70u64,
        copies in 0..60u64,
        late in 0..60u64,
        every_ack_twice: bool,
    ) {
        let length = length.min(usize::from(block) * 300);
        let file = file(length);
        let played = play(&file, grant(block, window, offer), Network { seed, loss, copies, late }, every_ack_twice);
        assert!(file.starts_with(&played.received));
        match played.outcome {
            Outcome::Complete | Outcome::LastAckMissing => {
                assert!(played.outcome != Outcome::Complete || played.received == file);
            }
            Outcome::Probed => assert!(offer && played.received.is_empty()),
            Outcome::Silent => assert!(loss > 0),
            Outcome::Aborted { .. } => panic!("the client never says so"),
        }
        if loss < 10 {
            assert!(played.received == file, "{:?}", played.outcome);
        }
    }
}
