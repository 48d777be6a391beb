//! `voldemortctl register`: machines that our agent found get their manifests.

use clap::Args;

use super::change::How;
use super::get;
use super::output::Format;
use super::several::pair;
use crate::api::client::ClientError;
use crate::api::resource::{Discovered, Listed};
use crate::cli::exit::talk;
use crate::cli::live::{Names, names};
use crate::cli::remote::{self, Remote};
use crate::cli::{Exit, exit};
use crate::edit::Edit;
use crate::model::Mac;

/// Machines of one request: fewer than a request may have edits, since 1,000 with their `power` would be too long for one.
const PIECE: usize = 500;

/// Write manifests for discovered machines, which accepts them
///
/// Of more than 500 each 500 are one commit.
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
    in_pieces(&edits, |piece| arguments.how.send_some(piece, remote))
}

/// Has edits that don't depend on each other sent, so many at a time, until the others can't follow.
fn in_pieces(edits: &[Edit], mut send: impl FnMut(&[Edit]) -> (Exit, bool)) -> Exit {
    let mut left = edits.len();
    for piece in edits.chunks(PIECE) {
        let (exit, goes_on) = send(piece);
        left -= piece.len();
        if !goes_on && left > 0 {
            talk(&format!("{left} further machines were not sent: register them when these are live"));
            return exit.and(Exit::Failed);
        }
        if !goes_on {
            return exit;
        }
    }
    Exit::Done
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
    use crate::edit::Verb;
    use crate::manifest::Kind;

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

    #[test]
    fn many_machines_are_several_requests() {
        let edit = Edit {
            verb: Verb::Create,
            kind: Kind::Machine,
            name: Some("m1".into()),
            mac: None,
            settings: Vec::new(),
            deployment_type: None,
            if_match: None,
        };
        let edits = vec![edit; 1250];
        let sent = |answers: &[(Exit, bool)]| {
            let (mut answers, mut sizes) = (answers.iter().copied(), Vec::new());
            let exit = in_pieces(&edits, |piece| {
                sizes.push(piece.len());
                answers.next().unwrap()
            });
            (exit, sizes)
        };
        assert_eq!(sent(&[(Exit::Done, true); 3]), (Exit::Done, vec![500, 500, 250]));
        let refused = [(Exit::Done, true), (Exit::Refused, false)];
        assert_eq!(sent(&refused), (Exit::Refused, vec![500, 500]));
        assert_eq!(sent(&[(Exit::Done, false)]), (Exit::Failed, vec![500]), "it waits to be merged");
        let last = [(Exit::Done, true), (Exit::Done, true), (Exit::NotAllowed, false)];
        assert_eq!(sent(&last), (Exit::NotAllowed, vec![500, 500, 250]));
    }
}
