//! A state directory under everything that happens to one: the daemon's keeper is killed at random moments
//! of what it does, its files are damaged, cut, exchanged, lost and put back. After each the directory is
//! refused with a way out, or nothing that was acknowledged is lost: no lease is another machine's, and no
//! machine that got its answers gets a script that installs.
//!
//! The short form runs with the other tests. A longer one: `CAMPAIGN_KILLS=300 CAMPAIGN_FAULTS=2000 cargo test
//! --release --test it campaign -- --nocapture`, from another beginning with `CAMPAIGN_SEED=7`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use voldemort::daemon::commands::Adopted;
use voldemort::daemon::keeper::Keeper;
use voldemort::desired::{Desired, Media, Options};
use voldemort::inventory::{Depth, load};
use voldemort::manifest::Environment;
use voldemort::media::Shelf;
use voldemort::model::{Mac, Name, Time};
use voldemort::plan::Consent;
use voldemort::plan::Proposal;
use voldemort::state::{
    Doubts, Duty, InstallStage, LeaseAction, LeaseRequest, LeaseState, Outcome, Permit, PermitStep, Report,
    Revision, Server, SourceRevision, Supply, Verdict,
};
use voldemort::store::{Saved, Store};

/// Set in the process that is killed: its directory.
const DIRECTORY: &str = "CAMPAIGN_DIRECTORY";
/// Machines with a deployment.
const MACHINES: u8 = 6;

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Numbers that look random and repeat for the same seed (xorshift64*).
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }
}

/// The inventory with these `redeploy` numbers.
fn manifest(numbers: &[u64]) -> String {
    let mut text =
        "[subnet.lab]\ncidr = \"10.0.0.0/16\"\ndynamic = \"10.0.100.1-10.0.199.254\"\nlease = \"8h\"\n\
         [boot.b]\nkernel = \"vmlinuz\"\ncmdline = [\"url={{ answers_url }}\"]\n"
            .to_owned();
    for (number, redeploy) in numbers.iter().enumerate() {
        text += &format!(
            "[machine.m{number}]\nmac = \"52:54:00:00:00:{number:02x}\"\nprotect = {}\n[deployment.d{number}]\n\
             machine = \"m{number}\"\naddress = \"10.0.1.{}\"\nboot = \"b\"\ntemplate = \"preseed\"\nvars = {{ \
             root-hash = \"x\" }}\nredeploy = {redeploy}\n",
            number == 0,
            number + 1
        );
    }
    text
}

fn desired(text: &str) -> Arc<Desired> {
    let files: BTreeMap<Arc<str>, Bytes> = [("a.toml".into(), Bytes::from(text.to_owned()))].into();
    let options = Options { media: Media::IfPresent, fallback: Vec::new() };
    let shelf = Shelf::new(Vec::new(), None);
    let loaded = load("r".into(), &files, &Environment::default(), &shelf, &options, Depth::OneFirmware);
    assert_eq!(loaded.errors(), 0, "{}", loaded.report());
    loaded.desired
}

fn server() -> Server {
    Server::stand_in("10.0.0.1".parse().unwrap())
}

fn name(kind: char, number: usize) -> Name {
    format!("{kind}{number}").parse().unwrap()
}

fn fresh(dice: &mut Dice) -> [u8; 48] {
    std::array::from_fn(|_| dice.below(256) as u8)
}

fn mac(number: u64) -> Mac {
    let [.., a, b, c] = number.to_be_bytes();
    Mac::new([0x52, 0x54, 0xaa, a, b, c]).unwrap()
}

/// What is acknowledged, a line each on standard output; what begins before it does.
fn say(words: std::fmt::Arguments) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "@ {words}").and_then(|()| out.flush()).unwrap();
}

/// The daemon's keeper at work until it is killed.
struct Work {
    dice: Dice,
    keeper: Keeper,
    numbers: Vec<u64>,
}

impl Work {
    async fn run(mut self) {
        loop {
            match self.dice.below(20) {
                0 => self.edit().await,
                1..=9 => self.install().await,
                10..=17 => self.lease(1).await,
                // Journals grow until they are rewritten.
                _ => self.lease(1500).await,
            }
        }
    }

