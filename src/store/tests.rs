use std::os::unix::fs::PermissionsExt;

use std::sync::Arc;

use super::batch::{Batch, Lists};
use super::mark::Mark;
use super::*;
use crate::model::{Caller, Mac, Name, Role, Time};
use crate::state::boot_once::BootOnce;
use crate::state::lease::LeaseState;
use crate::state::outbox::{EffectId, Pending, Task};
use crate::state::record::{Record, RecordKind};
use crate::state::revision::former::FormerRevision;
use crate::state::revision::stored::SavedRevision;
use crate::state::{ApiToken, Event, Install, InstallStage, Lease, Revision, SourceRevision, Stage};

fn lease(last: u8, machine: u8, expires: u64) -> Lease {
    Lease {
        address: [10, 0, 0, last].into(),
        mac: Mac::new([0x52, 0x54, 0, 0, 0, machine]).unwrap(),
        client_id: None,
        hostname: None,
        state: LeaseState::Bound,
        expires: Time(expires),
    }
}

fn install() -> Install {
    Install {
        machine: "rack1".parse().unwrap(),
        cards: [Mac::new([0x52, 0x54, 0, 0, 0, 1]).unwrap()].into(),
        marks: Arc::default(),
        deployment: "web".parse().unwrap(),
        former: ["old".parse().unwrap()].into(),
        used_as: "old".parse().unwrap(),
        epoch: 4,
        redeploy: 1,
        stage: InstallStage::Started,
        since: Time(5),
        digest: "abc".into(),
        again: false,
        closed: false,
        plain_urls: false,
        conflict: false,
    }
}

fn installs() -> Vec<(Name, Arc<[Install]>)> {
    vec![("rack1".parse().unwrap(), [install()].into())]
}

fn event(number: u64) -> (u64, Event) {
    (number, Event::new(Time(number), Stage::Ack, "gave 10.0.0.1"))
}

/// What a batch is stored as; what is stored of a revision is not looked at.
fn commit(store: &mut Store, batch: Batch) -> Result<(), LedgerError> {
    commit_over(store, batch, &Revision::default())
}

fn commit_over(store: &mut Store, batch: Batch, stored: &Revision) -> Result<(), LedgerError> {
    let (records, events) = batch.into_records(stored);
    let next_event = events.last().map_or(0, |(number, _)| number + 1);
    if !records.is_empty() {
        store.append(&records, next_event)?;
    }
    store.add_events(&events);
    Ok(())
}

fn open(folder: &Path) -> (Store, Saved) {
    Store::open(folder, || [7; 48]).unwrap()
}

#[test]
fn one_batch_is_stored_together_and_events_follow() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = open(folder.path());
    let first = Batch { leases: vec![lease(1, 1, 9)], events: vec![event(1)], ..Batch::default() };
    commit(&mut store, first).unwrap();
    commit(&mut store, Batch { events: vec![event(2)], ..Batch::default() }).unwrap();
    let batch = Batch { leases: vec![lease(2, 2, 9)], installs: installs(), ..Batch::default() };
    commit(&mut store, batch).unwrap();
    commit(&mut store, Batch { events: vec![event(3)], ..Batch::default() }).unwrap();
    drop(store);
    let saved = open(folder.path()).1;
    assert_eq!(saved.leases, [lease(1, 1, 9), lease(2, 2, 9)]);
    assert_eq!(saved.installs, [install()]);
    assert_eq!(saved.events, [event(1), event(2), event(3)]);
}

/// Everything that the directory held.
fn with_everything(folder: &Path) {
    let (mut store, saved) = open(folder);
    assert!(saved.installs.is_empty() && saved.remarks.is_empty() && !saved.restored);
    let batch = Batch {
        leases: vec![lease(1, 1, 9)],
        installs: installs(),
        lists: Some(Lists {
            served: Vec::new(),
            assignments: vec![("web".parse().unwrap(), Some("rack1".parse().unwrap()))],
            protected: vec![("rack2".parse().unwrap(), true)],
        }),
        serial: Some(4),
        events: vec![event(1), event(2)],
        notes: vec![("control".into(), b"{}".to_vec())],
        cards: vec![(Mac::new([2, 0, 0, 0, 0, 9]).unwrap(), Some("rack1".parse().unwrap()))],
        used: vec![("abc".into(), Some(3))],
        ..Batch::default()
    };
    commit(&mut store, batch).unwrap();
}

fn refusal(folder: &Path) -> String {
    Store::open(folder, || [8; 48]).unwrap_err().to_string()
}

fn accepting(folder: &Path, loss: Loss) -> Saved {
    Store::open_accepting(folder, || [8; 48], Accept(vec![loss])).unwrap().1
}

