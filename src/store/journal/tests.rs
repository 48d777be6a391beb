use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::model::{Mac, Time};
use crate::state::lease::LeaseState;

const SALT: Salt = *b"nobody knows it!";

fn lease(last: u8, machine: u8, expires: u64) -> Lease {
    Lease {
        address: Ipv4Addr::new(10, 0, 0, last),
        mac: Mac::new([0x52, 0x54, 0, 0, 0, machine]).unwrap(),
        client_id: (machine % 2 == 0).then(|| bytes::Bytes::copy_from_slice(&[0xff, machine])),
        hostname: (machine % 3 == 0).then(|| format!("host-{machine}")),
        state: LeaseState::Bound,
        expires: Time(expires),
    }
}

fn open(folder: &TempDir) -> (Journal, Vec<Lease>) {
    if !path(folder).exists() {
        Journal::create(folder.path(), SALT, 3, 0, &[]).unwrap();
    }
    let (journal, leases, _) = Journal::open(folder.path(), SALT, (0, 0)).unwrap();
    (journal, leases)
}

/// What another program reads of it meanwhile.
fn peek(folder: &TempDir) -> Vec<Lease> {
    let mut leases = BTreeMap::new();
    frame::replay(&std::fs::read(path(folder)).unwrap(), &SALT, &mut leases).unwrap();
    leases.into_values().collect()
}

fn path(folder: &TempDir) -> PathBuf {
    folder.path().join(FILE)
}

/// The bytes of a journal with these commits, and where each ends.
fn written(commits: &[Vec<Lease>]) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = frame::begin(&SALT, 3);
    let mut ends = Vec::new();
    for commit in commits {
        bytes.extend(frame::write(&SALT, 7, commit));
        ends.push(bytes.len());
    }
    (bytes, ends)
}

#[test]
fn what_was_appended_is_there_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, leases) = open(&folder);
    assert!(leases.is_empty());
    journal.append(0, &[lease(1, 1, 10), lease(2, 2, 10)]).unwrap();
    journal.append(0, &[lease(1, 3, 99)]).unwrap();
    drop(journal);
    let (mut journal, leases) = open(&folder);
    assert_eq!(leases, [lease(1, 3, 99), lease(2, 2, 10)], "the newest of each address");
    journal.append(0, &[lease(3, 6, 7)]).unwrap();
    drop(journal);
    assert_eq!(open(&folder).1, [lease(1, 3, 99), lease(2, 2, 10), lease(3, 6, 7)]);
}

#[test]
fn a_write_torn_at_any_byte_loses_itself_alone() {
    let commits = [
        vec![lease(1, 1, 10)],
        vec![lease(2, 2, 20), lease(3, 3, 30)],
        vec![lease(1, 1, 40), lease(4, 6, 50)],
    ];
    let (whole, ends) = written(&commits);
    for length in ends[1]..whole.len() {
        // What reached the disk may end anywhere; zeros were written ahead, or were not.
        for torn in [whole[..length].to_vec(), [&whole[..length], &vec![0; 500]].concat()] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(path(&folder), &torn).unwrap();
            let (mut journal, leases) = open(&folder);
            assert_eq!(leases, [lease(1, 1, 10), lease(2, 2, 20), lease(3, 3, 30)], "torn at {length}");
            journal.append(0, &[lease(9, 9, 9)]).unwrap();
            drop(journal);
            assert_eq!(open(&folder).1.len(), 4);
        }
    }
}

/// A disk writes sectors in any order: each of the last write's may be missing.
#[test]
fn a_write_of_which_any_sector_is_missing_loses_itself_alone() {
    let long = |last: u8| Lease { client_id: Some(vec![last; 200].into()), ..lease(last, last, 10) };
    let (whole, ends) = written(&[vec![long(1)], (2..12).map(long).collect()]);
    for sector in ends[0] / 512..=(whole.len() - 1) / 512 {
        let (from, to) = ((sector * 512).max(ends[0]), ((sector + 1) * 512).min(whole.len()));
        let mut torn = whole.clone();
        torn[from..to].fill(0);
        torn.extend([0; 700]);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(path(&folder), &torn).unwrap();
        let (_, leases, told) = Journal::open(folder.path(), SALT, (0, 0)).unwrap();
        assert_eq!(leases, [long(1)], "sector {sector}");
        assert!(told.torn > 0);
    }
}

