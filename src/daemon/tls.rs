//! What HTTPS is served with: a given certificate, or one of our own small authority, whose root
//! machines and people fetch as `ca.pem` and `ca.der`. The control API beyond loopback uses the same authority, with
//! certificates of its own (`certificate.rs`).
//!
//! Firmware's own HTTP boot is not sent here. Debian 12's OVMF (edk2 2022.11) can do TLS and takes its
//! roots from QEMU's `etc/edk2/https/cacerts`, but offers RSA key exchange alone: with a server that
//! has it, it boots (AES256-GCM-SHA384), with ECDHE alone it finds no shared cipher; and rustls has
//! nothing but ECDHE, for good reason. Builds with elliptic curves are still to be met.
//!
//! Firmware is picky here. The root is not sent along (iPXE refuses chains with it), and dates are
//! wide, because the clock of a machine that lay on a shelf says 2000.

use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rcgen::{KeyUsagePurpose, SanType, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

use super::certificate::Certificate;
use super::request_handler::{AgentReply, AgentRequest, Method, Opened, RequestHandler};
use crate::model::Content;
use crate::model::hex::hex;
use crate::proto::tree::{Artifact, Asker};
use crate::state::Stage;

/// Where the authority's key and root are kept, in the state directory.
const FOLDER: &str = "tls";
const KEY: &str = "authority.key";
const ROOT: &str = "authority.pem";

/// Why HTTPS can't be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path}: {error}")]
    File { path: PathBuf, error: io::Error },
    #[error("{path}: {error}")]
    Pem { path: PathBuf, error: rustls::pki_types::pem::Error },
    #[error("{path} and {key}: {error}")]
    Pair { path: PathBuf, key: PathBuf, error: rustls::Error },
    #[error("the daemon's own certificate can't be made: {0}")]
    Own(#[from] rcgen::Error),
    #[error(
        "{root} is not the root of {key}: put back the file of a backup, or remove it to have it made anew"
    )]
    Mixed { root: PathBuf, key: PathBuf },
    #[error("{0} holds no certificate")]
    Empty(PathBuf),
    #[error("the daemon's own certificate is not accepted: {0}")]
    OwnRefused(rustls::Error),
}

/// The TLS settings of the next connection.
pub type Acceptor = Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>;

/// Where the server's certificates come from.
pub(super) enum Certificates {
    Given(Arc<Certificate>),
    Own(Box<Authority>),
}

impl Certificates {
    /// Those of `given` (a certificate and its key), or of the authority in the state directory.
    pub(super) fn open(given: Option<&(PathBuf, PathBuf)>, state: &Path) -> Result<Certificates, TlsError> {
        Ok(match given {
            Some(_) => Certificates::Given(Arc::new(Certificate::open(given, &[], Vec::new(), state)?)),
            None => Certificates::Own(Box::new(Authority::open(state)?)),
        })
    }

    /// The TLS settings at `address`, for each connection anew: given files may have changed.
    pub(super) fn of(&self, address: IpAddr) -> Result<Acceptor, TlsError> {
        Ok(match self {
            Certificates::Given(certificate) => {
                let certificate = certificate.clone();
                Arc::new(move || certificate.config())
            }
            Certificates::Own(authority) => {
                let config = authority.sign(address)?;
                Arc::new(move || config.clone())
            }
        })
    }

    /// The files that are to be read again when they change, if any are given.
    pub(super) fn given(&self) -> Option<&Arc<Certificate>> {
        match self {
            Certificates::Given(certificate) => Some(certificate),
            Certificates::Own(_) => None,
        }
    }

    /// The authority that machines must trust, if it is the daemon's own.
    pub(super) fn authority(&self) -> Option<&Authority> {
        match self {
            Certificates::Given(_) => None,
            Certificates::Own(authority) => Some(authority),
        }
    }
}

