//! Writes to the source that is followed: files, as one commit or by renames, and only if nothing else
//! changed them first.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::git::mirror::{Mirror, create_own};
use super::git::{Fault, Fetched, Group, Order, Request, forget, is_bare, mirror_of, place, tame};
use super::replace;
use super::watch::{SLOW, beside, slow};
use super::{Snapshot, SourceConfig, SourceError, directory};
use crate::model::{Git, Inventory, Reference};

/// The inventory as it is now, and what a change of it has to be built on.
pub struct Reading {
    pub snapshot: Snapshot,
    base: Option<Fetched>,
}

/// Files with other texts, which are written together.
#[derive(Clone, Debug)]
pub struct Draft {
    pub files: Vec<DraftFile>,
    pub message: String,
    /// Name and address.
    pub author: (String, String),
}

/// One file with another text.
#[derive(Clone, Debug)]
pub struct DraftFile {
    /// From the inventory's root.
    pub path: String,
    /// `None` for a file that must not exist.
    pub before: Option<String>,
    pub after: String,
}

/// Why nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Somebody was quicker: read again.
    #[error("{0}")]
    Moved(String),
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Failed(String),
}

impl Reading {
    /// The commit that was read; `None` for a directory.
    pub fn commit(&self) -> Option<&str> {
        self.base.as_ref().map(|base| base.commit.as_str())
    }
}

impl SourceConfig {
    /// The repository that is followed; `None` for a directory.
    pub fn git(&self) -> Option<Git> {
        match &self.inventory {
            Inventory::Git(git) => Some(git.clone()),
            Inventory::Own => Some(Git::at(self.own().display().to_string())),
            Inventory::Directory(root) => is_bare(root).then(|| Git::at(root.display().to_string())),
        }
    }

    fn own(&self) -> std::path::PathBuf {
        self.state.join("inventory.git")
    }

    /// Reads the source again, beside the task that follows it. `held` is dropped when no thread is in its file system
    /// any more, which may be long after nobody waits.
    pub async fn read(&self, held: impl Send + 'static) -> Result<Reading, SourceError> {
        let Some(git) = self.git() else {
            let Inventory::Directory(root) = &self.inventory else {
                return Err(SourceError::Git("there is no inventory".into()));
            };
            let root = root.clone();
            let place = root.clone();
            let reading = tokio::time::timeout(
                SLOW,
                beside(move || {
                    let read = directory::read(&root);
                    drop(held);
                    read
                }),
            )
            .await;
            let snapshot = match reading {
                Ok(Ok(read)) => read?,
                Ok(Err(_)) => return Err(SourceError::Git("reading the inventory failed".into())),
                Err(_) => return Err(slow(&place)),
            };
            return Ok(Reading { snapshot, base: None });
        };
        if self.inventory == Inventory::Own {
            let own = self.own();
            blocking(move || create_own(&own).map_err(|error| SourceError::Git(error.message().into())))
                .await?;
        }
        let mirror = self.mirror(&git);
        match self.read_git(&mirror, &git).await {
            Err(SourceError::Mirror(_)) => {
                forget(&mirror.path).await?;
                self.read_git(&mirror, &git).await
            }
            other => other,
        }
    }

    async fn read_git(&self, mirror: &Mirror, git: &Git) -> Result<Reading, SourceError> {
        let fetched = self.fetcher.fetch_whole(&mirror.path, git).await?;
        let (mirror, base, path) = (mirror.clone(), fetched.clone(), git.path.clone());
        let reading = blocking(move || mirror.read(&fetched, &path, None)).await?;
        let reading = reading.expect("no tree is known yet");
        Ok(Reading { snapshot: reading.snapshot, base: Some(base) })
    }

    /// The latest commit of the last day, of the last thousand, that has this line in its message; `None` also for a
    /// directory.
    pub async fn find(&self, reading: &Reading, line: &str) -> Option<String> {
        let (base, git) = (reading.base.as_ref()?.commit.clone(), self.git()?);
        let (mirror, line) = (self.mirror(&git), line.to_owned());
        tokio::task::spawn_blocking(move || mirror.commit_with(&base, &line)).await.ok().flatten()
    }

