//! `voldemortctl logs`: what machines log by syslog.

use std::time::Duration;

use clap::Args;

use crate::api::client::{ClientError, escaped};
use crate::api::resource::log::{LogLine, Logs};
use crate::cli::Exit;
use crate::cli::exit::{talk, write};
use crate::cli::patience::Patience;
use crate::cli::remote::{self, Remote};
use crate::model::printable::{json, line};
use crate::model::{Severity, Span};

/// Show what a machine logs by syslog, oldest first
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// A machine, a deployment or an address; of all if absent
    name: Option<String>,
    /// Keep showing lines as they come
    #[arg(short = 'f', long, visible_alias = "watch")]
    follow: bool,
    /// Only what came in this time until now: 30m, 2h, 7d
    #[arg(long, value_name = "DURATION")]
    since: Option<Span>,
    /// The least urgent that is shown: emerg, alert, crit, err, warning, notice, info, debug
    #[arg(long, value_parser = severity)]
    severity: Option<Severity>,
    #[arg(short, long, value_parser = ["table", "jsonl"], default_value = "table")]
    output: String,
}

fn severity(word: &str) -> Result<Severity, String> {
    Severity::named(word).ok_or_else(|| format!("it is one of {}", Severity::NAMES.join(", ")))
}

/// Between two questions to a daemon that has seen nothing yet.
const EMPTY: Duration = Duration::from_millis(500);
/// How long an answer waits for the next line, in seconds.
const WAIT: u64 = 60;

pub(super) fn run(arguments: &Arguments, remote: &Remote) -> Exit {
    let shown = remote.block_on(async |client| {
        let more = arguments.filter();
        let (mut after, mut lineage) = (0, None::<String>);
        let mut patience = Patience::endless();
        loop {
            let of = lineage.as_ref().map(|lineage| format!("&lineage={lineage}")).unwrap_or_default();
            let wait = if arguments.follow && after > 0 { WAIT } else { 0 };
            let path = format!("/v1/logs?after={after}{of}&wait={wait}{more}");
            let found = match patience.ask(async || client.get::<Logs>(&path).await).await {
                Ok(found) => found,
                Err(ClientError::Gone(why)) => {
                    talk(&format!("lines were lost: {why}"));
                    (after, lineage) = (0, None);
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let Err(end) = found.lines.iter().try_for_each(|line| write(&arguments.shown(line))) {
                return Ok(end);
            }
            if found.lines.is_empty() && !arguments.follow {
                return Ok(Exit::Done);
            }
            (after, lineage) = (found.next, Some(found.lineage));
            if after == 0 {
                tokio::time::sleep(EMPTY).await;
            }
        }
    });
    match shown {
        Ok(end) => end,
        Err(error) => remote::failed(&error, arguments.output == "jsonl"),
    }
}

impl Arguments {
    /// The parameters besides the place.
    fn filter(&self) -> String {
        let name = self.name.as_ref().map(|name| format!("&name={}", escaped(name)));
        let since = self
            .since
            .map(|since| format!("&since={}", escaped(&(crate::daemon::now() - since).to_string())));
        let severity = self.severity.map(|severity| format!("&severity={severity}"));
        [name, since, severity].into_iter().flatten().collect()
    }

    fn shown(&self, one: &LogLine) -> String {
        if self.output == "jsonl" {
            return format!("{}\n", json(&serde_json::to_string(one).unwrap_or_default()));
        }
        let LogLine { at, severity, program, text, .. } = one;
        let who = one.machine.clone().unwrap_or_else(|| one.address.to_string());
        let who = if self.name.is_some() { String::new() } else { format!("{who:<18}  ") };
        let program = program.as_ref().map(|program| format!("{program}: ")).unwrap_or_default();
        format!("{}\n", line(&format!("{at}  {who}{severity:<7}  {program}{text}")))
    }
}
