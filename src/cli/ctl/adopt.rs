//! `voldemortctl adopt`: machines that have their systems already, and machines that get a manifest.

use std::collections::BTreeMap;

use clap::Args;

use super::change::How;
use super::get;
use super::output::Format;
use super::several::{Asking, Several, counted, pair};
use crate::api::client::ClientError;
use crate::api::resource::{self, Deployment, Discovered, Listed};
use crate::cli::exit::talk;
use crate::cli::remote::{self, Remote};
use crate::cli::{Exit, apply, exit};
use crate::model::Mac;
use crate::state::Doubts;

/// Record that deployments' machines are installed already, so that they boot their own disks
///
/// With `--name`, and the hardware address of a machine instead of a deployment: a manifest of that name is written for the
/// machine, with labels of what our agent found out about it.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    several: Several,
    /// Every deployment whose installation is doubtful
    #[arg(long, conflicts_with_all = ["names", "labels", "having", "reason"])]
    all: bool,
    /// The name of the machine with this hardware address from now on
    #[arg(long, value_name = "NAME", conflicts_with_all = ["all", "labels", "having"])]
    name: Option<String>,
    /// A label of that machine (repeatable)
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair, requires = "name")]
    own_labels: Vec<(String, String)>,
    /// Why, for the timeline
    #[arg(short = 'm', long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    asking: Asking,
    #[arg(short, long, value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

pub(super) fn run(arguments: &Arguments, remote: &Remote) -> Exit {
    let json = arguments.output == "json";
    if let Some(name) = &arguments.name {
        return machine(name, arguments, remote);
    }
    if arguments.all {
        let order = resource::Order::KeepSystems(Doubts { all: true, ..Doubts::default() });
        let sent =
            remote.block_on(async |client| client.post::<resource::Outcome>("/v1/orders", &order).await);
        return match sent {
            Ok(outcome) => apply::finish(&outcome, json),
            Err(error) => remote::failed(&error, json),
        };
    }
    if let Some(name) = arguments.several.single() {
        return match adopt(name, arguments, remote) {
            Ok(deployment) if json => exit::print_json(&deployment),
            Ok(deployment) => {
                standing(&[deployment]).iter().for_each(|line| talk(line));
                Exit::Done
            }
            Err(error) => remote::failed(&error, json),
        };
    }
    if arguments.several.is_empty() {
        exit::failed("which deployments? name them, or give a pattern, -l, --where or --all", json);
        return Exit::Usage;
    }
    several(arguments, remote)
}

/// Writes a manifest for the machine with a hardware address.
fn machine(name: &str, arguments: &Arguments, remote: &Remote) -> Exit {
    let json = arguments.output == "json";
    let [text] = arguments.several.names.as_slice() else {
        exit::failed("--name goes with the hardware address of one machine", json);
        return Exit::Usage;
    };
    let Ok(mac) = text.parse::<Mac>() else {
        exit::failed(
            &format!("--name goes with a hardware address, as in 52:54:00:aa:00:01, and {text} is none"),
            json,
        );
        return Exit::Usage;
    };
    let list = get::Arguments::of(Listed::Discovered, Format::Json);
    let found = remote.block_on(async |client| get::rows::<Discovered>(&list, &client).await);
    let found = match found {
        Ok(found) => found,
        Err(error) => return remote::failed(&error, json),
    };
    let own = mac.to_string();
    let known = found.into_iter().find(|machine| machine.macs.contains(&own));
    let machine = known.unwrap_or_else(|| Discovered::seen(mac));
    let how = How::because(arguments.reason.as_deref(), &arguments.output);
    how.send(&[machine.edit(Some(name), &arguments.own_labels)], false, remote)
}

fn several(arguments: &Arguments, remote: &Remote) -> Exit {
    let json = arguments.output == "json";
    let found = match remote.block_on(async |client| arguments.several.find(&client).await) {
        Ok(found) => found,
        Err(error) => return remote::failed(&error, json),
    };
    let names: Vec<&str> = found.iter().map(|one| one.name.as_str()).collect();
    let what = counted(names.iter().copied(), "deployment");
    let said = format!("recorded as installed, so that their machines boot their own disks: {what}");
    if let Err(no) = arguments.asking.agree(&said, &names.len().to_string(), json) {
        return no;
    }
    let (mut adopted, mut failed) = (Vec::new(), None);
    for name in &names {
        match adopt(name, arguments, remote) {
            Ok(deployment) => adopted.push(deployment),
            // The others are not worse for it.
            Err(error @ ClientError::Refused(_)) => {
                failed = Some(remote::failed(&ClientError::Refused(format!("{name}: {error}")), false));
            }
            Err(error) => {
                failed = Some(remote::failed(&error, false));
                break;
            }
        }
    }
    if !json {
        standing(&adopted).iter().for_each(|line| talk(line));
    }
    if failed.is_some() {
        talk(&format!("{} of {} were recorded", adopted.len(), names.len()));
    }
    let printed = if json { exit::print_json(&adopted) } else { Exit::Done };
    failed.unwrap_or(printed)
}

fn adopt(name: &str, arguments: &Arguments, remote: &Remote) -> Result<Deployment, ClientError> {
    let request = resource::Adopt { deployment: name.to_owned(), reason: arguments.reason.clone() };
    let adopted = remote.block_on(async |client| client.post::<Deployment>("/v1/adopt", &request).await)?;
    Ok(adopted)
}

/// How they stand now: those that stand alike in one line.
fn standing(adopted: &[Deployment]) -> Vec<String> {
    let mut alike: BTreeMap<(String, &str), Vec<&str>> = BTreeMap::new();
    for one in adopted {
        alike.entry((one.phase.to_string(), &one.next_boot)).or_default().push(&one.name);
    }
    let line = |((phase, next), names): ((String, &str), Vec<&str>)| match names.as_slice() {
        [name] => format!("{name} is {phase}; it {next}"),
        many => format!("{phase}: {}; each {next}", counted(many.iter().copied(), "deployment")),
    };
    alike.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_are_one_line() {
        let one = |name: &str, phase: &str| -> Deployment {
            serde_json::from_value(serde_json::json!({
                "name": name, "machine": null, "macs": [], "address": null, "boot": "debian", "template": null, "redeploy": 0,
                "phase": phase, "next_boot": "boots its own disk", "since": null, "origin": "a.toml:1:1",
                "subnet": { "name": "lab", "cidr": "10.0.10.0/24", "gateway": null },
            }))
            .unwrap()
        };
        let mut adopted: Vec<Deployment> =
            (1..=9).map(|number| one(&format!("db-{number}"), "installed")).collect();
        adopted.push(one("web-1", "waiting"));
        let installed = "installed: 9 deployments: db-1 … db-9; each boots its own disk";
        assert_eq!(standing(&adopted), [installed, "web-1 is waiting; it boots its own disk"]);
    }
}
