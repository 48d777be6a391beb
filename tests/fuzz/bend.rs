//! Inputs made from good ones.

/// The same number, the same inputs.
pub(crate) struct Bender {
    state: u64,
    words: &'static [&'static str],
}

/// Longest input made, in bytes.
const LONGEST: usize = 64 << 10;

impl Bender {
    pub(crate) fn new(seed: u64, words: &'static [&'static str]) -> Bender {
        Bender { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, words }
    }

    /// One of the seeds after one to eight changes.
    pub(crate) fn bend(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(8) {
            self.change(&mut input, seeds);
        }
        input.truncate(LONGEST);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let end = (at + 1 + self.below(16)).min(input.len());
        match self.below(9) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = [0, 1, 0x7f, 0x80, 0xff, b'\n'][self.below(6)],
            2 if at < input.len() => input[at] = self.roll() as u8,
            3 => drop(input.drain(at..end)),
            4 => input.truncate(at),
            5 => drop(input.splice(at..at, [self.roll() as u8])),
            6 => {
                let piece = input[at..end].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, piece);
            }
            7 => {
                let other = &seeds[self.below(seeds.len())];
                let from = self.below(other.len() + 1);
                let piece = &other[from..(from + self.below(200)).min(other.len())];
                input.splice(at..end, piece.iter().copied());
            }
            _ => {
                let word = self.words[self.below(self.words.len())];
                let end = if self.below(2) == 0 { at } else { end };
                input.splice(at..end, word.bytes());
            }
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.roll() % limit as u64) as usize
    }

    /// xorshift64
    fn roll(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }
}
