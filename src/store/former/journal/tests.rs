use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::model::{Mac, Time};
use crate::state::lease::LeaseState;

const SALT: Salt = *b"nobody knows it!";

/// A frame of these leases.
fn write(salt: &Salt, batch: u64, leases: &[Lease]) -> Vec<u8> {
    let mut bytes = vec![0; HEAD];
    for lease in leases {
        record(&mut bytes, lease);
    }
    let length = (bytes.len() - HEAD) as u32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes[4..FACTS].copy_from_slice(&batch.to_le_bytes());
    let check = digest(&[salt, &bytes[..FACTS]]);
    bytes[FACTS..FACTS + 4].copy_from_slice(&check[..4]);
    let digest = digest(&[salt, &bytes[..FACTS], &bytes[HEAD..]]);
    bytes[FACTS + 4..HEAD].copy_from_slice(&digest);
    bytes.push(END);
    bytes
}

fn record(bytes: &mut Vec<u8>, lease: &Lease) {
    let Lease { address, mac, client_id, hostname, state, expires } = lease;
    bytes.extend_from_slice(&address.octets());
    bytes.extend_from_slice(&mac.octets());
    bytes.push(match state {
        LeaseState::Offered => 0,
        LeaseState::Bound => 1,
        LeaseState::Released => 2,
        LeaseState::Declined => 3,
    });
    bytes.extend_from_slice(&expires.0.to_le_bytes());
    field(bytes, client_id.as_deref());
    field(bytes, hostname.as_deref().map(str::as_bytes));
}

/// What is longer than any DHCP message can bring is cut.
fn field(bytes: &mut Vec<u8>, value: Option<&[u8]>) {
    let length = value.map_or(NONE, |value| value.len().min(usize::from(NONE) - 1) as u16);
    bytes.extend_from_slice(&length.to_le_bytes());
    if let Some(value) = value {
        bytes.extend_from_slice(&value[..usize::from(length)]);
    }
}

fn lease(last: u8, machine: u8, expires: u64) -> Lease {
    Lease {
        address: Ipv4Addr::new(10, 0, 0, last),
        mac: Mac::new([0x52, 0x54, 0, 0, 0, machine]).unwrap(),
        client_id: machine.is_multiple_of(2).then(|| bytes::Bytes::copy_from_slice(&[0xff, machine])),
        hostname: machine.is_multiple_of(3).then(|| format!("host-{machine}")),
        state: LeaseState::Bound,
        expires: Time(expires),
    }
}

/// The bytes of a journal with these commits, and where each ends.
fn written(commits: &[Vec<Lease>]) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = begin(&SALT, 3);
    let mut ends = Vec::new();
    for commit in commits {
        bytes.extend(write(&SALT, 7, commit));
        ends.push(bytes.len());
    }
    (bytes, ends)
}

fn found(bytes: &[u8]) -> Result<Vec<Lease>, Damage> {
    let mut leases = BTreeMap::new();
    replay(bytes, &SALT, &mut leases).map(|_| leases.into_values().collect())
}

#[test]
fn a_write_torn_at_any_byte_loses_itself_alone() {
    let (whole, ends) = written(&[vec![lease(1, 1, 10)], vec![lease(1, 1, 40), lease(4, 6, 50)]]);
    for length in ends[0]..whole.len() {
        for torn in [whole[..length].to_vec(), [&whole[..length], &vec![0; 500]].concat()] {
            assert_eq!(found(&torn), Ok(vec![lease(1, 1, 10)]), "torn at {length}");
        }
    }
}

#[test]
fn a_flipped_bit_is_damage_and_no_torn_write() {
    let (whole, ends) = written(&[vec![lease(1, 1, 10)], vec![lease(2, 2, 20)]]);
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let damage = found(&bytes).unwrap_err();
        assert!(bit < ends[0] * 8 || matches!(damage, Damage::Last { .. }), "{bit}: {damage}");
    }
}

proptest! {
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
        let summary = Summary { end: bytes.len() as u64, generation: 3, batch, torn: 0 };
        prop_assert_eq!(replay(&bytes, &SALT, &mut found), Ok(summary));
        prop_assert_eq!(&found, &expected);
        let mut found = BTreeMap::new();
        let _ = replay(&[&bytes[..], &noise].concat(), &SALT, &mut found);
        prop_assert_eq!(&found, &expected);
        let _ = replay(&noise, &SALT, &mut BTreeMap::new());
        salvage(&[&begin(&SALT, 3)[..], &noise].concat(), &mut BTreeMap::new());
    }
}
