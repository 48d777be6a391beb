//! What a daemon that follows the repository would see otherwise than a reader of its work tree does.

use std::path::Path;

use git2::Repository;

use super::mirror::{ELSEWHERE, LARGEST, MODE_LINK};
use crate::source::SourceError;

/// Looks at what is added to git below the work tree's folder `root`: a clone lies elsewhere, so that a link with an
/// absolute target does not lead into it, and a file may be too large for it. Gives a warning for each of these.
///
/// # Errors
/// For such a link in the place of a manifest: a daemon refuses the whole revision then.
pub fn differences(root: &Path) -> Result<Vec<String>, SourceError> {
    let mut warnings = Vec::new();
    // What is in no repository, or in one that is not this user's, has nothing to compare.
    let found =
        std::fs::canonicalize(root).ok().and_then(|root| Some((Repository::discover(&root).ok()?, root)));
    let Some((repository, root)) = found else { return Ok(warnings) };
    let Some(top) = repository.workdir().and_then(|top| top.canonicalize().ok()) else { return Ok(warnings) };
    let (Ok(below), Ok(index), Ok(objects)) = (root.strip_prefix(&top), repository.index(), repository.odb())
    else {
        return Ok(warnings);
    };
    for entry in index.iter() {
        let Ok(path) = std::str::from_utf8(&entry.path) else { continue };
        let Ok(inside) = Path::new(path).strip_prefix(below) else { continue };
        let is_hidden = inside.iter().any(|part| part.as_encoded_bytes().starts_with(b"."));
        let place = root.join(inside);
        if is_hidden {
            continue;
        }
        if i32::try_from(entry.mode) == Ok(MODE_LINK) {
            let Some(target) = std::fs::read_link(&place).ok().filter(|target| target.is_absolute()) else {
                continue;
            };
            let why = absolute(&target);
            if path.ends_with(".toml") {
                return Err(SourceError::NoManifest { path: inside.into(), why });
            }
            warnings.push(format!("{}: {why}", inside.display()));
        } else if u64::from(entry.file_size) > LARGEST
            && objects.read_header(entry.id).is_ok_and(|(length, _)| length as u64 > LARGEST)
        {
            warnings.push(format!(
                "{}: a daemon that follows this repository leaves out files of more than {} MiB; {ELSEWHERE}",
                inside.display(),
                LARGEST >> 20
            ));
        }
    }
    Ok(warnings)
}

fn absolute(target: &Path) -> String {
    format!(
        "the link leads to the absolute path {}, which no clone of this repository has in it; link to a path \
         relative to the link",
        target.display()
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::model::SourceCondition;

    #[test]
    fn absolute_links_that_are_committed_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("inventory");
        std::fs::create_dir(&root).unwrap();
        let add = |repository: &Repository, path: &str| {
            let mut index = repository.index().unwrap();
            index.add_path(Path::new(path)).unwrap();
            index.write().unwrap();
        };
        std::fs::write(root.join("a.toml"), "").unwrap();
        symlink(root.join("a.toml"), root.join("b.toml")).unwrap();
        symlink(root.join("a.toml"), root.join("notes")).unwrap();
        symlink("a.toml", root.join("c.toml")).unwrap();
        assert_eq!(differences(&root), Ok(Vec::new()), "no repository");
        let repository = Repository::init(folder.path()).unwrap();
        ["inventory/a.toml", "inventory/c.toml", "inventory/notes"]
            .iter()
            .for_each(|path| add(&repository, path));
        let warnings = differences(&root).unwrap();
        assert!(warnings.len() == 1 && warnings[0].starts_with("notes: "), "{warnings:?}");
        add(&repository, "inventory/b.toml");
        let error = differences(&root).unwrap_err();
        assert!(
            error.to_string().contains("b.toml") && error.condition() == SourceCondition::Invalid,
            "{error}"
        );
        // Another folder of the same repository.
        std::fs::create_dir(folder.path().join("other")).unwrap();
        assert_eq!(differences(&folder.path().join("other")), Ok(Vec::new()));
    }
}
