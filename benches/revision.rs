//! What a new revision costs: fetched from a bare repository, read and parsed; planned against a
//! table that has it already; live in a daemon. `cargo bench --bench revision`. Memory of a whole
//! daemon, and a plan asked for by its client: `cargo bench --bench start -- 10000 100000`.

#[path = "common/inventory.rs"]
mod inventory;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use inventory::{deployments, generate, median, name};
use tokio::sync::mpsc;
use voldemort::config::Write;
use voldemort::daemon::keeper::Keeper;
use voldemort::daemon::reconcile::{Follow, Followed, Reconciler};
use voldemort::desired::{Desired, Media, Options};
use voldemort::inventory::{Depth, Memory};
use voldemort::manifest::{self, Environment};
use voldemort::media::Shelf;
use voldemort::model::{Git, Inventory, Name};
use voldemort::plan;
use voldemort::secret::{Key, Recipients, seal};
use voldemort::source::git::Fetcher;
use voldemort::source::{Body, Snapshot, SourceConfig, Update, directory, spawn};
use voldemort::state::{Server, SourceStatus, State};
use voldemort::store::Store;

/// Of so many runs the one in the middle counts.
const RUNS: usize = 5;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    runtime.block_on(fetched(10_000));
    planned(10_000);
    planned(100_000);
    runtime.block_on(live(10_000, false));
    runtime.block_on(live(10_000, true));
}

fn row(what: &str, took: Duration, target: Duration) {
    let verdict = if took < target { "reached" } else { "NOT reached" };
    println!("{what:<62} {took:>9.1?}  target < {target:?} {verdict}");
}

/// One deployment to a file, all of them in one commit of a bare repository, in a pack as a push
/// leaves it.
async fn fetched(files: usize) {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let tree = folder.path().join("tree");
    generate(&tree, files, files).expect("the inventory can be written");
    git(&tree, &["init", "-q", "-b", "main"]);
    git(&tree, &["add", "-A"]);
    git(&tree, &["commit", "-q", "-m", "all"]);
    git(folder.path(), &["clone", "-q", "--bare", "--no-local", "tree", "bare.git"]);
    let mut times = Vec::new();
    for run in 0..RUNS {
        let (out, mut updates) = mpsc::channel(1);
        let fetcher = Fetcher { program: env!("CARGO_BIN_EXE_voldemort").into() };
        let state = folder.path().join(format!("state-{run}"));
        let bare = folder.path().join("bare.git").display().to_string();
        let started = Instant::now();
        spawn(SourceConfig { inventory: Inventory::Git(Git::at(bare)), poll: None, state, fetcher }, out);
        let Some(Update::Snapshot(snapshot)) = updates.recv().await else { panic!("it can be fetched") };
        let read = started.elapsed();
        let (documents, _) = manifest::parse(&texts(&snapshot));
        assert_eq!(documents.deployments.len(), files);
        times.push((started.elapsed(), read));
    }
    let both = median(times.iter().map(|(both, _)| *both).collect());
    let read = median(times.iter().map(|(_, read)| *read).collect());
    row(&format!("fetch, read and parse {files} files"), both, Duration::from_millis(500));
    println!("  of that to fetch and read {read:.1?}");
}

fn git(folder: &Path, arguments: &[&str]) {
    let person = ["-c", "user.name=b", "-c", "user.email=b@localhost", "-c", "commit.gpgsign=false"];
    let mut command = Command::new("git");
    command.current_dir(folder).args(person).args(arguments).stdin(Stdio::null());
    let status = command.env("GIT_CONFIG_GLOBAL", "/dev/null").status();
    assert!(status.is_ok_and(|status| status.success()), "git {arguments:?}");
}

fn texts(snapshot: &Snapshot) -> BTreeMap<Arc<str>, Bytes> {
    snapshot.inline()
}

fn options() -> Options {
    Options { media: Media::Required, fallback: Vec::new() }
}

/// A revision against a table that has adopted the same.
fn planned(count: usize) {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    generate(folder.path(), count / 10, count).expect("the inventory can be written");
    let shelf = Shelf::new(Vec::new(), None).with_directory(folder.path().into());
    let files = texts(&directory::read(folder.path()).expect("it can be read"));
    let load = |memory: &mut Memory| -> Arc<Desired> {
        let loaded =
            memory.load("bench".into(), &files, &Environment::base(), &shelf, &options(), Depth::OneFirmware);
        assert_eq!(loaded.errors(), 0, "{}", loaded.report());
        assert_eq!(loaded.desired.deployments.len(), count);
        loaded.desired
    };
    let mut memory = Memory::default();
    let started = Instant::now();
    let desired = load(&mut memory);
    println!("{:<62} {:>9.1?}", format!("load {count} deployments from nothing"), started.elapsed());
    let table = State::new(Server::stand_in([10, 0, 0, 1].into())).adopt(desired);
    let target = Duration::from_secs(2);
    let plan = |again: &Arc<Desired>| assert!(plan::diff(again, &table).is_empty());
    let (mut fresh, mut known) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        // Nothing of it is shared with what is in the table.
        let again = load(&mut Memory::default());
        let started = Instant::now();
        plan(&again);
        fresh.push(started.elapsed());
        let started = Instant::now();
        plan(&load(&mut memory));
        known.push(started.elapsed());
    }
    row(&format!("no-op plan of {count} deployments, planner alone"), median(fresh), target);
    row("the same from the files, with a daemon's memory", median(known), target);
}

