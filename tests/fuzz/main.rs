//! Every reader of foreign bytes against randomly changed inputs: without a fuzzer's knowledge of the
//! branches taken, but in every run of the tests, and the same each time.
//!
//! `FUZZ_ROUNDS` says how many inputs each reader gets, `FUZZ_SEED` sets the seed. `fuzz/run` runs the same
//! readers under libFuzzer.

mod bend;
mod targets;

use std::panic::catch_unwind;
use std::path::PathBuf;

use bend::Bender;
use targets::Target;

/// Inputs for each reader in an ordinary run of the tests.
const ROUNDS: u64 = 2_000;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

fn attack(name: &str) {
    let target = targets::ALL.into_iter().find(|target| target.name == name).expect("a target");
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "there is something to begin with");
    for input in targets::found(&target).iter().chain(&seeds) {
        attempt(&target, input, "as it is");
    }
    let seed = number("FUZZ_SEED", 1);
    let mut bender = Bender::new(seed, target.words);
    for round in 0..number("FUZZ_ROUNDS", ROUNDS) {
        let input = bender.bend(&seeds);
        attempt(&target, &input, &format!("seed {seed}, round {round}"));
    }
}

fn attempt(target: &Target, input: &[u8], origin: &str) {
    if let Err(panic) = catch_unwind(|| (target.run)(input)) {
        let path = kept(target, input);
        eprintln!("{}: the input ({origin}) is kept in {}", target.name, path.display());
        std::panic::resume_unwind(panic);
    }
}

fn kept(target: &Target, input: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}", target.name));
    std::fs::write(&path, input).expect("a place for the input");
    path
}

macro_rules! attacked {
    ($($name:ident),*) => {
        $(
            #[test]
            fn $name() {
                attack(stringify!($name));
            }
        )*

        #[test]
        fn none_is_left_out() {
            let names: Vec<&str> = targets::ALL.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
            assert!(targets::ALL.iter().all(|target| target.pace > 0), "each says what it needs");
        }
    };
}

attacked!(age, capture, config, dhcp, http, image, import, manifest, path, syslog, template, tftp);
