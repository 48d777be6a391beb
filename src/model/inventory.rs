//! Where an inventory lives.

use std::fmt;
use std::path::PathBuf;

use super::Span;

/// Largest manifest, in bytes.
pub const MANIFEST_MAX_BYTES: usize = 16 << 20;

/// Where the manifests are that the daemon follows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a daemon has only a few of them")]
pub enum Inventory {
    /// A git repository that the daemon keeps in its state directory.
    Own,
    /// A directory on this host.
    Directory(PathBuf),
    Git(Git),
}

/// An inventory in a git repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Git {
    /// URL, or path of a repository on this host.
    pub url: String,
    pub reference: Reference,
    /// The folder of the repository that is the inventory, without slashes at its ends; empty:
    /// all of it.
    pub path: String,
    /// How often the repository is polled.
    pub poll: Span,
    /// Longest time that one fetch may take.
    pub limit: Span,
    pub access: Access,
    /// Whose commits are followed; `None`: those of everybody who may write to the repository.
    pub verify: Option<Verify>,
}

/// How this host authenticates to a repository's server, and how it identifies the server. Paths of files,
/// which are read at every fetch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// https: the password or token.
    pub token: Option<PathBuf>,
    /// https: the only certificate authorities that are accepted for the server, in PEM.
    pub ca: Option<PathBuf>,
    /// ssh: the private key.
    pub key: Option<PathBuf>,
    /// ssh: the only host keys that are trusted.
    pub known_hosts: Option<PathBuf>,
    /// Whether http:// and git:// may be used beyond this host although anybody on the network can change
    /// what they carry.
    pub insecure: bool,
}

/// Signatures without which a commit is not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verify {
    pub signed: Signed,
    /// Allowed SSH keys, as in ssh-keygen(1) ALLOWED SIGNERS.
    pub signers: Option<PathBuf>,
    /// Allowed OpenPGP keys, as `gpg --export` writes them.
    pub keyring: Option<PathBuf>,
}

/// What must be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    /// The commit that is followed.
    Head,
    /// The annotated tag that is followed.
    Tag,
    /// Every commit since the last one that was followed.
    EveryCommit,
}

/// Which commit is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// The repository's default branch.
    Default,
    Branch(String),
    Tag(String),
    /// Forty hexadecimal digits.
    Commit(String),
}

impl Signed {
    pub const ALL: [Signed; 3] = [Signed::Head, Signed::Tag, Signed::EveryCommit];
}

impl fmt::Display for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Signed::Head => "head",
            Signed::Tag => "tag",
            Signed::EveryCommit => "every-commit",
        })
    }
}

impl Inventory {
    /// How often a repository is polled where nothing else is configured.
    pub const POLL: Span = Span::seconds(60);
    /// How long one fetch may take where nothing else is configured.
    pub const LIMIT: Span = Span::seconds(120);

    /// What a person names on a command line: a URL or `user@host:path` is a git repository, all
    /// else a directory.
    pub fn named(text: &str) -> Inventory {
        let scp_like = text.split_once(':').is_some_and(|(host, _)| {
            let names_host = host.contains('@') || text.ends_with(".git");
            names_host && !host.is_empty() && !host.contains('/')
        });
        if text.contains("://") || scp_like {
            Inventory::Git(Git::at(text.to_owned()))
        } else {
            Inventory::Directory(text.into())
        }
    }
}

impl fmt::Display for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Inventory::Own => f.write_str("the daemon's own repository"),
            Inventory::Directory(path) => write!(f, "{}", path.display()),
            Inventory::Git(git) => write!(f, "{git}"),
        }
    }
}

impl Git {
    /// The default branch of the repository at `url`, all of it.
    pub fn at(url: String) -> Git {
        Git {
            url,
            reference: Reference::Default,
            path: String::new(),
            poll: Inventory::POLL,
            limit: Inventory::LIMIT,
            access: Access::default(),
            verify: None,
        }
    }
}

impl fmt::Display for Git {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A password in a URL must not be shown.
        match (self.url.split_once("://"), self.url.rsplit_once('@')) {
            (Some((scheme, rest)), Some((_, host))) if rest.contains('@') => write!(f, "{scheme}://{host}")?,
            _ => f.write_str(&self.url)?,
        }
        match &self.reference {
            Reference::Default => {}
            Reference::Branch(name) | Reference::Tag(name) | Reference::Commit(name) => {
                write!(f, " ({name})")?
            }
        }
        if self.path.is_empty() { Ok(()) } else { write!(f, " below {}", self.path) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_repositories_and_paths_are_directories() {
        for url in ["https://h/x", "file:///srv/x.git", "git@host:x", "host:x.git", "ssh://h/x"] {
            assert!(matches!(Inventory::named(url), Inventory::Git(_)), "{url}");
        }
        for path in [".", "/srv/inventory", "a/b:c", "x.git", "./host:x.git"] {
            assert!(matches!(Inventory::named(path), Inventory::Directory(_)), "{path}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let shown = Inventory::named("https://me:secret@h/x.git").to_string();
        assert_eq!(shown, "https://h/x.git");
    }
}
