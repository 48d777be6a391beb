//! Answers the requests of the boot servers through the keeper: asks the pure tree, stores what must be durable,
//! and writes the timeline.

use super::dhcp::{Busy, Granted, Lessor};
use super::keeper::{Keeper, KeeperError};
use super::now;
use super::request_handler::{Opened, RequestHandler};
use crate::model::Name;
use crate::proto::converse::{self, FileRequest, Step, Wanted};
use crate::proto::tree::{Artifact, Asker, Method, Refusal, RefusalReason, Transport, name};
use crate::state::{Command, Event, LeaseRequest, Stage};

/// Why nothing but boot programs is served yet.
const RESTORING: &str = "the daemon was just started and still reads what it served: ask again";

impl Lessor for Keeper {
    fn lease(&self, requests: Vec<LeaseRequest>, done: impl FnOnce(Result<Granted, Busy>) + Send + 'static) {
        Keeper::lease(self, requests, |outcome| done(outcome.map_err(|_| Busy)));
    }

    fn note(&self, events: Vec<Event>) {
        self.note_all(events);
    }

    fn silent(&self, reason: &'static str) {
        self.counters().silence(reason);
        if reason == "other-server" {
            self.counters().rival();
        }
    }
}

impl RequestHandler for Keeper {
    async fn open(&self, asker: &mut Asker, method: Method, path: &str, note: &str) -> Opened {
        if !self.is_restored() && !name::is_program(&self.state(), path) && !self.restored().await {
            let refusal = Refusal::new(RefusalReason::Busy, RESTORING);
            note_refusal(self, asker, path, &refusal);
            return Opened::Refuse(refusal);
        }
        let (mut request, wanted) = (FileRequest::default(), Wanted { method, path, note });
        loop {
            let opened = match request.step(&self.state(), asker, wanted) {
                Step::Done(opened) => Some(opened),
                Step::Identify => {
                    asker.link = self.neighbours.link_of(asker).await;
                    None
                }
                Step::Store(verb) => {
                    let stored = self.ask(Command::machine(verb)).await;
                    request.stored(stored.map(drop).map_err(|error| unstored(&error)))
                }
            };
            match opened {
                Some(converse::Opened::Serve(artifact)) => return Opened::Serve(artifact),
                Some(converse::Opened::Accepted(deployment, remark)) => {
                    remark.into_iter().for_each(|text| remarked(self, asker, &deployment, text));
                    return Opened::Accepted;
                }
                Some(converse::Opened::Refuse(refusal)) => {
                    note_refusal(self, asker, path, &refusal);
                    return Opened::Refuse(refusal);
                }
                None => {}
            }
        }
    }

    fn done(&self, asker: Asker, artifact: &Artifact, sent: u64, complete: bool) {
        if complete && self.is_echo(artifact.stage, asker.address, &artifact.text) {
            return;
        }
        let length = artifact.content.len();
        let how = match (complete, asker.transport) {
            (true, Transport::Tftp) => format!("{} ({sent} bytes, TFTP)", artifact.text),
            (true, Transport::Http) => format!("{} ({sent} bytes, HTTP)", artifact.text),
            (false, _) => format!("{} broke off after {sent} of {length} bytes", artifact.text),
        };
        let stage = if complete { artifact.stage } else { Stage::Refused };
        note_transfer(self, asker, artifact, stage, how);
    }

    fn failed(&self, asker: Asker, artifact: &Artifact, why: &str) {
        let answer = match asker.transport {
            Transport::Tftp => "TFTP, error",
            Transport::Http => "HTTP, 503",
        };
        let how = format!("{} was not sent ({answer}): {why}", artifact.text);
        if !self.is_echo(Stage::Refused, asker.address, &how) {
            note_transfer(self, asker, artifact, Stage::Refused, how);
        }
    }
}

fn note_transfer(keeper: &Keeper, asker: Asker, artifact: &Artifact, stage: Stage, how: String) {
    let (mac, deployment) = (artifact.mac, artifact.deployment.clone());
    Keeper::note(
        keeper,
        Event { mac, address: Some(asker.address), deployment, ..Event::new(now(), stage, how) },
    );
}

/// The remark for people about an accepted report.
fn remarked(keeper: &Keeper, asker: &Asker, deployment: &Name, text: String) {
    let event = Event::new(now(), Stage::Daemon, text);
    let deployment = Some(deployment.clone());
    Keeper::note(keeper, Event { address: Some(asker.address), deployment, ..event });
}

fn unstored(error: &KeeperError) -> Refusal {
    let reason = match error {
        KeeperError::Refused(_) => RefusalReason::Gone,
        KeeperError::Busy | KeeperError::Store(_) => RefusalReason::Busy,
    };
    Refusal::new(reason, error.to_string())
}

/// A client that is refused and asks again at once is noted once: it may ask many thousand times a second.
fn note_refusal(keeper: &Keeper, asker: &Asker, path: &str, refusal: &Refusal) {
    if keeper.is_echo(Stage::Refused, asker.address, (path, &refusal.text)) {
        return;
    }
    let event = Event {
        mac: refusal.mac,
        address: Some(asker.address),
        deployment: refusal.deployment.clone(),
        ..Event::new(now(), Stage::Refused, format!("{path:?}: {}", refusal.text))
    };
    Keeper::note(keeper, event);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::state::Server;
    use crate::store::Store;

    #[tokio::test]
    async fn what_is_not_there_is_denied_when_it_is_known_what_is_served() {
        let folder = tempfile::tempdir().unwrap();
        let (store, saved) = Store::open(folder.path(), || [7; 48]).unwrap();
        let (keeper, _) = Keeper::spawn(store, saved, Server::stand_in([10, 0, 0, 1].into()));
        let open = async |path: &str| {
            let mut asker = Asker::new([10, 0, 0, 9], None, Transport::Http);
            keeper.open(&mut asker, Method::Get, path, "").await
        };
        keeper.restores();
        assert!(matches!(open("52-54-00-00-00-01/ipxe.efi").await, Opened::Serve(_)));
        let (media, answers) = (open("debian/linux"), open("answers/web-1/x/preseed.cfg"));
        let both = async { tokio::join!(media, answers) };
        let mut both = std::pin::pin!(both);
        let early = tokio::time::timeout(Duration::from_millis(50), &mut both).await;
        assert!(early.is_err(), "{early:?}");
        keeper.has_restored();
        let (media, answers) = both.await;
        let reason = |opened: Opened| match opened {
            Opened::Refuse(refusal) => Some(refusal.reason),
            _ => None,
        };
        let found = (reason(media), reason(answers));
        assert_eq!(found, (Some(RefusalReason::NotFound), Some(RefusalReason::Gone)));
    }
}
