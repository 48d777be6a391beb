//! `voldemort check` of 10,000 deployments in 1,000 files: read, resolved, rendered and walked
//! with every firmware; what `--watch` does after one edit; and, if it is installed, `taplo check`
//! with our schemas on the same files. `cargo bench --bench check`; the number of files may follow
//! as `-- 100`.

#[path = "common/inventory.rs"]
mod inventory;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use inventory::{deployments, generate, median, name};
use voldemort::cli::check::{Job, Scope};
use voldemort::desired::{Media, Options};
use voldemort::inventory::{Loaded, Memory};
use voldemort::manifest::{Level, report};
use voldemort::media::Shelf;
use voldemort::source::{Snapshot, directory};

const PER_FILE: usize = 10;
/// Of so many runs the one in the middle counts.
const RUNS: usize = 5;
const TARGET: Duration = Duration::from_secs(1);
const TARGET_AGAIN: Duration = Duration::from_millis(100);
const TARGET_MB: u64 = 200;

fn main() {
    let files = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(1_000);
    let root = tempfile::tempdir().expect("a directory for the inventory");
    generate(root.path(), files, files * PER_FILE).expect("the inventory can be written");
    let before = peak_mb();
    let full = median((0..RUNS).map(|_| full(root.path(), files)).collect());
    let peak = peak_mb();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{} deployments in {files} files, {cores} cores, median of {RUNS}", files * PER_FILE);
    println!("check                    {full:>9.1?}  {}", verdict(full < TARGET, format!("{TARGET:?}")));
    println!(
        "peak memory              {peak:>6} MB  {}",
        verdict(peak < TARGET_MB, format!("{TARGET_MB} MB"))
    );
    println!("(before the first check  {before:>6} MB)");
    let again = again(root.path());
    println!(
        "re-check after one edit  {again:>9.1?}  {}",
        verdict(again < TARGET_AGAIN, format!("{TARGET_AGAIN:?}"))
    );
    match taplo(root.path()) {
        Some(taplo) => {
            let ratio = taplo.as_secs_f64() / full.as_secs_f64();
            println!("taplo check              {taplo:>9.1?}  {ratio:.1} x the time of a check");
        }
        None => println!("taplo check              not run: taplo is not installed"),
    }
}

fn verdict(reached: bool, target: String) -> String {
    format!("target < {target} {}", if reached { "reached" } else { "NOT reached" })
}

fn options() -> Options {
    Options { media: Media::Required, fallback: Vec::new() }
}

fn job<'a>(root: &'a Path, library: &'a Shelf) -> Job<'a> {
    Job { root, scope: Scope::All, library, options: options() }
}

/// Reading included.
fn full(root: &Path, files: usize) -> Duration {
    let shelf = Shelf::new(Vec::new(), None).with_directory(root.into());
    let started = Instant::now();
    let snapshot = directory::read(root).expect("it can be read");
    let checked = job(root, &shelf).judge(&mut Memory::default(), &snapshot);
    let took = started.elapsed();
    faultless(&checked.expect("it can be read"), files * PER_FILE);
    took
}

/// What `--watch` does once it has read the files.
fn again(root: &Path) -> Duration {
    let shelf = Shelf::new(Vec::new(), None).with_directory(root.into());
    let mut memory = Memory::default();
    let mut check = |snapshot: &Snapshot| {
        let started = Instant::now();
        let checked = job(root, &shelf).judge(&mut memory, snapshot).expect("it can be read");
        let took = started.elapsed();
        faultless(&checked, checked.desired.deployments.len());
        took
    };
    check(&directory::read(root).expect("it can be read"));
    let edit = |run: usize| {
        let text = deployments(run, PER_FILE).replace("profile =", &format!("redeploy = {run}\nprofile ="));
        fs::write(root.join(name(run)), text).expect("a file can be edited");
        check(&directory::read(root).expect("it can be read"))
    };
    median((1..=RUNS).map(edit).collect())
}

fn faultless(checked: &Loaded, deployments: usize) {
    if let Some(problem) = checked.problems.iter().find(|problem| problem.level == Level::Error) {
        panic!("{}", report::full(problem, &checked.documents.sources, false));
    }
    assert_eq!(checked.desired.deployments.len(), deployments);
}

/// The program of that name, or the one that the variable `TAPLO` names.
fn taplo(root: &Path) -> Option<Duration> {
    let program = std::env::var("TAPLO").unwrap_or_else(|_| "taplo".into());
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(root).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    if !run(&program, &["--version"]) {
        return None;
    }
    assert!(run(env!("CARGO_BIN_EXE_voldemort"), &["schema", "--install", "."]));
    let timed = |_| {
        let started = Instant::now();
        assert!(run(&program, &["check"]), "taplo finds the inventory right");
        started.elapsed()
    };
    Some(median((0..3).map(timed).collect()))
}

/// Peak resident memory of this process so far.
fn peak_mb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}
