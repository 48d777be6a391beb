//! One budget for destruction, whatever the cause: how many wipes may begin within an hour that [ran](super::ran).

/// The name of the stored note.
pub const NOTE: &str = "wipes";

const HOUR: u64 = 3_600_000;

/// As many as no inventory allows within an hour.
const UNKNOWN: usize = 100_000;

/// When the wipes of the last hour began, in time that ran; the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    begun: Vec<u64>,
}

impl Budget {
    /// Where the note is damaged, an hour that is used up begins now.
    pub fn of_note(note: Option<&[u8]>, ran: u64) -> Budget {
        let Some(note) = note else { return Budget::default() };
        let begun: Vec<u64> =
            note.chunks_exact(8).filter_map(|one| one.try_into().ok().map(u64::from_le_bytes)).collect();
        if begun.is_empty() || note.len() % 8 != 0 {
            return Budget { begun: vec![ran; UNKNOWN] };
        }
        Budget { begun }
    }

    pub fn note(&self) -> Vec<u8> {
        self.begun.iter().flat_map(|one| one.to_le_bytes()).collect()
    }

    /// How many began within the last hour.
    pub fn spent(&self, ran: u64) -> usize {
        self.begun.iter().filter(|one| **one + HOUR > ran).count()
    }

    /// One begins now.
    pub fn spend(&mut self, ran: u64) {
        self.begun.retain(|one| *one + HOUR > ran);
        self.begun.push(ran);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_what_counts() {
        let mut budget = Budget::default();
        [0, 10, HOUR - 1].into_iter().for_each(|ran| budget.spend(ran));
        assert_eq!((budget.spent(HOUR - 1), budget.spent(HOUR), budget.spent(HOUR + 10)), (3, 2, 1));
        budget.spend(2 * HOUR);
        assert_eq!(Budget::of_note(Some(&budget.note()), 7), budget);
        assert_eq!((budget.spent(2 * HOUR), Budget::of_note(None, 7).spent(7)), (1, 0));
        let damaged = Budget::of_note(Some(b""), 7);
        assert_eq!((damaged.spent(7), damaged.spent(HOUR + 7)), (UNKNOWN, 0));
    }
}
