//! The initrds that were made: one for each kernel, kept in memory while a revision names it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::held::Held;
use super::{Parts, Programs, writing};
use crate::media::{Entry, MediaError};
use crate::model::content::FileId;

/// The initrds of a daemon.
#[derive(Debug, Default)]
pub(in crate::media) struct Stock {
    made: Mutex<Vec<Made>>,
    /// Held while one is made: one at a time, each takes a processor for some seconds.
    making: Mutex<()>,
}

#[derive(Debug)]
struct Made {
    parts: Parts,
    program: FileId,
    /// What does not fit together does not fit the next time either.
    outcome: Result<Held, MediaError>,
}

/// How many that no revision names any more are remembered: a source may go back to one.
const SPARE: usize = 2;

impl Stock {
    /// The initrd for these parts, which is made if it is not there.
    ///
    /// # Errors
    /// Why it can't be made.
    pub(in crate::media) fn get(
        &self,
        parts: &Parts,
        programs: &Programs,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Entry, MediaError> {
        let program = programs.identity(parts.cpu)?;
        if let Some(known) = self.known(parts, program) {
            return known;
        }
        let _turn = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have made it meanwhile.
        if let Some(known) = self.known(parts, program) {
            return known;
        }
        let outcome = writing::write(parts, programs, goes_on);
        let entry = outcome.as_ref().map(|held| held.entry().clone()).map_err(Clone::clone);
        if goes_on() && !matches!(outcome, Err(MediaError::Io { .. })) {
            let mut made = self.lock();
            made.push(Made { parts: parts.clone(), program, outcome });
            let is_spare =
                |one: &Made| one.outcome.as_ref().is_ok_and(|held| !held.is_in_use()) || one.outcome.is_err();
            let mut spare = made.iter().filter(|one| is_spare(one)).count();
            made.retain(|one| {
                let goes = is_spare(one) && spare > SPARE;
                spare -= usize::from(goes);
                !goes
            });
        }
        entry
    }

    fn known(&self, parts: &Parts, program: FileId) -> Option<Result<Entry, MediaError>> {
        let made = self.lock();
        let one = made.iter().find(|one| one.program == program && one.parts == *parts)?;
        Some(one.outcome.as_ref().map(|held| held.entry().clone()).map_err(Clone::clone))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