#[test]
fn everything_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    with_everything(folder.path());
    let saved = open(folder.path()).1;
    assert_eq!((saved.serial, saved.next_event, saved.restored), (4, 3, false));
    assert_eq!(saved.installs, [install()]);
    assert_eq!(saved.protected, ["rack2".parse::<Name>().unwrap()]);
    assert_eq!(saved.used, [("abc".to_owned(), 3)]);
    assert_eq!(saved.cards.len(), 1);
    assert_eq!(saved.events, [event(1), event(2)]);
    assert!(saved.damaged.is_empty() && saved.remarks.is_empty(), "{:?} {:?}", saved.damaged, saved.remarks);
}

#[test]
fn nobody_else_may_look_into_it() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("new/state");
    with_everything(&state);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let files = || std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(mode(&state), 0o700);
    assert!(files().count() >= 5);
    for file in files() {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    // Version 0.1 left them open, and a restore may.
    let open_to_all =
        |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    open_to_all(&state, 0o755);
    files().for_each(|file| open_to_all(&file, 0o644));
    let remarks = open(&state).1.remarks;
    assert_eq!((mode(&state), files().all(|file| mode(&file) == 0o600)), (0o700, true));
    assert!(remarks.iter().any(|remark| remark.contains("mode 755")), "{remarks:?}");
    assert!(remarks.iter().any(|remark| remark.contains("records.snapshot had mode 644")), "{remarks:?}");
    // A directory of another program is not closed because of a wrong setting.
    let shared = folder.path().join("shared");
    std::fs::create_dir_all(shared.join("home")).unwrap();
    open_to_all(&shared, 0o755);
    let remarks = open(&shared).1.remarks;
    assert_eq!(mode(&shared), 0o755);
    assert!(remarks[0].contains("which is not voldemort's"), "{remarks:?}");
}

#[test]
fn a_part_that_is_missing_empty_or_damaged_is_refused() {
    type Harm = fn(&Path);
    let missing: Harm = |file| std::fs::remove_file(file).unwrap();
    let empty: Harm = |file| std::fs::write(file, "").unwrap();
    let garbage: Harm = |file| std::fs::write(file, [0x5a; 9000]).unwrap();
    let cut: Harm = |file| {
        let length = std::fs::metadata(file).unwrap().len();
        std::fs::File::options().write(true).open(file).unwrap().set_len(length / 3).unwrap();
    };
    let zeros: Harm = |file| {
        let length = std::fs::metadata(file).unwrap().len();
        std::fs::write(file, vec![0; length as usize]).unwrap();
    };
    let first = log::segment(1);
    for (file, loss) in [(log::SNAPSHOT, Loss::Records), (&*first, Loss::Records), (mark::FILE, Loss::Key)] {
        for (number, harm) in [missing, empty, garbage, cut, zeros].into_iter().enumerate() {
            let folder = tempfile::tempdir().unwrap();
            with_everything(folder.path());
            harm(&folder.path().join(file));
            for _ in 0..2 {
                let error = refusal(folder.path());
                assert!(error.contains(file), "{file} {number}: {error}");
                assert!(error.contains("voldemort state restore"), "{error}");
                assert!(error.contains(&format!("--accept-loss {loss}")), "{error}");
            }
            let saved = accepting(folder.path(), loss);
            assert!(
                saved.remarks.iter().any(|remark| remark.contains("agreed to it")),
                "{:?}",
                saved.remarks
            );
            // What can still be read is kept, as that of a copy is.
            let is_whole = saved.installs == [install()] && saved.leases == [lease(1, 1, 9)];
            assert!(
                saved.restored && (is_whole || (loss == Loss::Records && file == first)),
                "{file} {number}"
            );
            // Nothing is in doubt about the directory itself any more.
            let again = open(folder.path()).1;
            assert!(again.remarks.is_empty() && again.lineage == saved.lineage, "{:?}", again.remarks);
        }
    }
}