    async fn edit(&mut self) {
        let mut next = self.numbers.clone();
        let at = self.dice.below(u64::from(MACHINES)) as usize;
        next[at] += 1;
        say(format_args!("begin numbers {next:?}"));
        self.adopt(&next).await;
        say(format_args!("done numbers {next:?}"));
        self.numbers = next;
    }

    async fn adopt(&self, numbers: &[u64]) {
        let text = manifest(numbers);
        let desired = desired(&text);
        let files = [("a.toml".into(), Bytes::from(text))].into();
        let (revision, settled) = ("r".into(), "dir".into());
        let source = SourceRevision { revision, settled, files, ..SourceRevision::default() };
        let kept = Some(Arc::new(Revision::of_one(source)));
        let (secrets, consent) = (Arc::default(), Consent::default());
        let proposal = Proposal { desired, kept, secrets, consent, expected: None, plan: None };
        let adopted = self.keeper.adopt(proposal).await.unwrap();
        assert!(matches!(adopted, Adopted::Applied(_)), "{adopted:?}");
    }

    /// The next step of some machine's installation.
    async fn install(&mut self) {
        let at = self.dice.below(u64::from(MACHINES)) as usize;
        let (deployment, redeploy) = (name('d', at), self.numbers[at]);
        let table = self.keeper.state();
        let duty = table.duty(&table.desired().deployments[&deployment]);
        let stage = table.install_of(&deployment).filter(|one| one.redeploy == redeploy).map(|one| one.stage);
        match (duty, stage) {
            (Duty::Install { permit }, _) => {
                let step = if permit { PermitStep::Start } else { PermitStep::Spend };
                say(format_args!("begin {step:?} {at} {redeploy}"));
                self.keeper.permit(Permit { deployment, redeploy, epoch: None, step }).await.unwrap();
                say(format_args!("done {step:?} {at} {redeploy}"));
            }
            (_, Some(InstallStage::Spent)) => {
                say(format_args!("begin Installed {at} {redeploy}"));
                let (outcome, note) = (Outcome::Completed, String::new());
                let report = Report { deployment, redeploy, epoch: None, outcome, note };
                self.keeper.report(report).await.unwrap();
                say(format_args!("done Installed {at} {redeploy}"));
            }
            _ => {}
        }
    }

    /// Leases for some strangers, new or renewed.
    async fn lease(&mut self, count: u64) {
        let from = self.dice.below(4000);
        let table = self.keeper.state();
        let subnet = table.desired().subnets.values().next().unwrap().clone();
        let at = Time(jiff::Timestamp::now().as_millisecond() as u64);
        let request = |number, action| LeaseRequest {
            mac: mac(number),
            at,
            client_id: Some(vec![7; 200].into()),
            hostname: None,
            action,
        };
        let supply = || Supply::Dynamic { subnet: subnet.clone(), server: table.server().address };
        let offer = |number| request(number, LeaseAction::Offer { supply: supply(), requested: None });
        let numbers: Vec<u64> = (from..from + count).collect();
        let offered = self.ask(numbers.iter().map(|number| offer(*number)).collect()).await;
        let wanted: Vec<(u64, Ipv4Addr)> =
            numbers.iter().copied().zip(offered).filter_map(|(number, to)| Some((number, to?))).collect();
        let shown = |leases: &[(u64, Ipv4Addr)]| {
            leases.iter().map(|(number, to)| format!("{number}={to}")).collect::<Vec<_>>().join(" ")
        };
        say(format_args!("begin leases {}", shown(&wanted)));
        let bind = |(number, address): &(u64, Ipv4Addr)| {
            request(*number, LeaseAction::Bind { supply: supply(), address: *address })
        };
        let bound = self.ask(wanted.iter().map(bind).collect()).await;
        let bound: Vec<(u64, Ipv4Addr)> = wanted
            .into_iter()
            .zip(bound)
            .filter_map(|((number, wanted), to)| to.filter(|to| *to == wanted).map(|to| (number, to)))
            .collect();
        say(format_args!("done leases {}", shown(&bound)));
    }