/// A certificate (with those between it and its root, in PEM) and its key; and the certificates, the server's own first.
pub(super) fn read(
    certificate: &Path,
    key: &Path,
) -> Result<(Arc<ServerConfig>, Vec<CertificateDer<'static>>), TlsError> {
    let pem = |path: &Path, error| TlsError::Pem { path: path.to_owned(), error };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| pem(certificate, error))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| pem(key, error))?;
    let config = config(chain.clone(), private).map_err(|error| TlsError::Pair {
        path: certificate.to_owned(),
        key: key.to_owned(),
        error,
    })?;
    Ok((config, chain))
}

pub(super) fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    // No protocol is negotiated (ALPN): only HTTP/1 is served, 1.0 or 1.1.
    let config =
        builder.with_safe_default_protocol_versions()?.with_no_client_auth().with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

/// Signs for this host only.
pub struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    pem: Bytes,
    der: Bytes,
}

impl Authority {
    /// The authority kept in the state directory; a new one the first time.
    pub fn open(state: &Path) -> Result<Authority, TlsError> {
        let folder = state.join(FOLDER);
        let (key_path, root_path) = (folder.join(KEY), folder.join(ROOT));
        let named = |path: &Path, error| TlsError::File { path: path.to_owned(), error };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|error| named(&folder, error))?;
        let key = match fs::read_to_string(&key_path) {
            Ok(text) => KeyPair::from_pem(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = KeyPair::generate()?;
                keep(&key_path, key.serialize_pem().as_bytes(), 0o600)
                    .map_err(|error| named(&key_path, error))?;
                key
            }
            Err(error) => return Err(named(&key_path, error)),
        };
        let params = root(&key);
        // Of the same key it may be signed anew at any time: who trusts one trusts the other.
        let pem = match fs::read_to_string(&root_path) {
            Ok(pem) => pem,
            Err(_) => {
                let pem = params.self_signed(&key)?.pem();
                keep(&root_path, pem.as_bytes(), 0o644).map_err(|error| named(&root_path, error))?;
                pem
            }
        };
        let der = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| TlsError::Pem { path: root_path, error })?;
        let (pem, der) = (pem.into(), Bytes::copy_from_slice(&der));
        Ok(Authority { folder, issuer: Issuer::new(params, key), pem, der })
    }

    /// The root, as machines and people trust it.
    pub(super) fn root(&self) -> CertificateDer<'static> {
        CertificateDer::from(self.der.to_vec())
    }

    /// The error of a root that is not of the key.
    pub(super) fn mixed(&self) -> TlsError {
        TlsError::Mixed { root: self.folder.join(ROOT), key: self.folder.join(KEY) }
    }

    /// What became of its files since they were read, if they are not as they were.
    pub(super) fn damage(&self) -> Option<String> {
        let (key_path, root_path) = (self.folder.join(KEY), self.folder.join(ROOT));
        let key = fs::read_to_string(&key_path).map_err(|error| error.to_string()).and_then(|text| {
            let key = KeyPair::from_pem(&text).map_err(|_| "it is damaged".to_owned())?;
            let same = key.public_key_raw() == self.issuer.key().public_key_raw();
            same.then_some(()).ok_or_else(|| "it is another key".to_owned())
        });
        let root = fs::read(&root_path).map_err(|error| error.to_string()).and_then(|text| {
            (text == self.pem).then_some(()).ok_or_else(|| "it is damaged, or another one".to_owned())
        });
        let said =
            |path: &Path, result: Result<(), String>| Some(format!("{}: {}", path.display(), result.err()?));
        said(&key_path, key).or_else(|| said(&root_path, root))
    }

    /// A new key and certificate for a server at `address`.
    pub fn sign(&self, address: IpAddr) -> Result<Arc<ServerConfig>, TlsError> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::IpAddress(address)];
        dates(&mut params);
        let (certificate, key) = self.issue(params)?;
        config(vec![certificate], key).map_err(TlsError::OwnRefused)
    }

    /// A new key, and a certificate of a server for it with these names and dates.
    pub(super) fn issue(
        &self,
        mut params: CertificateParams,
    ) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), TlsError> {
        params.distinguished_name.push(DnType::CommonName, "voldemort");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let private = PrivateKeyDer::try_from(key.serialize_der())
            .map_err(|why| TlsError::OwnRefused(rustls::Error::General(why.to_owned())))?;
        Ok((certificate.der().clone(), private))
    }
}

