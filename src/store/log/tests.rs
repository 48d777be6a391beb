use std::sync::Arc;

use super::super::faulty::{Faults, Faulty};
use super::super::memory::Memory;
use super::super::saved::Saved;
use super::disk::{Files, SHORTEST};
use super::*;
use crate::model::{Mac, Name, Time};
use crate::state::lease::LeaseState;
use crate::state::{Install, InstallStage, Lease};

const KEY: [u8; 32] = [7; 32];

fn keys() -> Keys {
    Keys::new(&KEY)
}

fn lease(last: u8, machine: u8, expires: u64) -> Record {
    Record::Lease4(Lease {
        address: [10, 0, 0, last].into(),
        mac: Mac::new([0x52, 0x54, 0, 0, 0, machine]).unwrap(),
        client_id: machine.is_multiple_of(2).then(|| vec![0xff, machine].into()),
        hostname: machine.is_multiple_of(3).then(|| format!("host-{machine}")),
        state: LeaseState::Bound,
        expires: Time(expires),
    })
}

fn name(number: u64) -> Name {
    format!("box-{number}").parse().unwrap()
}

fn install(machine: u64, redeploy: u64) -> Record {
    let one = Install {
        machine: name(machine),
        cards: Arc::default(),
        marks: Arc::default(),
        deployment: name(machine),
        former: Arc::default(),
        used_as: name(machine),
        epoch: 1,
        redeploy,
        stage: InstallStage::Started,
        since: Time(5),
        digest: "abc".into(),
        again: false,
        closed: false,
        plain_urls: false,
        conflict: false,
    };
    Record::Installs(name(machine), [one].into())
}

/// A number that follows from others alone.
fn roll(dice: &mut u64) -> u64 {
    *dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *dice >> 33
}

fn record(dice: &mut u64) -> Record {
    let (key, value) = (roll(dice) % 5, roll(dice));
    match roll(dice) % 8 {
        0..3 => lease(key as u8, 1 + (value % 7) as u8, value),
        3 if value % 3 == 0 => Record::Installs(name(key), Arc::default()),
        3 => install(key, value),
        4 => Record::Assignment(name(key), (value % 3 > 0).then(|| name(value % 9))),
        5 => Record::Protection(name(key), value % 2 == 0),
        6 => Record::File(format!("f{key}").into(), (value % 3 > 0).then(|| vec![key as u8; 700].into())),
        _ => Record::Serial(value),
    }
}

fn batch(dice: &mut u64) -> Vec<Record> {
    (0..1 + roll(dice) % 4).map(|_| record(dice)).collect()
}

fn held(saved: Saved) -> Vec<Record> {
    assert!(saved.damaged.is_empty(), "{:?}", saved.damaged);
    saved.records()
}

fn open<D: Disk>(disk: &D) -> (Log<D>, Saved) {
    try_open(disk).unwrap_or_else(|error| panic!("{error}"))
}

fn try_open<D: Disk>(disk: &D) -> Result<(Log<D>, Saved), LoadError> {
    Log::open(disk, &keys(), |loaded| Ok(Saved::of(&loaded.laid)))
}

fn made<D: Disk>(disk: &D) {
    Log::create::<Record>(disk, &keys(), 1, 0, 1, std::iter::empty()).unwrap();
}

/// What every ledger must do: `run` opens it, hands it over, closes it, and reads it again.
fn battery(mut run: impl FnMut(&mut dyn FnMut(&mut dyn Ledger)) -> Saved) {
    let mut dice = 4;
    let mut expected = Memory::default();
    for _ in 0..30 {
        let batches: Vec<Vec<Record>> = (0..roll(&mut dice) % 6).map(|_| batch(&mut dice)).collect();
        let saved = run(&mut |ledger| {
            for (number, batch) in batches.iter().enumerate() {
                ledger.append(batch, number as u64).unwrap();
                ledger.probe().unwrap();
            }
        });
        for (number, batch) in batches.iter().enumerate() {
            expected.append(batch, number as u64).unwrap();
        }
        assert_eq!(held(saved), held(expected.saved()));
    }
}