#[test]
fn a_start_that_agrees_to_a_loss_and_is_cut_short_loses_nothing() {
    let first = log::segment(1);
    for (file, loss) in [(log::SNAPSHOT, Loss::Records), (&*first, Loss::Records), (mark::FILE, Loss::Key)] {
        let folder = tempfile::tempdir().unwrap();
        with_everything(folder.path());
        let key = std::fs::read(folder.path().join(mark::FILE)).unwrap();
        std::fs::remove_file(folder.path().join(file)).unwrap();
        // What keeps a new log from being written, as a full disk does.
        let obstacle = folder.path().join(log::snapshot::DRAFT);
        std::fs::create_dir(&obstacle).unwrap();
        for _ in 0..2 {
            let cut = Store::open_accepting(folder.path(), || [8; 48], Accept(vec![loss]));
            assert!(cut.unwrap_err().to_string().contains(log::SNAPSHOT), "{file}");
            let error = refusal(folder.path());
            assert!(error.contains(file) && error.contains(&format!("--accept-loss {loss}")), "{error}");
        }
        std::fs::remove_dir(&obstacle).unwrap();
        assert!(refusal(folder.path()).contains(file), "it is refused until somebody agrees again");
        let saved = accepting(folder.path(), loss);
        assert!(saved.restored && saved.remarks.iter().any(|remark| remark.contains(".lost-1")), "{file}");
        if file != first {
            assert_eq!((&saved.installs[..], &saved.leases[..]), (&[install()][..], &[lease(1, 1, 9)][..]));
            assert_eq!(saved.protected, ["rack2".parse::<Name>().unwrap()]);
        }
        if file != mark::FILE {
            let kept = std::fs::read(folder.path().join("state.key.lost-1")).unwrap();
            assert!(kept == key, "the key that the kept files are proven with is kept");
        }
        let again = open(folder.path()).1;
        assert!(again.restored && again.remarks.is_empty(), "{file}: {:?}", again.remarks);
        assert_eq!((again.lineage, again.installs), (saved.lineage, saved.installs));
    }
}

/// As builds before 0.2.0 left a directory.
#[test]
fn a_directory_in_the_making_beside_files_that_were_put_aside_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    with_everything(folder.path());
    let names = [log::SNAPSHOT.to_owned(), log::segment(1)];
    let rename = |from: &str, to: &str| std::fs::rename(folder.path().join(from), folder.path().join(to));
    names.iter().for_each(|name| rename(name, &format!("{name}.lost-1")).unwrap());
    Mark::new(mark::Phase::Making, &[8; 48]).write(folder.path()).unwrap();
    let error = refusal(folder.path());
    assert!(error.contains(".lost-1: a start") && error.contains("--accept-loss key"), "{error}");
    // It says how to go on, and that is so.
    names.iter().for_each(|name| rename(&format!("{name}.lost-1"), name).unwrap());
    rename(mark::FILE, "away").unwrap();
    assert!(refusal(folder.path()).contains("--accept-loss key"));
    let saved = accepting(folder.path(), Loss::Key);
    assert_eq!((saved.installs, saved.protected.len(), saved.restored), (vec![install()], 1, true));
}

#[test]
fn a_file_that_was_kept_aside_is_not_kept_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a");
    directory::keep_aside(&file).unwrap();
    let kept = || std::fs::read_dir(folder.path()).unwrap().count() - usize::from(file.exists());
    assert_eq!(kept(), 0, "it is not there");
    for (text, number) in [("1", 1), ("2", 2)] {
        directory::put(&file, text.as_bytes()).unwrap();
        for _ in 0..2 {
            directory::keep_aside(&file).unwrap();
            assert_eq!(kept(), number);
        }
        let name = folder.path().join(format!("a.lost-{number}"));
        assert_eq!(std::fs::read_to_string(name).unwrap(), text);
    }
}

#[test]
fn what_a_dead_first_start_left_is_no_loss() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    Mark::new(mark::Phase::Making, &[7; 48]).write(folder.path()).unwrap();
    for half in [log::SNAPSHOT, "records.1.log", "records.log.new", events::FILE] {
        std::fs::write(folder.path().join(half), "").unwrap();
        let mut mark = Mark::read(folder.path()).unwrap().unwrap();
        mark.enter(mark::Phase::Making, folder.path()).unwrap();
        let (_, saved) = open(folder.path());
        assert!(saved.remarks.iter().all(|remark| remark.contains("had mode 644")), "{:?}", saved.remarks);
        assert!(!saved.restored);
    }
}

