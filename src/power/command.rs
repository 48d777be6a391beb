//! A program of the operator's, which the daemon's file names. It gets a word (`status`, `on`, `off`, `boot-once` or
//! `clear-boot`) as its last argument, and the machine in its environment; `docs/power.md` has the contract.

use std::time::Duration;

use super::child::{self, Ended, NoEnd};
use super::driver::{Answer, Driver, Failure, Question, Sending};
use super::{Fault, Read};
use crate::model::{Capabilities, PowerKind, PowerState, PowerStep};

pub(super) struct Command;

/// The exit code of a program that can't do what is asked.
const UNABLE: i32 = 3;

impl Driver for Command {
    fn capabilities(&self) -> Capabilities {
        PowerKind::Command.capabilities()
    }

    fn unread(&self) -> &'static str {
        "its program was not called yet"
    }

    fn read<'a>(&'a self, question: Question<'a>) -> Answer<'a, Read> {
        Box::pin(async move {
            let ended = call(&question, "status").await.map_err(|failure| failure.fault)?;
            let odd = || Fault::OddWords { program: program(&question), words: ended.words() };
            let state = match ended.stdout.trim().to_ascii_lowercase().as_str() {
                "on" => PowerState::On,
                "off" => PowerState::Off,
                "powering on" => PowerState::PoweringOn,
                "powering off" => PowerState::PoweringOff,
                _ => return Err(odd()),
            };
            Ok(Read { state, system: None })
        })
    }

    fn send<'a>(&'a self, question: Question<'a>, step: PowerStep) -> Sending<'a> {
        Box::pin(async move { call(&question, step.name()).await.map(drop) })
    }
}

fn program(question: &Question<'_>) -> String {
    question.power.command.as_ref().map(ToString::to_string).unwrap_or_default()
}

async fn call(question: &Question<'_>, word: &str) -> Result<Ended, Failure> {
    let name = question.power.command.as_ref().ok_or(Fault::NoCommand)?;
    let known = question.tools.programs.get(name);
    let known = known.ok_or_else(|| Fault::UnknownCommand(name.clone()))?;
    let program = || program(question);
    let mut command = child::bare(&known.program);
    command.args(&known.arguments).arg(word).envs(environment(question));
    let limit = Duration::from_millis(known.timeout.0);
    let broken = |why: String| Fault::Program { program: program(), why };
    let ended = child::run(command, limit).await.map_err(|end| match end {
        NoEnd::NotStarted(error) => broken(format!("{}: {error}", known.program.display())).into(),
        NoEnd::Slow => {
            let fault = Fault::SlowProgram { program: program(), seconds: limit.as_secs() };
            Failure { fault, may_have_acted: true }
        }
        NoEnd::TooMuch => {
            Failure { fault: broken("it writes more than 64 KiB".into()), may_have_acted: true }
        }
        NoEnd::Broken(error) => Failure { fault: broken(error.to_string()), may_have_acted: true },
    })?;
    match ended.status.code() {
        Some(0) => Ok(ended),
        Some(UNABLE) => Err(Fault::ProgramUnable { program: program(), word: word.into() }.into()),
        // A program that fails says that it has done nothing.
        Some(code) => Err(broken(format!("it ended with {code}: {}", ended.words())).into()),
        None => Err(Failure { fault: broken(ended.status.to_string()), may_have_acted: true }),
    }
}

/// What a program knows of the machine. The password is not among the arguments, which every user can read.
fn environment(question: &Question<'_>) -> Vec<(&'static str, String)> {
    let macs: Vec<String> = question.macs.iter().map(ToString::to_string).collect();
    let mut variables = vec![
        ("VOLDEMORT_MACHINE", question.machine.to_string()),
        ("VOLDEMORT_MACS", macs.join(" ")),
        ("VOLDEMORT_ADDRESS", question.power.address.as_deref().unwrap_or_default().to_owned()),
    ];
    if let Some(login) = question.login {
        variables.push(("VOLDEMORT_USER", login.user.to_string()));
        variables.push(("VOLDEMORT_PASSWORD", login.password.to_string()));
    }
    variables
}
