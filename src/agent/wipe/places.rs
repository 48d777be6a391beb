//! Where on a disk something is looked for or written.

use std::ops::Range;

use super::device::Seen;

/// What is zeroed at each end of a disk and of a partition: partition tables, superblocks of file systems, arrays and
/// volume managers lie there. ZFS has the longest, 512 KiB at both ends; LVM's area ends at 1 MiB by default.
const END: u64 = 4 << 20;
/// Copies of btrfs's superblock (btrfs documentation, "On-disk format"), each with what is zeroed around it.
const COPIES: [u64; 2] = [64 << 20, 256 << 30];
const COPY: u64 = 64 << 10;

/// Length of one sample, in bytes, and most samples of a disk beside those at its ends.
pub(super) const SAMPLE: u64 = 64 << 10;
const SAMPLES: u64 = 256;

/// The ranges in which systems leave signatures, in order and apart from each other. `block` is the disk's logical block.
pub(super) fn signatures(disk: &Seen, bytes: u64, block: u64) -> Vec<Range<u64>> {
    let whole = 0..bytes;
    let parts = disk.partitions.iter().map(|part| part.start.min(bytes)..part.end.min(bytes));
    let mut ranges = Vec::new();
    for part in std::iter::once(whole).chain(parts) {
        let length = part.end.saturating_sub(part.start);
        ranges.push(part.start..part.start + END.min(length));
        ranges.push(part.end - END.min(length)..part.end);
        for copy in COPIES.iter().filter(|copy| **copy < length) {
            ranges.push(part.start + copy..(part.start + copy + COPY).min(part.end));
        }
    }
    apart(ranges, bytes, block)
}

/// The ranges in order, joined where they touch, of whole blocks.
fn apart(mut ranges: Vec<Range<u64>>, bytes: u64, block: u64) -> Vec<Range<u64>> {
    let block = block.max(1);
    ranges.sort_by_key(|range| range.start);
    let mut apart: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        let range = range.start - range.start % block..range.end.next_multiple_of(block).min(bytes);
        match apart.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => apart.push(range),
        }
    }
    apart
}

/// Where samples of a disk begin: at both ends, and at one place in each of 256 equal parts, which follows from `seed`.
/// Also their length.
pub(super) fn samples(seed: u64, bytes: u64, block: u64) -> (Vec<u64>, u64) {
    let block = block.max(1);
    let length = SAMPLE.next_multiple_of(block).min(bytes - bytes % block);
    if length == 0 {
        return (Vec::new(), 0);
    }
    let last = (bytes - length) - (bytes - length) % block;
    let mut dice = seed;
    let mut offsets = vec![0, last];
    let part = last / SAMPLES;
    for at in 0..SAMPLES {
        let offset = at * part + if part == 0 { 0 } else { split_mix(&mut dice) % part };
        offsets.push(offset - offset % block);
    }
    offsets.sort_unstable();
    offsets.dedup();
    (offsets, length)
}

/// SplitMix64 (Steele, Lea, Flood 2014): a sequence that anybody can compute again from the seed in a certificate.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The seed for a disk at a time: FNV-1a of both.
pub(super) fn seed(time: u64, disk: &str) -> u64 {
    time.to_le_bytes()
        .into_iter()
        .chain(disk.bytes())
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::single_range_in_vec_init,
        reason = "one partition, one place: ranges of bytes, not their numbers"
    )]
    #[test]
    fn signatures_are_looked_for_at_both_ends_of_everything() {
        let disk = Seen { partitions: vec![(1 << 30)..(100 << 30)], ..Seen::default() };
        let (mib, gib) = (1_u64 << 20, 1_u64 << 30);
        let found = signatures(&disk, 300 * gib, 4096);
        let expected = [
            0..4 * mib,
            64 * mib..64 * mib + COPY,
            gib..gib + 4 * mib,
            gib + 64 * mib..gib + 64 * mib + COPY,
            100 * gib - 4 * mib..100 * gib,
            256 * gib..256 * gib + COPY,
            300 * gib - 4 * mib..300 * gib,
        ];
        assert_eq!(found, expected);
        // A small disk is zeroed whole; a partition that lies beyond the disk is cut.
        let odd = Seen { partitions: vec![(5 << 20)..(1 << 40)], ..Seen::default() };
        assert_eq!(signatures(&odd, 6 << 20, 512), [0..6 << 20]);
        assert_eq!(signatures(&Seen::default(), 1000 * 512, 512), [0..1000 * 512]);
    }

    #[test]
    fn samples_follow_from_their_seed_and_stay_on_the_disk() {
        for (bytes, block) in [(1 << 40, 512), (300 << 20, 4096), (65536, 4096), (512, 512), (4096 * 3, 4096)]
        {
            let (offsets, length) = samples(7, bytes, block);
            assert_eq!((offsets.clone(), length), samples(7, bytes, block));
            assert!(offsets.iter().all(|at| at % block == 0 && at + length <= bytes), "{bytes}");
            assert_eq!((offsets[0], *offsets.last().unwrap() + length), (0, bytes));
        }
        assert_ne!(samples(7, 1 << 40, 512), samples(8, 1 << 40, 512));
        assert_eq!(samples(7, 1 << 40, 512).0.len(), 258);
        assert_eq!(samples(7, 0, 512), (vec![], 0));
        assert_ne!(seed(1, "a"), seed(2, "a"));
    }
}
