//! The child process that fetches: whatever libgit2 does, it does it here.

use std::ffi::OsString;

use git2::{Direction, FetchOptions, Oid, Remote, RemoteCallbacks, Repository};
use nix::sys::resource::{Resource, setrlimit};

use super::address::Address;
use super::request::{Request, UNTRUSTED, VARIABLE};
use super::signature::{self, Doubt};
use super::{Fetched, link, local, mirror, tidy, transport};
use crate::model::{Signed, Verify};

/// Most that one fetch may bring, in bytes.
const MOST_FETCHED: usize = 4 << 30;
/// Most memory of the child, in bytes: a repository made to fill it ends the child only.
pub(super) const MEMORY: u64 = 2 << 30;

/// `internal-fetch`, with a `Request` in the environment: brings the mirror up to date and prints
/// the commit and its name, separated by a tab. `arguments` are those after the subcommand.
/// Returns the exit code.
pub fn fetch_main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    // Without the daemon nobody waits for the answer.
    let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
    let _ = setrlimit(Resource::RLIMIT_DATA, MEMORY, MEMORY);
    let request = std::env::var(VARIABLE).ok().and_then(|text| serde_json::from_str::<Request>(&text).ok());
    let Some(request) = request.filter(|_| arguments.into_iter().next().is_none()) else {
        eprintln!("this command is part of the daemon's machinery");
        return 64;
    };
    let (fetched, code) = match fetch(&request) {
        Ok(fetched) => (fetched, 0),
        Err(Failure::Untrusted(fetched, why)) => {
            eprintln!("{why}");
            (fetched, UNTRUSTED)
        }
        Err(Failure::Words(why)) => {
            eprintln!("{why}");
            return 1;
        }
    };
    println!("{}\t{}", fetched.commit, fetched.name);
    code
}

enum Failure {
    Words(String),
    /// The commit is there and must not be used.
    Untrusted(Fetched, String),
}

impl From<String> for Failure {
    fn from(why: String) -> Failure {
        Failure::Words(why)
    }
}

fn fetch(request: &Request) -> Result<Fetched, Failure> {
    // SAFETY: called before any other use of libgit2 and before any thread is started. A daemon
    // that runs as root may follow a user's repository: nothing in it is executed.
    unsafe { git2::opts::set_verify_owner_validation(false) }.map_err(words)?;
    // SAFETY: as above. A partial clone may well have all that is wanted.
    unsafe { git2::opts::set_extensions(&["partialclone"]) }.map_err(words)?;
    let verify = request.verify()?;
    tidy::clear(&request.mirror);
    let mut repository = mirror::open_or_create(&request.mirror)?;
    let fetched = match request.kind.as_str() {
        "commit" if has_commit(&repository, &request.name) => pinned(request),
        _ => match bring(request, &repository, verify.as_ref()) {
            Err(_) if mirror::is_damaged(&repository) => {
                std::fs::remove_dir_all(&request.mirror).map_err(|error| error.to_string())?;
                repository = mirror::open_or_create(&request.mirror)?;
                bring(request, &repository, verify.as_ref())
            }
            other => other,
        }
        .map_err(|why| partial(request).unwrap_or(why))?,
    };
    if let Some(verify) = &verify {
        let commit = Oid::from_str(&fetched.commit).map_err(words)?;
        match signature::check(&repository, mirror::FOLLOWED, commit, verify) {
            Ok(()) => {}
            Err(Doubt::Failed(why)) => return Err(why.into()),
            Err(Doubt::Untrusted(why)) => return Err(Failure::Untrusted(fetched, why)),
        }
    }
    mirror::note(&request.mirror, &fetched).map_err(|error| error.to_string())?;
    if let Err(error) = tidy::pack(&repository) {
        eprintln!("the mirror could not be tidied: {}", error.message());
    }
    Ok(fetched)
}

/// What is wrong if the repository is one of this host that lacks some of its own files.
fn partial(request: &Request) -> Option<String> {
    let path = local::path(&request.url)?;
    let config = Repository::open(&path).and_then(|repository| repository.config()).ok()?;
    let filter = config.entries(Some("^remote\\..*\\.promisor$")).ok()?.next()?.is_ok();
    filter.then(|| {
        format!(
            "{} is a partial clone (made with `--filter`), which lacks files of this commit; follow the repository \
             that it was cloned from, or a whole clone",
            path.display()
        )
    })
}

fn pinned(request: &Request) -> Fetched {
    Fetched { commit: request.name.clone(), name: "commit".to_owned() }
}