    async fn ask(&self, requests: Vec<LeaseRequest>) -> Vec<Option<Ipv4Addr>> {
        let (sender, answer) = tokio::sync::oneshot::channel();
        self.keeper.lease(requests, move |outcome| drop(sender.send(outcome)));
        answer.await.unwrap().unwrap()
    }
}

/// What the process that is killed does; without its variable it does nothing.
#[test]
fn worker() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let mut dice = Dice::new(setting("CAMPAIGN_SEED", 1));
    let (store, mut saved) = Store::open(Path::new(&directory), || fresh(&mut dice)).unwrap();
    saved.new_site = true;
    assert!(!saved.restored && saved.damaged.is_empty(), "{:?} {:?}", saved.remarks, saved.damaged);
    let kept = saved.kept.clone();
    let (keeper, _thread) = Keeper::spawn(store, saved, server());
    say(format_args!("open"));
    let numbers = match kept {
        Some(kept) => numbers_of(&kept),
        None => vec![0; usize::from(MACHINES)],
    };
    let work = Work { dice, keeper, numbers: numbers.clone() };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        say(format_args!("begin numbers {numbers:?}"));
        work.adopt(&numbers).await;
        say(format_args!("done numbers {numbers:?}"));
        work.run().await;
    });
}

fn numbers_of(kept: &Revision) -> Vec<u64> {
    let text = std::str::from_utf8(kept.file("a.toml").unwrap()).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("redeploy = "));
    lines.map(|number| number.parse().unwrap()).collect()
}

/// What was acknowledged so far, and what was under way when the process ended.
#[derive(Clone, Default)]
struct Model {
    numbers: Vec<u64>,
    /// By machine: the number and stage last acknowledged.
    installs: BTreeMap<usize, (u64, String)>,
    leases: BTreeMap<Ipv4Addr, u64>,
    begun: Option<String>,
}

impl Model {
    fn hear(&mut self, line: &str) {
        if let Some(begun) = line.strip_prefix("begin ") {
            self.begun = Some(begun.to_owned());
            return;
        }
        let Some(done) = line.strip_prefix("done ") else { return };
        self.begun = None;
        self.take(done);
    }

    fn take(&mut self, done: &str) {
        let (what, rest) = done.split_once(' ').unwrap_or((done, ""));
        match what {
            "numbers" => {
                let list = rest.trim_matches(['[', ']']).split(", ");
                self.numbers = list.map(|number| number.parse().unwrap()).collect();
            }
            "leases" => {
                for (number, address) in rest.split_whitespace().map(|pair| pair.split_once('=').unwrap()) {
                    let (number, address) = (number.parse().unwrap(), address.parse().unwrap());
                    let before = self.leases.insert(address, number);
                    assert!(before.is_none_or(|before| before == number), "{address} is two machines'");
                }
            }
            stage => {
                let (at, number) = rest.split_once(' ').unwrap();
                let install = (number.parse().unwrap(), stage.to_owned());
                self.installs.insert(at.parse().unwrap(), install);
            }
        }
    }

    /// Whatever was under way may have happened or not: what is there decides.
    fn settle(&mut self, saved: &Saved) {
        let Some(begun) = self.begun.take() else { return };
        let mut other = self.clone();
        other.take(&begun);
        match begun.split(' ').next() {
            Some("numbers") if saved.kept.as_ref().is_some_and(|kept| numbers_of(kept) == other.numbers) => {
                *self = other;
            }
            Some("leases") => {
                for lease in &saved.leases {
                    if let Some(number) = other.leases.get(&lease.address) {
                        self.leases.insert(lease.address, *number);
                    }
                }
            }
            Some("numbers") | None => {}
            Some(_) => {
                let stages = stages_of(saved);
                if other.installs.iter().all(|(at, install)| stages.get(at) == Some(install)) {
                    *self = other;
                }
            }
        }
    }

