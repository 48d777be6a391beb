//! Metadata of a machine that runs: what cloud-init's NoCloud source reads at each start. As answer files it goes
//! to the machine alone, which knows the token; other than these it is served for as long as the installation
//! is the machine's present one, and again and again. A deployment that installs nothing has it always.

use super::{Answer, Asker, Method, Refusal, RefusalReason, Standing, part};
use crate::model::Name;
use crate::render::installer::AnswerFile;
use crate::state::{Install, InstallStage, Permit, PermitStep, Purpose, Stage, State};

pub(super) fn open(
    state: &State,
    asker: &Asker,
    method: Method,
    name: &Name,
    token: &str,
    file: &'static AnswerFile,
) -> Answer {
    let refuse = |reason, text: String| {
        Answer::Refuse(Refusal { deployment: Some(name.clone()), ..Refusal::new(reason, text) })
    };
    let begun = state.install_by(token, Purpose::Metadata, name);
    // The deployment may have been renamed since its machine was given the URL.
    let Some(deployment) = state.deployment(begun.map_or(name, |install| &install.deployment)) else {
        return refuse(RefusalReason::Gone, format!("there is no deployment {name}"));
    };
    let step = match begun {
        _ if !deployment.installs() && state.is_current(token, Purpose::Metadata, deployment) => None,
        Some(install) if state.install_of(&deployment.name).is_some_and(|one| one.epoch == install.epoch) => {
            match step(install, deployment.redeploy, method) {
                Ok(step) => step,
                Err(why) => {
                    return refuse(RefusalReason::Forbidden, format!("{} of {name}: {why}", file.name));
                }
            }
        }
        None if state.is_unbegun(token, Purpose::Metadata, deployment) => {
            return refuse(RefusalReason::Forbidden, format!("no installation of {name} has been started"));
        }
        _ => {
            let why = format!("this is no metadata URL of the present installation of {name}");
            return refuse(RefusalReason::Forbidden, why);
        }
    };
    let Some(machine) = part::machine_of(state, deployment) else {
        return refuse(RefusalReason::Gone, format!("{name} has no machine"));
    };
    let standing = asker.standing(state, machine, deployment);
    if standing == Standing::Unread {
        return Answer::Identify;
    }
    if !standing.may_learn(state.desired().safety.asker) {
        let (file, way_out) = (file.name, standing.way_out());
        let text = format!("{file} of {name} was asked for by {asker}, which is not its machine{way_out}");
        return refuse(RefusalReason::Forbidden, text);
    }
    if let Some(step) = step {
        let permit = Permit::new(state, deployment, step);
        return Answer::Permit(permit);
    }
    part::serve(state, deployment, file, asker, Stage::File)
        .unwrap_or_else(|refusal| Answer::Refuse(Refusal { deployment: Some(name.clone()), ..refusal }))
}

/// What has to be stored before the metadata of this installation leaves, or why it does not. User data can have
/// a disk written to: what was only begun is spent by it, as by answer files.
fn step(install: &Install, wanted: u64, method: Method) -> Result<Option<PermitStep>, &'static str> {
    match install.stage {
        InstallStage::Started if install.redeploy != wanted => {
            Err("another installation was asked for before this one got its answers")
        }
        InstallStage::Started if method == Method::Head => Ok(None),
        InstallStage::Started => Ok(Some(PermitStep::Spend)),
        InstallStage::Doubtful | InstallStage::Approved => {
            Err("it is not known whether this installation is on the machine's disk")
        }
        InstallStage::Spent | InstallStage::Unreported | InstallStage::Failed | InstallStage::Installed => {
            Ok(None)
        }
    }
}
