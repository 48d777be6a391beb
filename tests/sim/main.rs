//! A rack hall in one thread: hundreds of machines and strangers boot, install, renew and vanish over
//! a network that loses, doubles and delays, from a daemon that dies between any two steps of its work, over a disk
//! that fails; the clock is a number, and one seed decides everything. The inventory comes from two sources, of which
//! one is away at times; webhooks have them read, and management controllers are asked for the power of machines.
//!
//! A step is an event that is delivered (a datagram, a file, a timer, a commit) or a command that is applied.
//! `SIM_SEED`, `SIM_RUNS` and `SIM_MACHINES` make other and larger halls, and show a failing one again:
//! `SIM_RUNS=1000 SIM_MACHINES=1000 cargo test --release --test sim`.

mod again;
mod asker;
mod cloud;
mod daemon;
mod dice;
mod effects;
mod inventory;
#[allow(dead_code, reason = "shared with the tests of the decisions")]
#[path = "../dhcp/lab.rs"]
mod lab;
mod leases;
mod lineage;
mod machine;
mod medium;
#[allow(dead_code, reason = "shared with the tests of the decisions")]
#[path = "../dhcp/message.rs"]
mod message;
mod permission;
mod stranger;
mod stranger6;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use medium::Medium;
use world::{Tally, Trouble, World};

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Runs a hall to its end; a broken promise names the seed.
fn play(test: &str, seed: u64, machines: u32, trouble: Trouble, medium: Medium) -> Tally {
    let played = std::panic::catch_unwind(|| World::new(seed, machines, trouble, medium).play());
    played.unwrap_or_else(|panic| {
        eprintln!(
            "to see it again: SIM_SEED={seed} SIM_RUNS=1 SIM_MACHINES={machines} cargo test --test sim {test}"
        );
        std::panic::resume_unwind(panic)
    })
}

/// Runs halls by their seeds, two at a time; what came of each, in order.
fn halls(test: &str, runs: u64, trouble: Trouble, medium: impl Fn(u64) -> Medium + Sync) -> Vec<Tally> {
    let machines = number("SIM_MACHINES", 150) as u32;
    let first = number("SIM_SEED", 1);
    let end = first + number("SIM_RUNS", runs);
    let (next, tallies) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    let began = Instant::now();
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            let tally = play(test, seed, machines, trouble, medium(seed));
            println!("seed {seed}: {tally:?}");
            tallies.lock().expect("no hall failed").push((seed, tally));
        }
    };
    std::thread::scope(|scope| {
        for thread in [scope.spawn(work), scope.spawn(work)] {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    let mut tallies = tallies.into_inner().expect("no hall failed");
    tallies.sort_by_key(|(seed, _)| *seed);
    let steps: u64 = tallies.iter().map(|(_, tally)| tally.events + tally.commands).sum();
    println!("{steps} steps in {:.1} s", began.elapsed().as_secs_f64());
    tallies.into_iter().map(|(_, tally)| tally).collect()
}

fn sum(tallies: &[Tally], of: impl Fn(&Tally) -> u64) -> u64 {
    tallies.iter().map(of).sum()
}

#[test]
fn every_machine_is_installed_once_and_no_address_given_twice() {
    let test = "every_machine_is_installed_once_and_no_address_given_twice";
    let tallies = halls(test, 4, Trouble::REAL, |_| Medium::memory());
    let crashes = sum(&tallies, |tally| tally.crashes.iter().sum());
    assert!(crashes > 0 && sum(&tallies, |tally| tally.lost) > 0, "the trouble is real");
}

#[test]
fn a_failing_disk_loses_nothing_that_was_acknowledged() {
    let tallies =
        halls("a_failing_disk_loses_nothing_that_was_acknowledged", 13, Trouble::REAL, Medium::disk);
    if tallies.len() > 8 {
        for place in 0..tallies[0].crashes.len() {
            assert!(sum(&tallies, |tally| tally.crashes[place]) > 0, "it never died at {place}");
        }
        assert!(sum(&tallies, |tally| tally.refused) > 0 && sum(&tallies, |tally| tally.failed) > 0);
    }
    if tallies.len() > 8 {
        assert!(sum(&tallies, |tally| tally.effects) > 0 && sum(&tallies, |tally| tally.cancelled) > 0);
        assert!(sum(&tallies, |tally| tally.in_part) > 0, "one source is adopted while the other is away");
        assert!(sum(&tallies, |tally| tally.acknowledged6) > 0);
    }
    assert_eq!(sum(&tallies, |tally| tally.doubted + tally.unnoticed), 0);
    let is_usual = ["SIM_RUNS", "SIM_MACHINES"].iter().all(|variable| std::env::var(variable).is_err());
    assert!(!is_usual || sum(&tallies, |tally| tally.events + tally.commands) >= 1_000_000);
}

#[test]
fn a_disk_that_lies_makes_nobody_install_again() {
    let tallies = halls("a_disk_that_lies_makes_nobody_install_again", 8, Trouble::LIES, Medium::disk);
    if tallies.len() > 4 {
        assert!(sum(&tallies, |tally| tally.doubted) > 0, "it says so where records are lost");
    }
}

#[test]
fn a_quiet_hall_is_quick() {
    let machines = number("SIM_MACHINES", 150) as u32;
    let tally =
        play("a_quiet_hall_is_quick", number("SIM_SEED", 1), machines, Trouble::NONE, Medium::memory());
    assert_eq!((tally.crashes.iter().sum::<u64>(), tally.lost, tally.interrupted), (0, 0, 0));
    assert!(tally.seconds < 3 * 3600, "{tally:?}");
}

#[test]
fn the_same_seed_is_the_same_hall() {
    let tallies = [7, 7]
        .map(|seed| play("the_same_seed_is_the_same_hall", seed, 30, Trouble::REAL, Medium::disk(seed)));
    assert_eq!(tallies[0], tallies[1]);
}
