//! Between the servers of bytes and the table: asks the pure tree, makes durable what it says
//! must be, and writes the timeline.

use std::future::Future;

use super::keeper::{Keeper, KeeperError};
use super::now;
use crate::proto::tree::{self, Answer, Artifact, Asker, Method, Refusal, RefusalReason, Transport};
use crate::table::{Event, Stage};

/// What TFTP and HTTP see of the daemon.
pub trait Opener: Clone + Send + Sync + 'static {
    /// Resolves a name, doing whatever must be durable first.
    fn open(&self, asker: Asker, method: Method, path: &str, note: &str) -> impl Future<Output = Opened> + Send;

    /// Tells how a transfer ended.
    fn done(&self, asker: Asker, artifact: &Artifact, sent: u64, complete: bool);
}

/// What to answer.
#[derive(Clone, Debug)]
pub enum Opened {
    Serve(Artifact),
    /// 200 with an empty body.
    Accepted,
    Refuse(Refusal),
}

impl Opener for Keeper {
    async fn open(&self, asker: Asker, method: Method, path: &str, note: &str) -> Opened {
        // Start and Spend are two steps; a third round would mean that the table changes
        // under this request, which is then better asked again.
        for _ in 0..3 {
            let stored = match tree::open(&self.table(), &asker, method, path, note) {
                Answer::Serve(artifact) => return Opened::Serve(artifact),
                Answer::Refuse(refusal) => {
                    self.note(refused(&asker, path, &refusal));
                    return Opened::Refuse(refusal);
                }
                Answer::Permit(permit) => self.permit(permit).await,
                Answer::Report(report) => match self.report(report).await {
                    Ok(()) => return Opened::Accepted,
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = stored {
                let refusal = unstored(&error);
                self.note(refused(&asker, path, &refusal));
                return Opened::Refuse(refusal);
            }
        }
        Opened::Refuse(Refusal::new(RefusalReason::Busy, "the inventory is changing; ask again"))
    }

    fn done(&self, asker: Asker, artifact: &Artifact, sent: u64, complete: bool) {
        let length = artifact.content.len();
        let how = match (complete, asker.transport) {
            (true, Transport::Tftp) => format!("{} ({sent} bytes, TFTP)", artifact.text),
            (true, Transport::Http) => format!("{} ({sent} bytes, HTTP)", artifact.text),
            (false, _) => format!("{} broke off after {sent} of {length} bytes", artifact.text),
        };
        self.note(Event {
            at: now(),
            stage: if complete { artifact.stage } else { Stage::Refused },
            mac: artifact.mac,
            address: Some(asker.address),
            deployment: artifact.deployment.clone(),
            arch: None,
            ipxe: None,
            text: how,
        });
    }
}

fn unstored(error: &KeeperError) -> Refusal {
    let reason = match error {
        KeeperError::Refused(_) => RefusalReason::Gone,
        KeeperError::Busy | KeeperError::Store(_) => RefusalReason::Busy,
    };
    Refusal::new(reason, error.to_string())
}

fn refused(asker: &Asker, path: &str, refusal: &Refusal) -> Event {
    Event {
        at: now(),
        stage: Stage::Refused,
        mac: refusal.mac,
        address: Some(asker.address),
        deployment: refusal.deployment.clone(),
        arch: None,
        ipxe: None,
        text: format!("{path:?}: {}", refusal.text),
    }
}
