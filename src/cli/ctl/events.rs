//! `voldemortctl events`: the timeline.

use clap::Args;

use crate::api::types;
use crate::cli::Exit;
use crate::cli::remote::{self, Remote};
use crate::model::printable::{json, line};

/// Show what machines did, oldest first
#[derive(Args, Debug)]
pub struct Arguments {
    /// Only of the machine with this hardware address
    #[arg(long, alias = "MAC")]
    mac: Option<String>,
    /// Go on as things happen
    #[arg(short, long)]
    watch: bool,
    #[arg(short, long, value_parser = ["table", "jsonl"], default_value = "table")]
    output: String,
}

pub fn run(arguments: &Arguments, remote: &Remote) -> Exit {
    let filter = arguments.mac.as_ref().map(|mac| format!("&mac={mac}")).unwrap_or_default();
    let shown = remote.block_on(async |client| {
        let mut after = 0;
        loop {
            let wait = if arguments.watch && after > 0 { 60 } else { 0 };
            let path = format!("/v1/events?after={after}&wait={wait}{filter}");
            let found: types::Events = client.get(&path).await?;
            found.events.iter().for_each(|event| show(arguments, event));
            if found.events.is_empty() && !arguments.watch {
                return Ok(());
            }
            after = found.next.max(1);
        }
    });
    match shown {
        Ok(()) => Exit::Done,
        Err(error) => remote::failed(&error, arguments.output == "jsonl"),
    }
}

fn show(arguments: &Arguments, event: &types::Event) {
    if arguments.output == "jsonl" {
        if let Ok(text) = serde_json::to_string(event) {
            println!("{}", json(&text));
        }
        return;
    }
    let who = event.deployment.as_ref().or(event.mac.as_ref()).map_or("-", String::as_str);
    println!("{}  {:<10}  {:<18}  {}", event.at, event.stage, line(who), line(&event.text));
}
