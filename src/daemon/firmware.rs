//! The boot programs of the distributions, looked at again while the daemon runs: a package that is
//! installed or upgraded takes effect by itself.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::keeper::Keeper;
use crate::media::{Entry, loaders};

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(600);

type Found = BTreeMap<Box<str>, Entry>;

/// Hands the programs below `paths` to the keeper whenever they are others than those that are served.
pub(super) async fn follow(keeper: Keeper, paths: Vec<PathBuf>, mut stopping: watch::Receiver<bool>) {
    let mut last = keeper.state().server().loaders.clone();
    loop {
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
        let found = tokio::select! {
            found = look(paths.clone()) => found,
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        let Some(found) = found else { continue };
        // A package manager replaces one file after the other: twice the same is the end of that.
        if found == last && found != keeper.state().server().loaders {
            keeper.loaders(found.clone());
        }
        last = found;
    }
}

/// In a thread that a file system which does not answer can't take along.
async fn look(paths: Vec<PathBuf>) -> Option<Found> {
    let (answer, found) = oneshot::channel();
    let work = move || drop(answer.send(loaders::find(&paths)));
    crate::thread::start("firmware", work).ok()?;
    found.await.ok()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::state::Server;
    use crate::store::Store;

    #[tokio::test]
    async fn an_upgraded_program_is_served_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ipxe.efi");
        std::fs::write(&path, "one").unwrap();
        let paths = vec![folder.path().to_path_buf()];
        let (store, saved) = Store::open(&folder.path().join("state"), || [7; 48]).unwrap();
        let server = Server { loaders: loaders::find(&paths), ..Server::stand_in([10, 0, 0, 1].into()) };
        let (keeper, _) = Keeper::spawn(store, saved, server);
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(follow(keeper.clone(), paths, stopping));
        std::fs::write(folder.path().join("new"), "upgraded").unwrap();
        std::fs::rename(folder.path().join("new"), &path).unwrap();
        std::fs::write(folder.path().join("snponly.efi"), "another").unwrap();
        let start = Instant::now();
        let served = |name: &str| keeper.state().server().loaders.get(name).map(Entry::len);
        while served("ipxe.efi") != Some(8) || served("snponly.efi") != Some(7) {
            assert!(start.elapsed() < PAUSE * 6, "{:?}", keeper.state().server().loaders);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        stop.send_replace(true);
        task.await.unwrap();
    }
}
