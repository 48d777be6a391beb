//! Answer files: rendered for one installation, and served while it lasts to its machine, which knows the
//! token.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Answer, Artifact, Asker, Facts, Method, Refusal, RefusalReason, Standing, script};
use crate::desired::{Deployment, Machine, Template};
use crate::model::{Content, Mac, Name};
use crate::render::installer::{self, AnswerContent};
use crate::render::{RenderError, Value};
use crate::state::memo::{Subject, Text};
use crate::state::{InstallStage, Permit, PermitStep, Purpose, Stage, State};

pub(super) fn open(
    state: &State,
    asker: &Asker,
    method: Method,
    name: &Name,
    token: &str,
    file: &str,
) -> Answer {
    let refuse = |reason, text: String| {
        Answer::Refuse(Refusal { deployment: Some(name.clone()), ..Refusal::new(reason, text) })
    };
    let begun = state.install_by(token, Purpose::Answers, name);
    // The deployment may have been renamed since the script was served.
    let current = begun.map_or(name, |install| &install.deployment);
    let Some(deployment) = state.desired().deployments.get(current) else {
        return refuse(RefusalReason::Gone, format!("there is no deployment {name}"));
    };
    let Some(install) = begun else {
        let unbegun = state.is_unbegun(token, Purpose::Answers, deployment);
        let why = match unbegun {
            true => format!("no installation of {name} has been started"),
            false => format!("this is no answer URL of the present installation of {name}"),
        };
        return refuse(RefusalReason::Forbidden, why);
    };
    let is_present = install.redeploy == deployment.redeploy
        && state.install_of(&deployment.name).is_some_and(|present| present.epoch == install.epoch);
    let step = match install.stage {
        _ if !is_present => {
            return refuse(
                RefusalReason::Forbidden,
                format!("this is no answer URL of the present installation of {name}"),
            );
        }
        InstallStage::Started if method == Method::Head => None,
        InstallStage::Started => Some(PermitStep::Spend),
        InstallStage::Spent => None,
        _ => return refuse(RefusalReason::Gone, format!("the installation of {name} is over")),
    };
    let Some(machine) = machine_of(state, deployment) else {
        return refuse(RefusalReason::Gone, format!("{name} has no machine"));
    };
    let standing = asker.standing(state, machine, deployment);
    if standing == Standing::Unread {
        return Answer::Identify;
    }
    if !standing.may_learn(state.desired().safety.asker) {
        let way_out = standing.way_out();
        let text = format!("{file} of {name} was asked for by {asker}, which is not its machine{way_out}");
        return refuse(RefusalReason::Forbidden, text);
    }
    if let Some(step) = step {
        let permit = Permit { deployment: deployment.name.clone(), redeploy: deployment.redeploy, step };
        return Answer::Permit(permit);
    }
    serve(state, deployment, file, asker.at)
        .unwrap_or_else(|refusal| Answer::Refuse(Refusal { deployment: Some(name.clone()), ..refusal }))
}

fn machine_of<'a>(state: &'a State, deployment: &Deployment) -> Option<&'a Arc<Machine>> {
    state.desired().machines.get(state.assignments().get(&deployment.name)?)
}

fn serve(
    state: &State,
    deployment: &Arc<Deployment>,
    file: &str,
    at: Option<IpAddr>,
) -> Result<Answer, Refusal> {
    let missing =
        || Refusal::new(RefusalReason::NotFound, format!("{} has no answer file {file}", deployment.name));
    let part = Part::find(state, deployment, file).ok_or_else(missing)?;
    let render = || part.render(state, deployment, at);
    let text = match &state.memo() {
        Some(memo) => {
            let subject = part.subject(state, deployment, at);
            let tagged =
                |text: String| Text { etag: script::digest(text.as_bytes()).into(), bytes: text.into() };
            memo.get(state, deployment, subject, || render().map(tagged))
        }
        None => render().map(Text::untagged),
    };
    let Text { bytes, etag } = text.map_err(|error: RenderError| {
        Refusal::new(RefusalReason::Busy, format!("{file} can't be rendered: {error}"))
    })?;
    Ok(Answer::Serve(Artifact {
        text: format!("{file} of {}", deployment.name),
        content: Content::Bytes(bytes),
        media_type: "text/plain; charset=utf-8",
        etag: etag.to_string(),
        stage: Stage::Answers,
        mac: None,
        deployment: Some(deployment.name.clone()),
    }))
}

/// One of the deployment's answer files; `None` if its template's kind has no such file.
pub fn render(state: &State, deployment: &Deployment, file: &str) -> Option<Result<String, RenderError>> {
    Some(Part::find(state, deployment, file)?.render(state, deployment, None))
}

/// An answer file of a machine.
struct Part<'a> {
    template: &'a Template,
    file: &'static installer::AnswerFile,
    mac: Mac,
}

impl<'a> Part<'a> {
    /// `None` if the deployment has no such file, or no machine.
    fn find(state: &State, deployment: &'a Deployment, file: &str) -> Option<Part<'a>> {
        let template = deployment.template.as_ref()?;
        let mac = state.active_mac(machine_of(state, deployment)?)?;
        let file = template.kind.files().iter().find(|part| part.name == file)?;
        Some(Part { template, file, mac })
    }

    fn subject(&self, state: &State, deployment: &Deployment, at: Option<IpAddr>) -> Subject {
        let Part { template: _, file, mac } = *self;
        let address = state.address_of(deployment, mac);
        let epoch = state.install_of(&deployment.name).map(|install| install.epoch);
        Subject { file: file.name, mac, address, address6: state.address6_of(deployment, mac), epoch, at }
    }

    /// The text, with URLs that use the daemon's address `at`.
    fn render(
        &self,
        state: &State,
        deployment: &Deployment,
        at: Option<IpAddr>,
    ) -> Result<String, RenderError> {
        let Part { template, file: _, mac } = *self;
        let facts = Facts { state, deployment, mac, address: state.address_of(deployment, mac), at };
        let secret = |name: &str| state.secrets().get(name);
        match self.file.content {
            AnswerContent::Main => {
                facts.fill(&|name| template.text.uses(name), |facts| template.text.render(facts, &secret))
            }
            AnswerContent::Empty => Ok(String::new()),
            AnswerContent::MetaData => {
                let host = match facts.all().remove("hostname") {
                    Some(Value::String(host)) => host,
                    _ => deployment.name.to_string(),
                };
                Ok(installer::meta_data(deployment.name.as_str(), deployment.redeploy, &host))
            }
        }
    }
}