    /// Everything that was acknowledged is there.
    fn holds(&self, saved: &Saved) {
        let known: BTreeMap<Ipv4Addr, Mac> = (saved.leases.iter())
            .filter(|lease| lease.state == LeaseState::Bound)
            .map(|lease| (lease.address, lease.mac))
            .collect();
        for (address, number) in &self.leases {
            assert_eq!(known.get(address), Some(&mac(*number)), "{address}");
        }
        assert_eq!(stages_of(saved), self.installs);
        let kept = saved.kept.as_ref().map(numbers_of).unwrap_or_default();
        assert_eq!(kept, self.numbers);
    }

    /// No machine that got its answers for a number gets a script that installs under it: whatever became of the
    /// directory, and also when the revision before the last is what comes.
    async fn is_safe(&self, keeper: &Keeper, what: &str) {
        let table = keeper.state();
        for (at, (number, stage)) in self.installs.iter().filter(|(_, (_, stage))| stage != "Start") {
            let Some(deployment) = table.desired().deployments.get(&name('d', *at)) else { continue };
            if deployment.redeploy <= *number {
                let duty = table.duty(deployment);
                assert!(matches!(duty, Duty::LocalBoot(_)), "{what}: d{at} {stage} {number}: {duty:?}");
            }
        }
    }
}

/// By machine: the number and stage of the newest installation.
fn stages_of(saved: &Saved) -> BTreeMap<usize, (u64, String)> {
    let mut newest: BTreeMap<usize, (u64, u64, String)> = BTreeMap::new();
    for install in &saved.installs {
        let at: usize = install.deployment.as_str()[1..].parse().unwrap();
        let stage = match install.stage {
            InstallStage::Started => "Start".to_owned(),
            InstallStage::Spent => "Spend".to_owned(),
            InstallStage::Installed => "Installed".to_owned(),
            other => other.to_string(),
        };
        if newest.get(&at).is_none_or(|(epoch, ..)| *epoch < install.epoch) {
            newest.insert(at, (install.epoch, install.redeploy, stage));
        }
    }
    newest.into_iter().map(|(at, (_, number, stage))| (at, (number, stage))).collect()
}

/// Runs the worker and kills it after a while; returns its output.
fn killed(directory: &Path, seed: u64, after: Duration, model: &mut Model) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["campaign::worker", "--exact", "--nocapture"])
        .env(DIRECTORY, directory)
        .env("CAMPAIGN_SEED", seed.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let out = child.stdout.take().unwrap();
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    let killer = std::thread::spawn(move || {
        std::thread::sleep(after);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    });
    let mut opened = false;
    for line in BufReader::new(out).lines() {
        let line = line.unwrap();
        // The test harness writes to the same output.
        let Some((_, said)) = line.split_once("@ ") else { continue };
        opened |= said == "open";
        model.hear(said);
    }
    let output = child.wait_with_output().unwrap();
    killer.join().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_none(), "seed {seed}: it ended by itself: {said}");
    opened
}

#[test]
fn a_keeper_that_is_killed_at_any_moment_has_lost_nothing() {
    let (kills, seed) = (setting("CAMPAIGN_KILLS", 8), setting("CAMPAIGN_SEED", 1));
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut dice = Dice::new(seed);
    let mut model = Model::default();
    let mut opened = 0;
    for kill in 0..kills {
        // Some die while they start.
        let after = if dice.below(4) == 0 { dice.below(40) } else { 40 + dice.below(500) };
        opened += u32::from(killed(&state, seed * 1000 + kill, Duration::from_millis(after), &mut model));
        if !state.exists() {
            continue;
        }
        let (store, saved) = Store::open(&state, || fresh(&mut dice)).unwrap();
        assert!(!saved.restored && saved.damaged.is_empty(), "{kill}: {:?}", saved.remarks);
        model.settle(&saved);
        model.holds(&saved);
        drop(store);
    }
    println!("{kills} kills, {opened} after the start, {} leases, {:?}", model.leases.len(), model.installs);
    assert!(opened > 0 && !model.leases.is_empty());
}

/// One thing that happens to one file, or to several.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Bit,
    Bits,
    Sector,
    Cut,
    Empty,
    Gone,
    Earlier,
    /// All of them but `state.last`, or really all.
    AllEarlier(bool),
    Exchanged,
}

