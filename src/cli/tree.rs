//! Inventories as they are sent to a daemon: texts by content, other files by digest.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::api::client::{Client, ClientError};
use crate::api::resource::{Blob, Outcome, Tree};
use crate::media::identity;
use crate::model::hex;
use crate::source::{Body, SourceError, directory};

/// Reads an inventory to send it.
pub fn read(root: &Path, environment: Option<&str>) -> Result<Tree, SourceError> {
    let snapshot = directory::read(root)?;
    let inline = snapshot.files.iter().filter_map(|(path, body)| match body {
        Body::Inline { bytes, .. } => Some((&**path, bytes)),
        Body::OnDisk { .. } => None,
    });
    let mut tree = Tree {
        revision: snapshot.revision.to_string(),
        environment: environment.map(str::to_owned),
        ..Tree::of_files(inline)
    };
    for (path, place) in snapshot.copies() {
        if tree.files.contains_key(&*path) || tree.binary.contains_key(&*path) {
            continue;
        }
        // A file that vanished meanwhile is reported where a manifest names it.
        let Ok(metadata) = std::fs::metadata(&place) else { continue };
        let blob = Blob { length: metadata.len(), mark: identity::of(&metadata).to_string(), sha256: None };
        tree.media.insert(path.to_string(), blob);
    }
    Ok(tree)
}

/// Sends a tree, and once more with the files that the daemon lacks. `root` is the directory that the tree
/// was read from; without it nothing more is sent.
pub async fn plan(client: &Client, tree: &mut Tree, root: Option<&Path>) -> Result<Outcome, ClientError> {
    let outcome = client.post::<Outcome>("/v1/plan", tree).await?;
    let (Outcome::Wanted { files }, Some(root)) = (&outcome, root) else { return Ok(outcome) };
    for path in files {
        let completed = complete(tree, root, path);
        completed.map_err(|error| ClientError::Refused(format!("{}: {error}", root.join(path).display())))?;
    }
    client.post::<Outcome>("/v1/plan", tree).await
}

/// Puts a small file into the tree, and of a large one its digest.
fn complete(tree: &mut Tree, root: &Path, path: &str) -> io::Result<()> {
    let Some(blob) = tree.media.get_mut(path) else { return Ok(()) };
    let mut file = File::open(root.join(path))?;
    let metadata = file.metadata()?;
    // This must be the file that lay inside the inventory, not a link put in its place meanwhile.
    if !metadata.is_file() || identity::of(&metadata).to_string() != blob.mark {
        return Err(io::Error::other("it changed while the inventory was being read; try again"));
    }
    if blob.length > Body::INLINE_MAX {
        let mut sum = Sha256::new();
        let mut chunk = vec![0; 1 << 20];
        loop {
            match file.read(&mut chunk)? {
                0 => break,
                length => sum.update(&chunk[..length]),
            }
        }
        blob.sha256 = Some(hex(&sum.finalize()));
        return Ok(());
    }
    let mut bytes = Vec::new();
    file.take(Body::INLINE_MAX).read_to_end(&mut bytes)?;
    tree.binary.insert(path.to_owned(), hex(&bytes));
    tree.media.remove(path);
    Ok(())
}