/// A warning for each deployment, one that chooses its machine, and a pool.
fn spoil(root: &Path) -> std::io::Result<()> {
    let base = std::fs::read_to_string(root.join("base.toml"))?;
    let base = base.replace("template = \"preseed\"", "template = \"mute\"");
    // A pool without an address for its machines is a mistake, and with one everything is resolved again.
    let base = base.replacen("domain  =", "dynamic = \"10.200.0.1-10.200.9.1\"\ndomain  =", 1);
    std::fs::write(root.join("base.toml"), base)?;
    std::fs::write(
        root.join("more.toml"),
        "[template.mute]\nkind = \"preseed\"\nfile = \"mute.liquid\"\n\
         [template.mute.vars]\nroot-hash = { type = \"secret\" }\n\
         [machine.free]\nmac = \"52:54:01:00:00:01\"\nlabels = { size = \"s\" }\n\
         [deployment.any]\nprofile = \"web\"\nselect = { size = \"s\" }\naddress = \"10.0.0.9\"\n\
         [pool.ci]\nprofile = \"web\"\nselect = { size = \"s\" }\n",
    )?;
    std::fs::write(root.join("mute.liquid"), "d-i passwd/root-password-crypted password {{ root_hash }}\n")
}

/// From a snapshot that has been read to the table that every answer is made from.
async fn live(count: usize, spoilt: bool) {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let root = folder.path().join("inventory");
    generate(&root, count / 10, count).expect("the inventory can be written");
    if spoilt {
        spoil(&root).expect("the inventory can be written");
    }
    let (key, identity) = (Key::generate(), folder.path().join("age.key"));
    std::fs::write(&identity, key.file()).expect("a key can be written");
    let sealed = seal(&Recipients::parse(&key.public()).0, "hunter2").expect("a text can be encrypted");
    std::fs::write(root.join("secrets/root-password.age"), sealed).expect("a secret can be written");
    let (store, mut saved) =
        Store::open(&folder.path().join("state"), || [7; 48]).expect("a state can be made");
    saved.new_site = true;
    let (keeper, _) = Keeper::spawn(store, saved, Server::stand_in([10, 0, 0, 1].into()));
    let shelf = Shelf::new(Vec::new(), None).with_directory(root.clone());
    let state = folder.path().join("state");
    let only: Name = "inventory".parse().expect("a name");
    let (inventory, fetcher) = (Inventory::Directory(root.clone()), Fetcher::default());
    let place = SourceConfig { inventory, poll: None, state: state.clone(), fetcher };
    let followed = Followed { location: "bench".into(), manual: false, place, writes: Write::Off };
    let follow =
        Follow { sources: [(only.clone(), followed)].into(), environment: None, state, control: None };
    let reconciler = Arc::new(Reconciler::new(keeper.clone(), shelf, Vec::new(), Some(identity), follow));
    let mut status = reconciler.statuses();
    let (send, updates) = mpsc::channel(1);
    tokio::spawn(reconciler.run(updates));
    let mut snapshot = directory::read(&root).expect("it can be read");
    let mut times = Vec::new();
    for run in 0..=2 * RUNS {
        snapshot.revision = format!("run-{run}").into();
        let text = deployments(run, 10).replace("profile =", &format!("redeploy = {run}\nprofile ="));
        let body = Body::Inline { bytes: text.into(), path: Some(root.join(name(run))) };
        snapshot.files.insert(name(run).into(), body);
        let copy = snapshot.clone();
        let started = Instant::now();
        send.send((only.clone(), Update::Snapshot(copy))).await.expect("the reconciler runs");
        let is_live = |statuses: &BTreeMap<Name, SourceStatus>| {
            let Some(status) = statuses.get(&only) else { return false };
            assert!(["Ready", "Loading"].contains(&status.condition.name()), "{}", status.reason);
            status.applied == *snapshot.revision
        };
        status.wait_for(is_live).await.expect("the reconciler runs");
        times.push(started.elapsed());
        assert_eq!(keeper.state().desired().revision, snapshot.revision);
        // What is live is also kept for a later pin: that is not to lie on the next run's way.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let how = if spoilt { ", a warning each, a selector, a pool" } else { "" };
    println!("{:<62} {:>9.1?}", format!("first revision of {count} deployments live{how}"), times[0]);
    let target = Duration::from_millis(20);
    row(&format!("one changed manifest among {count} live{how}"), median(times.split_off(1)), target);
}
