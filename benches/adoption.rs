//! How long a lease waits while a revision of very many deployments is judged and adopted, and machines install
//! all the time: `cargo bench --bench adoption [-- COUNT]`, 100,000 deployments without a number.
//!
//! The daemon's keeper over a state directory on disk. A thread asks for a lease every millisecond, another has
//! 100 machines a second install (start, answers, report), and revisions are adopted that change one deployment,
//! or all of them. A lease's time is from asking to the answer, when it is on disk.

#[path = "common/inventory.rs"]
mod inventory;

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use inventory::{generate, median};
use voldemort::daemon::commands::Adopted;
use voldemort::daemon::keeper::Keeper;
use voldemort::desired::{Desired, Media, Options};
use voldemort::inventory::{Depth, Memory};
use voldemort::manifest::Environment;
use voldemort::media::Shelf;
use voldemort::model::{Mac, Name, Time};
use voldemort::plan::{Consent, Proposal};
use voldemort::source::directory;
use voldemort::state::{
    Composition, LeaseAction, LeaseRequest, Outcome, Permit, PermitStep, Report, Revision, Server,
    SourceRevision, Supply,
};
use voldemort::store::Store;

/// Leases begin this far apart.
const LEASE: Duration = Duration::from_millis(1);
/// Installations begin this far apart.
const INSTALLATION: Duration = Duration::from_millis(10);
/// What a lease's 99th percentile is to stay below.
const TARGET: Duration = Duration::from_millis(20);
/// How often each kind of revision is adopted.
const RUNS: usize = 3;

fn main() {
    let count = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(100_000);
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    runtime.block_on(run(count));
}

async fn run(count: usize) {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let root = folder.path().join("inventory");
    generate(&root, count / 100, count).expect("the inventory can be written");
    let mut loader = Loader { root: root.clone(), memory: Memory::default(), number: 0 };
    let state = folder.path().join("state");
    let (store, mut saved) = Store::open(&state, || [7; 48]).expect("a state can be made");
    saved.new_site = true;
    let (keeper, thread) = Keeper::spawn(store, saved, Server::stand_in([10, 0, 0, 1].into()));
    keeper.adopt(loader.load()).await.expect("the keeper lives");
    let crowd = Arc::new(Crowd {
        count,
        took: Mutex::default(),
        installed: AtomicU32::new(0),
        stop: AtomicBool::new(false),
    });
    let players = [play(&crowd, &keeper, lease, LEASE), play(&crowd, &keeper, install, INSTALLATION)];
    crowd.took();
    tokio::time::sleep(Duration::from_secs(2)).await;
    row("nothing is adopted", None, crowd.took());
    for run in 0..RUNS {
        let other = format!("d/{run:05}.toml");
        edit(&root, &other, |text| text.replacen("profile = \"web\"", "redeploy = 1\nprofile = \"web\"", 1));
        adopt("one deployment changes", &keeper, &crowd, loader.load()).await;
    }
    for _ in 0..RUNS {
        edit(&root, "base.toml", |text| text.replace("domain  = \"", "domain  = \"a."));
        adopt(&format!("{count} deployments change"), &keeper, &crowd, loader.load()).await;
    }
    println!("{} installations", crowd.installed.load(Ordering::Relaxed));
    crowd.stop.store(true, Ordering::Relaxed);
    players.into_iter().for_each(|player| player.join().expect("players don't panic"));
    // The last machines to begin are let finish.
    tokio::time::sleep(Duration::from_secs(1)).await;
    keeper.close().await;
    thread.join().expect("the keeper does not panic");
}

async fn adopt(what: &str, keeper: &Keeper, crowd: &Crowd, proposal: Proposal) {
    crowd.took();
    let started = Instant::now();
    let adopted = keeper.adopt(proposal).await.expect("the keeper lives");
    let took = started.elapsed();
    assert!(matches!(adopted, Adopted::Applied(_)), "a safety rule holds it");
    // Those that were asked for meanwhile have their answers.
    tokio::time::sleep(Duration::from_millis(100)).await;
    row(what, Some(took), crowd.took());
}

fn row(what: &str, adopted: Option<Duration>, mut took: Vec<Duration>) {
    took.sort();
    let at = |share: f64| took.get((took.len() as f64 * share) as usize).copied().unwrap_or_default();
    let (p99, most) = (at(0.99), took.last().copied().unwrap_or_default());
    let adopted = adopted.map_or(String::new(), |took| format!(", adopted within {took:.1?}"));
    let verdict = if p99 < TARGET { "reached" } else { "NOT reached" };
    println!(
        "{what:<32} {:>6} leases, p50 {:>8.1?}, p99 {p99:>8.1?}, slowest {most:>8.1?}{adopted}; target < {TARGET:?} {verdict}",
        took.len(),
        median(took.clone())
    );
}

