//! Reports of installers. Only a GET or POST over HTTP of the whole URL is a report: HEAD or a range change
//! nothing, and TFTP carries none.

use super::{Answer, Artifact, Asker, Method, Refusal, RefusalReason, Standing, Transport, script};
use crate::model::{Content, Name};
use crate::state::{Outcome, Purpose, Report, Stage, State};

pub(super) fn open(
    state: &State,
    asker: &Asker,
    method: Method,
    name: &Name,
    token: &str,
    outcome: Outcome,
    note: &str,
) -> Answer {
    let forbidden = |text: String| {
        let refusal = Refusal::new(RefusalReason::Forbidden, text);
        Answer::Refuse(Refusal { deployment: Some(name.clone()), ..refusal })
    };
    // The number may have been raised, or the deployment renamed, while the installer ran: its report
    // still counts.
    let begun = state.install_by(token, Purpose::Hooks, name);
    let current = state.deployment(begun.map_or(name, |install| &install.deployment));
    let redeploy = match (begun, current) {
        (Some(install), _) => install.redeploy,
        (None, Some(deployment)) if state.is_unbegun(token, Purpose::Hooks, deployment) => {
            deployment.redeploy
        }
        _ => return forbidden(format!("this is no report URL of an installation of {name}")),
    };
    if asker.transport == Transport::Tftp {
        return forbidden("reports are accepted by HTTP only".to_owned());
    }
    if method == Method::Head || asker.partial {
        return Answer::Serve(looked_at(name));
    }
    let machine = begun.map(|install| &install.machine).or_else(|| state.assignments().get(name));
    let machine = machine.and_then(|machine| state.desired().machines.get(machine));
    // Without either, the token is all there is.
    let standing = match (machine, current) {
        (Some(machine), Some(deployment)) => asker.standing(state, machine, deployment),
        _ => Standing::Unproven,
    };
    let remark = match standing {
        Standing::Unread => return Answer::Identify,
        Standing::Other => {
            return forbidden(format!("a report of {name} came from {asker}, which is another machine"));
        }
        Standing::Itself => None,
        Standing::Unproven | Standing::Stranger => Some(format!(
            "the report of {name} came from {asker}, an address that is not known as its machine's; its token is \
             right"
        )),
    };
    let deployment = begun.map_or(name, |install| &install.deployment).clone();
    let epoch = begun.map(|install| install.epoch).or_else(|| state.epoch_of(name));
    Answer::Report(Report { deployment, redeploy, epoch, outcome, note: note.into() }, remark)
}

/// The body of a report URL that is only read: empty.
fn looked_at(name: &Name) -> Artifact {
    Artifact {
        etag: script::digest(b""),
        content: Content::Bytes(Default::default()),
        media_type: "text/plain; charset=utf-8",
        stage: Stage::File,
        mac: None,
        deployment: None,
        text: format!("a report URL of {name} was looked at; nothing was reported"),
    }
}
