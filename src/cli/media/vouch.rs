//! Who says that a file is the right one: a digest, or a signature beside it.

use std::path::{Path, PathBuf};

use crate::media::verify::Verifier;
use crate::source::{download, gpg};

/// What a file is held against.
pub(super) enum Voucher {
    Nobody,
    /// Lower-case hexadecimal SHA-256.
    Digest(String),
    /// The digest, out of a signed list.
    Listed {
        sha256: String,
        list: String,
    },
    /// A signature of the file itself.
    Signature {
        name: String,
        bytes: Vec<u8>,
        keyring: PathBuf,
    },
}

/// Lists of checksums as distributions name them, and what their signatures are called: Debian has
/// `SHA256SUMS.sign`, Ubuntu and Kali `.gpg`, Rocky and Alma a signed text `CHECKSUM`, Alpine `NAME.sha256`,
/// openSUSE `NAME.sha256.asc`.
const SIGNATURES: [&str; 4] = [".sign", ".gpg", ".asc", ".sig"];

/// The voucher beside `source`, made by a key in `keyring`.
pub(super) fn by_signature(source: &str, name: &str, keyring: &Path) -> Result<Voucher, String> {
    std::fs::File::open(keyring).map_err(|error| format!("--signed-by {}: {error}", keyring.display()))?;
    let lists = [
        "SHA256SUMS".to_owned(),
        "CHECKSUM".to_owned(),
        format!("{name}.sha256"),
        format!("{name}.CHECKSUM"),
    ];
    for list in &lists {
        let Some(text) = beside(source, list)? else { continue };
        if let Some(signed) = signed_text(source, list, &text, keyring)? {
            let sha256 = listed(&String::from_utf8_lossy(&signed), name);
            let sha256 = sha256.ok_or_else(|| format!("{list} beside {source} does not name {name}"))?;
            return Ok(Voucher::Listed { sha256, list: list.clone() });
        }
    }
    for end in SIGNATURES {
        let signature = format!("{name}{end}");
        if let Some(bytes) = beside(source, &signature)? {
            return Ok(Voucher::Signature { name: signature, bytes, keyring: keyring.into() });
        }
    }
    Err(format!("beside {source} lies no signed list of checksums and no signature of it"))
}

/// The text that was signed, if anybody signed this list; a wrong signature is an error.
fn signed_text(source: &str, list: &str, text: &[u8], keyring: &Path) -> Result<Option<Vec<u8>>, String> {
    let judged = |name: &str, fault: Option<String>| match fault {
        None => Ok(()),
        Some(why) => Err(format!("{name} beside {source} {why}")),
    };
    if text.starts_with(b"-----BEGIN PGP SIGNED MESSAGE-----") {
        let folder = Scratch::new(list, text)?;
        judged(list, gpg::fault(keyring, &[&folder.file()], b"")?)?;
        return Ok(Some(clear(text)));
    }
    for end in SIGNATURES {
        let name = format!("{list}{end}");
        let Some(signature) = beside(source, &name)? else { continue };
        let folder = Scratch::new(&name, &signature)?;
        judged(list, gpg::fault(keyring, &[&folder.file(), Path::new("-")], text)?)?;
        return Ok(Some(text.to_vec()));
    }
    Ok(None)
}

/// The signed part of a signed text (RFC 9580 section 7): what stands before and behind it nobody signed.
fn clear(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().skip_while(|line| !line.trim().is_empty()).skip(1);
    let signed = lines.take_while(|line| *line != "-----BEGIN PGP SIGNATURE-----");
    let plain = signed.map(|line| line.strip_prefix("- ").unwrap_or(line));
    plain.collect::<Vec<_>>().join("\n").into_bytes()
}

