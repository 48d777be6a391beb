//! State directories that earlier versions wrote (`tests/fixtures/state`, made by the `make.sh` there),
//! opened with today's code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use redb::ReadableTable;
use sha2::Sha256;
use tempfile::TempDir;
use voldemort::desired::{Media, Options};
use voldemort::inventory::{Depth, load};
use voldemort::manifest::Environment;
use voldemort::media::Shelf;
use voldemort::model::{FilePath, Time, hex};
use voldemort::proto::tree::{self, Answer, Asker, Method, Transport};
use voldemort::state::{InstallStage, Revision, Server, SourceRevision, State, Verb};
use voldemort::store::{Accept, History, Loss, Saved, Store};

use super::golden::assert_golden;

const NAMES: [&str; 7] = ["fresh", "working", "killed", "pinned", "suspended", "several", "own"];

/// The versions that wrote them.
const VERSIONS: [&str; 5] = ["cb52119", "aa93fd4", "0da45e2", CLAIMS[0], CLAIMS[1]];

/// Those with a directory `claimed`: those before had no pools.
const CLAIMS: [&str; 2] = ["a78d7c6", "0.2.0"];

fn fixtures(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/state").join(version)
}

/// A state directory as a version left it, in a folder of its own.
pub(crate) fn unpacked(version: &str, name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let archive = fixtures(version).join(format!("{name}.tar.gz"));
    let status = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(folder.path()).status().unwrap();
    assert!(status.success(), "{}", archive.display());
    folder
}

pub(crate) fn open(state: &Path) -> (Store, Saved) {
    Store::open(state, || [7; 48]).unwrap()
}

/// Everything that a state directory holds but its secrets, a line for each.
fn described(saved: &Saved, state: &Path) -> String {
    let mut text = format!("lineage {} serial {}\n", saved.lineage, saved.serial);
    let mut installs = saved.installs.clone();
    installs.sort_by(|one, other| one.deployment.cmp(&other.deployment));
    for install in &installs {
        let deployment = &install.deployment;
        assert!(install.epoch > 0, "{install:?}");
        let (machine, redeploy, stage, since) =
            (&install.machine, install.redeploy, install.stage, install.since);
        text += &format!(
            "install {deployment} on {machine}: redeploy {redeploy} {stage} since {since}, again {}, {}\n",
            install.again, install.digest
        );
        // URLs that version 0.1 gave away stay good.
        if !install.plain_urls {
            text += &format!("  epoch {} on cards {:?}\n", install.epoch, install.cards);
        }
    }
    for claim in &saved.claims {
        let place = claim
            .place
            .as_ref()
            .map(|place| format!("{} epoch {} since {}", place.machine, place.epoch, place.since));
        let (name, pool, number, asked) = (&claim.name, &claim.pool, claim.number, claim.asked);
        text += &format!(
            "claim {name} of {pool}, {number}, asked {asked}: {}\n",
            place.as_deref().unwrap_or("waits")
        );
    }
    for (machine, tenancy) in saved.tenancies.iter().filter(|(_, tenancy)| tenancy.is_claim) {
        text += &format!(
            "tenancy of {machine}: {} epoch {} since {}\n",
            tenancy.holder, tenancy.epoch, tenancy.since
        );
    }
    for (machine, life) in &saved.lives {
        let hold = life.hold.as_ref().map(|hold| hold.reason.to_string());
        text += &format!(
            "life of {machine}: hold {hold:?}, order {}, {} disks\n",
            life.order.is_some(),
            life.disks.len()
        );
    }
    for token in &saved.tokens {
        text += &format!(
            "token {} {} until {:?}\n",
            token.name,
            token.role,
            token.expires.map(|time| time.to_string())
        );
    }
    for (deployment, machine) in &saved.assignments {
        text += &format!("assigned {deployment} to {machine}\n");
    }
    for machine in &saved.protected {
        text += &format!("protected {machine}\n");
    }
    for lease in &saved.leases {
        let (address, mac, state) = (lease.address, lease.mac, lease.state);
        let id = lease.client_id.as_deref().map(|id| format!(" id {id:02x?}")).unwrap_or_default();
        text += &format!("lease {address} {mac} {state} until {}{id} {:?}\n", lease.expires, lease.hostname);
    }
    for lease in &saved.leases6 {
        let (address, mac, state) = (lease.address, lease.mac, lease.state);
        text +=
            &format!("lease {address} {mac} {state} until {} duid {:02x?}\n", lease.expires, &lease.duid[..]);
    }
    for (number, event) in &saved.events {
        let (at, stage, words) = (event.at, event.stage, &event.text);
        text += &format!("event {number} {at} {stage} {:?} {words}\n", event.mac.map(|mac| mac.to_string()));
    }
    if let Some(kept) = &saved.kept {
        let settled = kept.sources().map(|(name, one)| match name {
            Some(name) => format!("{name}:{}", one.settled),
            None => one.settled.to_string(),
        });
        let settled = settled.collect::<Vec<_>>().join(" ");
        let (revision, root) = (kept.name(), kept.root());
        text += &format!("kept {revision} of {settled} in {root:?} for {:?}\n", kept.environment);
        for (path, bytes) in files_of(kept) {
            text += &format!("  {path}: {} bytes\n", bytes.len());
        }
        for (path, copy) in kept.copies() {
            text += &format!("  {path}: copy {}\n", copy.display());
        }
    }
    for (name, note) in &saved.notes {
        text += &format!("note {name} {}\n", String::from_utf8_lossy(note));
    }
    for kept in History::new(state).all() {
        text += &format!("history {} with {} files\n", kept.name(), files_of(&kept).len());
    }
    text
}