fn edit(root: &std::path::Path, name: &str, change: impl Fn(&str) -> String) {
    let path = root.join(name);
    let text = std::fs::read_to_string(&path).expect("it was written");
    let changed = change(&text);
    assert_ne!(text, changed, "{name}");
    std::fs::write(path, changed).expect("it can be written");
}

/// Reads revisions, as the daemon does.
struct Loader {
    root: std::path::PathBuf,
    memory: Memory,
    number: u32,
}

impl Loader {
    fn load(&mut self) -> Proposal {
        self.number += 1;
        let revision: Arc<str> = format!("run-{}", self.number).into();
        let files = directory::read(&self.root).expect("it can be read").inline();
        let shelf = Shelf::new(Vec::new(), None).with_directory(self.root.clone());
        let options = Options { media: Media::Required, fallback: Vec::new() };
        let base = Environment::base();
        let loaded = self.memory.load(revision.clone(), &files, &base, &shelf, &options, Depth::OneFirmware);
        assert_eq!(loaded.errors(), 0, "{}", loaded.report());
        let desired: Arc<Desired> = loaded.desired;
        let tree = SourceRevision {
            revision: revision.clone(),
            settled: revision,
            files,
            ..SourceRevision::default()
        };
        let kept = Revision { environment: None, sources: Composition::One(tree) };
        let (secrets, consent) = (Arc::default(), Consent::default());
        Proposal { desired, kept: Some(Arc::new(kept)), secrets, consent, expected: None, plan: None }
    }
}

/// Machines that want something all the time.
struct Crowd {
    count: usize,
    took: Mutex<Vec<Duration>>,
    installed: AtomicU32,
    stop: AtomicBool,
}

impl Crowd {
    /// How long leases took since the last call.
    fn took(&self) -> Vec<Duration> {
        std::mem::take(&mut *self.took.lock().expect("nobody panics"))
    }
}

/// Has `act` done again and again on a thread, at its time, whatever became of those before.
fn play(
    crowd: &Arc<Crowd>,
    keeper: &Keeper,
    act: fn(&Arc<Crowd>, &Keeper, u32),
    every: Duration,
) -> std::thread::JoinHandle<()> {
    let (crowd, keeper, runtime) = (crowd.clone(), keeper.clone(), tokio::runtime::Handle::current());
    std::thread::spawn(move || {
        let _entered = runtime.enter();
        let started = Instant::now();
        for number in 0.. {
            if crowd.stop.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep((every * number).saturating_sub(started.elapsed()));
            act(&crowd, &keeper, number);
        }
    })
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right");
    Time(since.as_millis() as u64)
}

fn lease(crowd: &Arc<Crowd>, keeper: &Keeper, number: u32) {
    let Some(subnet) = keeper.state().desired().subnets.values().next().cloned() else { return };
    let [_, b, c, d] = number.to_be_bytes();
    let mac = Mac::new([0x52, 0x54, 1, b, c, d]).expect("it is one machine's");
    let address = Ipv4Addr::from(0x0a80_0000 + number);
    let supply = Supply::Fixed { subnet, address, over: None };
    let action = LeaseAction::Bind { supply, address };
    let request = LeaseRequest { mac, at: now(), client_id: None, hostname: None, action };
    let (crowd, asked) = (crowd.clone(), Instant::now());
    keeper.lease(vec![request], move |granted| {
        assert!(granted.is_ok(), "the keeper takes it");
        crowd.took.lock().expect("nobody panics").push(asked.elapsed());
    });
}

fn install(crowd: &Arc<Crowd>, keeper: &Keeper, number: u32) {
    let deployment: Name =
        format!("d-{}", 200 + number as usize % (crowd.count - 200)).parse().expect("a name");
    let (crowd, keeper) = (crowd.clone(), keeper.clone());
    tokio::spawn(async move {
        for step in [PermitStep::Start, PermitStep::Spend] {
            let permit = Permit { deployment: deployment.clone(), redeploy: 0, epoch: None, step };
            keeper.permit(permit).await.expect("it may install");
        }
        let (outcome, note) = (Outcome::Completed, String::new());
        let report = Report { deployment, redeploy: 0, epoch: None, outcome, note };
        keeper.report(report).await.expect("it reports");
        crowd.installed.fetch_add(1, Ordering::Relaxed);
    });
}
