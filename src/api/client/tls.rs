//! How a command finds out that it speaks with its daemon: beyond loopback by TLS, with an authority that this host
//! trusts or that was pinned by `voldemortctl login`. What fails is said so that it is clear which side has to act.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::No;
use crate::api::certificate::{fingerprint, validity};

/// Which servers a client believes to be its daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Plain HTTP on loopback, where nobody listens in; elsewhere as [`Trust::Host`].
    Usual,
    /// One whose certificate an authority of this host signed.
    Host,
    /// One whose certificate one of these signed, or is one of these.
    Pinned(Vec<CertificateDer<'static>>),
}

/// The certificates that a server showed, its own first.
pub type Chain = Vec<CertificateDer<'static>>;

impl Trust {
    /// Those of a text in PEM format.
    ///
    /// # Errors
    /// It holds no certificate.
    pub fn pinned(pem: &str) -> Result<Trust, String> {
        let found: Result<Chain, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        match found {
            Ok(found) if !found.is_empty() => Ok(Trust::Pinned(found)),
            _ => Err("it holds no certificate in PEM format".to_owned()),
        }
    }

    /// Whether TLS is spoken with a server at this address.
    pub(super) fn is_secure(&self, peer: IpAddr) -> bool {
        *self != Trust::Usual || !peer.to_canonical().is_loopback()
    }

    /// The authorities; `None` where there is none at all.
    fn authorities(&self, provider: &Arc<CryptoProvider>) -> Option<Arc<WebPkiServerVerifier>> {
        let mut roots = RootCertStore::empty();
        match self {
            Trust::Usual | Trust::Host => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)
            }
            Trust::Pinned(pinned) => roots.add_parsable_certificates(pinned.iter().cloned()),
        };
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().ok()
    }
}

/// Agrees on TLS with the server at `address` (`host:port`), which has to be one of `trust`.
pub(super) async fn secure(
    stream: TcpStream,
    address: &str,
    trust: &Trust,
) -> Result<TlsStream<TcpStream>, No> {
    let (agreed, seen) = handshake(stream, address, Some(trust)).await?;
    agreed.map_err(|error| said(&error, address, trust, &seen))
}

/// The same with whoever it is, and what it showed: nothing secret may be sent.
pub(super) async fn look(stream: TcpStream, address: &str) -> Result<(TlsStream<TcpStream>, Chain), No> {
    let (agreed, seen) = handshake(stream, address, None).await?;
    agreed.map(|stream| (stream, seen)).map_err(|error| said(&error, address, &Trust::Usual, &[]))
}

type Agreed = std::io::Result<TlsStream<TcpStream>>;

async fn handshake(stream: TcpStream, address: &str, trust: Option<&Trust>) -> Result<(Agreed, Chain), No> {
    let provider = Arc::new(crypto::ring::default_provider());
    let seen = Arc::new(Mutex::default());
    let verifier = Verifier {
        authorities: trust.map(|trust| trust.authorities(&provider)),
        pinned: match trust {
            Some(Trust::Pinned(pinned)) => pinned.clone(),
            Some(Trust::Usual | Trust::Host) | None => Vec::new(),
        },
        provider: provider.clone(),
        seen: seen.clone(),
    };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| No::Away(error.to_string()))?;
    let config =
        builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth();
    let host = host_of(address);
    let name = ServerName::try_from(host.to_owned()).map_err(|_| {
        No::Forbidden(format!("`{host}` is no name of a host that a certificate could be for"))
    })?;
    let agreed = super::within(TlsConnector::from(Arc::new(config)).connect(name, stream)).await;
    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((agreed, seen))
}

