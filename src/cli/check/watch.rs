//! `voldemort check --watch`: checks again after every change.

use std::io::{IsTerminal, Write};
use std::time::Instant;

use tokio::sync::mpsc;

use super::{Job, Output, print};
use crate::cli::exit::talk;
use crate::cli::{Exit, exit};
use crate::inventory::Memory;
use crate::model::Inventory;
use crate::source::git::Fetcher;
use crate::source::{self, SourceConfig, Update};

/// Ends only when interrupted, or when the reader of the output is gone.
pub(super) fn run(job: &Job, output: &Output) -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(follow(job, output)),
        Err(error) => {
            talk(&format!("can't watch: {error}"));
            Exit::Failed
        }
    }
}

async fn follow(job: &Job<'_>, output: &Output) -> Exit {
    let (sender, mut updates) = mpsc::channel(1);
    let inventory = Inventory::Directory(job.root.to_owned());
    let state = std::path::PathBuf::new();
    source::spawn(SourceConfig { inventory, poll: None, state, fetcher: Fetcher::default() }, sender);
    let mut memory = Memory::default();
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let update = tokio::select! {
            biased;
            _ = &mut interrupt => return Exit::Interrupted,
            update = updates.recv() => update,
        };
        let started = Instant::now();
        clear(output);
        match update {
            Some(Update::Snapshot(snapshot)) => {
                match job.judge(&mut memory, &snapshot).and_then(|checked| print(&checked, output, started)) {
                    Ok(printed) if !printed.is_read => return Exit::Done,
                    Ok(_) => {}
                    Err(why) => {
                        exit::failed(&why, output.is_json());
                    }
                }
            }
            Some(Update::Failed(why)) => {
                exit::failed(&why.to_string(), output.is_json());
            }
            None => return Exit::Failed,
        }
    }
}

/// A terminal shows only the newest result; other outputs get all of them, one after the other.
fn clear(output: &Output) {
    let mut out = std::io::stdout();
    if output.is_stdout() && out.is_terminal() {
        let _ = out.write_all(b"\x1b[H\x1b[2J\x1b[3J");
    }
}
