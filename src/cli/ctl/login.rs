//! `voldemortctl login`: everything that commands need for a daemon of another host, tried before it is kept.

use std::io::{BufRead, IsTerminal, Write};

use clap::Args;
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

use crate::api::certificate::{fingerprint, is_fingerprint};
use crate::api::client::{Address, Chain, Client, ClientError, Token, Trust, host_of, look};
use crate::api::resource::Status;
use crate::cli::context::{Context, Contexts};
use crate::cli::exit::say;
use crate::cli::remote::{self, Remote};
use crate::cli::{Exit, exit};
use crate::config::runtime;
use crate::model::base64::base64;

/// Pin the authority of a daemon on another host, keep a token for it, and use it from now on
///
/// The fingerprint of the authority stands in the daemon's first lines and in `voldemortctl get status` on its host
/// (`API CA`). The token is that of `--token-file` or VOLDEMORT_TOKEN, else it is asked for. Both are kept as a
/// context, in a file that only you can read.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Where it listens; without a port at 12345
    #[arg(value_name = "HOST[:PORT]")]
    host: String,
    /// The name of the context; without it the name of the host
    #[arg(long, value_name = "CONTEXT")]
    name: Option<String>,
    /// The fingerprint that its authority must have: then nothing is asked
    #[arg(long, value_name = "SHA256:…")]
    fingerprint: Option<String>,
}

pub(super) fn run(arguments: &Arguments, remote: &Remote) -> Exit {
    let misplaced = match (remote.given_server(), remote.given_context()) {
        (Some(_), _) => Some("login takes the address as its argument, without --server"),
        (_, Some(_)) => Some("login makes a context, which --name names: leave out --context"),
        (None, None) => None,
    };
    if let Some(why) = misplaced {
        exit::failed(why, false);
        return Exit::Usage;
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::failed(&error.to_string(), false),
    };
    match runtime.block_on(login(arguments, remote)) {
        Ok(()) => Exit::Done,
        Err(error) => remote::failed(&error, false),
    }
}

async fn login(arguments: &Arguments, remote: &Remote) -> Result<(), ClientError> {
    let address = full(&arguments.host)?;
    let name = arguments.name.as_deref().unwrap_or(host_of(&address)).to_owned();
    // A file that could not be written in the end is found before anything is asked.
    let mut contexts = Contexts::open().map_err(ClientError::Refused)?;
    let before = contexts.all().get(&name).cloned();
    if let Some(other) = before.as_ref().filter(|before| before.server != address) {
        return Err(ClientError::Refused(format!(
            "context {name} is of {}: choose another name with --name, or remove it first",
            other.server
        )));
    }
    let (chain, clock) = look(&address).await?;
    let known = match &before {
        Some(context) => Some(contexts.trust(&name, context).map_err(ClientError::Refused)?),
        None => None,
    };
    let trust =
        trusted(arguments, &address, &chain, known).await.map_err(|error| with_clock(error, clock))?;
    let token = match remote.given_token()? {
        Some(token) => token,
        None => ask_token(&address)?,
    };
    try_it(&address, &token, &trust).await?;
    let ca = match &trust {
        Trust::Pinned(pinned) => Some(pem(pinned)),
        Trust::Usual | Trust::Host => None,
    };
    let context = Context { server: address.clone(), token: Some(token), token_file: None, ca };
    contexts.put(&name, context).map_err(ClientError::Refused)?;
    contexts.set_current(Some(&name));
    contexts.save().map_err(ClientError::Refused)?;
    say(format!(
        "logged in at {address}: context {name} in {} is the current one",
        contexts.path().display()
    ));
    Ok(())
}

/// `HOST` or `HOST:PORT` as `HOST:PORT`.
fn full(host: &str) -> Result<String, ClientError> {
    let bare = host.strip_prefix("https://").unwrap_or(host).trim_end_matches('/');
    let no = |why: &str| ClientError::Refused(format!("`{host}`: {why}"));
    if bare.is_empty() || bare.contains('/') {
        return Err(no("write the daemon's host as HOST or HOST:PORT"));
    }
    if bare.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok(format!("[{bare}]:{}", runtime::PORT));
    }
    match bare.rsplit_once(':') {
        Some((_, port)) if bare.ends_with(']') || port.parse::<u16>().is_ok() => {
            Ok(match bare.ends_with(']') {
                true => format!("{bare}:{}", runtime::PORT),
                false => bare.to_owned(),
            })
        }
        Some((_, port)) => Err(no(&format!("`{port}` is no port"))),
        None => Ok(format!("{bare}:{}", runtime::PORT)),
    }
}

/// Which servers are trusted from now on. Whatever a person agrees to was verified before: names and dates.
async fn trusted(
    arguments: &Arguments,
    address: &str,
    chain: &Chain,
    known: Option<Trust>,
) -> Result<Trust, ClientError> {
    let Some(top) = chain.last() else {
        return Err(ClientError::NotAllowed(format!("{address} shows no certificate")));
    };
    if let Some(wanted) = &arguments.fingerprint {
        let Some(found) = chain.iter().rev().find(|one| is_fingerprint(wanted, one)) else {
            return Err(ClientError::NotAllowed(format!(
                "{address} is of the authority {}, and not of {wanted}: another machine answers in the daemon's \
                 place, or this is the fingerprint of another daemon. Nothing was sent",
                fingerprint(top)
            )));
        };
        let trust = Trust::Pinned(vec![found.clone()]);
        return verified(address, &trust).await.map(|()| trust);
    }
    if let Some(known @ Trust::Pinned(_)) = known {
        // Another one is not asked about: a habit of saying yes would pin whoever stands in between.
        return verified(address, &known).await.map(|()| known);
    }
    if verified(address, &Trust::Host).await.is_ok() {
        say(format!("{address} is of an authority that this host trusts: nothing is pinned"));
        return Ok(Trust::Host);
    }
    let trust = Trust::Pinned(vec![top.clone()]);
    verified(address, &trust).await?;
    ask_authority(address, &fingerprint(top)).map(|()| trust)
}

