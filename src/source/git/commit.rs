//! The child process that commits: files of one branch, with a compare-and-swap at the end, so
//! that of two writers at once one has to look again.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use git2::build::TreeUpdateBuilder;
use git2::{ErrorCode, FileMode, Oid, PushOptions, RemoteCallbacks, Repository, Signature, Tree};
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use serde::{Deserialize, Serialize};

use super::address::Address;
use super::child::MEMORY;
use super::request::Request;
use super::{local, transport};

/// The hidden subcommand that `write_main` answers.
pub const SUBCOMMAND: &str = "internal-write";
/// How long another git command may have the branch. One that was killed has it for ever.
const LOCKED: Duration = Duration::from_secs(2);
/// A tree entry that is a symbolic link.
const MODE_LINK: i32 = 0o120_000;

/// One commit to be made. Comes in as JSON on stdin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// The repository to write to; `base` is in its mirror if it is on another host.
    pub repository: Request,
    /// The commit to build on, in forty hexadecimal digits.
    pub base: String,
    /// The full name of the reference that is moved from `base`, or made.
    pub target: String,
    /// Whether `target` is new.
    pub fresh: bool,
    /// New texts of files, by their paths from the repository's root.
    pub files: BTreeMap<String, String>,
    pub message: String,
    /// Name and address.
    pub author: (String, String),
}

/// Why nothing was committed. The numbers are the child's exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Failed = 1,
    /// The branch is not where it was: look again.
    Moved = 3,
    /// It would do harm, or the repository does not take it.
    Refused = 4,
}

type Outcome<T> = Result<T, (Fault, String)>;

