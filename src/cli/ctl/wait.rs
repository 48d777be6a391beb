//! `voldemortctl wait`: until deployments have come to a phase.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::events::Place;
use super::several::{Several, counted};
use crate::api::Client;
use crate::api::client::{ClientError, escaped};
use crate::api::resource::Deployment;
use crate::cli::exit::talk;
use crate::cli::patience::Patience;
use crate::cli::remote::{self, Remote};
use crate::cli::{Exit, exit};
use crate::model::folded::folded;
use crate::model::{Phase, Span};

/// Wait until deployments are installed, or in another phase
///
/// Of several it waits for all: for each until it has come to the phase, or to one that it does not leave without
/// a person. Then it says who is missing.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    several: Several,
    /// The phase to wait for
    #[arg(long = "for", value_name = "PHASE", default_value = "installed", value_parser = phase())]
    phase: Phase,
    /// Longest wait, as in 30m
    #[arg(long, default_value = "1h")]
    timeout: String,
    #[arg(short, long, value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

/// Longest single question to the daemon, in seconds.
const ASK: u64 = 30;
/// Shortest time between two looks at several deployments: in a storm of events they are not read for each.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) fn run(arguments: &Arguments, remote: &Remote) -> Exit {
    let json = arguments.output == "json";
    let Ok(Span(limit)) = arguments.timeout.parse::<Span>() else {
        let why = format!("--timeout: `{}` is no time; write it as in 30m", arguments.timeout);
        remote::failed(&ClientError::Refused(why), json);
        return Exit::Usage;
    };
    if arguments.several.is_empty() {
        exit::failed("which deployments? name them, or give a pattern, -l or --where", json);
        return Exit::Usage;
    }
    let end = Instant::now() + Duration::from_millis(limit);
    match remote.block_on(async |client| wait(arguments, &client, end).await) {
        Ok((found, gone)) => report(arguments, &found, &gone),
        Err(error) => remote::failed(&error, json),
    }
}

/// Those that are waited for as they are at the end, and the names of those that went meanwhile.
async fn wait(
    arguments: &Arguments,
    client: &Client,
    end: Instant,
) -> Result<(Vec<Deployment>, Vec<String>), ClientError> {
    let single = arguments.several.single().map(|name| format!("/v1/deployments/{}", escaped(name)));
    let (mut place, mut patience) = (Place::default(), Patience::until(end));
    let mut awaited: Option<BTreeSet<String>> = None;
    loop {
        let ask = async || match &single {
            Some(path) => client.get(path).await.map(|one: Deployment| vec![one]),
            None => look(arguments, client, awaited.as_ref()).await,
        };
        let found = patience.ask(ask).await?;
        // Who fits later is not waited for.
        let names = awaited.get_or_insert_with(|| found.iter().map(|one| one.name.clone()).collect());
        let is_settled = |one: &Deployment| one.phase == arguments.phase || is_stuck(one);
        let left = end.saturating_duration_since(Instant::now());
        if found.iter().all(is_settled) || left.as_secs() == 0 {
            let here: BTreeSet<&String> = found.iter().map(|one| &one.name).collect();
            let gone = names.iter().filter(|name| !here.contains(name)).cloned().collect();
            return Ok((found, gone));
        }
        if single.is_none() {
            tokio::time::sleep(PAUSE.min(left)).await;
        }
        let more = format!("&wait={}", left.as_secs().min(ASK));
        patience.ask(async || place.next(client, &more).await).await?;
    }
}

/// Those of a first look, or all that are meant.
async fn look(
    arguments: &Arguments,
    client: &Client,
    awaited: Option<&BTreeSet<String>>,
) -> Result<Vec<Deployment>, ClientError> {
    let Some(awaited) = awaited else { return arguments.several.find(client).await };
    // Labels and fields may change while it is waited: then only the names count.
    let all = Several { names: vec!["*".to_owned()], ..Several::default() };
    match all.find(client).await {
        Ok(found) => Ok(found.into_iter().filter(|one| awaited.contains(&one.name)).collect()),
        Err(ClientError::Refused(_)) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn report(arguments: &Arguments, found: &[Deployment], gone: &[String]) -> Exit {
    let json = arguments.output == "json";
    let is_there = |one: &&Deployment| one.phase == arguments.phase;
    let printed = match (json, arguments.several.single().and(found.first())) {
        (true, Some(one)) => exit::print_json(one),
        (true, None) => exit::print_json(&found),
        (false, _) => Exit::Done,
    };
    let missing: Vec<&Deployment> = found.iter().filter(|one| !is_there(one)).collect();
    if missing.is_empty() && gone.is_empty() {
        match found {
            [one] => talk(&format!("{} is {}", one.name, one.phase)),
            _ => {
                let names = counted(found.iter().map(|one| one.name.as_str()), "deployment");
                talk(&format!("{} now: {names}", arguments.phase));
            }
        }
        return printed;
    }
    let stuck = missing.iter().any(|one| is_stuck(one)) || !gone.is_empty();
    if let ([one], [only], []) = (found, missing.as_slice(), gone) {
        let seen = format!("{} is {}", one.name, one.phase);
        talk(&match is_stuck(only) {
            true => format!("{seen}: {}", one.next_boot),
            false => format!(
                "{seen} and was not {} within {}; at its next network boot it {}",
                arguments.phase, arguments.timeout, one.next_boot
            ),
        });
        return if stuck { Exit::Failed } else { Exit::Unreachable };
    }
    let there = found.iter().filter(is_there).count();
    let within = if missing.iter().all(|one| is_stuck(one)) { "" } else { &*arguments.timeout };
    let within = if within.is_empty() { String::new() } else { format!(" within {within}") };
    talk(&format!("{there} of {} are {}{within}; missing:", found.len() + gone.len(), arguments.phase));
    let mut by_phase: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    missing.iter().for_each(|one| by_phase.entry(one.phase.to_string()).or_default().push(&one.name));
    let gone = (!gone.is_empty()).then(|| ("gone".to_owned(), gone.iter().map(String::as_str).collect()));
    for (phase, names) in by_phase.into_iter().chain(gone) {
        exit::say(format!("  {phase} ({}): {}", names.len(), folded(names)));
    }
    if stuck { Exit::Failed } else { Exit::Unreachable }
}

/// Whether it stays in its phase until a person does something.
fn is_stuck(deployment: &Deployment) -> bool {
    deployment.phase.known().is_some_and(Phase::is_stuck)
}

fn phase() -> impl TypedValueParser<Value = Phase> {
    PossibleValuesParser::new(Phase::NAMES).try_map(|text| Phase::named(&text).ok_or("this is no phase"))
}
