//! Which keys the kind of a `power` table needs.

use super::Resolver;
use crate::manifest::document::Power;
use crate::manifest::{Code, Problem};
use crate::model::Name;

impl Resolver<'_> {
    pub(super) fn power(&mut self, machine: &Name, power: &Power) {
        let Some(kind) = &power.kind else { return };
        let has_controller = kind.value.has_controller();
        if has_controller && power.url.is_none() {
            let message = format!("machine {machine}: `power` of kind \"{}\" needs a `url`", kind.value);
            let problem = Problem::new(
                Code::MissingKey,
                kind.mark,
                message,
                "the address of its controller is missing",
            );
            return self.problems.push(problem.help("write url = \"https://…\", the controller's address"));
        }
        let url = power.url.as_ref().map(|url| ("url", url.mark));
        let credentials = power.credentials.as_ref().map(|secret| ("credentials", secret.mark));
        if !has_controller && let Some((what, mark)) = url.or(credentials) {
            let message = format!("machine {machine}: `power` of kind \"{}\" takes no `{what}`", kind.value);
            let problem = Problem::new(Code::Exclusive, mark, message, "there is no controller to ask")
                .also(kind.mark, "the kind that has no controller");
            self.problems.push(problem.help(format!("leave `{what}` out, or write kind = \"redfish\"")));
        }
    }
}