#[test]
fn all_ledgers_keep_what_they_are_given() {
    let mut memory = Memory::default();
    battery(|work| {
        work(&mut memory);
        memory.saved()
    });
    let disk = Faulty::new(1);
    made(&disk);
    battery(|work| {
        let (mut log, _) = open(&disk);
        log.full = 3000;
        work(&mut log);
        drop(log);
        open(&disk).1
    });
    let folder = tempfile::tempdir().unwrap();
    let disk = Files::new(folder.path());
    made(&disk);
    battery(|work| {
        let (mut log, _) = open(&disk);
        log.full = 3000;
        work(&mut log);
        drop(log);
        open(&disk).1
    });
}

/// Batches on a disk that fails at each step there is, in turn; then the power goes.
#[test]
fn a_power_cut_at_any_step_leaves_what_was_acknowledged() {
    let plan = |dice: &mut u64| -> Vec<Vec<Record>> { (0..12).map(|_| batch(dice)).collect() };
    let mut last = 1;
    let mut step = 0;
    while step < last {
        let mut dice = step;
        let batches = plan(&mut dice);
        let disk = Faulty::new(step);
        made(&disk);
        let (mut log, _) = open(&disk);
        log.full = 700;
        let before = disk.steps();
        disk.set(Faults { steps: Some(step), slow: 5, ..Faults::default() });
        let mut acknowledged = vec![Memory::default()];
        let mut failed = None;
        for batch in &batches {
            let mut next = acknowledged.last().unwrap().clone();
            next.append(batch, 0).unwrap();
            match log.append(batch, 0) {
                Ok(()) => acknowledged.push(next),
                Err(_) => {
                    failed = Some(next);
                    break;
                }
            }
            if log.full == SHORTEST {
                log.full = 700;
            }
        }
        std::mem::forget(log);
        last = last.max(disk.steps() - before);
        for cut in 0..4 {
            let left = disk.after_power_cut(step * 7 + cut);
            let found = held(open(&left).1);
            // The batch that failed may be there or not; it was not acknowledged.
            let is_told = found == held(acknowledged.last().unwrap().saved());
            let is_next = failed.as_ref().is_some_and(|next| found == held(next.saved()));
            assert!(is_told || is_next, "step {step}, cut {cut}");
            // It continues from there.
            let (mut log, _) = open(&left);
            log.append(&[lease(1, 1, 1)], 0).unwrap();
            drop(log);
            open(&left);
        }
        step += 1;
    }
    assert!(last > 40, "{last}");
}

#[test]
fn a_batch_that_failed_is_not_there_and_the_disk_is_used_again() {
    for room in 0..400 {
        let disk = Faulty::new(room);
        made(&disk);
        let (mut log, _) = open(&disk);
        log.append(&[lease(1, 1, 1)], 3).unwrap();
        // Zeros written ahead are used up first.
        log.zeroed = log.end;
        disk.cut(&log.file, log.end).unwrap();
        disk.set(Faults { room: Some(room), ..Faults::default() });
        let mut stored = vec![lease(1, 1, 1)];
        for last in 2..6 {
            match log.append(&[lease(last, 2, 2)], 4) {
                Ok(()) => stored.push(lease(last, 2, 2)),
                Err(_) => break,
            }
        }
        assert!(stored.len() < 6);
        assert!(log.probe().is_err(), "a little room proves nothing");
        disk.set(Faults::default());
        log.probe().unwrap();
        log.append(&[lease(9, 9, 9)], 5).unwrap();
        stored.push(lease(9, 9, 9));
        let mut expected = Memory::default();
        expected.append(&stored, 5).unwrap();
        let left = disk.after_power_cut(room);
        assert_eq!(held(open(&left).1), held(expected.saved()));
        drop(log);
        let (log, saved) = open(&disk);
        assert_eq!((held(saved), log.next_event()), (held(expected.saved()), 5));
    }
}