#[test]
fn a_flipped_bit_in_the_last_frame_is_damage_and_no_torn_write() {
    let (whole, ends) = written(&[vec![lease(1, 1, 10)], vec![lease(2, 2, 20)]]);
    let zeros = [&whole[..], &[0; 900]].concat();
    for bit in ends[0] * 8..whole.len() * 8 {
        for mut bytes in [whole.clone(), zeros.clone()] {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(path(&folder), &bytes).unwrap();
            let error = Journal::open(folder.path(), SALT, (0, 0)).unwrap_err().to_string();
            assert!(error.contains("the last frame"), "{bit}: {error}");
            assert_eq!(Journal::salvage(folder.path()).unwrap(), [lease(1, 1, 10)]);
        }
    }
}

#[test]
fn after_an_orderly_end_zeros_are_damage_too() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(&folder);
    journal.append(0, &[lease(1, 1, 10)]).unwrap();
    let begin = journal.append(0, &[lease(2, 2, 20)]).unwrap() as usize;
    drop(journal);
    let mut bytes = std::fs::read(path(&folder)).unwrap();
    let end = bytes.len() - frame::EMPTY as usize;
    bytes[begin + 20..end].fill(0);
    std::fs::write(path(&folder), &bytes).unwrap();
    let error = Journal::open(folder.path(), SALT, (0, 0)).unwrap_err();
    assert!(matches!(error, JournalError::Damaged { damage: Damage::Bytes { .. }, .. }), "{error}");
}

#[test]
fn a_journal_that_is_gone_or_another_directory_s_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        Journal::open(folder.path(), SALT, (0, 0)),
        Err(JournalError::Lost { what: "missing", .. })
    ));
    std::fs::write(path(&folder), "").unwrap();
    assert!(matches!(
        Journal::open(folder.path(), SALT, (0, 0)),
        Err(JournalError::Lost { what: "empty", .. })
    ));
    std::fs::remove_file(path(&folder)).unwrap();
    drop(open(&folder));
    let error = Journal::open(folder.path(), *b"another director", (0, 0)).unwrap_err();
    assert!(matches!(error, JournalError::Damaged { damage: Damage::Foreign, .. }), "{error}");
}

/// A client id may be any bytes, a frame too. In a last write that was torn it must not look like one
/// that stands behind damage: nobody on the network is to keep the daemon from starting.
#[test]
fn what_a_client_made_up_is_no_frame() {
    let forged = frame::write(&[0; 16], 0, &[lease(9, 9, 9)]);
    let hostile = Lease { client_id: Some(forged.into()), ..lease(2, 2, 20) };
    let (whole, ends) = written(&[vec![lease(1, 1, 10)], vec![hostile, lease(3, 3, 30)]]);
    for length in ends[0]..whole.len() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(path(&folder), &whole[..length]).unwrap();
        assert_eq!(open(&folder).1, [lease(1, 1, 10)], "torn at {length}");
    }
}

#[test]
fn damage_before_the_end_is_told_and_never_skipped() {
    let (whole, ends) = written(&[vec![lease(1, 1, 10)], vec![lease(2, 2, 20)], vec![lease(3, 3, 30)]]);
    for at in 0..ends[1] {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        std::fs::write(path(&folder), &bytes).unwrap();
        let error = Journal::open(folder.path(), SALT, (0, 0)).unwrap_err().to_string();
        assert!(error.contains("leases4.journal"), "{error}");
        assert_eq!(std::fs::read(path(&folder)).unwrap(), bytes, "it is left as it is");
    }
}

#[test]
fn what_is_taken_back_was_never_there() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(&folder);
    journal.append(0, &[lease(1, 1, 10)]).unwrap();
    let begin = journal.append(0, &[lease(1, 2, 20), lease(2, 2, 20)]).unwrap();
    journal.take_back(begin);
    assert_eq!(peek(&folder), [lease(1, 1, 10)]);
    journal.append(0, &[lease(3, 3, 30)]).unwrap();
    drop(journal);
    assert_eq!(open(&folder).1, [lease(1, 1, 10), lease(3, 3, 30)]);
}

/// Appends until the journal was rewritten, from a size that makes it want to.
fn rewritten(journal: &mut Journal, number: &mut u64) {
    journal.full = 0;
    let before = journal.end;
    while journal.end >= before {
        *number += 1;
        journal.append(0, &[lease((*number % 5) as u8, 1, *number)]).unwrap();
    }
}