#[test]
fn another_directory_s_files_are_refused() {
    let (ours, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    with_everything(ours.path());
    drop(Store::open(other.path(), || [9; 48]).unwrap());
    for file in [log::SNAPSHOT, "records.1.log", mark::FILE] {
        let own = std::fs::read(ours.path().join(file)).unwrap();
        std::fs::copy(other.path().join(file), ours.path().join(file)).unwrap();
        let error = refusal(ours.path());
        assert!(error.contains("another state directory"), "{file}: {error}");
        std::fs::write(ours.path().join(file), own).unwrap();
    }
    assert_eq!(open(ours.path()).1.installs, [install()]);
    // Files that earlier versions would take.
    for (file, _) in former::places(ours.path()) {
        let text = std::fs::read(ours.path().join(file)).unwrap();
        std::fs::copy(other.path().join(events::FILE), ours.path().join(file)).unwrap();
        assert!(refusal(ours.path()).contains("was mixed into"), "{file}");
        std::fs::write(ours.path().join(file), text).unwrap();
    }
}

#[test]
fn an_older_copy_of_the_log_beside_newer_events_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    with_everything(folder.path());
    let file = folder.path().join(log::segment(1));
    let copy = std::fs::read(&file).unwrap();
    let (mut store, _) = open(folder.path());
    commit(&mut store, Batch { serial: Some(5), ..Batch::default() }).unwrap();
    commit(&mut store, Batch { leases: vec![lease(2, 2, 9)], ..Batch::default() }).unwrap();
    drop(store);
    std::fs::write(&file, copy).unwrap();
    for _ in 0..2 {
        let error = refusal(folder.path());
        assert!(
            error.contains("newest records are missing") && error.contains("--accept-loss records"),
            "{error}"
        );
    }
    let saved = accepting(folder.path(), Loss::Records);
    assert_eq!((saved.installs, saved.restored), (vec![install()], true));
    assert!(open(folder.path()).1.remarks.is_empty());
}

/// Flips a bit of a record of the first segment: the last of its value, or of the first copy of its key.
fn flip(folder: &Path, kind: u8, key: &[u8], in_name: bool) {
    let path = folder.join(log::segment(1));
    let mut bytes = std::fs::read(&path).unwrap();
    let is_record = |at: &usize| {
        let lengths = [kind, 0, key.len() as u8, 0];
        bytes[*at + 8..].starts_with(&lengths) && bytes[*at + 16..].starts_with(&[key, key].concat())
    };
    let at = (0..bytes.len() - 40).find(is_record).expect("the record");
    let value = u32::from_le_bytes(bytes[at + 12..at + 16].try_into().unwrap()) as usize;
    let last = match in_name {
        true => at + 16 + key.len() - 1,
        false if value == 0 => at,
        false => at + 16 + 2 * key.len() + value - 1,
    };
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
}

#[test]
fn a_record_with_one_bit_flipped_is_not_believed() {
    for (kind, name) in [
        ("install", "rack1"),
        ("assigned", "web"),
        ("protected", "rack2"),
        ("note", "control"),
        ("card", "02:00:00:00:00:09"),
        ("used", "abc"),
        ("lease4", "10.0.0.1"),
    ] {
        for in_name in [false, true] {
            let at = format!("{kind} {name}");
            let folder = tempfile::tempdir().unwrap();
            with_everything(folder.path());
            let own = RecordKind::ALL.iter().find(|own| own.name() == kind).unwrap();
            flip(folder.path(), own.code(), &own.key_bytes(name).unwrap(), in_name);
            let (mut store, saved) = open(folder.path());
            assert_eq!(saved.damaged.len(), 1, "{at} {in_name}");
            let damage = &saved.damaged[0];
            assert!(damage.kind == *own && damage.names == [name], "{damage}");
            assert!(!saved.restored, "the record is there");
            match kind {
                "install" => assert!(saved.installs.is_empty() && damage.guards_disks()),
                "assigned" => assert!(saved.assignments.is_empty() && damage.guards_disks()),
                "protected" => assert!(saved.protected.contains(&"rack2".parse().unwrap())),
                "note" => assert_eq!(saved.notes["control"], b""),
                "card" => assert!(saved.cards.is_empty()),
                "lease4" => assert!(saved.leases.is_empty()),
                _ => assert!(saved.used.iter().any(|(id, _)| id == "abc")),
            }
            // What is put in its place settles it, wherever the damaged one lies.
            let note = vec![("control".into(), b"{}".to_vec())];
            let assignments = vec![("web".parse().unwrap(), Some("rack1".parse().unwrap()))];
            let lists = Some(Lists { assignments, ..Lists::default() });
            commit(&mut store, Batch { installs: installs(), notes: note, lists, ..Batch::default() })
                .unwrap();
            drop(store);
            let saved = open(folder.path()).1;
            assert!(
                saved.damaged.is_empty() && !saved.restored,
                "{at}: {:?} {:?}",
                saved.damaged,
                saved.remarks
            );
        }
    }
}

