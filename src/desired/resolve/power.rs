//! Which keys the kind of a `power` table needs.

use super::Resolver;
use crate::manifest::document::Power;
use crate::manifest::{Code, Mark, Problem};
use crate::model::power::ipmi_host;
use crate::model::{Name, PowerKind};

impl Resolver<'_> {
    /// `whose` is the machine, in words.
    pub(super) fn power(&mut self, whose: &str, power: &Power) {
        let Some(kind) = &power.kind else { return };
        let (is_missing, help) = match kind.value {
            PowerKind::Redfish => (
                power.url.is_none() && power.address.is_none(),
                "write url = \"https://…\", the controller's address",
            ),
            PowerKind::Ipmi => (
                power.url.is_none() && power.address.is_none(),
                "write address = \"…\", the controller's host",
            ),
            PowerKind::Command => (
                power.command.is_none(),
                "write command = \"…\", the name of a `[power.command.NAME]` in the daemon's file",
            ),
            PowerKind::Wol => (false, ""),
        };
        if is_missing {
            let what = match kind.value {
                PowerKind::Redfish => "a `url`",
                PowerKind::Ipmi => "an `address`",
                _ => "a `command`",
            };
            let message = format!("{whose}: `power` of kind \"{}\" needs {what}", kind.value);
            let label = if kind.value == PowerKind::Command {
                "which program is missing"
            } else {
                "the address of its controller is missing"
            };
            let problem = Problem::new(Code::MissingKey, kind.mark, message, label);
            return self.problems.push(problem.help(help));
        }
        self.surplus(whose, power);
        self.twice(whose, power);
        self.bad_host(whose, power);
    }

    /// `power` of a subnet, which is for machines that are registered there.
    pub(super) fn registered_power(&mut self, whose: &str, power: &Power) {
        let written = power.url.as_ref().map(|url| ("url", url.mark));
        let written = written.or(power.address.as_ref().map(|address| ("address", address.mark)));
        if let Some((what, mark)) = written {
            let message = format!("{whose}: `power` takes no `{what}`");
            let label = "each machine has a controller of its own";
            let problem = Problem::new(Code::Exclusive, mark, message, label);
            self.problems.push(problem.help("leave it out: our agent finds the address out"));
        }
        let Some(kind) = power.kind.as_ref().filter(|kind| kind.value == PowerKind::Command) else { return };
        if power.command.is_none() {
            let message = format!("{whose}: `power` of kind \"command\" needs a `command`");
            let problem = Problem::new(Code::MissingKey, kind.mark, message, "which program is missing");
            let help = "write command = \"…\", the name of a `[power.command.NAME]` in the daemon's file";
            self.problems.push(problem.help(help));
        }
    }

    /// Keys that mean nothing with this kind.
    fn surplus(&mut self, whose: &str, power: &Power) {
        let Some(kind) = &power.kind else { return };
        let url = power.url.as_ref().map(|url| ("url", url.mark));
        let address = power.address.as_ref().map(|address| ("address", address.mark));
        let command = power.command.as_ref().map(|command| ("command", command.mark));
        let surplus = match kind.value {
            PowerKind::Wol => url.or(address).or(command),
            PowerKind::Command => url,
            PowerKind::Redfish | PowerKind::Ipmi => command,
        };
        let Some((what, mark)) = surplus else { return };
        let message = format!("{whose}: `power` of kind \"{}\" takes no `{what}`", kind.value);
        let (label, other) = match what {
            "command" => ("no program is called", "command"),
            _ => ("there is no controller to ask", "redfish"),
        };
        let problem = Problem::new(Code::Exclusive, mark, message, label)
            .also(kind.mark, "the kind that does not take it");
        self.problems.push(problem.help(format!("leave `{what}` out, or write kind = \"{other}\"")));
    }

    fn twice(&mut self, whose: &str, power: &Power) {
        if let (Some(url), Some(address)) = (&power.url, &power.address) {
            let message = format!("{whose}: `power` has both `url` and `address`");
            let problem = Problem::new(Code::Exclusive, address.mark, message, "one address is enough")
                .also(url.mark, "the other one");
            self.problems.push(problem.help("leave one of them out"));
        }
    }

    /// What can be no controller, and no name of a program.
    fn bad_host(&mut self, whose: &str, power: &Power) {
        let Some(kind) = &power.kind else { return };
        let written = power.address.as_ref().or(power.url.as_ref());
        if kind.value == PowerKind::Ipmi
            && let Some(written) = written.filter(|written| ipmi_host(&written.value).is_none())
        {
            let message = format!("{whose}: `{}` is no host of an IPMI controller", written.value);
            let problem = Problem::new(Code::BadText, written.mark, message, "not a host, or host:port");
            self.problems.push(problem.help("write it as in address = \"10.0.99.11\" or \"bmc1:623\""));
        }
        if let Some(command) = power.command.as_ref().filter(|command| command.value.parse::<Name>().is_err())
        {
            let message = format!("{whose}: `{}` can be no name of a command", command.value);
            let label = "lower-case letters, digits and hyphens";
            self.problems.push(Problem::new(Code::BadName, command.mark, message, label));
        }
    }

    /// `power-on` needs somebody to switch the machine.
    pub(super) fn power_on(&mut self, machine: &Name, mark: Mark, power: Option<&Power>) {
        if power.is_none() {
            let message = format!("machine {machine} has `power-on` and no `power`");
            let problem = Problem::new(Code::MissingKey, mark, message, "nothing can switch it on");
            self.problems.push(problem.help("write power = { kind = … }, or leave `power-on` out"));
        }
    }
}
