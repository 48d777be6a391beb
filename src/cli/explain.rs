//! `voldemort explain`: what a code means.

use clap::Args;

use super::Exit;
use crate::manifest::{Code, explain};

#[derive(Debug, Args)]
pub struct Arguments {
    /// The code, as in V0011; without one all codes are listed
    code: Option<String>,
}

pub fn run(arguments: Arguments) -> Exit {
    let text = match arguments.code {
        None => explain::list(),
        Some(code) => match code.parse::<Code>() {
            Ok(code) => explain::page(code),
            Err(()) => {
                super::exit::say(format!(
                    "voldemort: there is no code {code:?}; `voldemort explain` lists all"
                ));
                return Exit::Usage;
            }
        },
    };
    super::exit::print(&text)
}
