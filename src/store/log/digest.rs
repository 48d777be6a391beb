//! The digests of the log: SipHash-2-4 (Aumasson and Bernstein, 2012), keyed by the state directory's key.
//!
//! A digest of 64 bits under a key that nobody else has tells damage and what a client on the network made up
//! from what this daemon wrote. Over a record of fifty bytes it takes a tenth of the time of HMAC-SHA256.

use sha2::{Digest, Sha256};

/// The key of SipHash.
pub type SipKey = [u64; 2];

/// SipHash-2-4 of numbers.
#[derive(Clone, Copy)]
pub struct Sip {
    v: [u64; 4],
    words: u64,
}

impl Sip {
    pub fn new(key: &SipKey) -> Sip {
        let v = [
            key[0] ^ 0x736f_6d65_7073_6575,
            key[1] ^ 0x646f_7261_6e64_6f6d,
            key[0] ^ 0x6c79_6765_6e65_7261,
            key[1] ^ 0x7465_6462_7974_6573,
        ];
        Sip { v, words: 0 }
    }

    /// Goes over eight bytes, little-endian.
    pub fn add(&mut self, word: u64) {
        self.words += 1;
        self.absorb(word);
    }

    /// The digest of the numbers so far.
    pub fn finish(self) -> u64 {
        self.finish_with(&[])
    }

    /// The digest of the numbers so far and these bytes.
    pub fn finish_with(mut self, bytes: &[u8]) -> u64 {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.absorb(u64::from_le_bytes(*word)));
        let length = (self.words * 8).wrapping_add(bytes.len() as u64);
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        last[7] = length as u8;
        self.absorb(u64::from_le_bytes(last));
        self.v[2] ^= 0xff;
        (0..4).for_each(|_| self.round());
        self.v.iter().fold(0, |sum, part| sum ^ part)
    }

    fn absorb(&mut self, word: u64) {
        self.v[3] ^= word;
        self.round();
        self.round();
        self.v[0] ^= word;
    }

    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.v;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        self.v = [a, b, c, d];
    }
}

/// The keys of a state directory's log.
#[derive(Clone)]
pub struct Keys {
    record_key: [u8; 32],
    /// Of the beginnings of files.
    pub file: SipKey,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

/// The keys of one file's frames. Those of another file fit none: no frame can be moved.
#[derive(Clone, Copy)]
pub struct FileKeys {
    pub head: SipKey,
    pub record: SipKey,
    pub chain: SipKey,
}

impl std::fmt::Debug for FileKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FileKeys")
    }
}

impl Keys {
    pub fn new(record_key: &[u8; 32]) -> Keys {
        Keys { record_key: *record_key, file: derive(record_key, "log file", 0) }
    }

    /// The keys of the file of a number; snapshots have other ones than segments.
    pub fn of_file(&self, is_snapshot: bool, number: u64) -> FileKeys {
        let name = |part: &str| format!("{} {part}", if is_snapshot { "snapshot" } else { "segment" });
        let key = |part: &str| derive(&self.record_key, &name(part), number);
        FileKeys { head: key("head"), record: key("record"), chain: key("chain") }
    }
}

fn derive(record_key: &[u8; 32], part: &str, number: u64) -> SipKey {
    let sum = Sha256::new().chain_update(b"log\n").chain_update(record_key).chain_update(part);
    let sum: [u8; 32] = sum.chain_update(number.to_le_bytes()).finalize().into();
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| sum[at + byte]));
    [word(0), word(8)]
}

/// The bytes as they were before one bit of them flipped, if that makes them fit.
pub fn with_a_bit_flipped<const N: usize>(
    bytes: &[u8; N],
    fits: impl Fn(&[u8; N]) -> bool,
) -> Option<[u8; N]> {
    (0..N * 8).find_map(|bit| {
        let mut other = *bytes;
        other[bit / 8] ^= 1 << (bit % 8);
        fits(&other).then_some(other)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The authors' own vectors: key 00 01 … 0f, input 00 01 … of so many bytes.
    #[test]
    fn it_is_siphash() {
        let word = |first: u8| u64::from_le_bytes(std::array::from_fn(|at| first + at as u8));
        let key = [word(0), word(8)];
        let input: Vec<u8> = (0..63).collect();
        let known = [
            (0, 0x726f_db47_dd0e_0e31_u64),
            (1, 0x74f8_39c5_93dc_67fd),
            (8, 0x93f5_f579_9a93_2462),
            (15, 0xa129_ca61_49be_45e5),
            (63, 0x958a_324c_eb06_4572),
        ];
        for (length, digest) in known {
            assert_eq!(Sip::new(&key).finish_with(&input[..length.min(63)]), digest, "{length}");
        }
        let mut sip = Sip::new(&key);
        sip.add(word(0));
        assert_eq!(sip.finish(), known[2].1);
        assert_eq!(sip.finish_with(&input[8..15]), known[3].1);
    }
}