/// Damage stays known when the log is made shorter.
#[test]
fn damage_outlives_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    with_everything(folder.path());
    flip(folder.path(), RecordKind::Installs.code(), b"rack1", false);
    let mark = Mark::read(folder.path()).unwrap().unwrap();
    let keys = log::digest::Keys::new(&mark.record_key);
    let (mut store, _) = open(folder.path());
    commit(&mut store, Batch { serial: Some(9), ..Batch::default() }).unwrap();
    drop(store);
    let disk = Files::new(folder.path());
    {
        // As a rotation does it.
        let image = log::load::Image::read(&disk).unwrap();
        let show = |name: &str| name.to_owned();
        let loaded = image.load(&keys, None, log::read::Mode::Strict, &show).unwrap();
        let sequence = loaded.end.position.sequence;
        Log::create(&disk, &keys, 2, sequence, loaded.next_event, loaded.laid.raws()).unwrap();
    }
    let saved = open(folder.path()).1;
    assert!(saved.installs.is_empty() && saved.damaged.len() == 1, "{:?}", saved.damaged);
    assert_eq!((saved.serial, saved.restored), (9, false));
}

/// A frame with only leases in it, which can no longer be separated.
#[test]
fn damage_to_leases_alone_is_agreed_to_alone() {
    let folder = tempfile::tempdir().unwrap();
    with_everything(folder.path());
    let (mut store, _) = open(folder.path());
    let leases = vec![lease(2, 2, 9), lease(3, 3, 9)];
    commit(&mut store, Batch { leases, ..Batch::default() }).unwrap();
    commit(&mut store, Batch { serial: Some(8), ..Batch::default() }).unwrap();
    drop(store);
    let path = folder.path().join(log::segment(1));
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(8).position(|part| part == [10, 0, 0, 2, 10, 0, 0, 2]).unwrap();
    bytes[at - 12..at + 20].fill(0x77);
    std::fs::write(&path, bytes).unwrap();
    let error = refusal(folder.path());
    assert!(error.contains("--accept-loss leases"), "{error}");
    let saved = accepting(folder.path(), Loss::Leases);
    assert_eq!((saved.installs, saved.restored, saved.serial), (vec![install()], false, 8));
    assert!(saved.leases.contains(&lease(1, 1, 9)));
    let again = open(folder.path()).1;
    assert!(again.remarks.is_empty() && again.lineage == saved.lineage, "{:?}", again.remarks);
    assert!(folder.path().join("records.1.log.lost-1").exists(), "what was damaged is kept");
}

/// A stored file that was lost is written again by the next revision, and none stays that it does not have.
#[test]
fn a_damaged_file_of_the_revision_is_replaced_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = open(folder.path());
    let kept = |names: &[&str]| {
        let files = names.iter().map(|name| (Arc::from(*name), vec![b'x'; 50].into())).collect();
        let revision = "r".into();
        Arc::new(Revision::of_one(SourceRevision { revision, files, ..SourceRevision::default() }))
    };
    commit(&mut store, Batch { kept: Some(kept(&["a", "b", "c"])), ..Batch::default() }).unwrap();
    drop(store);
    flip(folder.path(), RecordKind::File.code(), b"b", false);
    let (mut store, saved) = open(folder.path());
    assert!(saved.kept.is_none() && saved.damaged.len() == 1);
    let next = Batch { kept: Some(kept(&["a", "b"])), ..Batch::default() };
    commit_over(&mut store, next, &saved.stored).unwrap();
    drop(store);
    let saved = open(folder.path()).1;
    assert_eq!((saved.kept.as_ref(), saved.damaged.len()), (Some(&*kept(&["a", "b"])), 0));
}

/// Earlier versions in a directory of today: they read these files with redb, or by their first bytes.
#[test]
fn earlier_versions_can_not_take_it_for_theirs() {
    let folder = tempfile::tempdir().unwrap();
    with_everything(folder.path());
    for file in ["state.redb", "records.redb"] {
        assert!(redb::Database::open(folder.path().join(file)).is_err(), "{file}");
    }
    let journal = std::fs::read(folder.path().join("leases4.journal")).unwrap();
    assert!(!journal.is_empty() && !journal.starts_with(b"voldemort leases"));
    let key = std::fs::read_to_string(folder.path().join(mark::FILE)).unwrap();
    assert!(!key.starts_with("voldemort state 1\n"));
}

#[test]
fn lost_events_lose_nothing_else_and_no_number_twice() {
    for content in [&b""[..], b"no database", &[0; 4096]] {
        let folder = tempfile::tempdir().unwrap();
        with_everything(folder.path());
        std::fs::write(folder.path().join(events::FILE), content).unwrap();
        let saved = open(folder.path()).1;
        assert_eq!((saved.installs, saved.next_event), (vec![install()], 3));
        assert!(
            saved.events.is_empty() && saved.remarks[0].contains("events are lost"),
            "{:?}",
            saved.remarks
        );
    }
}