/// A directory with everything in it, of which an earlier state is known, too.
struct Subject {
    state: PathBuf,
    now: BTreeMap<PathBuf, Vec<u8>>,
    earlier: BTreeMap<PathBuf, Vec<u8>>,
    model: Model,
}

fn files(state: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect()
}

impl Subject {
    fn new(state: PathBuf, seed: u64) -> Subject {
        let mut dice = Dice::new(seed);
        let mut model = Model::default();
        let mut round = 0;
        let mut work = |state: &Path, model: &mut Model| {
            round += 1;
            let after = Duration::from_millis(150 + dice.below(150));
            killed(state, seed * 77 + round, after, model);
            // What was written and not yet acknowledged when it was killed belongs to the state, too.
            if state.exists() {
                let (_store, saved) = Store::open(state, || fresh(&mut dice)).unwrap();
                model.settle(&saved);
                model.holds(&saved);
            }
        };
        while model.numbers.is_empty() {
            work(&state, &mut model);
        }
        let earlier = files(&state);
        let used = |model: &Model| model.installs.values().filter(|(_, stage)| stage != "Start").count();
        while used(&model) < 4 || model.leases.len() < 20 {
            work(&state, &mut model);
        }
        Subject { now: files(&state), earlier, state, model }
    }

    /// Restores everything, in the same files.
    fn mend(&self) {
        for path in files(&self.state).keys().filter(|path| !self.now.contains_key(*path)) {
            std::fs::remove_file(path).unwrap();
        }
        for (path, bytes) in &self.now {
            if self.aside(path).exists() {
                std::fs::rename(self.aside(path), path).unwrap();
            }
            std::fs::write(path, bytes).unwrap();
        }
    }

    /// Where a file lies that is gone: it has to come back as the file that it was.
    fn aside(&self, path: &Path) -> PathBuf {
        self.state.with_extension(path.file_name().unwrap())
    }

    fn remove(&self, path: &Path) {
        std::fs::rename(path, self.aside(path)).unwrap();
    }

    fn harm(&self, fault: Fault, dice: &mut Dice) -> Vec<String> {
        let named: Vec<&PathBuf> = self.now.keys().collect();
        let path = named[dice.below(named.len() as u64) as usize].clone();
        let mut bytes = self.now[&path].clone();
        let mut touched = vec![path.clone()];
        let at = dice.below(bytes.len().max(1) as u64) as usize;
        match fault {
            Fault::Bit => bytes[at] ^= 1 << dice.below(8),
            Fault::Bits => {
                for _ in 0..8 {
                    let at = dice.below(bytes.len() as u64) as usize;
                    bytes[at] ^= 1 << dice.below(8);
                }
            }
            Fault::Sector => {
                let (begin, fill) = (at / 512 * 512, dice.below(2) as u8 * 0x5a);
                let end = (begin + 512).min(bytes.len());
                bytes[begin..end].fill(fill);
            }
            Fault::Cut => bytes.truncate(at),
            Fault::Empty => bytes.clear(),
            Fault::Gone => self.remove(&path),
            Fault::Earlier => bytes = self.earlier.get(&path).cloned().unwrap_or_default(),
            Fault::AllEarlier(also_last) => {
                touched.clear();
                for (path, bytes) in &self.earlier {
                    if also_last || !path.ends_with("state.last") {
                        // As `cp -a` and tar put them back: new files.
                        self.remove(path);
                        std::fs::write(path, bytes).unwrap();
                        touched.push(path.clone());
                    }
                }
            }
            Fault::Exchanged => {
                let other = named[dice.below(named.len() as u64) as usize].clone();
                std::fs::write(&other, &bytes).unwrap();
                bytes = self.now[&other].clone();
                touched.push(other);
            }
        }
        if !matches!(fault, Fault::Gone | Fault::AllEarlier(_)) {
            std::fs::write(&path, &bytes).unwrap();
        }
        touched.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }
}

