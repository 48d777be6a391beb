//! What the commands that talk to a daemon share.

use std::path::Path;

use clap::Args;

use super::{Exit, exit};
use crate::api::Client;
use crate::api::client::ClientError;
use crate::api::types::Tree;
use crate::plan::{Hold, Selection};
use crate::source::{Body, SourceError, directory};

/// Which daemon is meant.
#[derive(Args, Clone, Debug)]
pub struct Remote {
    /// The daemon's control API: host:port, or a port of this host
    #[arg(long, default_value = "127.0.0.1:12345", global = true)]
    pub server: String,
}

impl Remote {
    /// Runs one conversation with the daemon.
    pub fn block_on<T>(
        &self,
        talk: impl AsyncFnOnce(Client) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| ClientError::Unreachable {
            address: self.server.clone(),
            cause: error.to_string(),
        })?;
        runtime.block_on(talk(Client::new(&self.server)))
    }
}

/// Which part of an inventory is meant.
#[derive(Args, Clone, Debug)]
pub struct Part {
    /// Only this deployment or machine, by name or pattern (web-*); may be given several times
    #[arg(long, value_name = "NAME")]
    target: Vec<String>,
    /// All but this deployment or machine, by name or pattern; may be given several times
    #[arg(long, value_name = "NAME")]
    exclude: Vec<String>,
}

impl Part {
    pub fn is_whole(&self) -> bool {
        self.target.is_empty() && self.exclude.is_empty()
    }

    pub fn of(&self, tree: Tree) -> Tree {
        Tree { selection: Selection { only: self.target.clone(), except: self.exclude.clone() }, ..tree }
    }
}

/// Reads an inventory to send it.
pub fn tree(root: &Path, environment: Option<&str>) -> Result<Tree, SourceError> {
    let snapshot = directory::read(root)?;
    let inline = snapshot.files.iter().filter_map(|(path, body)| match body {
        Body::Inline { bytes, .. } => Some((&**path, bytes)),
        Body::OnDisk { .. } => None,
    });
    Ok(Tree {
        revision: snapshot.revision.to_string(),
        root: std::fs::canonicalize(root).ok().map(|root| root.display().to_string()),
        environment: environment.map(str::to_owned),
        ..Tree::of_files(inline)
    })
}

/// Says what went wrong, on stdout as JSON if JSON was asked for, and gives the exit code.
pub fn failed(error: &ClientError, json: bool) -> Exit {
    let failed = exit::failed(&error.to_string(), json);
    match error {
        ClientError::Unreachable { .. } | ClientError::Nonsense { .. } | ClientError::Unavailable(_) => {
            Exit::Unreachable
        }
        ClientError::Refused(_) => failed,
    }
}

pub fn nonsense(json: bool) -> Exit {
    exit::failed("the daemon answered something else than was asked; is it of another version?", json);
    Exit::Unreachable
}

pub fn hold_text(hold: &Hold) -> String {
    if hold.names.is_empty() {
        return format!("held: {}\n  {}", hold.reason, hold.cure);
    }
    let mut names = hold.names.iter().take(20).cloned().collect::<Vec<_>>().join(", ");
    if hold.names.len() > 20 {
        names += &format!(", and {} more", hold.names.len() - 20);
    }
    format!("held: {}\n  {names}\n  {}", hold.reason, hold.cure)
}
