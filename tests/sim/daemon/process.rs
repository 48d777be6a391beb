//! A process that runs: it applies commands, and answers questions once what they caused is stored.

use super::*;

impl Process {
    pub(super) fn apply(&mut self, command: Command, now: u64) -> Outcome {
        (self.is_due, self.commands) = (true, self.commands + 1);
        self.engine.apply(command, Time(now))
    }

    pub(super) fn adopt(&mut self, desired: Arc<Desired>, now: u64) {
        let revision = SourceRevision { settled: "dir@1".into(), ..SourceRevision::default() };
        let sources = SOURCES.iter().map(|source| (source.parse().unwrap(), revision.clone()));
        let kept = Revision { environment: None, sources: Composition::Several(sources.collect()) };
        let adoption = Adoption::new(self.engine.state(), desired, Arc::new(Secrets::stand_in()));
        let adoption = adoption.keeping(Some(Arc::new(kept)));
        assert_eq!(self.apply(Command::daemon(Verb::Adopt(Box::new(adoption))), now), Outcome::Done);
    }

    /// What follows from a decision about a datagram.
    pub(super) fn decided(
        &mut self,
        question: &Question,
        decision: Decision,
        now: u64,
        round: u8,
    ) -> Option<Told> {
        match decision {
            Decision::Reply { bytes, events, .. } => {
                self.note(events, now);
                Some(Told::Datagram(bytes.into()))
            }
            Decision::NeedLease(request, draft) if round <= ROUNDS => {
                let verb = Verb::Lease(vec![request.clone()]);
                let address = match self.apply(Command::machine(verb), now) {
                    Outcome::Leased(addresses) => addresses[0],
                    other => panic!("a lease came to {other:?}"),
                };
                self.waiting.push((question.clone(), Waiting::Lease { request, draft, address, round }));
                None
            }
            Decision::NeedLease(..) | Decision::Silence(_) => None,
        }
    }

    /// What follows from a datagram of DHCPv6: it is decided again when its lease is stored.
    pub(super) fn datagram6(
        &mut self,
        question: &Question,
        link: &dhcp6::Link,
        bytes: &[u8],
        now: u64,
        round: u8,
    ) -> Option<Told> {
        match dhcp6::handle(&self.published, link, Time(now), bytes) {
            dhcp6::Decision::Reply { bytes, events, .. } => {
                self.note(events, now);
                Some(Told::Datagram6(bytes.into()))
            }
            dhcp6::Decision::NeedLease(request) if round <= ROUNDS => {
                self.apply(Command::machine(Verb::Lease6(request)), now);
                self.waiting.push((question.clone(), Waiting::Lease6 { round }));
                None
            }
            dhcp6::Decision::NeedLease(_) | dhcp6::Decision::Silence(_) => None,
        }
    }

    pub(super) fn file(
        &mut self,
        question: &Question,
        mut request: FileRequest,
        asker: &Asker,
        path: &str,
        now: u64,
    ) -> Option<Told> {
        match request.step(&self.published, asker, Wanted { method: Method::Get, path, note: "" }) {
            Step::Done(opened) => Some(self.opened(opened, asker, now)),
            Step::Identify => unreachable!("the cards of simulated machines are known"),
            Step::Store(verb) => {
                let stored = match self.apply(Command::machine(verb), now) {
                    Outcome::Refused(why) => Err(Refusal::new(RefusalReason::Gone, why)),
                    _ => Ok(()),
                };
                self.waiting.push((question.clone(), Waiting::File(request, stored)));
                None
            }
        }
    }

    /// What a question that waited is answered.
    pub(super) fn stored(&mut self, question: &Question, waiting: Waiting, now: u64) -> Option<Told> {
        match (waiting, &question.body) {
            (Waiting::Lease { request, draft, address, round }, Body::Datagram(link, bytes)) => {
                let (at, table) = (request.at, &self.published);
                let decision = converse::leased(table, link, at, bytes, &request, draft, address);
                self.decided(question, decision, now, round + 1)
            }
            (Waiting::Lease6 { round }, Body::Datagram6(link, bytes)) => {
                self.datagram6(question, link, bytes, now, round + 1)
            }
            (Waiting::File(mut request, stored), Body::Fetch(asker, path)) => match request.stored(stored) {
                Some(opened) => Some(self.opened(opened, asker, now)),
                None => self.file(question, request, asker, path, now),
            },
            _ => unreachable!("a question stays what it is"),
        }
    }

    pub(super) fn opened(&mut self, opened: Opened, asker: &Asker, now: u64) -> Told {
        let artifact = match opened {
            Opened::Serve(artifact) => artifact,
            Opened::Refuse(_) => return Told::Refused,
            Opened::Accepted(..) => return Told::Accepted,
        };
        let content = match &artifact.content {
            Content::Bytes(bytes) => bytes.clone(),
            Content::File { .. } => Bytes::new(),
        };
        let (address, deployment) = (Some(asker.address), artifact.deployment.clone());
        let event = Event::new(Time(now), artifact.stage, artifact.text.clone());
        self.note(vec![Event { mac: artifact.mac, address, deployment, ..event }], now);
        if let (Stage::LocalBoot, Some(name)) = (artifact.stage, artifact.deployment)
            && let Some(epoch) = self.published.install_of(&name).map(|install| install.epoch)
        {
            let verb = Verb::Reboot { deployment: name, epoch, at: Time(now) };
            self.apply(Command::machine(verb), now);
        }
        Told::File(artifact.stage, content)
    }

    /// Events alone are no reason to write.
    pub(super) fn note(&mut self, events: Vec<Event>, now: u64) {
        self.commands += 1;
        self.engine.apply(Command::machine(Verb::Observe(events)), Time(now));
    }
}
