//! The readers of `tests/fuzz/targets` under libFuzzer: see `run`.

use std::sync::{Mutex, PoisonError};

#[allow(dead_code, reason = "shared with the tests")]
#[path = "../tests/fuzz/targets.rs"]
mod targets;

/// The message and place of the latest panic.
static SAID: Mutex<String> = Mutex::new(String::new());

/// Makes the parsers' own panics count only if they come out: libFuzzer would stop at those that the
/// daemon catches. With `FUZZ_PACE` it prints how many inputs a second it needs, and with
/// `FUZZ_SEEDS=FOLDER` it writes the seeds there; then it ends.
pub fn begin(name: &str) {
    std::panic::set_hook(Box::new(|panic| {
        *SAID.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
    }));
    if std::env::var_os("FUZZ_PACE").is_some() {
        println!("{}", target(name).pace);
        std::process::exit(0);
    }
    let Some(folder) = std::env::var_os("FUZZ_SEEDS") else { return };
    let folder = std::path::PathBuf::from(folder);
    std::fs::create_dir_all(&folder).expect("a folder for the seeds");
    let target = target(name);
    let seeds = (target.seeds)().into_iter().chain(targets::found(&target));
    for (number, seed) in seeds.enumerate() {
        std::fs::write(folder.join(format!("seed-{number:03}")), seed).expect("a place for a seed");
    }
    std::process::exit(0);
}

/// Runs one input; a broken promise ends the program, as libFuzzer wants it.
pub fn attempt(name: &str, input: &[u8]) {
    if std::panic::catch_unwind(|| (target(name).run)(input)).is_err() {
        eprintln!("{name}: {}", SAID.lock().unwrap_or_else(PoisonError::into_inner));
        std::process::abort();
    }
}

fn target(name: &str) -> targets::Target {
    targets::ALL.into_iter().find(|target| target.name == name).expect("a target of that name")
}

/// A fuzz target: `main` is libFuzzer's.
#[macro_export]
macro_rules! fuzz {
    ($name:literal) => {
        libfuzzer_sys::fuzz_target!(
            init: $crate::begin($name),
            |input: &[u8]| $crate::attempt($name, input)
        );
    };
}
