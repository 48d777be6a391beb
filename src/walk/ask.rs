//! One request of the machine to the tree of names, and its answer.

use std::borrow::Cow;

use super::shared::Shared;
use super::simulation::Simulation;
use super::{Detail, Step as Stepped};
use crate::model::Content;
use crate::proto::converse::{FileRequest, Opened, Step, Wanted};
use crate::proto::path::{percent_decode, tftp_name};
use crate::proto::tree::{Artifact, Asker, Method, Refusal, RefusalReason, Transport};
use crate::state::command::Outcome;
use crate::state::{Stage, Verb};

impl Simulation<'_> {
    pub(super) fn fetch(&mut self, asker: Asker, name: &str) -> Result<Artifact, String> {
        self.ask(asker, name, None).map_err(|refusal| format!("{name}: {}", refusal.text))
    }

    /// Like `fetch`, but an answer that another simulated boot of this deployment got is used again.
    pub(super) fn fetch_once(
        &mut self,
        asker: Asker,
        name: &str,
        shared: &mut Shared,
    ) -> Result<Artifact, String> {
        let known = shared.rendered(asker, name);
        let is_known = known.is_some();
        let artifact = self.ask(asker, name, known);
        let artifact = artifact.map_err(|refusal| format!("{name}: {}", refusal.text))?;
        if !is_known {
            shared.keep_rendered(asker, name, &artifact);
        }
        Ok(artifact)
    }

    /// Looks whether a name exists. Only "not found" lets a program go on to its next name.
    pub(super) fn probe(&mut self, asker: Asker, name: &str) -> Result<Option<Artifact>, String> {
        match self.ask(asker, name, None) {
            Ok(artifact) => Ok(Some(artifact)),
            Err(Refusal { reason: RefusalReason::NotFound, .. }) => {
                let text = format!("{name} does not exist, which is allowed");
                self.steps.push(Stepped { stage: Stage::File, text, detail: Detail::Nothing }.into());
                Ok(None)
            }
            Err(refusal) => Err(format!("{name}: {}", refusal.text)),
        }
    }

    /// The first name that exists. A program that looks before it reads would get the same answer twice;
    /// here it asks once.
    pub(super) fn fetch_first(
        &mut self,
        asker: Asker,
        names: &[String],
        shared: Option<&mut Shared>,
    ) -> Result<Artifact, String> {
        let [before @ .., last] = names else { return Err("there is no name to ask for".to_owned()) };
        for name in before {
            if let Some(artifact) = self.probe(asker, name)? {
                return Ok(artifact);
            }
        }
        match shared {
            Some(shared) => self.fetch_once(asker, last, shared),
            None => self.fetch(asker, last),
        }
    }

    /// `known` is the answer once it is permitted, if another simulated boot had it rendered.
    fn ask(&mut self, asker: Asker, name: &str, known: Option<&Artifact>) -> Result<Artifact, Refusal> {
        let unreadable =
            |error: crate::proto::path::PathError| Refusal::new(RefusalReason::NotFound, error.to_string());
        let path = match name.strip_prefix(&self.url) {
            Some(path) => percent_decode(path),
            None if asker.transport == Transport::Tftp => tftp_name(name.as_bytes()),
            None => Ok(name.to_owned()),
        };
        let path = path.map_err(unreadable)?;
        let now = self.now;
        let wanted = Wanted { method: Method::Get, path: &path, note: "" };
        let mut request = FileRequest::default();
        loop {
            let verb = match request.step(&self.state, &asker, wanted) {
                Step::Done(Opened::Serve(artifact)) => return Ok(self.served(name, artifact)),
                Step::Done(Opened::Refuse(refusal)) => return Err(refusal),
                Step::Done(Opened::Accepted(..)) | Step::Identify => {
                    return Err(Refusal::new(
                        RefusalReason::Busy,
                        "the tree can't identify the simulated machine",
                    ));
                }
                Step::Store(verb) => verb,
            };
            let is_permit = matches!(verb, Verb::Permit(_));
            let outcome = match self.state.act(verb, now) {
                Outcome::Refused(why) => Err(Refusal::new(RefusalReason::Busy, why)),
                _ => Ok(()),
            };
            match request.stored(outcome) {
                Some(Opened::Refuse(refusal)) => return Err(refusal),
                Some(_) => return Ok(self.served(name, reported())),
                None => {}
            }
            if let Some(known) = known.filter(|_| is_permit) {
                return Ok(self.served(name, known.clone()));
            }
        }
    }

    fn served(&mut self, name: &str, artifact: Artifact) -> Artifact {
        let name = name.to_owned();
        let detail = match &artifact.content {
            Content::Bytes(text) => Detail::Text { name, text: text.clone() },
            Content::File { extents, .. } => {
                Detail::File { name, length: extents.iter().map(|extent| extent.length).sum() }
            }
        };
        self.steps.push(Stepped { stage: artifact.stage, text: artifact.text.clone(), detail }.into());
        artifact
    }
}

/// The bytes as text, with replacement characters where they are not UTF-8. (Checking valid UTF-8 is many
/// times quicker than repairing it, and nearly all of it is valid.)
pub fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// The answer to an installer's report.
fn reported() -> Artifact {
    Artifact {
        content: Content::Bytes(Default::default()),
        media_type: "text/plain",
        etag: String::new(),
        stage: Stage::Completed,
        mac: None,
        deployment: None,
        text: "the installer reports completion".into(),
    }
}
