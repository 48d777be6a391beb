//! A rack hall in one thread: hundreds of machines and strangers boot, install, renew and vanish over
//! a network that loses, doubles and delays, from a daemon that crashes; the clock is a number, and
//! one seed decides everything.
//!
//! `SIM_SEED`, `SIM_RUNS` and `SIM_MACHINES` make other and larger ones:
//! `SIM_RUNS=100 SIM_MACHINES=1000 cargo test --release --test sim`.

mod asker;
mod daemon;
mod dice;
mod inventory;
#[allow(dead_code, reason = "shared with the tests of the decisions")]
#[path = "../dhcp/lab.rs"]
mod lab;
mod leases;
mod lineage;
mod machine;
#[allow(dead_code, reason = "shared with the tests of the decisions")]
#[path = "../dhcp/message.rs"]
mod message;
mod permission;
mod stranger;
mod world;

use world::{Trouble, World};

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Runs a hall to its end; a broken promise names the seed.
fn play(seed: u64, machines: u32, trouble: Trouble) -> world::Tally {
    let played = std::panic::catch_unwind(|| World::new(seed, machines, trouble).play());
    played.unwrap_or_else(|panic| {
        eprintln!(
            "to see it again: SIM_SEED={seed} SIM_RUNS=1 SIM_MACHINES={machines} cargo test --test sim"
        );
        std::panic::resume_unwind(panic)
    })
}

#[test]
fn every_machine_is_installed_once_and_no_address_given_twice() {
    let machines = number("SIM_MACHINES", 150) as u32;
    let first = number("SIM_SEED", 1);
    let (mut crashes, mut lost) = (0, 0);
    for seed in first..first + number("SIM_RUNS", 4) {
        let tally = play(seed, machines, Trouble::REAL);
        crashes += tally.crashes;
        lost += tally.lost;
        println!("seed {seed}: {tally:?}");
    }
    assert!(crashes > 0 && lost > 0, "the trouble is real");
}

#[test]
fn a_quiet_hall_is_quick() {
    let tally = play(number("SIM_SEED", 1), number("SIM_MACHINES", 150) as u32, Trouble::NONE);
    assert_eq!((tally.crashes, tally.lost, tally.interrupted), (0, 0, 0));
    assert!(tally.seconds < 3 * 3600, "{tally:?}");
}

#[test]
fn the_same_seed_is_the_same_hall() {
    let tallies = [7, 7].map(|seed| play(seed, 30, Trouble::REAL));
    assert_eq!(tallies[0], tallies[1]);
}