#[test]
fn two_daemons_can_not_have_one_directory() {
    let folder = tempfile::tempdir().unwrap();
    let _first = open(folder.path());
    assert!(matches!(Store::open(folder.path(), || [7; 48]), Err(StoreError::Busy { .. })));
}

/// What a directory holds, by file.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect()
}

/// A machine that was in mid-install in the copy is done in what was lost since.
fn installed_since(folder: &Path) {
    let (mut store, saved) = open(folder);
    assert!(!saved.restored);
    let done: Arc<[Install]> = [Install { stage: InstallStage::Installed, ..install() }].into();
    let installs = vec![("rack1".parse().unwrap(), done)];
    commit(&mut store, Batch { installs, ..Batch::default() }).unwrap();
    commit(&mut store, Batch { leases: vec![lease(2, 2, 9)], ..Batch::default() }).unwrap();
}

#[test]
fn a_log_put_back_with_its_events_is_an_older_copy() {
    let folder = tempfile::tempdir().unwrap();
    with_everything(folder.path());
    let earlier = files(folder.path());
    installed_since(folder.path());
    for (path, bytes) in earlier.iter().filter(|(path, _)| !path.ends_with(last::FILE)) {
        std::fs::write(path, bytes).unwrap();
    }
    let before = Mark::read(folder.path()).unwrap().unwrap();
    let (store, saved) = Store::open(folder.path(), || [8; 48]).unwrap();
    assert!(saved.restored && saved.remarks[0].contains("older copy"), "{:?}", saved.remarks);
    assert!(saved.lineage != before.lineage && saved.token_key != before.token_key, "URLs open nothing");
    // It stays so until a person settles it, also after a crash, and is over then.
    drop(store);
    let (mut again, saved) = open(folder.path());
    assert!(saved.restored && saved.remarks.is_empty(), "it is said once: {:?}", saved.remarks);
    commit(&mut again, Batch { restored: Some(false), ..Batch::default() }).unwrap();
    drop(again);
    let (_, saved) = open(folder.path());
    assert!(!saved.restored && saved.remarks.is_empty(), "{:?}", saved.remarks);
}

#[test]
fn a_copy_of_the_whole_directory_is_known_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let (state, snapshot) = (folder.path().join("state"), folder.path().join("snapshot"));
    std::fs::create_dir(&state).unwrap();
    with_everything(&state);
    let copy = |from: &Path, to: &Path| {
        let words = ["-a".as_ref(), from.as_os_str(), to.as_os_str()];
        assert!(std::process::Command::new("cp").args(words).status().unwrap().success());
    };
    copy(&state, &snapshot);
    installed_since(&state);
    std::fs::remove_dir_all(&state).unwrap();
    copy(&snapshot, &state);
    let saved = open(&state).1;
    assert!(saved.restored && saved.remarks[0].contains("is a copy"), "{:?}", saved.remarks);
    // A directory that is only called something else is the same one.
    let renamed = folder.path().join("renamed");
    let (mut store, _) = open(&state);
    commit(&mut store, Batch { restored: Some(false), ..Batch::default() }).unwrap();
    drop(store);
    std::fs::rename(&state, &renamed).unwrap();
    let saved = open(&renamed).1;
    assert!(!saved.restored && saved.remarks.is_empty(), "{:?}", saved.remarks);
    // Nor is a backup ever used in the place of what it was made of.
    let spare = folder.path().join("spare");
    backup::backup(&renamed, &spare).unwrap();
    assert!(open(&spare).1.restored);
    let put_back = folder.path().join("put-back");
    backup::restore(&renamed, &put_back, &[3; 48]).unwrap();
    let saved = open(&put_back).1;
    assert!(saved.restored && saved.remarks.is_empty(), "{:?}", saved.remarks);
}

#[test]
fn a_number_that_an_event_had_is_never_given_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = open(folder.path());
    store.add_events(&[event(7)]);
    store.append(&[Record::Serial(1)], 0).unwrap();
    drop(store);
    std::fs::remove_file(folder.path().join(events::FILE)).unwrap();
    assert_eq!(open(folder.path()).1.next_event, 8);
}

