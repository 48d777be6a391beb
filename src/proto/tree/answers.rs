//! Answer files: rendered for one installation, and served while it lasts to its machine, which knows the
//! token.

use super::{Answer, Asker, Method, Refusal, RefusalReason, Standing, part};
use crate::model::Name;
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
    let Some(deployment) = state.deployment(current) else {
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
    let Some(machine) = part::machine_of(state, deployment) else {
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
        return Answer::Permit(Permit::new(state, deployment, step));
    }
    let files = deployment.template.iter().flat_map(|template| template.kind.files());
    match files.into_iter().find(|known| known.name == file) {
        Some(file) => part::serve(state, deployment, file, asker, Stage::Answers)
            .unwrap_or_else(|refusal| Answer::Refuse(Refusal { deployment: Some(name.clone()), ..refusal })),
        None => refuse(RefusalReason::NotFound, format!("{} has no answer file {file}", deployment.name)),
    }
}
