//! Whether commits and tags are signed by allowed keys. The mathematics is that of the tools that
//! made the signatures: `ssh-keygen -Y verify` and `gpgv`.

use std::path::Path;
use std::process::{Command, Output};

use git2::{ErrorCode, ObjectType, Oid, Repository, Sort};

use crate::model::{Signed, Verify};
use crate::source::gpg::{self, complaint};

/// The newest commit that was found to be signed, with everything before it.
const VERIFIED: &str = "refs/verified";
/// What git puts into its SSH signatures, so that none made for something else counts.
const NAMESPACE: &str = "git";

/// A commit that must not be followed, or whose signature could not be checked.
#[derive(Debug)]
pub(super) enum Doubt {
    /// Not signed, or not by an allowed key.
    Untrusted(String),
    Failed(String),
}

/// Asks for the signatures that `verify` wants on `commit`; `reference` is what led to it.
pub(super) fn check(
    repository: &Repository,
    reference: &str,
    commit: Oid,
    verify: &Verify,
) -> Result<(), Doubt> {
    let judge = Judge { repository, verify };
    match verify.signed {
        Signed::Head => judge.commit(commit),
        Signed::Tag => judge.tag(reference),
        Signed::EveryCommit => judge.since_last(commit),
    }
}

struct Judge<'r> {
    repository: &'r Repository,
    verify: &'r Verify,
}

impl Judge<'_> {
    /// Where nothing was verified before, the first commit is where trust begins.
    fn since_last(&self, commit: Oid) -> Result<(), Doubt> {
        let last = self.repository.refname_to_id(VERIFIED).ok();
        let last = last.filter(|id| self.repository.find_commit(*id).is_ok());
        match last {
            None => self.commit(commit)?,
            Some(last) => {
                let mut walk = self.repository.revwalk().map_err(failed)?;
                walk.set_sorting(Sort::TOPOLOGICAL | Sort::REVERSE).map_err(failed)?;
                walk.push(commit).and_then(|()| walk.hide(last)).map_err(failed)?;
                for id in walk {
                    self.commit(id.map_err(failed)?)?;
                }
            }
        }
        let noted = self.repository.reference(VERIFIED, commit, true, "verified");
        noted.map(drop).map_err(failed)
    }

    fn commit(&self, id: Oid) -> Result<(), Doubt> {
        let what = format!("commit {id}");
        let (signature, content) = match self.repository.extract_signature(&id, None) {
            Ok(found) => found,
            Err(error) if error.code() == ErrorCode::NotFound => return Err(unsigned(&what)),
            Err(error) => return Err(failed(error)),
        };
        self.signature(&what, &signature, &content)
    }

    /// The signature of a tag stands at the end of its text.
    fn tag(&self, reference: &str) -> Result<(), Doubt> {
        let id = self.repository.refname_to_id(reference).map_err(failed)?;
        let odb = self.repository.odb().map_err(failed)?;
        let object = odb.read(id).map_err(failed)?;
        if object.kind() != ObjectType::Tag {
            return Err(Doubt::Untrusted("the tag is not annotated, so nobody signed it".to_owned()));
        }
        let what = format!("tag {id}");
        let text = object.data();
        let start = [&b"-----BEGIN SSH SIGNATURE-----"[..], b"-----BEGIN PGP SIGNATURE-----"]
            .iter()
            .filter_map(|mark| last_line_with(text, mark))
            .max();
        let start = start.ok_or_else(|| unsigned(&what))?;
        self.signature(&what, &text[start..], &text[..start])
    }

    fn signature(&self, what: &str, signature: &[u8], content: &[u8]) -> Result<(), Doubt> {
        let Verify { signed: _, signers, keyring } = self.verify;
        let refuse = |why: &str| Err(Doubt::Untrusted(format!("{what} {why}")));
        if signature.starts_with(b"-----BEGIN SSH SIGNATURE-----") {
            return match signers {
                Some(file) => self.by_ssh(what, signature, content, file),
                None => refuse("is signed with an SSH key, and no `signers` are allowed"),
            };
        }
        if signature.starts_with(b"-----BEGIN PGP SIGNATURE-----") {
            return match keyring {
                Some(file) => self.by_gpg(what, signature, content, file),
                None => refuse("is signed with an OpenPGP key, and there is no `keyring`"),
            };
        }
        refuse("has a signature of an unknown kind")
    }

    fn by_ssh(&self, what: &str, signature: &[u8], content: &[u8], signers: &Path) -> Result<(), Doubt> {
        readable("signers", signers)?;
        let file = self.note("signature", signature)?;
        let keygen = |action: &str| {
            let mut command = Command::new("ssh-keygen");
            command.args(["-Y", action, "-s"]).arg(&file).arg("-f").arg(signers);
            command
        };
        let found = run(keygen("find-principals"), b"")?;
        let who = String::from_utf8_lossy(&found.stdout).lines().next().unwrap_or_default().to_owned();
        if !found.status.success() || who.is_empty() {
            return Err(Doubt::Untrusted(format!("{what} is not signed by a key in {}", signers.display())));
        }
        let mut command = keygen("verify");
        command.args(["-n", NAMESPACE, "-I", &who]);
        let checked = run(command, content)?;
        match checked.status.success() {
            true => Ok(()),
            false => Err(Doubt::Untrusted(format!("{what}: {}", complaint(&checked)))),
        }
    }

    fn by_gpg(&self, what: &str, signature: &[u8], content: &[u8], keyring: &Path) -> Result<(), Doubt> {
        readable("keyring", keyring)?;
        let file = self.note("signature", signature)?;
        match gpg::fault(keyring, &[&file, Path::new("-")], content).map_err(Doubt::Failed)? {
            None => Ok(()),
            Some(why) => Err(Doubt::Untrusted(format!("{what} {why}"))),
        }
    }

    /// A file for the tools, which want one; the mirror is this child's alone.
    fn note(&self, name: &str, bytes: &[u8]) -> Result<std::path::PathBuf, Doubt> {
        let path = self.repository.path().join(format!("verify.{name}"));
        let path = std::path::absolute(path).map_err(|error| Doubt::Failed(error.to_string()))?;
        std::fs::write(&path, bytes)
            .map_err(|error| Doubt::Failed(format!("{}: {error}", path.display())))?;
        Ok(path)
    }
}

