//! `voldemortctl events`: the timeline.

use std::time::Duration;

use clap::Args;

use crate::api::client::ClientError;
use crate::api::resource::Listed;
use crate::api::{Client, resource};
use crate::cli::Exit;
use crate::cli::exit::{talk, write};
use crate::cli::live::{Names, names};
use crate::cli::patience::Patience;
use crate::cli::remote::{self, Remote};
use crate::model::Span;
use crate::model::printable::{json, line};
use crate::state::Stage;

/// Show what machines did, oldest first
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Only of deployments of this name; * and ? stand for other letters
    #[arg(value_name = "DEPLOYMENT", add = names(Names::Of(Listed::Deployments)))]
    name: Option<String>,
    /// Only of machines of this name; * and ? stand for other letters
    #[arg(long, value_name = "NAME", add = names(Names::Of(Listed::Machines)))]
    machine: Option<String>,
    /// Only of the machine with this hardware address
    #[arg(long, alias = "MAC")]
    mac: Option<String>,
    /// Only of machines with these labels: NAME=VALUE, NAME!=VALUE, NAME or !NAME, separated by commas
    #[arg(short = 'l', long = "selector", value_name = "LABELS")]
    labels: Option<String>,
    /// Only of these kinds, separated by commas
    #[arg(long, value_delimiter = ',', value_parser = Stage::NAMES.to_vec())]
    stage: Vec<String>,
    /// Only what happened in this time until now: 30m, 2h, 7d
    #[arg(long, value_name = "DURATION")]
    since: Option<Span>,
    /// Keep showing events as they happen
    #[arg(short, long, visible_alias = "follow", visible_short_alias = 'f')]
    watch: bool,
    #[arg(short, long, value_parser = ["table", "jsonl"], default_value = "table")]
    output: String,
}

impl Arguments {
    /// What the daemon filters by, as further parameters.
    fn filter(&self) -> String {
        let stages = Some(self.stage.join(",")).filter(|stages| !stages.is_empty());
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in [
            ("deployment", &self.name),
            ("machine", &self.machine),
            ("mac", &self.mac),
            ("label", &self.labels),
            ("stage", &stages),
        ] {
            query.extend_pairs(value.iter().map(|value| (name, value)));
        }
        format!("&{}", query.finish())
    }
}

/// Between two questions to a daemon that has seen nothing yet.
const EMPTY: Duration = Duration::from_millis(500);

/// How far the events were read.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub after: u64,
    /// What the number belongs to; unknown before the first answer.
    lineage: Option<String>,
}

impl Place {
    /// The next events. `None` where some were lost, which is shown to the person: then it begins with the
    /// oldest that are kept.
    pub(super) async fn next(
        &mut self,
        client: &Client,
        more: &str,
    ) -> Result<Option<resource::Events>, ClientError> {
        let lineage = self.lineage.as_ref().map(|lineage| format!("&lineage={lineage}")).unwrap_or_default();
        let path = format!("/v1/events?after={}{lineage}{more}", self.after);
        match client.get::<resource::Events>(&path).await {
            Ok(found) => {
                self.after = found.next;
                self.lineage = Some(found.lineage.clone());
                Ok(Some(found))
            }
            Err(ClientError::Gone(why)) => {
                talk(&format!("events were lost: {why}"));
                *self = Place::default();
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

pub(super) fn run(arguments: &Arguments, remote: &Remote) -> Exit {
    let filter = arguments.filter();
    let begin = arguments.since.map_or(0, |since| (crate::daemon::now() - since).0);
    let shown = remote.block_on(async |client| {
        let (mut place, mut patience) = (Place::default(), Patience::endless());
        let mut count = 0;
        loop {
            let wait = if arguments.watch && place.after > 0 { 60 } else { 0 };
            let more = format!("&wait={wait}{filter}");
            let Some(found) = patience.ask(async || place.next(&client, &more).await).await? else {
                continue;
            };
            for event in found.events.iter().filter(|event| event.at_ms >= begin) {
                count += 1;
                if let Err(end) = show(arguments, event) {
                    return Ok(end);
                }
            }
            if found.events.is_empty() && !arguments.watch {
                if count == 0 {
                    talk("no events like that are kept");
                }
                return Ok(Exit::Done);
            }
            if found.next == 0 {
                tokio::time::sleep(EMPTY).await;
            }
        }
    });
    match shown {
        Ok(end) => end,
        Err(error) => remote::failed(&error, arguments.output == "jsonl"),
    }
}

/// Prints one of them, or says how the command ends.
fn show(arguments: &Arguments, event: &resource::Event) -> Result<(), Exit> {
    if arguments.output == "jsonl" {
        let text = serde_json::to_string(event).unwrap_or_default();
        return write(&format!("{}\n", json(&text)));
    }
    let who = event.deployment.as_ref().or(event.mac.as_ref()).map_or("-", String::as_str);
    let (who, text) = (line(who), line(&event.text));
    write(&format!("{}  {:<10}  {who:<18}  {text}\n", event.at, event.stage))
}