/// The host of `host:port`, without brackets.
pub fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// What went wrong in a handshake, in words.
fn said(error: &std::io::Error, address: &str, trust: &Trust, seen: &[CertificateDer<'static>]) -> No {
    let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match of_tls {
        Some(Error::InvalidCertificate(why)) => No::Forbidden(distrust(why, address, trust, seen)),
        Some(Error::InvalidMessage(_)) => No::Away(format!(
            "{address} does not speak TLS: no token is sent there in clear text. The daemon's API speaks it at \
             addresses beyond loopback; is this its port?"
        )),
        Some(Error::AlertReceived(alert)) => {
            No::Away(format!("{address} refused the TLS handshake: {alert:?}"))
        }
        Some(other) => No::Away(format!("no agreement on TLS with {address}: {other}")),
        None if error.kind() == std::io::ErrorKind::TimedOut => {
            No::Away(format!("{address} accepts connections and does not answer a TLS handshake"))
        }
        None => No::Away(format!(
            "{address} ended the TLS handshake: {error}. Is this the port of the daemon's API?"
        )),
    }
}

/// Why a certificate is not believed.
fn distrust(
    why: &CertificateError,
    address: &str,
    trust: &Trust,
    seen: &[CertificateDer<'static>],
) -> String {
    let here = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    let dates = seen.first().and_then(validity);
    let date = |until: bool| {
        dates.map_or_else(String::new, |(from, end)| if until { end } else { from }.to_string())
    };
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!(
            "the certificate of {address} has expired at {}, and this host's clock says {here}: if this clock is \
             right, the certificate was not renewed, or was made while the clock of the daemon's host was wrong",
            date(true)
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => format!(
            "the certificate of {address} is good from {} on, and this host's clock says {here}: the clock of this \
             host or of the daemon's is wrong",
            date(false)
        ),
        CertificateError::NotValidForNameContext { presented, .. } => format!(
            "the certificate of {address} is for other names ({}): use one of them, or add `{}` to `[api] names` in \
             the daemon's file",
            presented.join(", "),
            host_of(address)
        ),
        CertificateError::NotValidForName => {
            format!("the certificate of {address} is not for `{}`", host_of(address))
        }
        why => {
            let shown = seen.last().map_or_else(|| "none".to_owned(), |top| fingerprint(top));
            match trust {
                Trust::Pinned(pinned) => {
                    let pinned: Vec<String> = pinned.iter().map(|one| fingerprint(one)).collect();
                    format!(
                        "{address} is of another authority ({shown}) than the one that is pinned ({}): another \
                         machine answers in the daemon's place, or the daemon has a new state directory or \
                         certificate. Nothing was sent. If you know why, `voldemortctl login {address} --fingerprint \
                         {shown}` pins the new one ({why})",
                        pinned.join(", ")
                    )
                }
                Trust::Usual | Trust::Host => format!(
                    "{address} is of an authority ({shown}) that this host does not trust: `voldemortctl login \
                     {address}` pins it ({why})"
                ),
            }
        }
    }
}

#[derive(Debug)]
struct Verifier {
    /// `None` where whoever answers is only looked at; an inner `None` where no authority is trusted.
    authorities: Option<Option<Arc<WebPkiServerVerifier>>>,
    pinned: Chain,
    provider: Arc<CryptoProvider>,
    seen: Arc<Mutex<Chain>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = std::iter::once(end_entity).chain(intermediates).map(|one| one.clone().into_owned());
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = chain.collect();
        let Some(authorities) = &self.authorities else { return Ok(ServerCertVerified::assertion()) };
        // A certificate that signed itself is its own authority, though it may not be called one.
        if self.pinned.iter().any(|pinned| pinned == end_entity) {
            return itself(end_entity, name, now);
        }
        match authorities {
            Some(authorities) => authorities.verify_server_cert(end_entity, intermediates, name, ocsp, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A certificate that is pinned itself: its dates and names count all the same.
fn itself(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    let (from, until) = validity(certificate).ok_or(CertificateError::BadEncoding)?;
    if now.as_secs() < from.seconds() {
        return Err(CertificateError::NotValidYet.into());
    }
    if until.seconds() < now.as_secs() {
        return Err(CertificateError::Expired.into());
    }
    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
    Ok(ServerCertVerified::assertion())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use rustls::ServerConfig;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// A self-signed certificate, good in these years.
    fn made(name: &str, years: (i32, i32)) -> (CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        (params.self_signed(&key).unwrap().der().clone(), key)
    }

    /// What a client says about a server that shows this certificate.
    async fn meets(
        shown: &(CertificateDer<'static>, KeyPair),
        trust: &Trust,
        host: &str,
    ) -> Result<(), String> {
        let key = shown.1.serialize_der().try_into().unwrap();
        let provider = Arc::new(crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.unwrap().with_no_client_auth();
        let config = Arc::new(builder.with_single_cert(vec![shown.0.clone()], key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let _ = TlsAcceptor::from(config).accept(stream).await;
        });
        let stream = TcpStream::connect(address).await.unwrap();
        let met = secure(stream, &format!("{host}:{}", address.port()), trust).await;
        server.abort();
        met.map(drop).map_err(|no| match no {
            No::Away(why) | No::Forbidden(why) => why,
        })
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_certificate_is_said_with_its_side() {
        let (good, other) = (made("boot.example.org", (2000, 2090)), made("boot.example.org", (2000, 2090)));
        let pin = |one: &(CertificateDer<'static>, KeyPair)| Trust::Pinned(vec![one.0.clone()]);
        meets(&good, &pin(&good), "boot.example.org").await.unwrap();
        let both = Trust::Pinned(vec![other.0.clone(), good.0.clone()]);
        meets(&good, &both, "boot.example.org").await.unwrap();
        let (past, future) = (made("boot.example.org", (2000, 2001)), made("boot.example.org", (2089, 2090)));
        for (shown, trust, host, parts) in [
            (
                &other,
                pin(&good),
                "boot.example.org",
                vec!["another authority", "another machine answers", "login"],
            ),
            (&good, Trust::Host, "boot.example.org", vec!["does not trust", "login", "SHA256:"]),
            (&good, pin(&good), "other.example.org", vec!["other names", "boot.example.org", "[api] names"]),
            (&good, pin(&good), "127.0.0.1", vec!["other names", "`127.0.0.1`"]),
            (
                &past,
                pin(&past),
                "boot.example.org",
                vec!["has expired at 2001-01-01", "this host's clock says"],
            ),
            (&future, pin(&future), "boot.example.org", vec!["is good from 2089-01-01", "clock"]),
        ] {
            let said = meets(shown, &trust, host).await.unwrap_err();
            assert!(parts.iter().all(|part| said.contains(part)), "{parts:?}: {said}");
        }
    }

    #[tokio::test]
    async fn what_is_no_tls_server_is_said() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
            drop(stream);
            let (stream, _) = listener.accept().await.unwrap();
            drop(stream);
        });
        for part in ["does not speak TLS", "ended the TLS handshake"] {
            let stream = TcpStream::connect(address).await.unwrap();
            let Err(No::Away(said)) = secure(stream, &address.to_string(), &Trust::Host).await else {
                panic!("{part}")
            };
            assert!(said.contains(part), "{said}");
        }
        server.await.unwrap();
    }
}