fn unsigned(what: &str) -> Doubt {
    Doubt::Untrusted(format!("{what} is not signed"))
}

fn failed(error: git2::Error) -> Doubt {
    Doubt::Failed(error.message().to_owned())
}

/// A list of keys that can't be read does not make a commit untrusted: the list must be corrected.
fn readable(key: &str, path: &Path) -> Result<(), Doubt> {
    let opened = std::fs::File::open(path).map(drop);
    opened.map_err(|error| Doubt::Failed(format!("`{key}` {}: {error}", path.display())))
}

/// Where the last line that begins with `mark` begins.
fn last_line_with(text: &[u8], mark: &[u8]) -> Option<usize> {
    let starts = (0..text.len().saturating_sub(mark.len() - 1)).rev();
    starts.filter(|at| *at == 0 || text[at - 1] == b'\n').find(|at| text[*at..].starts_with(mark))
}

fn run(command: Command, input: &[u8]) -> Result<Output, Doubt> {
    gpg::run(command, input).map_err(Doubt::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_signature_counts() {
        let text = b"text -----BEGIN x\n-----BEGIN x\na\n-----BEGIN x\nb\n";
        assert_eq!(last_line_with(text, b"-----BEGIN x"), Some(33));
        assert_eq!(last_line_with(b"text -----BEGIN x", b"-----BEGIN x"), None);
        assert_eq!(last_line_with(b"", b"-----BEGIN x"), None);
    }
}