#[test]
fn a_rewrite_keeps_the_newest_of_each_and_what_came_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(&folder);
    let mut number = 0;
    for _ in 0..2000 {
        number += 1;
        journal.append(0, &[lease((number % 5) as u8, 1, number)]).unwrap();
    }
    for _ in 0..3 {
        rewritten(&mut journal, &mut number);
        let newest = |last: u64| (number - 4..=number).find(|number| number % 5 == last).unwrap();
        let expected: Vec<Lease> = (0..5).map(|last| lease(last as u8, 1, newest(last))).collect();
        assert_eq!(peek(&folder), expected);
        for _ in 0..100 {
            number += 1;
            journal.append(0, &[lease((number % 5) as u8, 1, number)]).unwrap();
        }
    }
}

#[test]
fn a_rewrite_that_may_hold_what_was_taken_back_is_thrown_away() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(&folder);
    journal.full = 0;
    journal.append(0, &[lease(1, 1, 1)]).unwrap();
    let begin = journal.append(0, &[lease(2, 2, 2)]).unwrap();
    journal.take_back(begin);
    while journal.rewriting.is_some() {
        journal.full = u64::MAX;
        journal.append(0, &[lease(3, 3, 3)]).unwrap();
    }
    drop(journal);
    assert_eq!(open(&folder).1, [lease(1, 1, 1), lease(3, 3, 3)]);
}

/// A crash during a rewrite: whatever is beside the journal, whole or torn, counts for nothing.
#[test]
fn what_a_rewrite_left_beside_the_journal_is_removed() {
    let (old, _) = written(&[vec![lease(1, 1, 10)]]);
    let (new, _) = written(&[vec![lease(1, 1, 5)]]);
    for length in 0..=new.len() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(path(&folder), &old).unwrap();
        std::fs::write(aside(&path(&folder)), &new[..length]).unwrap();
        assert_eq!(open(&folder).1, [lease(1, 1, 10)]);
        assert!(!aside(&path(&folder)).exists());
    }
}

#[test]
fn a_full_disk_fails_the_commit_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(&folder);
    journal.append(0, &[lease(1, 1, 10)]).unwrap();
    let file =
        std::mem::replace(&mut journal.file, OpenOptions::new().write(true).open("/dev/full").unwrap());
    let error = journal.append(0, &[lease(2, 2, 20)]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    journal.file = file;
    assert_eq!(peek(&folder), [lease(1, 1, 10)]);
    journal.append(0, &[lease(3, 3, 30)]).unwrap();
    drop(journal);
    assert_eq!(open(&folder).1, [lease(1, 1, 10), lease(3, 3, 30)]);
}

proptest! {
    #[test]
    fn leases_are_read_as_they_were_written(
        address: u32,
        mac in any::<[u8; 6]>().prop_filter_map("a machine's address", |octets| Mac::new(octets).ok()),
        id in prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
        hostname: Option<String>,
        state in prop::sample::select(vec![LeaseState::Bound, LeaseState::Released, LeaseState::Declined]),
        expires: u64,
    ) {
        let (client_id, expires) = (id.map(bytes::Bytes::from), Time(expires));
        let lease = Lease { address: address.into(), mac, client_id, hostname, state, expires };
        let mut found = BTreeMap::new();
        frame::replay(&[frame::begin(&SALT, 3), frame::write(&SALT, 0, &[lease.clone()])].concat(), &SALT, &mut found).unwrap();
        prop_assert_eq!(found.into_values().collect::<Vec<_>>(), [lease]);
    }

    #[test]
    fn no_bytes_panic_and_frames_come_back(noise: Vec<u8>, commits in prop::collection::vec(prop::collection::vec((0u8..9, 0u8..9, 0u64..99), 1..4), 0..6)) {
        let commits: Vec<Vec<Lease>> = commits
            .into_iter()
            .map(|commit| commit.into_iter().map(|(last, machine, end)| lease(last, machine, end)).collect())
            .collect();
        let expected: BTreeMap<_, _> = commits.iter().flatten().map(|one| (one.address, one.clone())).collect();
        let (bytes, _) = written(&commits);
        let mut found = BTreeMap::new();
        let batch = if commits.is_empty() { 0 } else { 7 };
        let told = frame::Told { end: bytes.len() as u64, generation: 3, batch, torn: 0 };
        prop_assert_eq!(frame::replay(&bytes, &SALT, &mut found), Ok(told));
        prop_assert_eq!(&found, &expected);
        let mut found = BTreeMap::new();
        let _ = frame::replay(&[&bytes[..], &noise].concat(), &SALT, &mut found);
        prop_assert_eq!(&found, &expected);
        let _ = frame::replay(&noise, &SALT, &mut BTreeMap::new());
        frame::salvage(&[&frame::begin(&SALT, 3)[..], &noise].concat(), &mut BTreeMap::new());
    }
}
