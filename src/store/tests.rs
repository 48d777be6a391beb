use std::os::unix::fs::PermissionsExt;

use redb::{Database, ReadableDatabase, TableDefinition};

use super::mark::Mark;
use super::*;
use crate::model::Name;
use crate::model::{Mac, Time};
use crate::state::lease::LeaseState;
use std::sync::Arc;

use crate::state::{Event, Install, InstallStage, Lease, Stage};

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
    }
}

fn installs() -> Vec<(Name, Arc<[Install]>)> {
    vec![("rack1".parse().unwrap(), [install()].into())]
}

fn event(number: u64) -> (u64, Event) {
    (number, Event::new(Time(number), Stage::Ack, "gave 10.0.0.1"))
}

fn open(folder: &Path) -> (Store, Saved) {
    Store::open(folder, || [7; 48]).unwrap()
}

#[test]
fn one_batch_is_in_both_files_and_events_follow() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = open(folder.path());
    store
        .commit_batch(&Batch { leases: vec![lease(1, 1, 9)], events: vec![event(1)], ..Batch::default() })
        .unwrap();
    store.commit_batch(&Batch { events: vec![event(2)], ..Batch::default() }).unwrap();
    let batch = Batch { leases: vec![lease(2, 2, 9)], installs: installs(), ..Batch::default() };
    store.commit_batch(&batch).unwrap();
    store.commit_batch(&Batch { events: vec![event(3)], ..Batch::default() }).unwrap();
    drop(store);
    let saved = open(folder.path()).1;
    assert_eq!(saved.leases, [lease(1, 1, 9), lease(2, 2, 9)]);
    assert_eq!(saved.installs, [install()]);
    assert_eq!(saved.events, [event(1), event(2), event(3)]);
}

#[test]
fn a_batch_whose_leases_fail_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = open(folder.path());
    let _whole = store.journal.fill_disk();
    let batch = Batch { leases: vec![lease(2, 2, 9)], installs: installs(), ..Batch::default() };
    assert!(store.commit_batch(&batch).is_err());
    drop(store);
    let saved = open(folder.path()).1;
    assert!(saved.leases.is_empty() && saved.installs.is_empty());
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
    store.commit_batch(&batch).unwrap();
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
    assert!(remarks.iter().any(|remark| remark.contains("records.redb had mode 644")), "{remarks:?}");
    // Somebody else's directory is not closed because of a wrong setting.
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
    for (file, loss) in
        [(records::FILE, Loss::Records), (journal::FILE, Loss::Leases), (mark::FILE, Loss::Key)]
    {
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
            match loss {
                Loss::Leases => assert_eq!((saved.installs, saved.restored), (vec![install()], false)),
                Loss::Records => {
                    assert!(saved.installs.is_empty() && saved.restored);
                    assert_eq!(saved.leases, [lease(1, 1, 9)]);
                }
                Loss::Key => {
                    assert_eq!((saved.installs, saved.restored), (vec![install()], true));
                    assert_eq!(saved.leases, [lease(1, 1, 9)]);
                }
            }
            // Nothing is in doubt about the directory itself any more.
            let again = open(folder.path()).1;
            assert!(again.remarks.is_empty() && again.lineage == saved.lineage, "{:?}", again.remarks);
        }
    }
}

#[test]
fn what_a_dead_first_start_left_is_no_loss() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    Mark::new(mark::Phase::Making, &[7; 48]).write(folder.path()).unwrap();
    for half in [records::FILE, journal::FILE, events::FILE] {
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
    for file in [records::FILE, journal::FILE, mark::FILE] {
        let own = std::fs::read(ours.path().join(file)).unwrap();
        std::fs::copy(other.path().join(file), ours.path().join(file)).unwrap();
        let error = refusal(ours.path());
        assert!(error.contains("another state directory"), "{file}: {error}");
        std::fs::write(ours.path().join(file), own).unwrap();
    }
    assert_eq!(open(ours.path()).1.installs, [install()]);
    // A database that version 0.1 would take.
    std::fs::copy(ours.path().join(records::FILE), ours.path().join(former::FILE)).unwrap();
    assert!(refusal(ours.path()).contains("was mixed into"));
}