/// A tree applied in part of one of several sources, as versions until November 2026 stored it.
#[test]
fn a_revision_of_an_earlier_version_is_read_and_stored_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = open(folder.path());
    let former = FormerRevision {
        revision: "a:hand (only x) net:n1".into(),
        source: "a:a1 net:n1".into(),
        copies: [("a:.base/k".into(), "/k".into()), ("net:k".into(), "/n".into())].into(),
        ..FormerRevision::default()
    };
    let note = r#"{"selection":{"only":["x"],"except":[]},"revision":"hand","base":"a1","root":null,"environment":null}"#;
    let files = [("a:m", "2"), ("a:.base/m", "1"), ("a:.base/.note.json", note), ("net:m", "n")];
    let mut records = vec![Record::Revision(Arc::new(SavedRevision::Former(former)))];
    let file = |(path, text): (&str, &'static str)| Record::File(path.into(), Some(text.into()));
    records.extend(files.map(file));
    store.append(&records, 0).unwrap();
    drop(store);
    let (mut store, saved) = open(folder.path());
    let kept = Arc::new(saved.kept.unwrap());
    let (before, after, _) = kept.split().unwrap();
    assert_eq!((&**before.file("m").unwrap(), &**after.file("m").unwrap()), (&b"1"[..], &b"2"[..]));
    assert_eq!(before.copies().len(), 2);
    let batch = Batch { kept: Some(kept.clone()), ..Batch::default() };
    commit_over(&mut store, batch, &saved.stored).unwrap();
    drop(store);
    let (mut store, saved) = open(folder.path());
    assert_eq!(saved.kept.as_ref(), Some(&*kept));
    // The next revision of the source is a whole one again.
    let whole = Arc::new(kept.whole());
    let batch = Batch { kept: Some(whole.clone()), ..Batch::default() };
    commit_over(&mut store, batch, &saved.stored).unwrap();
    drop(store);
    let (_, saved) = open(folder.path());
    assert_eq!(saved.kept.as_ref(), Some(&*whole));
}

/// What lies in a directory's log, of a version that may be later, by kind and key.
fn raw_kinds(folder: &Path) -> Vec<u8> {
    let mark = Mark::read(folder).unwrap().unwrap();
    let keys = log::digest::Keys::new(&mark.record_key);
    let image = log::load::Image::read(&Files::new(folder)).unwrap();
    let loaded = image.load(&keys, None, log::read::Mode::Strict, &str::to_owned).unwrap();
    loaded.laid.raws().map(|raw| raw.kind).collect()
}

#[test]
fn records_of_a_later_version_are_carried_along_and_not_taken_for_damage() {
    let folder = tempfile::tempdir().unwrap();
    let (state, copy) = (folder.path().join("state"), folder.path().join("copy"));
    std::fs::create_dir(&state).unwrap();
    let (mut store, _) = open(&state);
    // A kind that there is not, and an effect that nobody here can carry out.
    let kind = RecordKind::Effect.code();
    let effect = [&[0; 8][..], &[0, 200], &[3], b"lab"].concat();
    let raw = |kind, key, value| log::frame::Raw { kind, flag: log::frame::Flag::Put, key, value };
    let later = [raw(61, b"key", b"value"), raw(kind, &[0, 0, 0, 0, 0, 0, 0, 9], &effect)];
    store.log.append_entries(&later, 0).unwrap();
    drop(store);
    for _ in 0..2 {
        let (mut store, saved) = open(&state);
        assert_eq!(saved.remarks, ["2 records are of kinds that this version does not know"]);
        assert!(saved.damaged.is_empty() && saved.effects.is_empty());
        commit(&mut store, Batch { leases: vec![lease(1, 1, 9)], ..Batch::default() }).unwrap();
    }
    // A copy of the log is written as a merge of its segments is.
    backup::backup(&state, &copy).unwrap();
    for place in [&state, &copy] {
        let kinds = raw_kinds(place);
        assert!(kinds.contains(&61) && kinds.contains(&kind), "{kinds:?}");
    }
}

#[test]
fn effects_and_boots_are_not_carried_out_by_a_copy_of_the_directory() {
    let folder = tempfile::tempdir().unwrap();
    let (state, copy) = (folder.path().join("state"), folder.path().join("copy"));
    std::fs::create_dir(&state).unwrap();
    let (mut store, _) = open(&state);
    let task = Task::Fetch { source: "lab".parse().unwrap() };
    let (id, since) = (EffectId(7), Time(5));
    let pending = Arc::new(Pending {
        id,
        task,
        by: Some(Caller::WEBHOOK),
        since,
        begun: Some(Time(6)),
        sent: None,
        trouble: None,
    });
    let (boot, by) = ("rescue".parse().unwrap(), Caller::DAEMON);
    let once = BootOnce { boot, by, since, until: Time(9), begun: None };
    let once = Record::BootOnce("rack1".parse().unwrap(), Some(once.into()));
    store.append(&[Record::Effect(id, Some(pending.clone())), once], 0).unwrap();
    drop(store);
    let saved = open(&state).1;
    assert_eq!((&saved.effects[..], saved.once.len()), (&[pending][..], 1));
    // One that was put back, one that was restored, and one that is used as it is.
    let (restored, backup) = (folder.path().join("restored"), folder.path().join("backup"));
    assert!(std::process::Command::new("cp").arg("-a").args([&state, &copy]).status().unwrap().success());
    backup::backup(&state, &backup).unwrap();
    backup::restore(&backup, &restored, &[3; 48]).unwrap();
    for place in [copy, restored, backup] {
        for _ in 0..2 {
            let saved = open(&place).1;
            assert!(saved.effects.is_empty() && saved.restored, "{}: {:?}", place.display(), saved.effects);
            assert!(saved.once.is_empty(), "{}: {:?}", place.display(), saved.once);
        }
        let kinds = raw_kinds(&place);
        let ended = [RecordKind::Effect, RecordKind::BootOnce];
        assert!(ended.iter().all(|kind| !kinds.contains(&kind.code())), "{}: {kinds:?}", place.display());
    }
}

