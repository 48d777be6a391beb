//! `voldemortctl get KIND --watch`: a list, and then each row again that changes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Arguments, whole};
use crate::api::client::ClientError;
use crate::api::resource::Row;
use crate::cli::ctl::events::Place;
use crate::cli::ctl::output::{self, Format};
use crate::cli::patience::Patience;
use crate::cli::remote::{self, Remote};
use crate::cli::{Exit, exit};
use crate::model::printable;

/// Longest time without a look at the list, in seconds: not every change has an event.
const LOOK: u64 = 5;
/// Shortest time between two looks: in a storm of events a list is not read for each.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs until its reader is gone.
pub(super) fn run<T: Row>(arguments: &Arguments, remote: &Remote) -> Exit {
    let json = arguments.output.is_json();
    if !matches!(arguments.output, Format::Table | Format::Wide | Format::Jsonl | Format::Name) {
        let why = "--watch has no end, as a document of this form needs: use table, wide, jsonl or name";
        exit::failed(why, json);
        return Exit::Usage;
    }
    let shown = remote.block_on(async |client| {
        let (mut place, mut patience) = (Place::default(), Patience::endless());
        let mut known: BTreeMap<String, Value> = BTreeMap::new();
        let mut is_first = true;
        loop {
            // What happens while the list is read ends the wait that follows.
            while let Some(found) = patience.ask(async || place.next(&client, "").await).await?
                && !found.events.is_empty()
            {}
            // What is followed by its name may go, and come back.
            let all: Vec<T> = patience
                .ask(async || arguments.named(whole::<T>(arguments, &client).await?, !is_first))
                .await?;
            if let Err(end) = show(arguments, all, &mut known, is_first)? {
                return Ok(end);
            }
            is_first = false;
            tokio::time::sleep(PAUSE).await;
            let more = format!("&wait={LOOK}");
            patience.ask(async || place.next(&client, &more).await).await?;
            if place.after == 0 {
                tokio::time::sleep(PAUSE).await;
            }
        }
    });
    match shown {
        Ok(end) => end,
        Err(error) => remote::failed(&error, json),
    }
}

/// Prints the rows that are not as they were, and which are gone; or says how the command ends.
fn show<T: Row>(
    arguments: &Arguments,
    all: Vec<T>,
    known: &mut BTreeMap<String, Value>,
    is_first: bool,
) -> Result<Result<(), Exit>, ClientError> {
    let mut now = BTreeMap::new();
    let mut changed = Vec::new();
    for row in all {
        let value = serde_json::to_value(&row).unwrap_or_default();
        let key = row.key();
        if known.get(&key) != Some(&value) {
            changed.push(row);
        }
        now.insert(key, value);
    }
    let gone: Vec<&String> = known.keys().filter(|key| !now.contains_key(*key)).collect();
    let mut text = String::new();
    if is_first || !changed.is_empty() {
        let made = output::text(arguments.kind.name(), &changed, arguments.output, &arguments.columns);
        text = made.map_err(ClientError::Refused)?;
        if !is_first && matches!(arguments.output, Format::Table | Format::Wide) {
            // The titles stand above the first rows.
            text = text.split_once('\n').map(|(_, rows)| rows.to_owned()).unwrap_or_default();
        }
    }
    for key in gone {
        match arguments.output {
            Format::Jsonl => {
                text += &printable::json(&format!("{}\n", json!({ "name": key, "gone": true })));
            }
            _ => exit::talk(&format!("{key} is gone")),
        }
    }
    *known = now;
    Ok(if text.is_empty() { Ok(()) } else { exit::write(&text) })
}
