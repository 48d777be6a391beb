//! The child process that fetches: whatever libgit2 does, it does it here.

use std::ffi::OsString;
use std::path::Path;

use git2::{Direction, FetchOptions, Oid, Remote, Repository};

use super::Fetched;
use super::mirror;

/// `internal-fetch MIRROR URL default|branch|tag|commit NAME`: brings the mirror up to date and
/// prints the commit and its name, separated by a tab. `arguments` are those after the
/// subcommand. Returns the exit code.
pub fn fetch_main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    // Without the daemon nobody waits for the answer.
    let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let texts: Option<Vec<&str>> = arguments.iter().map(|argument| argument.to_str()).collect();
    let Some([mirror, url, kind, name]) = texts.as_deref() else {
        eprintln!("this command is part of the daemon's machinery");
        return 64;
    };
    match fetch(Path::new(mirror), url, kind, name) {
        Ok(Fetched { commit, name }) => {
            println!("{commit}\t{name}");
            0
        }
        Err(why) => {
            eprintln!("{why}");
            1
        }
    }
}

fn fetch(mirror: &Path, url: &str, kind: &str, name: &str) -> Result<Fetched, String> {
    // SAFETY: called before any other use of libgit2 and before any thread is started. A daemon
    // that runs as root may follow a user's repository: nothing in it is executed.
    unsafe { git2::opts::set_verify_owner_validation(false) }.map_err(words)?;
    let repository = mirror::open_or_create(mirror)?;
    if kind == "commit" && has_commit(&repository, name) {
        return Ok(Fetched { commit: name.to_owned(), name: "commit".to_owned() });
    }
    let mut remote = repository.remote_anonymous(url).map_err(words)?;
    let fetched = {
        let mut connection = remote.connect_auth(Direction::Fetch, None, None).map_err(words)?;
        // libgit2 has no transport that accepts credentials here, so the address is all it needs.
        wanted(connection.remote(), kind, name)?
    };
    let (reference, shown) = fetched;
    download(&repository, &mut remote, &reference)?;
    remote.disconnect().map_err(words)?;
    let commit = match kind {
        "commit" if !has_commit(&repository, name) => {
            return Err(format!("no branch or tag holds the commit {name}"));
        }
        "commit" => name.to_owned(),
        _ => mirror::followed(&repository)?.to_string(),
    };
    let fetched = Fetched { commit, name: shown };
    mirror::note(mirror, &fetched).map_err(|error| error.to_string())?;
    Ok(fetched)
}

/// The full name of the reference to fetch and what a person calls it. Full names can't be
/// ambiguous, and a reference that is gone is an error and not an empty fetch.
fn wanted(remote: &mut Remote<'_>, kind: &str, name: &str) -> Result<(String, String), String> {
    let default = remote.default_branch().ok().and_then(|name| name.as_str().ok().map(str::to_owned));
    let heads = remote.list().map_err(words)?;
    let full = match kind {
        "branch" => format!("refs/heads/{name}"),
        "tag" => format!("refs/tags/{name}"),
        "commit" => return Ok(("*".to_owned(), "commit".to_owned())),
        _ => match default {
            Some(full) => full,
            None if heads.iter().any(|head| head.name() == "HEAD") => "HEAD".to_owned(),
            None => return Err("the repository has no commit on its default branch".to_owned()),
        },
    };
    if heads.iter().any(|head| head.name() == full) {
        let shown = full.strip_prefix("refs/heads/").or(full.strip_prefix("refs/tags/")).unwrap_or(&full);
        return Ok((full.clone(), shown.to_owned()));
    }
    let prefix = if kind == "tag" { "refs/tags/" } else { "refs/heads/" };
    let known: Vec<&str> =
        heads.iter().filter_map(|head| head.name().strip_prefix(prefix)).take(10).collect();
    Err(format!("it has no {kind} `{name}` (it has: {})", known.join(", ")))
}

fn download(repository: &Repository, remote: &mut Remote<'_>, reference: &str) -> Result<(), String> {
    let refspecs = match reference {
        "*" => vec![
            "+refs/heads/*:refs/fetched/heads/*".to_owned(),
            "+refs/tags/*:refs/fetched/tags/*".to_owned(),
        ],
        full => vec![format!("+{full}:{}", mirror::FOLLOWED)],
    };
    let mut options = FetchOptions::new();
    options.download_tags(git2::AutotagOption::None);
    remote.fetch(&refspecs, Some(&mut options), None).map_err(words)?;
    if reference == "*" {
        return Ok(());
    }
    mirror::followed(repository).map(|_| ())
}

fn has_commit(repository: &Repository, id: &str) -> bool {
    Oid::from_str(id).is_ok_and(|id| repository.find_commit(id).is_ok())
}

fn words(error: git2::Error) -> String {
    error.message().to_owned()
}