#[test]
fn a_copy_of_the_directory_keeps_its_tokens_and_damage_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (state, copy) = (folder.path().join("state"), folder.path().join("copy"));
    std::fs::create_dir(&state).unwrap();
    let token = |name: &str, role| {
        let (name, by) = (name.parse().unwrap(), Some(Caller::DAEMON));
        let (created, expires) = (Time(5), Some(Time(50)));
        Arc::new(ApiToken {
            name,
            id: 7,
            digest: [3; 32],
            role,
            pools: Vec::new(),
            by,
            created,
            expires,
            used: None,
        })
    };
    let record = |token: Arc<ApiToken>| Record::ApiToken(token.name.clone(), Some(token));
    let (ci, gone) = (token("ci", Role::Editor), token("gone", Role::Admin));
    let (mut store, _) = open(&state);
    store.append(&[record(ci.clone()), record(gone.clone())], 0).unwrap();
    store.append(&[Record::ApiToken(gone.name.clone(), None)], 0).unwrap();
    // One with a role of a later version: it opens nothing here, and is carried along.
    let kind = RecordKind::ApiToken.code();
    let mut later = Vec::new();
    assert!(record(ci.clone()).write_value(&mut later));
    later[36] = 200;
    let flag = log::frame::Flag::Put;
    store.log.append_entries(&[log::frame::Raw { kind, flag, key: b"later", value: &later }], 0).unwrap();
    drop(store);
    let (restored, backup) = (folder.path().join("restored"), folder.path().join("backup"));
    assert!(std::process::Command::new("cp").arg("-a").args([&state, &copy]).status().unwrap().success());
    backup::backup(&state, &backup).unwrap();
    backup::restore(&backup, &restored, &[3; 48]).unwrap();
    for place in [&state, &copy, &restored, &backup] {
        let saved = open(place).1;
        assert_eq!(saved.tokens, std::slice::from_ref(&ci), "{}", place.display());
        assert!(saved.damaged.is_empty(), "{:?}", saved.damaged);
        assert!(raw_kinds(place).contains(&kind));
        let table = saved.state(crate::state::Server::stand_in(std::net::Ipv4Addr::LOCALHOST));
        assert!(table.accepts(&ci, Time(49)) && !table.accepts(&gone, Time(49)));
    }
}

/// What no reducer writes: two installations of which one says that the number was used, and one that it was not.
#[test]
fn installations_that_contradict_each_other_are_doubtful_from_then_on() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = open(folder.path());
    let used = Install { epoch: 3, stage: InstallStage::Installed, ..install() };
    let list: Arc<[Install]> = [used, install()].into();
    store.append(&[Record::Installs(install().machine, list)], 0).unwrap();
    drop(store);
    let wrong = |directory: &Path| {
        let findings = inspect::inspect(directory);
        let wrong = findings.into_iter().filter(|finding| !finding.is_well);
        wrong.map(|finding| finding.text).collect::<Vec<_>>().join("\n")
    };
    assert!(wrong(folder.path()).contains("machine rack1 contradict each other"), "{}", wrong(folder.path()));
    let (store, saved) = open(folder.path());
    drop(store);
    let [doubtful] = &saved.installs[..] else { panic!("{:?}", saved.installs) };
    assert_eq!((doubtful.stage, doubtful.epoch, doubtful.conflict), (InstallStage::Doubtful, 5, true));
    assert!(saved.remarks.len() == 1 && saved.remarks[0].contains("contradict"), "{:?}", saved.remarks);
    let again = open(folder.path()).1;
    assert_eq!((again.installs, again.remarks), (saved.installs, Vec::new()));
    assert_eq!(wrong(folder.path()), "");
}
