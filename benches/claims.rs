//! Machines as a cloud, at the size of a large site: `cargo bench --bench claims [-- COUNT]`, 100,000 machines without a
//! number.
//!
//! The daemon's keeper over a state directory on disk. Our agent reports each machine; then 64 callers at a time claim
//! machines of two pools and give them back at once, and at last every machine is claimed. A claim or a release counts when
//! it is on disk.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use voldemort::daemon::keeper::Keeper;
use voldemort::desired::{Desired, Media, Options};
use voldemort::inventory::{Depth, Memory};
use voldemort::manifest::Environment;
use voldemort::media::Shelf;
use voldemort::model::facts::{DiskFacts, Facts, Nic};
use voldemort::model::{By, Caller, Mac, Name, Role, Token};
use voldemort::plan::{Consent, Proposal};
use voldemort::state::claim::Wanted;
use voldemort::state::command::Outcome;
use voldemort::state::life::{AgentReport, Said, SeenDisk};
use voldemort::state::prototype::{self, Prototype};
use voldemort::state::{Command, Revision, Server, SourceRevision, Verb};
use voldemort::store::Store;

/// Callers that claim at once.
const CALLERS: usize = 64;
/// How long they do.
const TIME: Duration = Duration::from_secs(10);
/// Claims and releases within a second that are to be reached, and the daemon's memory, in MB.
const RATE: f64 = 1_000.0;
const MEMORY: u64 = 800;

const BASE: &str = r#"
[subnet.lab]
cidr    = "10.0.0.0/8"
dynamic = "10.200.0.1-10.210.0.1"
[boot.debian]
kernel  = "files/vmlinuz"
cmdline = ["url={{ answers_url }}"]
[profile.base]
boot     = "debian"
template = "preseed"
ssh-keys = ["ssh-ed25519 AAAA"]
[pool.ci]
profile   = "base"
select    = { size = "small" }
clean     = false
on-return = "keep"
[pool.lab]
profile    = "base"
select     = { size = "large" }
per-caller = 100000
clean      = false
on-return  = "keep"
"#;

fn main() {
    let count = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(100_000);
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    runtime.block_on(run(count));
}

async fn run(count: usize) {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("{count} machines, load {}", load.trim());
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let (store, mut saved) =
        Store::open(&folder.path().join("state"), || [7; 48]).expect("a state can be made");
    saved.new_site = true;
    let (keeper, thread) = Keeper::spawn(store, saved, Server::stand_in([10, 0, 0, 1].into()));
    let began = Instant::now();
    keeper.adopt(proposal(count)).await.expect("the keeper lives");
    println!("adopted within {:.1?}, {} MB", began.elapsed(), memory());
    let began = Instant::now();
    all(count, |number| send(&keeper, Caller::MACHINE, Verb::Agent(report(number)))).await;
    row("reports of our agent", count as f64, began.elapsed(), None);
    for pool in ["ci", "lab"] {
        let (done, began) = (Arc::new(AtomicU64::new(0)), Instant::now());
        let callers =
            (0..CALLERS).map(|number| play(keeper.clone(), name(pool), number, done.clone(), began));
        let callers: Vec<_> = callers.map(tokio::spawn).collect();
        for caller in callers {
            caller.await.expect("callers don't panic");
        }
        let what = format!("claims and releases of pool {pool}");
        row(&what, done.load(Ordering::Relaxed) as f64, began.elapsed(), Some(RATE));
    }
    let began = Instant::now();
    all(count, |number| claim(&keeper, name(["ci", "lab"][number % 2]), number % CALLERS)).await;
    row("claims until no machine is free", count as f64, began.elapsed(), Some(RATE));
    let used = memory();
    let verdict = if used < MEMORY { "reached" } else { "NOT reached" };
    println!("{used} MB with {} claims; target < {MEMORY} MB {verdict}", keeper.state().claims().len());
    keeper.close().await;
    thread.join().expect("the keeper does not panic");
}

/// Does it once for each number, many at a time.
async fn all<F: Future<Output = ()> + Send + 'static>(count: usize, work: impl Fn(usize) -> F) {
    let mut at = 0;
    while at < count {
        let end = (at + 2_000).min(count);
        let batch: Vec<_> = (at..end).map(|number| tokio::spawn(work(number))).collect();
        for one in batch {
            one.await.expect("nothing panics");
        }
        at = end;
    }
}

fn row(what: &str, count: f64, took: Duration, target: Option<f64>) {
    let rate = count / took.as_secs_f64();
    let verdict = target.map_or(String::new(), |target| {
        format!("; target {target:.0} {}", if rate >= target { "reached" } else { "NOT reached" })
    });
    println!("{what:<36} {rate:>8.0} a second, {} MB{verdict}", memory());
}