#[test]
fn an_older_copy_of_the_records_beside_newer_leases_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    with_everything(folder.path());
    let copy = std::fs::read(folder.path().join(records::FILE)).unwrap();
    let (mut store, _) = open(folder.path());
    store.commit_batch(&Batch { serial: Some(5), ..Batch::default() }).unwrap();
    store.commit_batch(&Batch { leases: vec![lease(2, 2, 9)], ..Batch::default() }).unwrap();
    drop(store);
    std::fs::write(folder.path().join(records::FILE), copy).unwrap();
    let saved = open(folder.path()).1;
    assert!(saved.restored && saved.remarks[0].contains("older copy"), "{:?}", saved.remarks);
}

const RAW: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");

/// Changes a stored record as a disk would, or somebody with an editor.
fn tamper(folder: &Path, at: &str, change: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>) -> bool) {
    let database = Database::open(folder.join(records::FILE)).unwrap();
    let mut key = at.as_bytes().to_vec();
    let mut value = {
        let read = database.begin_read().unwrap();
        let table = read.open_table(RAW).unwrap();
        table.get(&*key).unwrap().unwrap_or_else(|| panic!("{at}")).value().to_vec()
    };
    let write = database.begin_write().unwrap();
    {
        let mut table = write.open_table(RAW).unwrap();
        table.remove(&*key).unwrap();
        if change(&mut key, &mut value) {
            table.insert(&*key, &*value).unwrap();
        }
    }
    write.commit().unwrap();
}