/// Opens the directory and serves what it holds; true if it was refused.
async fn judged(subject: &Subject, dice: &mut Dice, what: &str) -> bool {
    let fresh = fresh(dice);
    let (store, saved) = match Store::open(&subject.state, || fresh) {
        Ok(opened) => opened,
        Err(error) => {
            let said = error.to_string();
            let names_a_way = ["--accept-loss", "state restore", "Move that file away"];
            assert!(names_a_way.iter().any(|way| said.contains(way)), "{what}: {said}");
            return true;
        }
    };
    let known: BTreeSet<(Ipv4Addr, Mac)> =
        saved.leases.iter().map(|lease| (lease.address, lease.mac)).collect();
    let is_doubted = saved.restored || !saved.damaged.is_empty();
    // A lease that does not fit its digest is forgotten, and named.
    let is_named =
        |address: &Ipv4Addr| saved.damaged.iter().any(|one| one.names.contains(&address.to_string()));
    // A copy of all is known as one, and what was leased since is in none of it.
    if !saved.restored {
        let lost: Vec<_> = subject
            .model
            .leases
            .iter()
            .filter(|(to, number)| !known.contains(&(**to, mac(**number))) && !is_named(to))
            .collect();
        assert!(lost.is_empty(), "{what}: leases were lost without a word: {lost:?}");
        assert!(is_doubted || stages_of(&saved) == subject.model.installs, "{what}");
        let guarded: Name = "m0".parse().unwrap();
        assert!(saved.protected.contains(&guarded), "{what}: the protection is gone");
    }
    let (remembered, state) = (saved.kept.clone(), saved.remarks.clone());
    let what = format!("{what} {state:?}");
    let (keeper, thread) = Keeper::spawn(store, saved, server());
    let work = Work { dice: Dice::new(1), keeper: keeper.clone(), numbers: Vec::new() };
    // What was served before, then what the source holds.
    if let Some(kept) = &remembered {
        let desired = desired(std::str::from_utf8(kept.file("a.toml").unwrap()).unwrap());
        let (secrets, consent) = (Arc::default(), Consent::default());
        let proposal = Proposal { desired, kept: None, secrets, consent, expected: None, plan: None };
        keeper.adopt(proposal).await.unwrap();
        subject.model.is_safe(&keeper, &what).await;
    }
    work.adopt(&subject.model.numbers).await;
    subject.model.is_safe(&keeper, &what).await;
    // Consent for all machines is kept for good.
    let all = Doubts { all: true, ..Doubts::default() };
    keeper.settle_doubts(all, Verdict::Keep).await.unwrap();
    subject.model.is_safe(&keeper, &what).await;
    drop((work, keeper));
    tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap();
    match Store::open(&subject.state, || fresh) {
        Ok((_, again)) => {
            assert!(!again.restored, "{what}: what was settled is in doubt again: {:?}", again.remarks)
        }
        Err(error) => panic!("{what}: refused the second time: {error}"),
    }
    false
}

#[tokio::test]
async fn whatever_happens_to_the_files_no_installed_machine_is_installed_again() {
    let (faults, seed) = (setting("CAMPAIGN_FAULTS", 36), setting("CAMPAIGN_SEED", 1));
    let folder = tempfile::tempdir().unwrap();
    let subject = Subject::new(folder.path().join("state"), seed);
    let mut dice = Dice::new(seed + 5);
    let kinds = [
        Fault::Bit,
        Fault::Bit,
        Fault::Bit,
        Fault::Bits,
        Fault::Sector,
        Fault::Cut,
        Fault::Empty,
        Fault::Gone,
        Fault::Earlier,
        Fault::AllEarlier(false),
        Fault::AllEarlier(true),
        Fault::Exchanged,
    ];
    let mut counts: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    for number in 0..faults {
        let fault = kinds[(number % kinds.len() as u64) as usize];
        let touched = subject.harm(fault, &mut dice);
        let what = format!("seed {seed} fault {number}: {fault:?} of {}", touched.join(" and "));
        let refused = judged(&subject, &mut dice, &what).await;
        let count = counts.entry(format!("{fault:?}")).or_default();
        *count = (count.0 + 1, count.1 + u32::from(refused));
        subject.mend();
    }
    for (fault, (all, refused)) in counts {
        println!("{fault}: {all}, refused {refused}");
    }
}
