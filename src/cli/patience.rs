//! What waits for a daemon or follows it outlasts a daemon that is started again.

use std::time::{Duration, Instant};

use super::exit::talk;
use crate::api::client::ClientError;

/// Between two questions to a daemon that does not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// Asks a daemon that answered before again, where it does not answer now. One that never did is an error at once.
pub(super) struct Patience {
    /// Until when; `None` as long as it takes.
    end: Option<Instant>,
    has_answered: bool,
    is_away: bool,
}

impl Patience {
    pub(super) fn until(end: Instant) -> Patience {
        Patience { end: Some(end), has_answered: false, is_away: false }
    }

    pub(super) fn endless() -> Patience {
        Patience { end: None, has_answered: false, is_away: false }
    }

    /// Asks until there is an answer. That the daemon went and came back is said to the person.
    ///
    /// # Errors
    /// What does not pass by itself, and what the time ends with.
    pub(super) async fn ask<T>(
        &mut self,
        mut ask: impl AsyncFnMut() -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        loop {
            match ask().await {
                Ok(answer) => {
                    self.has_answered = true;
                    if std::mem::take(&mut self.is_away) {
                        talk("the daemon answers again");
                    }
                    return Ok(answer);
                }
                Err(error) if self.outlasts(&error) => {
                    if !std::mem::replace(&mut self.is_away, true) {
                        talk(&format!("{error}; asking again until it answers"));
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn outlasts(&self, error: &ClientError) -> bool {
        let is_over = self.end.is_some_and(|end| Instant::now() + PAUSE >= end);
        self.has_answered && error.is_passing() && !is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> ClientError {
        ClientError::Unreachable { address: "x".into(), cause: "none".into() }
    }

    #[tokio::test]
    async fn a_daemon_that_answered_is_asked_again_and_another_is_not() {
        let mut patience = Patience::endless();
        assert!(patience.ask(async || Err::<(), _>(away())).await.is_err(), "it never answered");
        patience.ask(async || Ok(())).await.unwrap();
        let mut left = 2;
        let answer = patience.ask(async || {
            left -= 1;
            if left == 0 { Ok(7) } else { Err(away()) }
        });
        assert_eq!(answer.await.unwrap(), 7);
        let refused = patience.ask(async || Err::<(), _>(ClientError::NotAllowed("no".into())));
        assert!(refused.await.is_err(), "this does not pass");
    }

    #[tokio::test]
    async fn the_time_ends_it() {
        let mut patience = Patience::until(Instant::now());
        patience.ask(async || Ok(())).await.unwrap();
        assert!(patience.ask(async || Err::<(), _>(away())).await.is_err());
    }
}
