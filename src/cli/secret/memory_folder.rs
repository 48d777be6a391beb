//! A folder in memory where an editor may open a plain text. It is removed however this process ends, but
//! by `kill -9`.

use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::file::{named, private};

/// Files here are in memory; swap aside, nothing of them reaches a disk.
const MEMORY: &str = "/dev/shm";

/// A folder of this process, removed with all files that editors leave in it.
pub(super) struct MemoryFolder(PathBuf);

/// How an editor ended.
pub(super) enum Ended {
    Saved,
    Failed,
    Interrupted,
}

impl MemoryFolder {
    pub(super) fn new() -> Result<MemoryFolder, String> {
        // The name is unpredictable, so that it can't be taken first, and only this user may enter.
        let path = Path::new(MEMORY).join("voldemort-secret-XXXXXX");
        nix::unistd::mkdtemp(&path).map(MemoryFolder).map_err(|error| named(&path, &error.into()))
    }

    /// Writes a text into the folder.
    pub(super) fn lay(&self, name: &str, text: &str) -> Result<PathBuf, String> {
        let path = self.0.join(name);
        private(&path, text).map_err(|error| named(&path, &error))?;
        Ok(path)
    }

    /// Waits until `editor`, a shell command, is done with a file.
    pub(super) fn edit(&self, editor: &str, file: &Path) -> Result<Ended, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        runtime.block_on(edited(editor, file)).map_err(|error| format!("{editor}: {error}"))
    }
}

impl Drop for MemoryFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            crate::cli::exit::talk(&format!(
                "{} can't be removed, and holds a secret: {error}",
                self.0.display()
            ));
        }
    }
}

/// Signals must not end this process before the folder is removed. Ctrl-C and the like are the editor's
/// business; SIGTERM ends the editor.
async fn edited(editor: &str, file: &Path) -> std::io::Result<Ended> {
    let mut kill = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let (_interrupt, _quit) = (signal(SignalKind::interrupt())?, signal(SignalKind::quit())?);
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(file).kill_on_drop(true);
    let mut child = command.spawn()?;
    let status = tokio::select! {
        status = child.wait() => status?,
        _ = kill.recv() => return Ok(Ended::Interrupted),
        _ = hang_up.recv() => return Ok(Ended::Interrupted),
    };
    Ok(if status.success() { Ended::Saved } else { Ended::Failed })
}