fn send(keeper: &Keeper, by: Caller, verb: Verb) -> impl Future<Output = ()> + use<> {
    let keeper = keeper.clone();
    async move {
        keeper.ask(Command { by, verb }).await.expect("it is allowed");
    }
}

/// A claim of one of the callers.
fn claim(keeper: &Keeper, pool: Name, number: usize) -> impl Future<Output = ()> + use<> {
    let by = caller(number);
    let wanted = wanted(keeper, pool);
    send(keeper, by, Verb::Claim(wanted.into()))
}

fn wanted(keeper: &Keeper, pool: Name) -> Wanted {
    let state = keeper.state();
    let key = prototype::key(&state.desired().pools[&pool]);
    let stored = Prototype { pool: pool.clone(), revision: Revision::clone(state.kept()) };
    Wanted { prototype: Some((key, stored.into())), ..Wanted::of(pool) }
}

async fn play(keeper: Keeper, pool: Name, number: usize, done: Arc<AtomicU64>, began: Instant) {
    let by = caller(number);
    while began.elapsed() < TIME {
        let verb = Verb::Claim(wanted(&keeper, pool.clone()).into());
        let made = keeper.ask(Command { by: by.clone(), verb }).await.expect("it is allowed");
        let Outcome::Claimed(claim) = made else { panic!("{made:?}") };
        assert!(claim.machine().is_some(), "machines are free");
        let verb = Verb::Release(claim.name.clone());
        keeper.ask(Command { by: by.clone(), verb }).await.expect("it is allowed");
        done.fetch_add(2, Ordering::Relaxed);
    }
}

fn caller(number: usize) -> Caller {
    Caller { by: By::Token(Token::Named(name(&format!("user-{number}")))), role: Role::Claimer }
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn mac(number: usize) -> Mac {
    let [_, b, c, d] = (number as u32).to_be_bytes();
    Mac::new([0x52, 0x54, 0, b, c, d]).expect("it is one machine's")
}

/// What our agent says of a machine with two disks and two cards.
fn report(number: usize) -> AgentReport {
    let card = mac(number);
    let id = |disk: usize| format!("wwn:naa.5000c500{number:08x}{disk}");
    let disk =
        |at: usize| DiskFacts { id: id(at), bytes: 2_000_398_934_016, blank: true, ..DiskFacts::default() };
    let nic = |at: usize| Nic { mac: mac(number + at * 0x40_0000).to_string(), ..Nic::default() };
    let facts = Facts {
        memory: 256 << 30,
        serial: Some(format!("S{number:010}")),
        disks: vec![disk(0), disk(1)],
        nics: vec![nic(0), nic(1)],
        ..Facts::default()
    };
    let disks = [0, 1].map(|at| SeenDisk { id: id(at).into(), bytes: 2_000_398_934_016, blank: true });
    let said = Said::Hello { cards: [card].into(), disks: disks.into(), facts: Some(facts.into()) };
    AgentReport { card, subnet: None, epoch: 0, start: None, said }
}

fn proposal(count: usize) -> Proposal {
    let mut text = String::new();
    for number in 0..count {
        let size = ["small", "large"][number % 2];
        let _ = writeln!(
            text,
            "[machine.m-{number}]\nmac = \"{}\"\nlabels = {{ size = \"{size}\" }}",
            mac(number)
        );
    }
    let revision: Arc<str> = "bench".into();
    let files = [
        ("base.toml".into(), BASE.into()),
        ("machines.toml".into(), text.into()),
        ("files/vmlinuz".into(), vec![1; 4096].into()),
    ];
    let tree = SourceRevision {
        revision: revision.clone(),
        settled: revision.clone(),
        files: files.into(),
        ..SourceRevision::default()
    };
    let (shelf, options) =
        (Shelf::new(Vec::new(), None), Options { media: Media::Lenient, fallback: Vec::new() });
    let base = Environment::base();
    let loaded = Memory::default().load(revision, &tree.files, &base, &shelf, &options, Depth::OneFirmware);
    assert_eq!(loaded.errors(), 0, "{}", loaded.report());
    let desired: Arc<Desired> = loaded.desired;
    let kept = Some(Arc::new(Revision::of_one(tree)));
    let (secrets, consent) = (Arc::default(), Consent::default());
    Proposal { desired, kept, secrets, consent, expected: None, plan: None }
}

/// What this process takes of the memory, in MB.
fn memory() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096 / 1_000_000
}