    /// Not the follower's mirror: two fetches at once would be in each other's way.
    fn mirror(&self, git: &Git) -> Mirror {
        let path = mirror_of(git, &self.state).with_extension("edit.git");
        Mirror { path, copies: place(&self.state).join("copies") }
    }

    /// Puts the draft where it was read, or on a new branch of this name. The id of the commit;
    /// `None` for a directory. `held` is dropped when no thread is in its file system any more.
    pub async fn write(
        &self,
        reading: &Reading,
        draft: &Draft,
        branch: Option<&str>,
        held: impl Send + 'static,
    ) -> Result<Option<String>, WriteError> {
        let (Some(git), Some(base)) = (self.git(), &reading.base) else {
            let Inventory::Directory(root) = &self.inventory else {
                return Err(WriteError::Failed("there is no inventory".into()));
            };
            let (root, draft) = (root.clone(), draft.clone());
            let task = tokio::task::spawn_blocking(move || {
                let saved = save(&root, &draft);
                drop(held);
                saved
            });
            return task
                .await
                .unwrap_or_else(|error| Err(WriteError::Failed(error.to_string())))
                .map(|()| None);
        };
        let target = match (branch, &git.reference) {
            (Some(branch), _) => branch,
            (None, Reference::Branch(_) | Reference::Default) => base.name.as_str(),
            (None, Reference::Tag(_) | Reference::Commit(_)) => {
                let why = "the daemon follows a tag or a commit, which nothing can be added to; \
                           follow a branch, or set write = \"branch\"";
                return Err(WriteError::Refused(why.into()));
            }
        };
        let place = |path: &String| match git.path.as_str() {
            "" => path.clone(),
            folder => format!("{folder}/{path}"),
        };
        let order = Order {
            repository: Request::new(self.mirror(&git).path, &git),
            base: base.commit.clone(),
            target: format!("refs/heads/{target}"),
            fresh: branch.is_some(),
            files: draft.files.iter().map(|file| (place(&file.path), file.after.clone())).collect(),
            message: draft.message.clone(),
            author: draft.author.clone(),
        };
        self.hand_over(&order, &git).await.map(Some)
    }

