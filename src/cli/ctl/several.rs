//! Verbs for several at once: by name, pattern, label or field. What they are about is found first and named, and a
//! person agrees to it.

use std::io::{IsTerminal, Write};

use clap::Args;

use crate::api::Client;
use crate::api::client::ClientError;
use crate::api::resource::{Deployment, Listed, Row};
use crate::cli::exit::say;
use crate::cli::live::{Names, names};
use crate::cli::{Exit, exit};
use crate::model::folded::folded;
use crate::model::selection::glob;

/// Deployments.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Several {
    /// The deployments, by name or pattern (web-*)
    #[arg(value_name = "DEPLOYMENT", add = names(Names::Of(Listed::Deployments)))]
    pub names: Vec<String>,
    #[command(flatten)]
    pub fitting: Fitting,
}

/// Rows of a list by what they have.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Fitting {
    /// Only those with these labels: NAME=VALUE, NAME!=VALUE, NAME or !NAME, separated by commas
    #[arg(short = 'l', long = "selector", value_name = "LABELS")]
    pub labels: Option<String>,
    /// Only those whose field has this value, as in phase=failed; * and ? stand for other letters, and commas separate
    /// several
    #[arg(long = "where", value_name = "FIELD=VALUE", value_parser = pair)]
    pub having: Vec<(String, String)>,
}

/// `FIELD=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (field, value) = text.split_once('=').ok_or("this is no FIELD=VALUE")?;
    Ok((field.to_owned(), value.to_owned()))
}

#[derive(Args, Clone, Debug)]
pub(super) struct Asking {
    /// Don't ask
    #[arg(short, long, global = true)]
    pub yes: bool,
}

/// Rows of one answer.
const PAGE: usize = 1000;

impl Several {
    /// Whether nothing says which.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.fitting.is_empty()
    }

    /// The one deployment that is meant, where it is named in full.
    pub(super) fn single(&self) -> Option<&str> {
        match self.names.as_slice() {
            [name] if !is_pattern(name) && self.fitting.is_empty() => Some(name),
            _ => None,
        }
    }

    /// Those that there are, by name.
    ///
    /// # Errors
    /// None fits, or there is none of a name or pattern.
    pub(super) async fn find(&self, client: &Client) -> Result<Vec<Deployment>, ClientError> {
        find(Listed::Deployments, &self.names, &self.fitting, client).await
    }
}

impl Fitting {
    pub(super) fn is_empty(&self) -> bool {
        self.labels.is_none() && self.having.is_empty()
    }
}

/// Whether a name stands for others.
pub(super) fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?'])
}

/// The rows of a list that are meant.
///
/// # Errors
/// None fits, or there is none of a name or pattern.
pub(super) async fn find<T: Row>(
    kind: Listed,
    names: &[String],
    fitting: &Fitting,
    client: &Client,
) -> Result<Vec<T>, ClientError> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &PAGE.to_string());
    if let Some(labels) = &fitting.labels {
        query.append_pair("label", labels);
    }
    query.extend_pairs(&fitting.having);
    let (mut all, mut next) = (Vec::new(), Some(format!("{}?{}", kind.path(), query.finish())));
    while let Some(path) = next {
        let (rows, link) = client.page::<T>(&path).await?;
        all.extend(
            rows.into_iter()
                .filter(|row| names.is_empty() || names.iter().any(|name| glob(name, &row.key()))),
        );
        next = link;
    }
    let such = if fitting.is_empty() { "" } else { " of those that have that" };
    let is_there = |name: &&String| all.iter().any(|row| glob(name, &row.key()));
    let gone: Vec<&str> = names.iter().filter(|name| !is_there(name)).map(String::as_str).collect();
    let word = kind.name();
    match (gone.is_empty(), all.is_empty()) {
        (false, _) => Err(ClientError::Refused(format!("{} is none of the {word}{such}", gone.join(", ")))),
        (true, true) => Err(ClientError::Refused(format!("there are no {word}{such}"))),
        (true, false) => Ok(all),
    }
}

impl Asking {
    /// Says what will happen, and asks the person to type a word. Without a terminal `--yes` is needed. That there is no
    /// consent is printed as JSON where that was asked for.
    ///
    /// # Errors
    /// There is no consent, and nothing was done.
    pub(super) fn agree(&self, what: &str, wanted: &str, json: bool) -> Result<(), Exit> {
        if self.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            say(what);
            let why = "this needs consent, and there is no terminal to ask on: add --yes to consent";
            exit::failed(why, json);
            return Err(Exit::Refused);
        }
        say(what);
        let mut stderr = std::io::stderr();
        let _ = write!(stderr, "Type {wanted} to continue: ");
        let _ = stderr.flush();
        let mut answer = String::new();
        match std::io::stdin().read_line(&mut answer) {
            Ok(_) if answer.trim() == wanted => Ok(()),
            _ => {
                exit::failed("nothing was changed", json);
                Err(Exit::Interrupted)
            }
        }
    }
}

/// `40 deployments: web-001 … web-040`.
pub(super) fn counted<'a>(names: impl IntoIterator<Item = &'a str>, one: &str) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let plural = if names.len() == 1 { "" } else { "s" };
    format!("{} {one}{plural}: {}", names.len(), folded(names))
}
