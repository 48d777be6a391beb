//! The files that are rendered for a machine: its installer's answers, and its metadata.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;

use super::{Answer, Artifact, Asker, Facts, Refusal, RefusalReason, script};
use crate::desired::{Deployment, Machine, Template};
use crate::model::{Content, Mac};
use crate::render::installer::{self, AnswerContent, AnswerFile};
use crate::render::{RenderError, Text as Source, Value};
use crate::state::memo::{Subject, Text};
use crate::state::user_data::UserData;
use crate::state::{Stage, State};

pub(super) fn machine_of<'a>(state: &'a State, deployment: &Deployment) -> Option<&'a Arc<Machine>> {
    state.desired().machines.get(state.assignments().get(&deployment.name)?)
}

/// The file, with URLs that use the daemon's address as the asker reaches it.
pub(super) fn serve(
    state: &State,
    deployment: &Arc<Deployment>,
    file: &'static AnswerFile,
    asker: &Asker,
    stage: Stage,
) -> Result<Answer, Refusal> {
    let name = file.name;
    let part = Part::of(state, deployment, file)
        .ok_or_else(|| Refusal::new(RefusalReason::Gone, format!("{} has no machine", deployment.name)))?;
    // Where another server gives the addresses, the machine's is the one that it asks from.
    let address = state.address_of(deployment, part.mac).or(asker.address4());
    let render = || part.render(state, deployment, address, asker.at);
    // What is to be erased is not kept here either.
    let has_user_data = state.claims().get(&deployment.name).is_some_and(|claim| claim.has_user_data);
    let text = match state.memo().filter(|_| !has_user_data) {
        Some(memo) => {
            let subject = part.subject(state, deployment, address, asker.at);
            let tagged = |bytes: Bytes| Text { etag: script::digest(&bytes).into(), bytes };
            memo.get(state, deployment, subject, || render().map(|text| tagged(bytes_of(file, text))))
        }
        None => render().map(|text| Text::untagged(bytes_of(file, text))),
    };
    let Text { bytes, etag } = text.map_err(|error: RenderError| {
        Refusal::new(RefusalReason::Busy, format!("{name} can't be rendered: {error}"))
    })?;
    Ok(Answer::Serve(Artifact {
        text: format!("{name} of {}", deployment.name),
        content: Content::Bytes(bytes),
        media_type: if is_text(file) { "text/plain; charset=utf-8" } else { "application/gzip" },
        etag: etag.to_string(),
        stage,
        mac: None,
        deployment: Some(deployment.name.clone()),
    }))
}

/// Whether what is served is the text, and not an archive of it.
pub fn is_text(file: &AnswerFile) -> bool {
    file.content != AnswerContent::Overlay
}

fn bytes_of(file: &AnswerFile, text: String) -> Bytes {
    if is_text(file) { text.into() } else { installer::overlay(&text).into() }
}

/// One of the deployment's answer files, or one of its metadata (`nocloud/user-data`), of an archive the text in it;
/// `None` if its template's kind has no such file.
pub fn render(state: &State, deployment: &Deployment, file: &str) -> Option<Result<String, RenderError>> {
    let answers = deployment.template.iter().flat_map(|template| template.kind.files());
    let file = answers.chain(installer::METADATA_FILES).find(|known| known.name == file)?;
    let part = Part::of(state, deployment, file)?;
    Some(part.render(state, deployment, state.address_of(deployment, part.mac), None))
}

/// A file that is rendered for a machine.
struct Part<'a> {
    /// What the content is made of; `None` for files without a template.
    template: Option<&'a Template>,
    file: &'static AnswerFile,
    mac: Mac,
}

impl<'a> Part<'a> {
    /// `None` if the deployment has no machine.
    fn of(state: &State, deployment: &'a Deployment, file: &'static AnswerFile) -> Option<Part<'a>> {
        let mac = state.active_mac(machine_of(state, deployment)?)?;
        let is_metadata = installer::METADATA_FILES.contains(file);
        let template = if is_metadata { deployment.metadata() } else { deployment.template.as_ref() };
        Some(Part { template: template.map(|template| &**template), file, mac })
    }

    fn subject(
        &self,
        state: &State,
        deployment: &Deployment,
        address: Option<Ipv4Addr>,
        at: Option<IpAddr>,
    ) -> Subject {
        let Part { template: _, file, mac } = *self;
        let epoch = state.install_of(&deployment.name).map(|install| install.epoch);
        Subject { file: file.name, mac, address, address6: state.address6_of(deployment, mac), epoch, at }
    }

    /// The text for a machine at `address`, with URLs that use the daemon's address `at`.
    fn render(
        &self,
        state: &State,
        deployment: &Deployment,
        address: Option<Ipv4Addr>,
        at: Option<IpAddr>,
    ) -> Result<String, RenderError> {
        let Part { template, file, mac } = *self;
        let is_metadata = installer::METADATA_FILES.contains(file);
        let facts = Facts { state, deployment, mac, address, at };
        let secret = |name: &str| state.secrets().get(name);
        let given = match state.user_data(&deployment.name) {
            UserData::None => None,
            UserData::Text(text) => Some(text),
            UserData::Withheld(why) => {
                let message = format!("the user data of claim {} can't be given out: {why}", deployment.name);
                return Err(RenderError { line: 0, column: 0, message });
            }
        };
        let fill = |text: &Source| facts.fill_text(text, given.as_deref(), &secret);
        let meta_data = || {
            let host = match facts.all().remove("hostname") {
                Some(Value::String(host)) => host,
                _ => deployment.name.to_string(),
            };
            installer::meta_data(&state.instance_id(deployment), &host)
        };
        match self.file.content {
            // cloud-init gets them as they are, unless a template of the profile makes its user data.
            AnswerContent::Main if is_metadata && deployment.user_data.is_none() && given.is_some() => {
                Ok(given.unwrap_or_default())
            }
            AnswerContent::Main | AnswerContent::Overlay => {
                template.map_or(Ok(String::new()), |template| fill(&template.text))
            }
            AnswerContent::Empty => Ok(String::new()),
            AnswerContent::NetworkConfig | AnswerContent::FirstBoot => {
                let builtin = template.filter(|template| template.origin.is_none());
                builtin.and(file.content.part()).map_or(Ok(String::new()), fill)
            }
            AnswerContent::MetaData => Ok(meta_data()),
            AnswerContent::MetaDataWithKeys => Ok(meta_data() + &fill(&installer::PUBLIC_KEYS)?),
        }
    }
}
