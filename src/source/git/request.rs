//! The request that the daemon passes to its child. It is passed in the environment, which other users
//! can't read, because a URL may hold a password.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::{Access, Git, Reference, Signed, Verify};

/// The environment variable that holds it, as JSON.
pub(super) const VARIABLE: &str = "VOLDEMORT_FETCH";
/// The child's exit code when the commit lacks a signature that counts.
pub(super) const UNTRUSTED: u8 = 3;

/// A repository and how it is reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    pub mirror: PathBuf,
    pub url: String,
    /// `default`, `branch`, `tag` or `commit`.
    pub kind: String,
    pub name: String,
    /// With its history, for a commit to be built on it.
    pub whole: bool,
    pub(super) token: Option<PathBuf>,
    pub(super) ca: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) known_hosts: Option<PathBuf>,
    pub(super) insecure: bool,
    /// `head`, `tag` or `every-commit`.
    pub(super) signed: Option<String>,
    pub(super) signers: Option<PathBuf>,
    pub(super) keyring: Option<PathBuf>,
}

impl Request {
    pub fn new(mirror: PathBuf, git: &Git) -> Request {
        let Git { url, reference, path: _, poll: _, limit: _, access, verify } = git;
        let (kind, name) = match reference {
            Reference::Default => ("default", ""),
            Reference::Branch(name) => ("branch", name.as_str()),
            Reference::Tag(name) => ("tag", name.as_str()),
            Reference::Commit(id) => ("commit", id.as_str()),
        };
        let Access { token, ca, key, known_hosts, insecure } = access.clone();
        Request {
            mirror,
            url: url.clone(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            whole: false,
            token,
            ca,
            key,
            known_hosts,
            insecure,
            signed: verify.as_ref().map(|verify| verify.signed.to_string()),
            signers: verify.as_ref().and_then(|verify| verify.signers.clone()),
            keyring: verify.as_ref().and_then(|verify| verify.keyring.clone()),
        }
    }

    pub fn access(&self) -> Access {
        Access {
            token: self.token.clone(),
            ca: self.ca.clone(),
            key: self.key.clone(),
            known_hosts: self.known_hosts.clone(),
            insecure: self.insecure,
        }
    }

    /// An error for an unknown word: a misunderstanding must not let an unsigned commit in.
    pub fn verify(&self) -> Result<Option<Verify>, String> {
        let Some(word) = &self.signed else { return Ok(None) };
        let signed = Signed::ALL.into_iter().find(|signed| signed.to_string() == *word);
        let signed = signed.ok_or_else(|| format!("`{word}` is no kind of verification"))?;
        Ok(Some(Verify { signed, signers: self.signers.clone(), keyring: self.keyring.clone() }))
    }
}