/// A frame that a process could not say to be on disk, and that the next one found: it stays when the power fails then.
#[test]
fn what_a_start_found_outlives_a_power_cut() {
    let mut found = 0;
    for seed in 0..40 {
        let disk = Faulty::new(seed);
        made(&disk);
        let (mut log, _) = open(&disk);
        log.append(&[lease(1, 1, 1)], 0).unwrap();
        // The frame is written; neither can it be synced nor taken back.
        disk.set(Faults { steps: Some(1), ..Faults::default() });
        assert!(log.append(&[lease(2, 2, 2)], 0).is_err());
        let left = disk.after_kill();
        std::mem::forget(log);
        let (log, saved) = open(&left);
        found += usize::from(saved.leases.len() == 2);
        let later = open(&left.after_power_cut(seed)).1;
        assert_eq!(later.leases.len(), saved.leases.len(), "seed {seed}");
        std::mem::forget(log);
    }
    assert!(found > 0, "it happens");
}

/// A disk that says that it wrote and did not: what is found is what was there at some time, or is refused.
#[test]
fn a_disk_that_lies_never_makes_up_a_state() {
    let (mut refused, mut shorter) = (0, 0);
    for seed in 0..300 {
        let mut dice = seed;
        let disk = Faulty::new(seed);
        made(&disk);
        let (mut log, _) = open(&disk);
        let mut states = vec![Memory::default()];
        for number in 0..8 {
            disk.set(Faults { lies: number > 3, ..Faults::default() });
            let batch = batch(&mut dice);
            let mut next = states[states.len() - 1].clone();
            next.append(&batch, 0).unwrap();
            log.append(&batch, 0).unwrap();
            states.push(next);
        }
        std::mem::forget(log);
        match try_open(&disk.after_power_cut(seed)) {
            // A record in a sector that is gone is known to be damaged.
            Ok((_, saved)) if !saved.damaged.is_empty() => refused += 1,
            Ok((_, saved)) => {
                let found = saved.records();
                let at =
                    states.iter().position(|state| held(state.saved()) == found).expect("no state of these");
                shorter += usize::from(at + 1 < states.len());
            }
            Err(error) => {
                assert!(matches!(error, LoadError::Lost { .. }));
                refused += 1;
            }
        }
    }
    assert!(refused > 0 && shorter > 0, "{refused} {shorter}");
}

#[test]
fn merges_keep_the_newest_of_each_key_and_the_log_short() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Files::new(folder.path());
    made(&disk);
    let (mut log, _) = open(&disk);
    let (mut dice, mut expected) = (9, Memory::default());
    let mut merges = 0;
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while merges < 4 && std::time::Instant::now() < until {
        let batch = batch(&mut dice);
        log.append(&batch, 0).unwrap();
        expected.append(&batch, 0).unwrap();
        if log.full == SHORTEST {
            merges += 1;
            log.full = 4000;
        }
    }
    drop(log);
    assert_eq!(merges, 4);
    let (_, saved) = open(&disk);
    assert_eq!(held(saved), held(expected.saved()));
    let names = disk.names().unwrap();
    assert!(
        names.len() <= 4 && DRAFTS.iter().all(|draft| !names.contains(&(*draft).to_owned())),
        "{names:?}"
    );
}

/// A snapshot, two segments and what they hold.
fn whole(disk: &Faulty) -> Vec<Record> {
    left(disk, true)
}

/// The same, closed in order or left by a daemon that was killed.
fn left(disk: &Faulty, is_closed: bool) -> Vec<Record> {
    made(disk);
    let (mut log, _) = open(disk);
    log.append(&[lease(1, 1, 1), install(1, 1)], 2).unwrap();
    log.full = 0;
    log.append(&[Record::Protection(name(3), true), install(2, 7), lease(2, 2, 2)], 3).unwrap();
    log.append(&[lease(3, 3, 3)], 4).unwrap();
    log.append(&[lease(1, 6, 9), Record::Assignment(name(2), Some(name(1)))], 4).unwrap();
    assert_eq!(log.number, 2);
    match is_closed {
        true => drop(log),
        false => std::mem::forget(log),
    }
    let copy = disk.after_power_cut(0);
    held(open(&copy).1)
}