/// Connects once more, now as commands will.
async fn verified(address: &str, trust: &Trust) -> Result<(), ClientError> {
    let token = Token::Given(Ok("none".to_owned()));
    let (address, trust) = (address.to_owned(), trust.clone());
    Client::new(vec![Address::Tcp { address, token, trust }]).find().await
}

/// Dates are easier to judge with both clocks.
fn with_clock(error: ClientError, clock: Option<String>) -> ClientError {
    match (error, clock) {
        (ClientError::NotAllowed(why), Some(clock)) if why.contains("clock") => {
            ClientError::NotAllowed(format!("{why}. The clock of the daemon's host says {clock}"))
        }
        (error, _) => error,
    }
}

fn ask_authority(address: &str, shown: &str) -> Result<(), ClientError> {
    let where_else = "compare it with the line `API CA` of `voldemortctl get status` on the daemon's host";
    if !std::io::stdin().is_terminal() {
        return Err(ClientError::NotAllowed(format!(
            "{address} is of the authority {shown}, which this host does not trust, and this is no terminal: \
             {where_else}, and give it with --fingerprint"
        )));
    }
    say(format!(
        "{address} is of the authority\n  {shown}\nWho it is nobody else vouches for: {where_else}."
    ));
    match question("Is it the same? [y/N] ")?.trim() {
        "y" | "yes" => Ok(()),
        _ => Err(ClientError::NotAllowed("the authority is not pinned; nothing was sent".to_owned())),
    }
}

fn question(text: &str) -> Result<String, ClientError> {
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "{text}");
    let _ = stderr.flush();
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(|error| ClientError::Refused(format!("standard input: {error}")))?;
    Ok(line)
}

/// Asks without showing what is typed; from a pipe it is one line.
fn ask_token(address: &str) -> Result<String, ClientError> {
    let stdin = std::io::stdin();
    let shown = tcgetattr(&stdin).ok().filter(|_| stdin.is_terminal());
    if let Some(shown) = &shown {
        let mut hidden = shown.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        let _ = tcsetattr(&stdin, SetArg::TCSANOW, &hidden);
    }
    let text = match shown.is_some() {
        true => {
            question(&format!("Token for {address} (`voldemortctl token create NAME --role ROLE` there): "))
        }
        false => question(""),
    };
    if let Some(shown) = &shown {
        let _ = tcsetattr(&stdin, SetArg::TCSANOW, shown);
        say("");
    }
    let text = text?.trim().to_owned();
    match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(text),
        false => Err(ClientError::NotAllowed(
            "there is no token: an admin of the daemon creates one with `voldemortctl token create`; give it with \
             --token-file FILE, VOLDEMORT_TOKEN, or as a line of standard input"
                .to_owned(),
        )),
    }
}

/// Whether the daemon takes the token.
async fn try_it(address: &str, token: &str, trust: &Trust) -> Result<(), ClientError> {
    let (token, trust) = (Token::Given(Ok(token.to_owned())), trust.clone());
    let client = Client::new(vec![Address::Tcp { address: address.to_owned(), token, trust }]);
    let status: Status = client.get("/v1/status").await.map_err(|error| match error {
        ClientError::NotAllowed(why) => {
            ClientError::NotAllowed(format!("the daemon at {address} refused the token: {why}"))
        }
        other => other,
    })?;
    say(format!("the daemon at {address} ({}) takes the token", status.version));
    Ok(())
}

/// Certificates in PEM format (RFC 7468).
fn pem(certificates: &Chain) -> String {
    let one = |der: &[u8]| {
        let text = base64(der);
        let lines: Vec<&str> =
            (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    };
    certificates.iter().map(|der| one(der)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_completed() {
        let full = |host| full(host).map_err(|error| error.to_string());
        for (host, expected) in [
            ("boot", "boot:12345"),
            ("boot:1", "boot:1"),
            ("https://boot:1/", "boot:1"),
            ("fd00::1", "[fd00::1]:12345"),
            ("[fd00::1]", "[fd00::1]:12345"),
            ("[fd00::1]:7", "[fd00::1]:7"),
            ("192.0.2.1", "192.0.2.1:12345"),
        ] {
            assert_eq!(full(host).as_deref(), Ok(expected));
        }
        for host in ["", "boot:", "boot:http", "boot/x", "boot:99999"] {
            assert!(full(host).is_err(), "{host}");
        }
    }

    #[test]
    fn what_another_command_would_take_is_refused() {
        let arguments = Arguments { host: "boot.invalid:1".into(), name: None, fingerprint: None };
        for flag in ["--server=boot:1", "--context=lab"] {
            assert_eq!(run(&arguments, &Remote::of_line(&[flag.to_owned()])), Exit::Usage, "{flag}");
        }
    }

    #[test]
    fn what_is_written_as_pem_is_read_again() {
        let key = rcgen::KeyPair::generate().unwrap();
        let der = rcgen::CertificateParams::default().self_signed(&key).unwrap().der().clone();
        let pinned = vec![der.clone(), der];
        assert_eq!(Trust::pinned(&pem(&pinned)), Ok(Trust::Pinned(pinned)));
        assert!(Trust::pinned("").is_err() && Trust::pinned("-----BEGIN CERTIFICATE-----\nx").is_err());
    }
}