/// Fetches what is wanted and new.
fn bring(request: &Request, repository: &Repository, verify: Option<&Verify>) -> Result<Fetched, String> {
    let address = Address::parse(&request.url)?;
    let near = local::path(&request.url);
    if let Some(path) = near.as_ref().filter(|path| !path.exists()) {
        return Err(format!("there is no repository at {}", path.display()));
    }
    let url = transport::prepare(&address, &request.url, &request.access())?;
    let mut remote = repository.remote_anonymous(&url).map_err(words)?;
    let history = verify.is_some_and(|verify| verify.signed == Signed::EveryCommit);
    // The transport of this host's own files knows no shallow copies, and needs none.
    let depth = if history || request.whole || matches!(address, Address::Local(_)) { 0 } else { 1 };
    if request.kind == "commit" {
        return bring_commit(request, repository, &mut remote, depth);
    }
    let (reference, name, id) = {
        let mut connection = remote.connect_auth(Direction::Fetch, None, None).map_err(words)?;
        // The transport has the credentials, so the address is all that libgit2 needs.
        wanted(connection.remote(), &request.kind, &request.name)?
    };
    let known = repository.refname_to_id(mirror::FOLLOWED) == Ok(id) && mirror::followed(repository).is_ok();
    let is_first = repository.find_reference(mirror::FOLLOWED).is_err();
    if let Some(path) = near.filter(|_| is_first && verify.is_none())
        && link::objects(&local::folder(&path), repository, id)
    {
        repository.reference(mirror::FOLLOWED, id, true, "linked").map_err(words)?;
    } else if !known {
        download(&mut remote, &[format!("+{reference}:{}", mirror::FOLLOWED)], depth)?;
    }
    let commit = mirror::followed(repository)?.to_string();
    Ok(Fetched { commit, name })
}

/// Servers that give out single commits are asked for the one, others for everything.
fn bring_commit(
    request: &Request,
    repository: &Repository,
    remote: &mut Remote<'_>,
    depth: i32,
) -> Result<Fetched, String> {
    let id = &request.name;
    let single = depth > 0 && download(remote, &[format!("+{id}:{}", mirror::FOLLOWED)], depth).is_ok();
    if !single || !has_commit(repository, id) {
        let everything = ["heads", "tags"].map(|kind| format!("+refs/{kind}/*:refs/fetched/{kind}/*"));
        download(remote, &everything, 0)?;
    }
    let oid = Oid::from_str(id).map_err(words)?;
    if !has_commit(repository, id) {
        return Err(format!("no branch or tag holds the commit {id}"));
    }
    repository.reference(mirror::FOLLOWED, oid, true, "pinned").map_err(words)?;
    Ok(pinned(request))
}

/// The full name of the reference to fetch, what a person calls it, and where it leads. Full names
/// can't be ambiguous, and a reference that is gone is an error and not an empty fetch.
fn wanted(remote: &mut Remote<'_>, kind: &str, name: &str) -> Result<(String, String, Oid), String> {
    let default = remote.default_branch().ok().and_then(|name| name.as_str().ok().map(str::to_owned));
    let heads = remote.list().map_err(words)?;
    let full = match kind {
        "branch" => format!("refs/heads/{name}"),
        "tag" => format!("refs/tags/{name}"),
        _ => match default {
            Some(full) => full,
            None if heads.iter().any(|head| head.name() == "HEAD") => "HEAD".to_owned(),
            None => return Err("the repository has no commit on its default branch".to_owned()),
        },
    };
    if let Some(head) = heads.iter().find(|head| head.name() == full) {
        let shown = full.strip_prefix("refs/heads/").or(full.strip_prefix("refs/tags/")).unwrap_or(&full);
        return Ok((full.clone(), shown.to_owned(), head.oid()));
    }
    let prefix = if kind == "tag" { "refs/tags/" } else { "refs/heads/" };
    let known: Vec<&str> =
        heads.iter().filter_map(|head| head.name().strip_prefix(prefix)).take(10).collect();
    Err(format!("it has no {kind} `{name}` (it has: {})", known.join(", ")))
}

fn download(remote: &mut Remote<'_>, refspecs: &[String], depth: i32) -> Result<(), String> {
    match download_once(remote, refspecs, depth) {
        // Some servers, old ones and small ones, know no shallow copies.
        Err(why) if depth > 0 && why.contains("shallow") => download_once(remote, refspecs, 0),
        other => other,
    }
}

fn download_once(remote: &mut Remote<'_>, refspecs: &[String], depth: i32) -> Result<(), String> {
    let mut callbacks = RemoteCallbacks::new();
    callbacks.transfer_progress(|progress| progress.received_bytes() < MOST_FETCHED);
    let mut options = FetchOptions::new();
    options.download_tags(git2::AutotagOption::None).depth(depth).remote_callbacks(callbacks);
    let fetched = remote.fetch(refspecs, Some(&mut options), None).map_err(words);
    let _ = remote.disconnect();
    fetched
}

fn has_commit(repository: &Repository, id: &str) -> bool {
    Oid::from_str(id).is_ok_and(|id| repository.find_commit(id).is_ok())
}

fn words(error: git2::Error) -> String {
    match error.class() {
        // It is bounded, so that this says nothing about the host.
        git2::ErrorClass::NoMemory => format!(
            "it holds a file that is too large for an inventory, or too much at once: a fetch has {} GiB of memory",
            MEMORY >> 30
        ),
        _ => error.message().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_memory_names_the_repository_as_too_large() {
        let error =
            git2::Error::new(git2::ErrorCode::GenericError, git2::ErrorClass::NoMemory, "Out of memory");
        let message = words(error);
        assert!(message.contains("too large for an inventory") && message.contains("2 GiB"), "{message}");
    }
}
