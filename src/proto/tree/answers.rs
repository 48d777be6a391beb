//! Answer files: rendered for one installation, served to who knows its token, while it lasts.

use std::net::Ipv6Addr;

use super::{Answer, Artifact, Asker, Facts, Method, Refusal, RefusalReason, script};
use crate::desired::Deployment;
use crate::model::{Content, Name};
use crate::render::kind::{self, AnswerContent};
use crate::render::{RenderError, Value};
use crate::table::{InstallStage, Permit, PermitStep, Purpose, Stage, Table};

pub fn open(table: &Table, asker: &Asker, method: Method, name: &Name, token: &str, file: &str) -> Answer {
    let refuse = |reason, text: String| {
        Answer::Refuse(Refusal { deployment: Some(name.clone()), ..Refusal::new(reason, text) })
    };
    let Some(deployment) = table.desired.deployments.get(name) else {
        return refuse(RefusalReason::Gone, format!("there is no deployment {name}"));
    };
    if !table.accepts(token, Purpose::Answers, name, deployment.redeploy) {
        return refuse(
            RefusalReason::Forbidden,
            format!("this is no answer URL of the present installation of {name}"),
        );
    }
    let stage = table.installs.get(name).filter(|install| install.redeploy == deployment.redeploy);
    match stage.map(|install| install.stage) {
        Some(InstallStage::Started) if method == Method::Head => {}
        Some(InstallStage::Started) => {
            return Answer::Permit(Permit {
                deployment: name.clone(),
                redeploy: deployment.redeploy,
                step: PermitStep::Spend,
            });
        }
        Some(InstallStage::Spent) => {}
        None => {
            return refuse(RefusalReason::Forbidden, format!("no installation of {name} has been started"));
        }
        Some(_) => return refuse(RefusalReason::Gone, format!("the installation of {name} is over")),
    }
    serve(table, deployment, file, asker.at)
        .unwrap_or_else(|refusal| Answer::Refuse(Refusal { deployment: Some(name.clone()), ..refusal }))
}

fn serve(
    table: &Table,
    deployment: &Deployment,
    file: &str,
    at: Option<Ipv6Addr>,
) -> Result<Answer, Refusal> {
    let missing =
        || Refusal::new(RefusalReason::NotFound, format!("{} has no answer file {file}", deployment.name));
    let text = render_at(table, deployment, file, at).ok_or_else(missing)?;
    let text = text
        .map_err(|error| Refusal::new(RefusalReason::Busy, format!("{file} can't be rendered: {error}")))?;
    let etag = script::digest(text.as_bytes());
    Ok(Answer::Serve(Artifact {
        text: format!("{file} of {}", deployment.name),
        content: Content::Bytes(text.into()),
        media_type: "text/plain; charset=utf-8",
        etag,
        stage: Stage::Answers,
        mac: None,
        deployment: Some(deployment.name.clone()),
    }))
}

/// One of the deployment's answer files; `None` if its template's kind has no such file.
pub fn render(table: &Table, deployment: &Deployment, file: &str) -> Option<Result<String, RenderError>> {
    render_at(table, deployment, file, None)
}

/// The same with URLs that lead to our IPv6 address `at`.
fn render_at(
    table: &Table,
    deployment: &Deployment,
    file: &str,
    at: Option<Ipv6Addr>,
) -> Option<Result<String, RenderError>> {
    let template = deployment.template.as_ref()?;
    let machine = table.desired.machines.get(table.assignments.get(&deployment.name)?)?;
    let mac = table.active_mac(machine)?;
    let facts = Facts { table, deployment, mac, address: table.address_of(deployment, mac), at };
    let secret = |name: &str| table.secrets.get(name);
    let content = template.kind.files().iter().find(|part| part.name == file)?.content;
    Some(match content {
        AnswerContent::Main => {
            facts.fill(&|name| template.text.uses(name), |facts| template.text.render(facts, &secret))
        }
        AnswerContent::Empty => Ok(String::new()),
        AnswerContent::MetaData => {
            let host = match facts.all().remove("hostname") {
                Some(Value::String(host)) => host,
                _ => deployment.name.to_string(),
            };
            Ok(kind::meta_data(deployment.name.as_str(), deployment.redeploy, &host))
        }
    })
}
