//! `voldemortctl context`: the daemons that this user works with.

use std::io::Read;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::table;
use crate::cli::context::{Context, Contexts};
use crate::cli::exit::{print, talk};
use crate::cli::live::{Names, names};
use crate::cli::remote::Remote;
use crate::cli::{Exit, exit};

/// Keep the addresses and tokens of several daemons, and choose between them
///
/// A context has the address of a daemon and its token, which is sent to no other address. Commands use that of
/// `--context NAME`, else of VOLDEMORT_CONTEXT, else the current one; `--server` and VOLDEMORT_SERVER go before.
/// The file is ~/.config/voldemort/contexts.toml.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// List them; the current one has a star
    List {
        #[arg(short, long, value_parser = ["table", "json", "name"], default_value = "table")]
        output: String,
    },
    /// Show one, by default the one that commands use now; a token is not shown
    Show {
        #[arg(add = names(Names::Contexts))]
        name: Option<String>,
        #[arg(short, long, value_parser = ["text", "json"], default_value = "text")]
        output: String,
    },
    /// Make one the current one, which commands use that name no other
    Use {
        #[arg(required_unless_present = "none", add = names(Names::Contexts))]
        name: Option<String>,
        /// None: commands use the daemon of this host
        #[arg(long, conflicts_with = "name")]
        none: bool,
    },
    /// Add one, or change it; without other contexts it becomes the current one
    Set(Set),
    /// Remove one, with the token that it holds; a token file stays
    Remove {
        #[arg(add = names(Names::Contexts))]
        name: String,
    },
}

/// What `set` changes; the rest stays. The address is that of the option `--server`.
#[derive(Args, Debug)]
struct Set {
    /// Its name
    #[arg(add = names(Names::Contexts))]
    name: String,
    /// Read its token from standard input, and keep it in the file of the contexts
    #[arg(long, conflicts_with = "token_file")]
    token_stdin: bool,
    /// The authority of the daemon's certificate: a file in PEM format
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// A context without its token.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    current: bool,
    server: &'a str,
    token: Option<String>,
    ca: Option<&'a str>,
}

pub(super) fn run(arguments: &Arguments, remote: &Remote) -> Exit {
    let done = match &arguments.what {
        What::List { output } => Contexts::open().map(|contexts| list(&contexts, output)),
        What::Show { name, output } => show(name.as_deref(), output == "json", remote),
        What::Use { name, .. } => make_current(name.as_deref()),
        What::Set(arguments) => set(arguments, remote),
        What::Remove { name } => remove(name),
    };
    let json = match &arguments.what {
        What::List { output } | What::Show { output, .. } => output == "json",
        _ => false,
    };
    done.unwrap_or_else(|why| exit::failed(&why, json))
}

fn shown<'a>(contexts: &Contexts, name: &'a str, context: &'a Context) -> Shown<'a> {
    let file = || context.token_file.as_ref().map(|file| format!("file {}", file.display()));
    let token = context.token.as_ref().map(|_| "stored".to_owned()).or_else(file);
    let ca = context.ca.as_deref().map(|ca| if ca.contains("-----BEGIN") { "stored" } else { ca });
    Shown { name, current: contexts.current() == Some(name), server: &context.server, token, ca }
}

fn list(contexts: &Contexts, output: &str) -> Exit {
    let all: Vec<Shown> =
        contexts.all().iter().map(|(name, context)| shown(contexts, name, context)).collect();
    match output {
        "json" => exit::print_json(&all),
        "name" => print(&all.iter().map(|one| format!("{}\n", one.name)).collect::<String>()),
        _ => {
            let cells = |one: &Shown| {
                let mark = if one.current { "*" } else { "" };
                let token = one.token.as_deref().unwrap_or("-");
                [mark, one.name, one.server, token, one.ca.unwrap_or("-")].map(str::to_owned).to_vec()
            };
            let rows: Vec<Vec<String>> = all.iter().map(cells).collect();
            print(&table::format(&["", "NAME", "SERVER", "TOKEN", "CA"], &rows))
        }
    }
}

fn show(name: Option<&str>, json: bool, remote: &Remote) -> Result<Exit, String> {
    let contexts = Contexts::open()?;
    let used = remote.context_name();
    let Some(name) = name.or(used.as_deref()).or(contexts.current()) else {
        talk("no context is current: commands use the daemon of this host");
        return Ok(Exit::Failed);
    };
    let one = shown(&contexts, name, contexts.get(name)?);
    if json {
        return Ok(exit::print_json(&one));
    }
    let token = one.token.as_deref().unwrap_or("none");
    let ca = one.ca.map(|ca| format!("ca      {ca}\n")).unwrap_or_default();
    let current = if one.current { "current" } else { "not current" };
    let text = format!("name    {name} ({current})\nserver  {}\ntoken   {token}\n{ca}", one.server);
    Ok(print(&text.lines().map(|line| table::printable(line) + "\n").collect::<String>()))
}

fn make_current(name: Option<&str>) -> Result<Exit, String> {
    let mut contexts = Contexts::open()?;
    if let Some(name) = name {
        contexts.get(name)?;
    }
    contexts.set_current(name);
    contexts.save()?;
    talk(&match name {
        Some(name) => format!("commands use context {name} now"),
        None => "commands use the daemon of this host now".to_owned(),
    });
    Ok(Exit::Done)
}

fn set(arguments: &Set, remote: &Remote) -> Result<Exit, String> {
    let mut contexts = Contexts::open()?;
    let before = contexts.all().get(&arguments.name).cloned();
    let is_first = contexts.all().is_empty();
    let mut context = before.clone().unwrap_or_default();
    if let Some(server) = remote.given_server() {
        // What was of the daemon at the other address stays with it.
        if before.as_ref().is_some_and(|before| before.server != server) {
            if context.token.is_some() || context.token_file.is_some() || context.ca.is_some() {
                talk(&format!(
                    "the token and the ca of {} do not go to {server}: give its own",
                    context.server
                ));
            }
            context = Context::default();
        }
        context.server = server.to_owned();
    }
    if context.server.is_empty() {
        talk(&format!("context {} needs an address: add --server HOST:PORT", arguments.name));
        return Ok(Exit::Usage);
    }
    let absolute =
        |path: &PathBuf| std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()));
    if let Some(file) = remote.given_token_file() {
        (context.token_file, context.token) = (Some(absolute(file)?), None);
    }
    if arguments.token_stdin {
        let mut text = String::new();
        std::io::stdin()
            .take(4096)
            .read_to_string(&mut text)
            .map_err(|error| format!("standard input: {error}"))?;
        let token = text.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("standard input has no token: a token is one word of ASCII letters and digits".into());
        }
        (context.token, context.token_file) = (Some(token.to_owned()), None);
    }
    if let Some(ca) = &arguments.ca {
        context.ca = Some(absolute(ca)?.display().to_string());
    }
    contexts.put(&arguments.name, context)?;
    if is_first {
        contexts.set_current(Some(&arguments.name));
    }
    contexts.save()?;
    let current = if is_first { " and is the current one" } else { "" };
    talk(&format!("context {} is in {}{current}", arguments.name, contexts.path().display()));
    Ok(Exit::Done)
}

fn remove(name: &str) -> Result<Exit, String> {
    let mut contexts = Contexts::open()?;
    contexts.get(name)?;
    let was_current = contexts.current() == Some(name);
    contexts.remove(name);
    contexts.save()?;
    let more = if was_current { "; none is current now: commands use the daemon of this host" } else { "" };
    talk(&format!("context {name} is removed{more}"));
    Ok(Exit::Done)
}