#[test]
fn what_earlier_versions_wrote_is_read_whole() {
    for (version, name) in all() {
        let state = unpacked(version, name);
        let keys = |state: &Path| -> Vec<String> {
            let text = std::fs::read_to_string(state.join("state.key")).unwrap_or_default();
            let wanted = |line: &&str| line.starts_with("lineage ") || line.starts_with("token-key ");
            text.lines().filter(wanted).map(str::to_owned).collect()
        };
        let before = keys(state.path());
        let expected = fixtures(version).join(format!("{name}.txt"));
        let (store, saved) = open(state.path());
        assert!(!saved.restored && saved.damaged.is_empty(), "{version} {name}: {:?}", saved.remarks);
        assert!(saved.next_event > saved.events.last().map_or(0, |(number, _)| *number));
        assert_golden(&expected, &described(&saved, state.path()));
        drop(store);
        // URLs that machines hold were made with these.
        assert!(before.is_empty() || before == keys(state.path()));
        // What was upgraded is the same once more.
        let (_, saved) = open(state.path());
        assert!(saved.remarks.is_empty(), "{:?}", saved.remarks);
        assert_golden(&expected, &described(&saved, state.path()));
    }
}

fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    let each = VERSIONS.into_iter().flat_map(|version| NAMES.into_iter().map(move |name| (version, name)));
    each.chain(CLAIMS.map(|version| (version, "claimed")))
}