    /// Has a child process make the commit; one that hangs is killed.
    async fn hand_over(&self, order: &Order, git: &Git) -> Result<String, WriteError> {
        let failed = |why: String| WriteError::Failed(format!("committing failed: {why}"));
        let text = serde_json::to_string(order).map_err(|error| failed(error.to_string()))?;
        let mut command = Command::new(&self.fetcher.program);
        command.arg(super::git::WRITE).kill_on_drop(true).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let group = Group::of(&child);
        let stdin = child.stdin.take();
        let work = async {
            if let Some(mut stdin) = stdin {
                stdin.write_all(text.as_bytes()).await?;
            }
            child.wait_with_output().await
        };
        let output = match tokio::time::timeout(Duration::from_millis(git.limit.0), work).await {
            Err(_) => return Err(failed(format!("no end within {} (`timeout` sets it)", git.limit))),
            Ok(output) => output.map_err(|error| failed(error.to_string()))?,
        };
        group.ended();
        let complaint = tame(&output.stderr);
        match output.status.code() {
            Some(0) => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            Some(code) if code == Fault::Moved as i32 => Err(WriteError::Moved(complaint)),
            Some(code) if code == Fault::Refused as i32 => Err(WriteError::Refused(complaint)),
            _ if complaint.is_empty() => Err(failed(output.status.to_string())),
            _ => Err(failed(complaint)),
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    let task = tokio::task::spawn_blocking(work);
    task.await.unwrap_or_else(|error| Err(SourceError::Git(format!("reading it failed: {error}"))))
}

/// Replaces each file by a rename, if all of them still are what was read. What takes room and time is done before
/// the first is renamed; where one can't be, those before it get their text back.
fn save(root: &Path, draft: &Draft) -> Result<(), WriteError> {
    let fail = |path: &Path, error: io::Error| WriteError::Failed(format!("{}: {error}", path.display()));
    for file in &draft.files {
        let path = root.join(&file.path);
        let now = match std::fs::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(fail(&path, error)),
        };
        if now.as_deref() != file.before.as_ref().map(String::as_bytes) {
            return Err(WriteError::Moved(format!("{} was changed meanwhile", path.display())));
        }
    }
    let mut ready = Vec::new();
    for file in &draft.files {
        let path = root.join(&file.path);
        let new = replace::Draft::write(&path, file.after.as_bytes()).map_err(|error| fail(&path, error))?;
        ready.push((path, file.before.as_deref(), new));
    }
    for (at, (path, _, new)) in ready.iter().enumerate() {
        if let Err(error) = new.publish() {
            let stuck: String =
                ready[..at].iter().filter_map(|(path, before, _)| take_back(path, *before)).collect();
            return Err(WriteError::Failed(format!("{}: {error}{stuck}", path.display())));
        }
    }
    Ok(())
}

/// Gives a file its former text; why that is not possible, for the message.
fn take_back(path: &Path, before: Option<&str>) -> Option<String> {
    let restored = match before {
        Some(text) => replace::replace(path, text.as_bytes()),
        None => std::fs::remove_file(path),
    };
    let error = restored.err()?;
    Some(format!("; {} has its new text and can't get back the old: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(before: Option<&str>, after: &str) -> Draft {
        draft_of(vec![file("a.toml", before, after)])
    }

    fn file(path: &str, before: Option<&str>, after: &str) -> DraftFile {
        DraftFile { path: path.into(), before: before.map(str::to_owned), after: after.into() }
    }

    fn draft_of(files: Vec<DraftFile>) -> Draft {
        Draft { files, message: String::new(), author: Default::default() }
    }

    #[test]
    fn several_files_are_replaced_all_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).ok();
        let two = |b: Option<&str>| vec![file("a.toml", None, "one"), file("b.toml", b, "two")];
        assert!(matches!(save(folder.path(), &draft_of(two(Some("x")))), Err(WriteError::Moved(_))));
        assert_eq!(text("a.toml"), None);
        // There is no such folder: the second can't be written.
        let stuck = vec![file("a.toml", None, "one"), file("f/b.toml", None, "x")];
        let error = save(folder.path(), &draft_of(stuck)).unwrap_err();
        assert!(matches!(error, WriteError::Failed(_)), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{error}");
        save(folder.path(), &draft_of(two(None))).unwrap();
        assert_eq!((text("a.toml").as_deref(), text("b.toml").as_deref()), (Some("one"), Some("two")));
    }

    #[test]
    fn a_file_is_replaced_only_if_it_is_what_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let text = || std::fs::read_to_string(folder.path().join("a.toml")).unwrap();
        save(folder.path(), &draft(None, "one")).unwrap();
        assert_eq!(text(), "one");
        let late = [draft(None, "two"), draft(Some("zero"), "two")];
        for draft in late {
            assert!(matches!(save(folder.path(), &draft), Err(WriteError::Moved(_))));
        }
        assert_eq!(text(), "one");
        save(folder.path(), &draft(Some("one"), "two")).unwrap();
        assert_eq!(text(), "two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn a_tag_or_a_commit_takes_nothing() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let git = Git { reference: Reference::Tag("v1".into()), ..Git::at("/srv/x.git".into()) };
        let source = SourceConfig {
            inventory: Inventory::Git(git),
            poll: None,
            state: "/nowhere".into(),
            fetcher: Default::default(),
        };
        let snapshot = Snapshot { revision: "v1@sha1:0".into(), ..Snapshot::default() };
        let base = Fetched { commit: "0".repeat(40), name: "v1".into() };
        let reading = Reading { snapshot, base: Some(base) };
        let written = runtime.block_on(source.write(&reading, &draft(None, "x"), None, ()));
        assert!(
            matches!(&written, Err(WriteError::Refused(why)) if why.contains("follow a branch")),
            "{written:?}"
        );
    }
}