#[test]
fn a_record_with_one_bit_flipped_is_not_believed() {
    for at in [
        "install\0rack1",
        "assigned\0web",
        "protected\0rack2",
        "note\0control",
        "card\002:00:00:00:00:09",
        "used\0abc",
    ] {
        for in_name in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            with_everything(folder.path());
            tamper(folder.path(), at, |key, value| {
                if in_name {
                    *key.last_mut().unwrap() ^= 1
                } else {
                    *value.last_mut().unwrap() ^= 1
                }
                true
            });
            let (mut store, saved) = open(folder.path());
            assert_eq!(saved.damaged.len(), 1, "{at} {in_name}");
            let damage = &saved.damaged[0];
            let (kind, name) = at.split_once('\0').unwrap();
            assert!(damage.kind == kind && damage.names.iter().any(|own| own == name), "{damage}");
            assert!(!saved.restored, "the record is there");
            match kind {
                "install" => assert!(saved.installs.is_empty() && damage.guards_disks()),
                "assigned" => assert!(saved.assignments.is_empty() && damage.guards_disks()),
                "protected" => assert!(saved.protected.contains(&"rack2".parse().unwrap())),
                "note" => assert_eq!(saved.notes["control"], b""),
                "card" => assert!(saved.cards.is_empty()),
                _ => assert!(saved.used.iter().any(|(id, _)| id == "abc")),
            }
            // What is put in its place settles it, wherever the damaged one lies.
            let note = vec![("control".into(), b"{}".to_vec())];
            let assignments = vec![("web".parse().unwrap(), Some("rack1".parse().unwrap()))];
            let lists = Some(Lists { assignments, ..Lists::default() });
            store
                .commit_batch(&Batch { installs: installs(), notes: note, lists, ..Batch::default() })
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

#[test]
fn records_that_are_gone_or_put_back_make_all_doubtful() {
    let folder = tempfile::tempdir().unwrap();
    with_everything(folder.path());
    tamper(folder.path(), "install\0rack1", |_, _| false);
    let saved = open(folder.path()).1;
    assert!(saved.restored && saved.installs.is_empty() && saved.remarks.len() == 1, "{:?}", saved.remarks);

    let folder = tempfile::tempdir().unwrap();
    with_everything(folder.path());
    let mut old = Vec::new();
    tamper(folder.path(), "install\0rack1", |_, value| {
        old = value.clone();
        true
    });
    let (mut store, _) = open(folder.path());
    let next: Arc<[Install]> = [Install { redeploy: 2, ..install() }].into();
    let installs = vec![("rack1".parse().unwrap(), next)];
    store.commit_batch(&Batch { installs, ..Batch::default() }).unwrap();
    drop(store);
    assert!(!open(folder.path()).1.restored);
    tamper(folder.path(), "install\0rack1", |_, value| {
        *value = old;
        true
    });
    assert!(open(folder.path()).1.restored);
}

#[test]
fn a_disk_that_fails_for_a_moment_is_used_again() {
    for landed in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        with_everything(folder.path());
        let (mut store, _) = open(folder.path());
        let next: Arc<[Install]> = [Install { redeploy: 9, ..install() }].into();
        let failed = Batch { installs: vec![("rack1".parse().unwrap(), next)], ..Batch::default() };
        store.records.fail(&failed.changes(None), landed);
        store.probe().unwrap();
        store.commit_batch(&Batch { serial: Some(6), ..Batch::default() }).unwrap();
        drop(store);
        let saved = open(folder.path()).1;
        assert_eq!((saved.installs, saved.serial, saved.restored), (vec![install()], 6, false), "{landed}");
    }
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
    store
        .commit_batch(&Batch { installs: vec![("rack1".parse().unwrap(), done)], ..Batch::default() })
        .unwrap();
    store.commit_batch(&Batch { leases: vec![lease(2, 2, 9)], ..Batch::default() }).unwrap();
}

#[test]
fn records_and_journal_put_back_together_are_an_older_copy() {
    let folder = tempfile::tempdir().unwrap();
    with_everything(folder.path());
    let earlier = files(folder.path());
    installed_since(folder.path());
    for (path, bytes) in earlier.iter().filter(|(path, _)| !path.ends_with(last::FILE)) {
        std::fs::write(path, bytes).unwrap();
    }
    let before = Mark::read(folder.path()).unwrap().unwrap();
    assert!(refusal(folder.path()).contains("--accept-loss leases"), "leases since then are gone");
    let fresh = || [8; 48];
    let (store, saved) = Store::open_accepting(folder.path(), fresh, Accept(vec![Loss::Leases])).unwrap();
    assert!(saved.restored && saved.remarks[1].contains("older copy"), "{:?}", saved.remarks);
    assert!(saved.lineage != before.lineage && saved.token_key != before.token_key, "URLs open nothing");
    // It stays so until somebody settles it, also after a crash, and is over then.
    drop(store);
    let (mut again, saved) = open(folder.path());
    assert!(saved.restored && saved.remarks.is_empty(), "it is said once: {:?}", saved.remarks);
    again.commit_batch(&Batch { restored: Some(false), ..Batch::default() }).unwrap();
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
    store.commit_batch(&Batch { restored: Some(false), ..Batch::default() }).unwrap();
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

/// A crash makes redb look at its pages, and go back to the transaction before where one is damaged.
#[test]
fn a_page_of_the_last_batch_that_was_damaged_shows() {
    let folder = tempfile::tempdir().unwrap();
    with_everything(folder.path());
    let (mut store, _) = open(folder.path());
    let before = std::fs::read(folder.path().join(records::FILE)).unwrap();
    let done: Arc<[Install]> = [Install { stage: InstallStage::Spent, ..install() }].into();
    let batch = Batch { installs: vec![("rack1".parse().unwrap(), done)], ..Batch::default() };
    store.commit_batch(&batch).unwrap();
    // As a crash leaves it.
    let crashed = files(folder.path());
    drop(store);
    let after = &crashed.iter().find(|(path, _)| path.ends_with(records::FILE)).unwrap().1;
    let changed: Vec<usize> =
        (4096..before.len().min(after.len())).filter(|at| before[*at] != after[*at]).collect();
    assert!(!changed.is_empty());
    let (mut refused, mut doubtful) = (0, 0);
    for at in changed.iter().step_by(changed.len() / 40 + 1) {
        crashed.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
        let mut bytes = after.clone();
        bytes[*at] ^= 1;
        std::fs::write(folder.path().join(records::FILE), bytes).unwrap();
        match Store::open(folder.path(), || [8; 48]) {
            Err(error) => {
                assert!(error.to_string().contains("--accept-loss records"), "{error}");
                refused += 1;
            }
            Ok((_, saved)) if saved.restored || !saved.damaged.is_empty() => doubtful += 1,
            Ok((_, saved)) => assert_eq!(saved.installs[0].stage, InstallStage::Spent, "byte {at}"),
        }
    }
    assert!(refused + doubtful > 0, "{refused} {doubtful}");
}