/// The SHA-256 of `name` in a list of GNU's or BSD's form, or in one that has nothing but a digest.
fn listed(list: &str, name: &str) -> Option<String> {
    let is_digest = |word: &str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let line = |line: &str| {
        let bsd = line.strip_prefix("SHA256 (").and_then(|rest| rest.split_once(") = "));
        let gnu =
            line.split_once(' ').map(|(digest, rest)| (rest.trim_start().trim_start_matches('*'), digest));
        let (of, digest) = bsd.or(gnu)?;
        let of = of.trim().trim_start_matches("./");
        (of == name && is_digest(digest.trim())).then(|| digest.trim().to_ascii_lowercase())
    };
    let alone = || is_digest(list.trim()).then(|| list.trim().to_ascii_lowercase());
    list.lines().find_map(line).or_else(alone)
}

/// A small file beside the source; `None` where there is none.
fn beside(source: &str, name: &str) -> Result<Option<Vec<u8>>, String> {
    let folder = source.rsplit_once('/').map(|(folder, _)| folder);
    if super::is_url(source) {
        let folder = folder.unwrap_or_default();
        return download::text(&format!("{folder}/{name}")).map_err(|error| error.to_string());
    }
    let path = Path::new(source).with_file_name(name);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

impl Voucher {
    /// Why the file at `path` is not the right one.
    pub(super) fn judge(&self, path: &Path, name: &str) -> Result<(), String> {
        match self {
            Voucher::Nobody => Ok(()),
            Voucher::Digest(sha256) | Voucher::Listed { sha256, .. } => {
                let found = Verifier::default().digest(path).map_err(|error| error.to_string())?;
                let fault = format!("its sha256 is {found} and not {sha256}");
                if found == *sha256 { Ok(()) } else { Err(fault) }
            }
            Voucher::Signature { name: signature, bytes, keyring } => {
                let folder = Scratch::new(signature, bytes)?;
                let path = std::path::absolute(path).map_err(|error| error.to_string())?;
                match gpg::fault(keyring, &[&folder.file(), &path], b"")? {
                    None => Ok(()),
                    Some(why) => Err(format!("{name} {why}")),
                }
            }
        }
    }

    /// Behind the digest, in what is printed.
    pub(super) fn words(&self) -> String {
        match self {
            Voucher::Nobody | Voucher::Digest(_) => String::new(),
            Voucher::Listed { list, .. } => format!(", as the signed {list} has it"),
            Voucher::Signature { name, .. } => format!(", signed by {name}"),
        }
    }
}

/// A folder of our own for what gpgv reads, removed afterwards.
struct Scratch {
    folder: PathBuf,
    name: String,
}

impl Scratch {
    fn new(name: &str, bytes: &[u8]) -> Result<Scratch, String> {
        use std::os::unix::fs::DirBuilderExt;
        let folder = std::env::temp_dir().join(format!("voldemort-media-{}", std::process::id()));
        let scratch = Scratch { folder, name: name.replace('/', "_") };
        let fail = |error: std::io::Error| format!("{}: {error}", scratch.folder.display());
        // A folder that is there already is somebody else's.
        std::fs::DirBuilder::new().mode(0o700).create(&scratch.folder).map_err(fail)?;
        std::fs::write(scratch.file(), bytes).map_err(fail)?;
        Ok(scratch)
    }

    fn file(&self) -> PathBuf {
        self.folder.join(&self.name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What can't be removed is a few bytes in the folder of temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_found_in_lists_of_all_forms() {
        let digest = "ab".repeat(32);
        for list in [
            format!("{digest}  x.iso\n"),
            format!("{}  other.iso\n{digest} *x.iso\n", "cd".repeat(32)),
            format!("# x.iso: 5 bytes\nSHA256 (x.iso) = {}\n", digest.to_uppercase()),
            format!("{digest}  ./x.iso"),
            format!("{digest}\n"),
        ] {
            assert_eq!(listed(&list, "x.iso"), Some(digest.clone()), "{list}");
        }
        for list in ["", "ab  x.iso", "SHA512 (x.iso) = ab", &format!("{digest}  y.iso")] {
            assert_eq!(listed(list, "x.iso"), None, "{list}");
        }
    }

    #[test]
    fn only_what_was_signed_is_read() {
        let text = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\na\n- -----x\n-----BEGIN PGP SIGNATURE-----\nb\n";
        assert_eq!(clear(text), b"a\n-----x");
    }
}
