//! `voldemortctl register`: machines that our agent found get their manifests.

use clap::Args;

use super::change::How;
use super::get;
use super::output::Format;
use super::several::pair;
use crate::api::client::ClientError;
use crate::api::resource::{Discovered, Listed};
use crate::cli::live::{Names, names};
use crate::cli::remote::{self, Remote};
use crate::cli::{Exit, exit};
use crate::edit::Edit;
use crate::model::Mac;

/// Write manifests for discovered machines, which accepts them
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Names or hardware addresses, as `voldemortctl get discovered` shows them
    #[arg(value_name = "NAME-OR-MAC", add = names(Names::Of(Listed::Discovered)), required_unless_present = "all")]
    machines: Vec<String>,
    /// Every machine that was discovered
    #[arg(long, conflicts_with = "machines")]
    all: bool,
    /// The name of the machine from now on, if it is one; else it keeps the one it has
    #[arg(long)]
    name: Option<String>,
    /// A label (repeatable)
    #[arg(short = 'l', long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    how: How,
}

pub(super) fn run(arguments: &Arguments, remote: &Remote) -> Exit {
    let edits = match remote.block_on(async |client| {
        let list = get::Arguments::of(Listed::Discovered, Format::Json);
        edits(arguments, get::rows::<Discovered>(&list, &client).await?)
    }) {
        Ok(edits) => edits,
        Err(error) => return remote::failed(&error, arguments.how.json()),
    };
    if edits.is_empty() {
        exit::failed("no machine was discovered", arguments.how.json());
        return Exit::Failed;
    }
    arguments.how.send(&edits, false, remote)
}

fn edits(arguments: &Arguments, found: Vec<Discovered>) -> Result<Vec<Edit>, ClientError> {
    let wanted: Vec<&Discovered> = match arguments.all {
        true => found.iter().collect(),
        false => {
            let one = |text: &String| one(&found, text);
            arguments.machines.iter().map(one).collect::<Result<_, _>>()?
        }
    };
    if arguments.name.is_some() && wanted.len() > 1 {
        return Err(ClientError::Refused("--name goes with one machine".to_owned()));
    }
    Ok(wanted.into_iter().map(|machine| machine.edit(arguments.name.as_deref(), &arguments.labels)).collect())
}

fn one<'a>(found: &'a [Discovered], text: &str) -> Result<&'a Discovered, ClientError> {
    let mac = text.parse::<Mac>().ok().map(|mac| mac.to_string());
    let fits = |row: &&Discovered| row.name == text || mac.as_ref().is_some_and(|mac| row.macs.contains(mac));
    found.iter().find(fits).ok_or_else(|| {
        let why =
            format!("no machine {text} was discovered: `voldemortctl get discovered` shows those that were");
        ClientError::Refused(why)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn machines_are_found_by_name_and_card() {
        let found: Discovered = serde_json::from_value(json!({
            "name": "m525400aa0001", "macs": ["52:54:00:aa:00:01"], "subnet": null, "arch": "x86_64",
            "vendor": "ACME", "product": null, "serial": null, "memory": 0, "cores": 0, "disks": [],
            "reported": null, "near": null, "facts": null,
        }))
        .unwrap();
        let rows = [found];
        assert_eq!(one(&rows, "52-54-00-AA-00-01").unwrap().name, "m525400aa0001");
        assert!(one(&rows, "m1").is_err());
    }
}