/// A copy of a directory's files as they are now; folders are left out.
fn copied(state: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(state).unwrap().map(Result::unwrap) {
        if entry.metadata().unwrap().is_file() {
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
    }
    folder
}

/// The daemon died during the upgrade: after the log was written, after the key recorded it, after each
/// text.
#[test]
fn an_upgrade_that_was_interrupted_is_begun_again_or_goes_on() {
    let old = unpacked("aa93fd4", "working");
    let before = copied(old.path());
    let (store, saved) = open(old.path());
    let whole = described(&saved, Path::new("/nowhere"));
    drop((store, saved));
    let log = ["records.snapshot", "records.1.log"];
    let lay = |files: &[&str], to: &Path| {
        for file in files {
            std::fs::copy(old.path().join(file), to.join(file)).unwrap();
        }
    };
    // Of the new files some are there, and the old ones count.
    for count in 1..=2 {
        let half = copied(before.path());
        lay(&log[..count], half.path());
        let (_, saved) = open(half.path());
        assert_eq!(described(&saved, Path::new("/nowhere")), whole);
    }
    // The key names the log, and files of before are still there.
    for texts in 0..3 {
        let half = copied(before.path());
        lay(&log, half.path());
        lay(&["state.redb", "records.redb", "leases4.journal"][..texts], half.path());
        let key = std::fs::read_to_string(old.path().join("state.key")).unwrap();
        let (body, _) = key.rsplit_once("digest ").unwrap();
        let body = body.replace("phase ready", "phase tidying");
        let digest = voldemort::model::hex(&<sha2::Sha256 as sha2::Digest>::digest(&body)[..]);
        std::fs::write(half.path().join("state.key"), format!("{body}digest {digest}\n")).unwrap();
        let (store, saved) = open(half.path());
        assert_eq!(described(&saved, Path::new("/nowhere")), whole);
        drop(store);
        assert!(redb::Database::open(half.path().join("records.redb")).is_err(), "a text is there");
    }
}

/// Machines in the middle of an installation hold URLs that the earlier version made; they go on with them, and
/// their reports count.
/// The files of all sources, by their paths as people see them.
fn files_of(revision: &Revision) -> BTreeMap<String, Bytes> {
    let shown = |name, path| FilePath::new(name, path).to_string();
    let all = revision.sources().flat_map(|(name, source)| source.files.iter().map(move |file| (name, file)));
    all.map(|(name, (path, bytes))| (shown(name, path), bytes.clone())).collect()
}

#[test]
fn urls_of_an_installation_under_way_outlive_the_upgrade() {
    // cb52119 made them of name and number, aa93fd4 of the installation's own number besides.
    for (version, epoch) in [("cb52119", ""), ("aa93fd4", "\n2")] {
        let state = unpacked(version, "killed");
        let (_store, saved) = open(state.path());
        let kept = saved.kept.clone().unwrap();
        let (_, SourceRevision { files, .. }) = kept.sources().next().unwrap();
        let options = Options { media: Media::IfPresent, fallback: Vec::new() };
        let (shelf, environment) = (Shelf::new(Vec::new(), None), Environment::default());
        let loaded = load("r".into(), files, &environment, &shelf, &options, Depth::OneFirmware);
        assert_eq!(loaded.errors(), 0, "{}", loaded.report());
        let server = Server::stand_in([10, 0, 10, 1].into());
        let mut table = saved.state(server).adopt(loaded.desired);
        let stage = |table: &State| table.install_of(&"web-2".parse().unwrap()).unwrap().stage;
        assert_eq!(stage(&table), InstallStage::Spent, "{version}");
        let url = |purpose: &str, file: &str| {
            let mut hmac = Hmac::<Sha256>::new_from_slice(&saved.token_key).unwrap();
            hmac.update(format!("{purpose}\nweb-2\n1{epoch}").as_bytes());
            format!("{purpose}/web-2/{}/{file}", hex(&hmac.finalize().into_bytes()[..16]))
        };
        let asker = Asker::new([10, 0, 10, 32], None, Transport::Http);
        let get = |table: &State, path: &str| tree::open(table, &asker, Method::Get, path, "");
        let answers = get(&table, &url("answers", "preseed.cfg"));
        assert!(matches!(answers, Answer::Serve(_)), "{version}: {answers:?}");
        let Answer::Report(report, _) = get(&table, &url("hooks", "completed")) else { panic!("{version}") };
        table = table.after(Verb::Report(report), Time(1)).unwrap();
        assert_eq!(stage(&table), InstallStage::Installed, "{version}");
    }
}

/// Machines of claims are served as before, and nobody gets a machine that another claim has.
#[test]
fn claims_outlive_the_upgrade() {
    for version in CLAIMS {
        let state = unpacked(version, "claimed");
        let (_store, saved) = open(state.path());
        let kept = saved.kept.clone().unwrap();
        let (_, SourceRevision { files, .. }) = kept.sources().next().unwrap();
        let options = Options { media: Media::IfPresent, fallback: Vec::new() };
        let (shelf, environment) = (Shelf::new(Vec::new(), None), Environment::default());
        let loaded = load("r".into(), files, &environment, &shelf, &options, Depth::OneFirmware);
        assert_eq!(loaded.errors(), 0, "{}", loaded.report());
        let table = saved.state(Server::stand_in([10, 0, 10, 1].into())).adopt(loaded.desired);
        let stage = |name: &str| table.install_of(&name.parse().unwrap()).map(|install| install.stage);
        assert_eq!(stage("ci-1"), Some(InstallStage::Installed));
        assert_eq!(stage("ci-2"), Some(InstallStage::Spent));
        assert_eq!((stage("waiting-3"), stage("over-4")), (None, None));
    }
}

/// What was damaged before the upgrade is known as damaged after it.
#[test]
fn damage_to_what_an_earlier_version_wrote_is_carried_over() {
    const RECORDS: redb::TableDefinition<&[u8], &[u8]> = redb::TableDefinition::new("records");
    let state = unpacked("aa93fd4", "working");
    let database = redb::Database::open(state.path().join("records.redb")).unwrap();
    let write = database.begin_write().unwrap();
    {
        let mut table = write.open_table(RECORDS).unwrap();
        let mut value = table.get(&b"install\0box-4"[..]).unwrap().unwrap().value().to_vec();
        *value.last_mut().unwrap() ^= 1;
        table.insert(&b"install\0box-4"[..], &value[..]).unwrap();
    }
    write.commit().unwrap();
    drop(database);
    for _ in 0..2 {
        let (_, saved) = open(state.path());
        assert_eq!(saved.damaged.len(), 1);
        assert!(saved.damaged[0].guards_disks() && saved.damaged[0].names == ["box-4"]);
        assert!(!saved.restored && saved.installs.iter().all(|install| install.machine.as_str() != "box-4"));
        assert!(saved.installs.len() > 2);
    }
}

/// The records of version 0.1 are gone, and the start that agreed to this could not write a new log.
#[test]
fn leases_of_version_0_1_outlive_a_start_that_was_cut_short() {
    let agreeing = |state: &Path| {
        let accept = Accept(vec![Loss::Records, Loss::Key]);
        Store::open_accepting(state, || [7; 48], accept).map(|(_, saved)| saved)
    };
    let lost = || {
        let state = unpacked("cb52119", "killed");
        std::fs::write(state.path().join("state.redb"), "").unwrap();
        state
    };
    let (whole, cut) = (lost(), lost());
    let expected = agreeing(whole.path()).unwrap().leases;
    assert!(!expected.is_empty());
    let obstacle = cut.path().join("records.snapshot.new");
    std::fs::create_dir(&obstacle).unwrap();
    agreeing(cut.path()).unwrap_err();
    std::fs::remove_dir(&obstacle).unwrap();
    let error = Store::open(cut.path(), || [7; 48]).unwrap_err().to_string();
    assert!(error.contains("--accept-loss"), "{error}");
    assert_eq!(agreeing(cut.path()).unwrap().leases, expected);
}

/// A part that was lost before the upgrade is no reason to take the rest for new.
#[test]
fn a_lost_part_of_an_earlier_version_s_directory_refuses_the_upgrade() {
    for (file, loss) in [("leases4.journal", Loss::Leases), ("records.redb", Loss::Records)] {
        for is_gone in [false, true] {
            let state = unpacked("aa93fd4", "working");
            match is_gone {
                true => std::fs::remove_file(state.path().join(file)).unwrap(),
                false => std::fs::write(state.path().join(file), "").unwrap(),
            }
            for _ in 0..2 {
                let error = Store::open(state.path(), || [7; 48]).unwrap_err().to_string();
                assert!(error.contains(file) && error.contains(&format!("--accept-loss {loss}")), "{error}");
            }
            let accept = || Accept(vec![loss]);
            // A start that can't write the new log loses nothing.
            let obstacle = state.path().join("records.snapshot.new");
            std::fs::create_dir(&obstacle).unwrap();
            Store::open_accepting(state.path(), || [7; 48], accept()).unwrap_err();
            std::fs::remove_dir(&obstacle).unwrap();
            let error = Store::open(state.path(), || [7; 48]).unwrap_err().to_string();
            assert!(error.contains(file) && error.contains(&format!("--accept-loss {loss}")), "{error}");
            let (store, saved) = Store::open_accepting(state.path(), || [7; 48], accept()).unwrap();
            match loss {
                Loss::Leases => {
                    assert!(saved.leases.is_empty() && saved.installs.len() == 5 && !saved.restored);
                }
                _ => assert!(saved.leases.len() == 3 && saved.installs.is_empty() && saved.restored),
            }
            drop((store, saved));
            assert!(open(state.path()).1.remarks.is_empty());
        }
    }
}
