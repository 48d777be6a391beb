//! `voldemort try`: boots one deployment in a throw-away virtual machine, with real firmware and the real
//! daemon on a private network, and shows what happens stage by stage.

pub mod daemon;
pub mod disk;
pub mod machine;
mod needs;
pub mod network;
pub mod progress;
pub mod qmp;
pub mod scratch;
pub mod serial;
pub mod subject;
mod timeline;
mod trial;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::check::{Job, Scope, from_here};
use super::exit::{print, say};
use super::{Exit, exit};
use crate::desired::{Media, Options};
use crate::inventory::Loaded;
use crate::manifest::report::Roots;
use crate::media::Shelf;
use crate::model::Name;
use machine::Firmware;
use progress::Step;
use subject::Subject;
use timeline::Report;
use trial::{Ending, Trial};

#[derive(Args, Clone, Debug)]
#[command(override_usage = "voldemort try [OPTIONS] [DIR] <DEPLOYMENT>")]
pub struct Arguments {
    /// The inventory's directory (`.` if left out), and the deployment
    #[arg(required = true, num_args = 1..=2, value_names = ["DIR", "DEPLOYMENT"])]
    words: Vec<String>,
    /// With this environment laid over the inventory
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    /// The firmware of the machine
    #[arg(long, value_enum, default_value = "bios")]
    firmware: Firmware,
    /// Look for images in this directory too (repeatable)
    #[arg(long, value_name = "DIR")]
    media: Vec<PathBuf>,
    /// The key that opens the inventory's secrets, as [secrets] identity of the daemon's file
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Stop successfully when this step is reached
    #[arg(long, value_enum, value_name = "STEP")]
    until: Option<Step>,
    /// Give up after this time: 90s, 10m, 1h
    #[arg(long, default_value = "10m", value_parser = duration)]
    timeout: Duration,
    /// Memory of the machine in MiB; that of the boot if absent, at least 1024
    #[arg(long, value_parser = clap::value_parser!(u32).range(128..=65536))]
    memory: Option<u32>,
    /// Keep logs and disk, and print their path
    #[arg(long)]
    keep: bool,
    /// The form of the result on stdout
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// One line
    Text,
    /// The whole timeline
    Json,
}

/// Runs the command.
///
/// To be called while the process has a single thread: only such a process may enter a user
/// namespace (unshare(2)).
pub fn run(arguments: &Arguments) -> Exit {
    // The network is entered first, because loading an inventory may start threads; its error is reported
    // last, because a mistake in the manifests matters more.
    let network = network::enter();
    let failed = |why: &str| exit::failed(why, arguments.output == Output::Json);
    let (directory, name) = match arguments.words.as_slice() {
        [name] => (Path::new("."), name.as_str()),
        [directory, name, ..] => (Path::new(directory), name.as_str()),
        [] => return failed("no deployment is named"),
    };
    let subject = match load(directory, arguments, name) {
        Ok(subject) => subject,
        Err(problems) => return failed(&problems),
    };
    if subject.has_secrets && arguments.identity.is_none() {
        return failed("the inventory has secrets: name the key that opens them with --identity FILE");
    }
    let missing = needs::missing(arguments.firmware);
    if !missing.is_empty() {
        return failed(&needs::advice(&missing));
    }
    if let Err(error) = network {
        return failed(&error.to_string());
    }
    match Trial::prepare(arguments, directory, &subject) {
        Ok(mut trial) => {
            let ending = trial.run();
            report(arguments, &trial, &ending)
        }
        Err(_) if scratch::interrupted() => {
            failed("interrupted before the machine was switched on");
            Exit::Interrupted
        }
        Err(error) => failed(&error.to_string()),
    }
}

/// The offline part: everything that can be known before a machine is switched on. On failure returns all
/// problems as text.
fn load(directory: &Path, arguments: &Arguments, name: &str) -> Result<Subject, String> {
    let shelf = Shelf::new(arguments.media.clone(), None).with_directory(directory.to_owned());
    let options = Options { media: Media::Required, fallback: Vec::new() };
    let scope = Scope::Only(arguments.env.clone());
    let loaded = Job { root: directory, scope, library: &shelf, options }.check()?;
    match loaded.errors() {
        0 => {
            let subject = Subject::find(&loaded.desired, name).map_err(|error| error.to_string())?;
            let has_secrets = !loaded.desired.secrets.is_empty();
            Ok(Subject { memory: asked(&loaded, &subject.deployment), has_secrets, ..subject })
        }
        _ => Err(loaded.report_from(&Roots::of(from_here(directory)))),
    }
}

/// The memory that the deployment's boot needs, in MiB.
fn asked(loaded: &Loaded, deployment: &Name) -> Option<u32> {
    let boot = &loaded.desired.deployments.get(deployment)?.boot.name;
    let memory = loaded.documents.boots.get(boot)?.body.memory.as_ref()?;
    u32::try_from(memory.value.0.div_ceil(1 << 20)).ok()
}

/// Prints how it ended.
fn report(arguments: &Arguments, trial: &Trial, ending: &Ending) -> Exit {
    let last = trial.last();
    let (result, exit, reason) = match ending {
        Ending::Done(reason) => ("done", Exit::Done, reason.clone()),
        Ending::Failed(reason) => ("failed", Exit::Failed, format!("{reason} (last step: {})", last.name())),
        Ending::TimedOut => {
            ("timed-out", Exit::Unreachable, format!("timed out (last step: {})", last.name()))
        }
        Ending::Interrupted => ("interrupted", Exit::Interrupted, "interrupted".into()),
    };
    if matches!(ending, Ending::Failed(_) | Ending::TimedOut) {
        trial.show_logs();
        let reason = serial::printable(&reason);
        say(format_args!("voldemort: {reason}\n  the usual cause: {}", last.usual_cause()));
    }
    if let Some(path) = trial.kept() {
        say(format_args!("voldemort: logs and disk are in {}", path.display()));
    }
    let report = Report {
        deployment: trial.deployment(),
        firmware: arguments.firmware.name(),
        accelerator: trial.accelerator().name(),
        result,
        reason,
        last: last.name(),
        seconds: trial.elapsed().as_secs_f64(),
        timeline: trial.timeline(),
    };
    let printed = match arguments.output {
        Output::Text => {
            print(&format!("{}: {} ({:.0} s)\n", report.deployment, report.reason, report.seconds))
        }
        Output::Json => exit::print_json(&serde_json::json!(report)),
    };
    if exit == Exit::Done { printed } else { exit }
}

/// `90s`, `10m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let hint = || "write a time as 90s, 10m or 1h".to_owned();
    let unit = text.chars().last().ok_or_else(hint)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return Err(hint()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| hint())?;
    number.checked_mul(seconds).filter(|time| *time > 0).map(Duration::from_secs).ok_or_else(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        for text in ["", "10", "m", "0s", "-1m", "9999999999999999999h", "1ä"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn the_directory_may_be_left_out() {
        use clap::Parser;
        let words = |line: &[&str]| Line::try_parse_from(line).map(|line| line.arguments.words);
        assert_eq!(words(&["try", "demo-1"]).unwrap(), ["demo-1"]);
        assert_eq!(
            words(&["try", "examples", "demo-1", "--firmware", "uefi-http"]).unwrap(),
            ["examples", "demo-1"]
        );
        assert!(words(&["try"]).is_err());
        assert!(words(&["try", "a", "b", "c"]).is_err());
    }
}