/// The root of `key`. Its name distinguishes the authorities of two hosts.
fn root(key: &KeyPair) -> CertificateParams {
    let digest = Sha256::digest(key.public_key_raw());
    let short = hex(&digest[..4]);
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("voldemort authority {short}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    dates(&mut params);
    params
}

/// 2049 is the last year that certificates write with two digits; some readers know no other form.
fn dates(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2049, 12, 31);
}

/// Writes a file that is either not there or whole.
fn keep(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(draft, path)
}

/// Everything another handler serves, and the root of the daemon's authority, if there is one.
pub struct Rooted<O> {
    inner: Arc<O>,
    authority: Option<(Bytes, Bytes)>,
}

impl<O> Rooted<O> {
    pub fn new(inner: Arc<O>, authority: Option<&Authority>) -> Rooted<O> {
        Rooted { inner, authority: authority.map(|one| (one.pem.clone(), one.der.clone())) }
    }

    fn root(&self, path: &str) -> Option<Artifact> {
        let (pem, der) = self.authority.as_ref()?;
        let (bytes, media_type) = match path {
            "ca.pem" => (pem, "application/x-pem-file"),
            "ca.der" => (der, "application/pkix-cert"),
            _ => return None,
        };
        Some(Artifact {
            content: Content::Bytes(bytes.clone()),
            media_type,
            etag: hex(&Sha256::digest(bytes)[..12]),
            stage: Stage::File,
            mac: None,
            deployment: None,
            text: path.to_owned(),
        })
    }
}

impl<O: RequestHandler> RequestHandler for Rooted<O> {
    async fn open(&self, asker: &mut Asker, method: Method, path: &str, note: &str) -> Opened {
        match self.root(path) {
            Some(artifact) => Opened::Serve(artifact),
            None => self.inner.open(asker, method, path, note).await,
        }
    }

    async fn agent(&self, asker: &mut Asker, request: AgentRequest<'_>) -> AgentReply {
        self.inner.agent(asker, request).await
    }

    fn done(&self, asker: Asker, artifact: &Artifact, sent: u64, complete: bool) {
        self.inner.done(asker, artifact, sent, complete);
    }

    fn failed(&self, asker: Asker, artifact: &Artifact, why: &str) {
        self.inner.failed(asker, artifact, why);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn the_authority_stays_the_same_and_its_key_private() {
        let state = tempfile::tempdir().unwrap();
        let first = Authority::open(state.path()).unwrap();
        let second = Authority::open(state.path()).unwrap();
        assert_eq!((&first.pem, &first.der), (&second.pem, &second.der));
        let key = state.path().join("tls/authority.key");
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        second.sign(LOCALHOST).unwrap();
        // The root alone may get lost: the same key makes another that trusts the same.
        fs::remove_file(state.path().join("tls/authority.pem")).unwrap();
        Authority::open(state.path()).unwrap().sign(LOCALHOST).unwrap();
        fs::write(&key, "nonsense").unwrap();
        assert!(matches!(Authority::open(state.path()), Err(TlsError::Own(_))));
    }

    #[test]
    fn given_files_are_named_when_they_do_not_fit() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let make = || {
            let key = KeyPair::generate().unwrap();
            (CertificateParams::default().self_signed(&key).unwrap().pem(), key.serialize_pem())
        };
        let missing = read(&certificate, &key).unwrap_err().to_string();
        assert!(missing.starts_with(&certificate.display().to_string()), "{missing}");
        let ((one, one_key), (_, other_key)) = (make(), make());
        fs::write(&certificate, one).unwrap();
        fs::write(&key, other_key).unwrap();
        let mismatch = read(&certificate, &key).unwrap_err();
        assert!(matches!(mismatch, TlsError::Pair { .. }), "{mismatch}");
        fs::write(&key, one_key).unwrap();
        read(&certificate, &key).unwrap();
        fs::write(&certificate, "").unwrap();
        assert!(read(&certificate, &key).is_err());
    }
}