/// `internal-write`: makes the commit that stdin describes and prints its id. Returns the exit code.
pub fn write_main(_arguments: impl IntoIterator<Item = OsString>) -> u8 {
    // Without the daemon nobody waits for the answer.
    let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
    let _ = setrlimit(Resource::RLIMIT_DATA, MEMORY, MEMORY);
    let mut text = String::new();
    let order = match std::io::stdin().read_to_string(&mut text) {
        Ok(_) => serde_json::from_str::<Order>(&text).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let outcome = order.map_err(|why| (Fault::Failed, why)).and_then(|order| land(&order));
    match outcome {
        Ok(commit) => {
            println!("{commit}");
            0
        }
        Err((fault, why)) => {
            eprintln!("{why}");
            fault as u8
        }
    }
}

fn land(order: &Order) -> Outcome<Oid> {
    // SAFETY: called before any other use of libgit2 and before any thread is started. A daemon
    // that runs as root may follow a user's repository: nothing in it is executed.
    unsafe { git2::opts::set_verify_owner_validation(false) }.map_err(failed)?;
    match local::path(&order.repository.url) {
        Some(path) => land_here(&path, order),
        None => push(order),
    }
}

/// On this host the commit is made in the repository itself: libgit2's own way to push between
/// directories moves a branch without looking where it was.
fn land_here(path: &Path, order: &Order) -> Outcome<Oid> {
    become_owner(path)?;
    let repository = Repository::open(path).map_err(failed)?;
    let shown = order.target.strip_prefix("refs/heads/").unwrap_or(&order.target);
    let checked_out = || {
        repository.find_reference("HEAD").is_ok_and(|head| head.symbolic_target() == Ok(Some(&order.target)))
    };
    if !order.fresh && !repository.is_bare() && checked_out() {
        let why = format!(
            "the branch {shown} is checked out in {}, where a commit would look like a change taken back; \
             follow a bare repository, or that folder as `directory`",
            path.display()
        );
        return Err((Fault::Refused, why));
    }
    let commit = commit(&repository, order)?;
    let log = order.message.lines().next().unwrap_or_default();
    let base = if order.fresh { Oid::ZERO_SHA1 } else { Oid::from_str(&order.base).map_err(failed)? };
    let moves = || match order.fresh {
        true => repository.reference(&order.target, commit, false, log),
        false => repository.reference_matching(&order.target, commit, true, base, log),
    };
    match unless_locked(moves) {
        Ok(_) => Ok(commit),
        Err(error) if error.code() == ErrorCode::Locked => {
            let why = format!(
                "{}.lock is there: another git command runs, or it was killed and left it; then remove that file",
                local::folder(path).join(&order.target).display()
            );
            Err((Fault::Moved, why))
        }
        Err(error) if matches!(error.code(), ErrorCode::Modified | ErrorCode::NotFound) => {
            Err((Fault::Moved, format!("{shown} has moved on")))
        }
        Err(error) if error.code() == ErrorCode::Exists => {
            Err((Fault::Refused, format!("there is a branch {shown} already; merge or delete it first")))
        }
        Err(error) => Err(failed(error)),
    }
}

/// Tries again while another git command has the branch, which takes it a moment.
fn unless_locked<T>(mut work: impl FnMut() -> Result<T, git2::Error>) -> Result<T, git2::Error> {
    let begun = Instant::now();
    loop {
        match work() {
            Err(error) if error.code() == ErrorCode::Locked && begun.elapsed() < LOCKED => {
                std::thread::sleep(LOCKED / 100);
            }
            done => return done,
        }
    }
}

fn push(order: &Order) -> Outcome<Oid> {
    let Request { mirror, url, .. } = &order.repository;
    let words = |why: String| (Fault::Failed, why);
    let address = Address::parse(url).map_err(words)?;
    let url = transport::prepare(&address, url, &order.repository.access()).map_err(words)?;
    let repository = Repository::open_bare(mirror).map_err(failed)?;
    let commit = commit(&repository, order)?;
    let mut remote = repository.remote_anonymous(&url).map_err(failed)?;
    let mut answer = None;
    let mut callbacks = RemoteCallbacks::new();
    callbacks.push_update_reference(|_, status| {
        answer = status.map(str::to_owned);
        Ok(())
    });
    let mut options = PushOptions::new();
    options.remote_callbacks(callbacks);
    let pushed = remote.push(&[format!("{commit}:{}", order.target)], Some(&mut options));
    drop(options);
    match (pushed, answer) {
        (Ok(()), None) => Ok(commit),
        (Ok(()), Some(why)) => Err((Fault::Moved, why)),
        (Err(error), _) if error.code() == ErrorCode::NotFastForward => {
            Err((Fault::Moved, error.message().to_owned()))
        }
        (Err(error), _) => Err(failed(error)),
    }
}

/// The commit of the changed files on top of the base; no reference leads to it yet.
fn commit(repository: &Repository, order: &Order) -> Outcome<Oid> {
    let base = Oid::from_str(&order.base).and_then(|id| repository.find_commit(id)).map_err(failed)?;
    let tree = base.tree().map_err(failed)?;
    let mut update = TreeUpdateBuilder::new();
    for (path, text) in &order.files {
        let blob = repository.blob(text.as_bytes()).map_err(failed)?;
        update.upsert(path.as_str(), blob, mode(&tree, path)?);
    }
    let updated = update.create_updated(repository, &tree);
    let tree = updated.and_then(|id| repository.find_tree(id)).map_err(failed)?;
    let (name, address) = &order.author;
    let committer = Signature::now("voldemort", "voldemort@localhost").map_err(failed)?;
    let author = Signature::now(name, address).unwrap_or_else(|_| committer.clone());
    repository.commit(None, &author, &committer, &order.message, &tree, &[&base]).map_err(failed)
}

/// How the file stands in the tree now. What is reached through a link is not overwritten: the
/// link's own place would be.
fn mode(tree: &Tree<'_>, path: &str) -> Outcome<FileMode> {
    let mut mode = FileMode::Blob;
    for (at, _) in path.match_indices('/').chain([(path.len(), "")]) {
        let Ok(entry) = tree.get_path(Path::new(&path[..at])) else { break };
        if entry.filemode() == MODE_LINK {
            let why = format!("{} is a symbolic link; edit what it leads to", &path[..at]);
            return Err((Fault::Refused, why));
        }
        if entry.filemode() == i32::from(FileMode::BlobExecutable) {
            mode = FileMode::BlobExecutable;
        }
    }
    Ok(mode)
}

/// What root writes into a user's repository would be in that user's way later.
fn become_owner(path: &Path) -> Outcome<()> {
    let owner =
        std::fs::metadata(path).map_err(|error| (Fault::Failed, format!("{}: {error}", path.display())))?;
    if !Uid::effective().is_root() || owner.uid() == 0 {
        return Ok(());
    }
    setgroups(&[])
        .and_then(|()| setgid(Gid::from_raw(owner.gid())))
        .and_then(|()| setuid(Uid::from_raw(owner.uid())))
        .map_err(|error| (Fault::Failed, format!("{}: becoming its owner: {error}", path.display())))
}

fn failed(error: git2::Error) -> (Fault, String) {
    (Fault::Failed, error.message().to_owned())
}