/// One flipped bit, wherever: nothing else is lost but the record that it is in, whose key is known.
#[test]
fn a_flipped_bit_costs_one_record_at_most() {
    let closed = Faulty::new(3);
    let killed = Faulty::new(3);
    let all = left(&closed, true);
    assert_eq!(left(&killed, false), all);
    let mut lost = 0;
    let files = || [SNAPSHOT.to_owned(), segment(2)];
    for (disk, file) in
        files().map(|file| (&closed, file)).into_iter().chain(files().map(|file| (&killed, file)))
    {
        let length = disk.read(&file).unwrap().iter().rposition(|byte| *byte != 0).unwrap() + 1;
        for bit in 0..length * 8 {
            disk.harm(&file, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            match try_open(&disk.after_power_cut(0)) {
                Err(error) => panic!("{file} bit {bit}: {error}"),
                Ok((_, saved)) => {
                    assert!(saved.damaged.len() <= 1, "{file} bit {bit}: {:?}", saved.damaged);
                    lost += saved.damaged.len();
                    let damaged = saved.damaged.clone();
                    for damage in &damaged {
                        assert_eq!(damage.names.len(), 1, "{damage}");
                    }
                    let found = saved.records();
                    let missing: Vec<&Record> = all.iter().filter(|one| !found.contains(one)).collect();
                    let is_named = |record: &Record| {
                        let mut key = Vec::new();
                        record.write_key(&mut key);
                        let name = record.kind().key_text(&key).unwrap();
                        damaged.iter().any(|one| one.kind == record.kind() && one.names == [name.clone()])
                    };
                    // The serial of nothing is a record too.
                    let missing = missing.into_iter().filter(|one| !is_named(one)).count();
                    assert_eq!(missing, 0, "{file} bit {bit}: {found:?}");
                }
            }
            disk.harm(&file, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        }
    }
    assert!(lost > 500, "{lost}");
}

#[test]
fn what_goes_beyond_single_records_is_refused() {
    type Harm = fn(&mut Vec<u8>);
    let empty: Harm = Vec::clear;
    let cut: Harm = |bytes| bytes.truncate(bytes.len() / 3);
    let smear: Harm = |bytes| bytes[60..160].fill(0x5a);
    let foreign: Harm = |bytes| bytes[20..33].fill(9);
    for file in [SNAPSHOT.to_owned(), segment(2)] {
        for (number, harm) in [empty, cut, smear, foreign].into_iter().enumerate() {
            let disk = Faulty::new(5);
            whole(&disk);
            disk.harm(&file, harm);
            let is_torn = file == segment(2) && number == 1;
            match try_open(&disk) {
                Err(error) => assert!(error.to_string().contains(&file), "{error}"),
                // A file that ends early is what a crash leaves; `events` know better.
                Ok(_) => assert!(is_torn, "{file} {number}"),
            }
        }
        let disk = Faulty::new(5);
        whole(&disk);
        disk.remove(&file).unwrap();
        assert!(try_open(&disk).unwrap_err().to_string().contains("is missing"));
    }
}

/// What can be read of a log is its newest state, also where segments of before its snapshot still lie there.
#[test]
fn what_is_salvaged_is_the_newest() {
    for is_proven in [true, false] {
        let disk = Faulty::new(8);
        made(&disk);
        let (mut log, _) = open(&disk);
        log.append(&[lease(1, 1, 1), install(1, 1)], 2).unwrap();
        let old = disk.read(&segment(1)).unwrap();
        log.full = 0;
        log.append(&[install(1, 2)], 3).unwrap();
        log.append(&[lease(1, 1, 1)], 3).unwrap();
        assert_eq!(log.number, 2);
        drop(log);
        let file = disk.create(&segment(1)).unwrap();
        disk.write(&file, &old, 0).unwrap();
        disk.harm(&segment(2), |bytes| bytes.clear());
        assert!(try_open(&disk).is_err());
        let image = Image::read(&disk).unwrap();
        let own = keys();
        let (laid, ..) = image.salvage(is_proven.then_some(&own));
        let found = Saved::of(&laid).records();
        assert!(found.contains(&install(1, 2)) && found.contains(&lease(1, 1, 1)), "{found:?}");
    }
}

/// Frames that were taken out, put back, or come from another branch of the same log.
#[test]
fn a_missing_or_an_earlier_frame_shows() {
    let frames = |bytes: &[u8]| {
        let mut at = vec![read_first()];
        while at[at.len() - 1] + frame::HEAD < bytes.len() {
            let begin = at[at.len() - 1];
            let length = u32::from_le_bytes(bytes[begin..begin + 4].try_into().unwrap()) as usize;
            at.push(begin + frame::HEAD + length + frame::TAIL);
        }
        at
    };
    let logged = |last: u8| {
        let disk = Faulty::new(1);
        made(&disk);
        let (mut log, _) = open(&disk);
        (1..6).for_each(|number| log.append(&[lease(number, last, 1)], 0).unwrap());
        drop(log);
        disk
    };
    let (ours, other) = (logged(1), logged(5));
    let (bytes, branch) = (ours.read(&segment(1)).unwrap(), other.read(&segment(1)).unwrap());
    let at = frames(&bytes);
    assert_eq!(at, frames(&branch), "they differ in what they say alone");
    let refused = |bytes: Vec<u8>| {
        ours.harm(&segment(1), |file| *file = bytes);
        assert!(try_open(&ours).is_err());
    };
    for frame in 0..at.len() - 2 {
        refused([&bytes[..at[frame]], &bytes[at[frame + 1]..]].concat());
        refused([&bytes[..at[frame + 1]], &bytes[at[frame]..]].concat());
    }
    for frame in 1..at.len() - 2 {
        let (from, to) = (at[frame], at[frame + 1]);
        refused([&bytes[..from], &branch[from..to], &bytes[to..]].concat());
    }
    ours.harm(&segment(1), |file| *file = bytes.clone());
    open(&ours);
}

fn read_first() -> usize {
    frame::FIRST
}

/// Without the keys no client on the network can make a frame.
#[test]
fn what_a_client_made_up_is_no_frame() {
    let mut forged = Vec::new();
    let other = Keys::new(&[0; 32]).of_file(false, 1);
    frame::write(&mut forged, &other, Position { sequence: 9, chain: 0 }, 0, &[lease(9, 9, 9)]).unwrap();
    let Record::Lease4(mut hostile) = lease(2, 2, 20) else { unreachable!() };
    hostile.client_id = Some(forged.into());
    let disk = Faulty::new(1);
    made(&disk);
    let (mut log, _) = open(&disk);
    log.append(&[lease(1, 1, 10)], 0).unwrap();
    let begin = log.end as usize;
    log.append(&[Record::Lease4(hostile), lease(3, 3, 30)], 0).unwrap();
    let end = log.end as usize;
    std::mem::forget(log);
    let bytes = disk.read(&segment(1)).unwrap();
    for length in begin..end {
        disk.harm(&segment(1), |file| *file = bytes[..length].to_vec());
        let (log, saved) = open(&disk);
        assert_eq!(saved.leases.len(), 1, "torn at {length}");
        std::mem::forget(log);
        disk.harm(&segment(1), |file| {
            *file = bytes[..length].to_vec();
            file.extend([0; 700]);
        });
        let (log, saved) = open(&disk);
        assert_eq!(saved.leases.len(), 1, "torn at {length}, zeros behind");
        std::mem::forget(log);
    }
}

#[test]
fn noise_never_panics() {
    let disk = Faulty::new(3);
    whole(&disk);
    let mut dice = 5;
    for _ in 0..3000 {
        let file = if roll(&mut dice).is_multiple_of(2) { SNAPSHOT.to_owned() } else { segment(2) };
        let bytes = disk.read(&file).unwrap();
        disk.harm(&file, |bytes| {
            for _ in 0..1 + roll(&mut dice) % 4 {
                let at = roll(&mut dice) as usize % bytes.len();
                bytes[at] = roll(&mut dice) as u8;
            }
            if roll(&mut dice).is_multiple_of(4) {
                bytes.truncate(roll(&mut dice) as usize % bytes.len());
            }
        });
        let copy = disk.after_power_cut(0);
        let _ = try_open(&copy);
        let image = Image::read(&copy).unwrap();
        let _ = image.salvage(Some(&keys()));
        let _ = image.salvage(None);
        disk.harm(&file, |file| *file = bytes);
    }
}

/// A log that lives through whatever a disk does, for `LEDGER_RUNS` lives: full and not, errors from some step
/// on, power cuts, restarts in order, with segments so short that they are merged all the time.
#[test]
fn a_hard_life_loses_nothing_that_was_acknowledged() {
    let runs = std::env::var("LEDGER_RUNS").map_or(150, |text| text.parse().unwrap());
    let (mut failed, mut merged) = (0, 0);
    for seed in 0..runs {
        let mut dice = seed;
        let mut disk = Faulty::new(seed);
        made(&disk);
        // What it may hold: a batch that failed is there or not after a power cut.
        let mut may = vec![Memory::default()];
        for _ in 0..6 {
            let (mut log, saved) = open(&disk);
            let found = held(saved);
            let state = may.into_iter().find(|state| held(state.saved()) == found);
            let mut now = state.unwrap_or_else(|| panic!("seed {seed}: {found:?}"));
            may = vec![now.clone()];
            log.full = roll(&mut dice) % 3000;
            let mut has_errors = false;
            for _ in 0..roll(&mut dice) % 20 {
                match roll(&mut dice) % 12 {
                    0 => disk.set(Faults { room: Some(roll(&mut dice) % 4000), ..Faults::default() }),
                    1 if !has_errors => {
                        has_errors = true;
                        disk.set(Faults { steps: Some(roll(&mut dice) % 12), ..Faults::default() });
                    }
                    2 => {
                        has_errors = false;
                        disk.set(Faults::default());
                    }
                    _ => {}
                }
                let batch = batch(&mut dice);
                let mut next = now.clone();
                next.append(&batch, 0).unwrap();
                match log.append(&batch, 0) {
                    Ok(()) => {
                        now = next;
                        may = vec![now.clone()];
                    }
                    // Each that failed since may be what a power cut leaves.
                    Err(_) => {
                        failed += 1;
                        may.push(next);
                    }
                }
                if log.full == SHORTEST || log.full == log.end + SHORTEST {
                    merged += usize::from(log.full == SHORTEST);
                    log.full = log.end + roll(&mut dice) % 2000;
                }
            }
            if roll(&mut dice).is_multiple_of(3) {
                drop(log);
            } else {
                std::mem::forget(log);
            }
            disk = disk.after_power_cut(roll(&mut dice));
        }
    }
    assert!(failed > runs && merged > runs as usize, "{failed} {merged}");
}

/// What an append does to the disk itself is write to one open file and sync that: names are a thread's.
#[test]
fn appends_never_wait_for_names_of_files_or_for_a_merge() {
    let disk = Faulty::new(2);
    made(&disk);
    let (mut log, _) = open(&disk);
    disk.defer();
    let (mut dice, mut expected) = (3, Memory::default());
    let mut appended = |log: &mut Log<Faulty>, count: u64| {
        for _ in 0..count {
            let (batch, before) = (batch(&mut dice), disk.name_steps());
            log.append(&batch, 0).unwrap();
            expected.append(&batch, 0).unwrap();
            assert_eq!(disk.name_steps(), before, "an append changed or synced names");
        }
        expected.clone()
    };
    for turn in 1..5 {
        log.full = 0;
        // As long as the next segment is not made, and then while the snapshot is, the log goes on.
        let expected = appended(&mut log, 5);
        assert_eq!((log.number, disk.deferred()), (turn, 1));
        assert_eq!(held(open_copy(&disk)), held(expected.saved()));
        disk.work();
        let expected = appended(&mut log, 5);
        assert_eq!((log.number, disk.deferred()), (turn + 1, 1));
        assert_eq!(held(open_copy(&disk)), held(expected.saved()));
        disk.work();
        appended(&mut log, 1);
        let segments = disk.names().unwrap().iter().filter(|name| number_of(name).is_some()).count();
        assert_eq!((log.full, segments), (SHORTEST, 1));
    }
}

/// What the disk would hold after a power cut now.
fn open_copy(disk: &Faulty) -> Saved {
    open(&disk.after_power_cut(1)).1
}

/// The next segment lies there, and was not written to, or its first frame was not finished.
#[test]
fn a_segment_that_was_made_ahead_is_no_loss() {
    let killed = |number_of_appends: u64| {
        let disk = Faulty::new(6);
        made(&disk);
        let (mut log, _) = open(&disk);
        log.full = 0;
        (0..number_of_appends).for_each(|number| log.append(&[lease(number as u8, 1, number)], 0).unwrap());
        std::mem::forget(log);
        disk
    };
    let ahead = killed(1);
    assert!(ahead.names().unwrap().contains(&segment(2)));
    let whole = ahead.read(&segment(2)).unwrap();
    let frame = killed(2).read(&segment(2)).unwrap();
    let first = frame::FIRST..frame.iter().rposition(|byte| *byte != 0).unwrap();
    for torn in first.clone().step_by(7) {
        ahead.harm(&segment(2), |bytes| {
            bytes.clone_from(&whole);
            bytes[first.start..torn].copy_from_slice(&frame[first.start..torn]);
        });
        let disk = ahead.after_power_cut(0);
        let (mut log, saved) = open(&disk);
        assert_eq!((saved.leases.len(), log.number), (1, 1), "torn at {torn}");
        assert!(!disk.names().unwrap().contains(&segment(2)));
        log.full = 0;
        (7..12).for_each(|number| log.append(&[lease(number, 1, 9)], 0).unwrap());
        assert_eq!(log.number, 2);
        drop(log);
        assert_eq!(open(&disk).1.leases.len(), 6);
    }
    // One that is said to be followed was so by a frame.
    let sealed = killed(3);
    sealed.harm(&segment(2), |bytes| bytes[frame::FIRST..].fill(0));
    let merged = sealed.read(&segment(1)).is_err();
    assert!(merged && try_open(&sealed).unwrap_err().to_string().contains("cut short"));
}

/// Measures how long appends wait: 200,000 of one lease each, with the rotations that they bring.
#[test]
#[ignore = "a measurement, of a minute or so"]
fn how_long_appends_wait() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Files::new(folder.path());
    made(&disk);
    let (mut log, _) = open(&disk);
    let mut times = Vec::new();
    let mut turns = Vec::new();
    for number in 0..200_000_u64 {
        let record = Record::Lease4(Lease {
            address: (0x0a00_0000 + number as u32 % 50_000).into(),
            mac: Mac::new([0x52, 0x54, 0, 0, 0, 1]).unwrap(),
            client_id: None,
            hostname: None,
            state: LeaseState::Bound,
            expires: Time(number),
        });
        let (segment, begin) = (log.number, std::time::Instant::now());
        log.append(&[record], 0).unwrap();
        let taken = begin.elapsed();
        times.push(taken);
        if log.number != segment {
            turns.push(taken);
        }
    }
    times.sort();
    let at = |share: f64| times[(times.len() as f64 * share) as usize];
    let slowest = &times[times.len() - 5..];
    eprintln!(
        "median {:?}, p99 {:?}, p99.9 {:?}, slowest {slowest:?}; rotations {turns:?}",
        at(0.5),
        at(0.99),
        at(0.999)
    );
}
