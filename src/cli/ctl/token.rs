//! `voldemortctl token create|list|revoke`: who may use the daemon's API over TCP.

use clap::{Args, Subcommand};

use super::get;
use super::output::Format;
use crate::api::client::escaped;
use crate::api::resource::{Listed, Token, TokenCreated, TokenWanted};
use crate::cli::live::{Names, names};
use crate::cli::remote::{self, Remote};
use crate::cli::{Exit, exit};
use crate::model::Role;

/// Create, list or revoke tokens for the daemon's API
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Create a token: it is printed this once, alone on stdout, and the daemon keeps only a digest of it
    Create {
        /// Lower-case letters, digits and hyphens; the log names what its holder does by it
        name: String,
        /// What its holder may do
        #[arg(long, value_parser = Role::NAMES.to_vec())]
        role: String,
        /// Only for claims of this pool (or these, with commas), and deployments on its machines, and for no other change
        #[arg(long, value_name = "POOL", value_delimiter = ',')]
        pool: Vec<String>,
        /// For how long it is good, as 90d or 12h; without this, until it is revoked
        #[arg(long, value_name = "DURATION")]
        expires: Option<String>,
        #[arg(short, long, value_parser = ["text", "json"], default_value = "text")]
        output: String,
    },
    /// List them, as `voldemortctl get tokens` does
    List {
        #[arg(short, long, value_enum, default_value = "table")]
        output: Format,
    },
    /// Revoke a token: it opens nothing any more, and what its holder watches ends
    Revoke {
        /// The name, as `voldemortctl token list` shows it
        #[arg(add = names(Names::Of(Listed::Tokens)))]
        name: String,
        #[arg(short, long, value_parser = ["text", "json"], default_value = "text")]
        output: String,
    },
}

pub(super) fn run(arguments: &Arguments, remote: &Remote) -> Exit {
    match &arguments.what {
        What::Create { name, role, pool, expires, output } => {
            let (name, role, expires) = (name.clone(), role.clone(), expires.clone());
            create(&TokenWanted { name, role, pools: pool.clone(), expires }, output == "json", remote)
        }
        What::List { output } => get::run(&get::Arguments::of(Listed::Tokens, *output), remote),
        What::Revoke { name, output } => revoke(name, output == "json", remote),
    }
}

fn create(wanted: &TokenWanted, json: bool, remote: &Remote) -> Exit {
    let created: TokenCreated = match remote.block_on(async |client| client.post("/v1/tokens", wanted).await)
    {
        Ok(created) => created,
        Err(error) => return remote::failed(&error, json),
    };
    if json {
        return exit::print_json(&created);
    }
    let TokenCreated { name, role, expires, token } = &created;
    let until = expires.as_ref().map_or("until it is revoked".to_owned(), |end| format!("until {end}"));
    let printed = exit::print(&format!("{token}\n"));
    exit::say(format!("token {name} ({role}) is good {until}; it is not shown again"));
    printed
}

fn revoke(name: &str, json: bool, remote: &Remote) -> Exit {
    let path = format!("/v1/tokens/{}", escaped(name));
    let revoked: Token = match remote.block_on(async |client| client.delete(&path).await) {
        Ok(revoked) => revoked,
        Err(error) => return remote::failed(&error, json),
    };
    match json {
        true => exit::print_json(&revoked),
        false => exit::print(&format!("token {} ({}) is revoked\n", revoked.name, revoked.role)),
    }
}
