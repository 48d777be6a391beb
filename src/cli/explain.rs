//! `voldemort explain`: what a code means.

use clap::Args;

use super::Exit;
use crate::manifest::similar::similar;
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
                let known: Vec<String> = Code::ALL.iter().map(Code::to_string).collect();
                let meant = similar(&code.to_ascii_uppercase(), known.iter().map(String::as_str));
                let hint = meant.map_or_else(String::new, |meant| format!("did you mean {meant}? "));
                super::exit::talk(&format!("there is no code {code:?}; {hint}`voldemort explain` lists all"));
                return Exit::Usage;
            }
        },
    };
    super::exit::print(&text)
}
