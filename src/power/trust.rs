//! Which certificates of controllers are accepted: with a `fingerprint` in the manifest that certificate
//! only, else those signed by an authority that this host trusts. Controllers come with self-signed
//! certificates, and an impostor must not get the password, so none is trusted on first use.

use std::sync::{Arc, Mutex};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};

use crate::model::hex;

/// The authorities that this host trusts.
#[derive(Clone, Debug)]
pub struct Trust {
    provider: Arc<CryptoProvider>,
    /// `None` on a host that trusts no authority.
    authorities: Option<Arc<WebPkiServerVerifier>>,
}

/// What the verification of a certificate found.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<Option<(Arc<str>, String)>>);

impl Seen {
    /// Fingerprint of the certificate that was refused, and why.
    pub(super) fn refused(&self) -> Option<(Arc<str>, String)> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take()
    }
}

impl Trust {
    /// The authorities of this host, as they are now.
    pub fn of_host() -> Trust {
        let mut roots = RootCertStore::empty();
        // Certificates that rustls can't parse are left out, as browsers do.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(crypto::ring::default_provider());
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        // Without any root certificate nothing can be verified.
        Trust { provider, authorities: authorities.build().ok() }
    }

    /// The TLS settings of one connection; the second value receives what is wrong with the certificate.
    pub(super) fn client(&self, fingerprint: Option<Arc<str>>) -> Result<(ClientConfig, Arc<Seen>), String> {
        let seen = Arc::new(Seen::default());
        let verifier = Verifier { trust: self.clone(), fingerprint, seen: seen.clone() };
        let builder = ClientConfig::builder_with_provider(self.provider.clone());
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        Ok((builder.with_no_client_auth(), seen))
    }
}

#[derive(Debug)]
struct Verifier {
    trust: Trust,
    fingerprint: Option<Arc<str>>,
    seen: Arc<Seen>,
}

impl Verifier {
    fn refuse(&self, seen: Arc<str>, why: String) -> Error {
        *self.seen.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some((seen, why.clone()));
        Error::General(why)
    }
}

/// What is wrong with a certificate, for the person who set the controller up.
fn words(error: &Error) -> String {
    use CertificateError as Wrong;
    match error {
        Error::InvalidCertificate(Wrong::Expired | Wrong::ExpiredContext { .. }) => "it has expired".into(),
        Error::InvalidCertificate(Wrong::NotValidForName | Wrong::NotValidForNameContext { .. }) => {
            "it is for another name".into()
        }
        // A self-signed certificate names itself as its authority.
        Error::InvalidCertificate(Wrong::UnknownIssuer | Wrong::Other(_)) => {
            "it is self-signed, or signed by an unknown authority".into()
        }
        other => other.to_string(),
    }
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
        let seen: Arc<str> = hex(&Sha256::digest(end_entity)).into();
        match (&self.fingerprint, &self.trust.authorities) {
            (Some(wanted), _) if *wanted == seen => Ok(ServerCertVerified::assertion()),
            (Some(_), _) => Err(self.refuse(seen, "another certificate".into())),
            (None, Some(authorities)) => authorities
                .verify_server_cert(end_entity, intermediates, name, ocsp, now)
                .map_err(|error| self.refuse(seen, words(&error))),
            (None, None) => Err(self.refuse(seen, "it trusts no certificate authority at all".into())),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.trust.provider.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.trust.provider.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.provider.signature_verification_algorithms.supported_schemes()
    }
}
