//! What a certificate says of itself, for the daemon that shows it and for the commands that are shown it.

use std::time::Duration;

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};
use sha2::{Digest, Sha256};

use crate::model::{Time, hex};

/// After the last second of the year 9999, which certificates without an end name (RFC 5280, 4.1.2.5).
const END: u64 = 253_402_300_800;

/// `SHA256:` and the SHA-256 of the whole certificate in hexadecimal digits, as `openssl x509 -fingerprint
/// -sha256` has it with colons.
pub fn fingerprint(certificate: &[u8]) -> String {
    format!("SHA256:{}", hex(&Sha256::digest(certificate)))
}

/// Whether a person's text is this fingerprint: with or without `SHA256:` and colons, in either case.
pub fn is_fingerprint(text: &str, certificate: &[u8]) -> bool {
    let bare = |text: &str| text.to_ascii_lowercase().replace([':', ' '], "");
    let text = bare(text);
    let digits = text.strip_prefix("sha256").unwrap_or(&text);
    digits == hex(&Sha256::digest(certificate))
}

/// Whether it is for a host of this name, or with this address.
pub fn is_for(certificate: &CertificateDer<'_>, host: &str) -> bool {
    let parsed = ParsedCertificate::try_from(certificate);
    let name = ServerName::try_from(host);
    matches!((parsed, name), (Ok(parsed), Ok(name)) if verify_server_name(&parsed, &name).is_ok())
}

/// Whether an authority signed it for a server, as of a point in time.
pub fn is_signed_by(certificate: &CertificateDer<'_>, authority: &CertificateDer<'_>, at: Time) -> bool {
    verified(certificate, authority, at.seconds()).is_some_and(|verified| verified.is_ok())
}

/// From when to when it is good, each to the second; `None` of what is no certificate.
pub fn validity(certificate: &CertificateDer<'_>) -> Option<(Time, Time)> {
    let from = match refused_at(certificate, 0)? {
        CertificateError::NotValidYetContext { not_before, .. } => not_before.as_secs(),
        _ => 0,
    };
    let until = match refused_at(certificate, END)? {
        CertificateError::ExpiredContext { not_after, .. } => not_after.as_secs(),
        _ => END,
    };
    Some((Time(from.saturating_mul(1000)), Time(until.saturating_mul(1000))))
}

/// Why it would be refused at a second of the epoch: the dates are the first thing that is looked at.
fn refused_at(certificate: &CertificateDer<'_>, second: u64) -> Option<CertificateError> {
    match verified(certificate, certificate, second)? {
        Err(Error::InvalidCertificate(why)) => Some(why),
        // Only the dates matter here.
        Ok(()) | Err(_) => Some(CertificateError::UnknownIssuer),
    }
}

/// `None` of what is no certificate.
fn verified(
    certificate: &CertificateDer<'_>,
    authority: &CertificateDer<'_>,
    second: u64,
) -> Option<Result<(), Error>> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone().into_owned()).ok()?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(second));
    let algorithms = default_provider().signature_verification_algorithms;
    Some(verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], now, algorithms.all))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType, date_time_ymd};

    use super::*;

    #[test]
    fn a_certificate_tells_its_names_and_dates() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["boot.example.org".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::IpAddress([192, 0, 2, 7].into()));
        params.not_before = date_time_ymd(2026, 1, 2);
        params.not_after = date_time_ymd(2026, 3, 4);
        let certificate = params.self_signed(&key).unwrap();
        let der = certificate.der();
        let (from, until) = validity(der).unwrap();
        assert_eq!(
            (from.to_string(), until.to_string()),
            ("2026-01-02T00:00:00.000Z".into(), "2026-03-04T00:00:00.000Z".into())
        );
        for (host, expected) in [
            ("boot.example.org", true),
            ("BOOT.example.org", true),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("example.org", false),
            ("", false),
            ("a b", false),
        ] {
            assert_eq!(is_for(der, host), expected, "{host}");
        }
        let nonsense = CertificateDer::from(vec![1, 2, 3]);
        assert!(validity(&nonsense).is_none() && !is_for(&nonsense, "boot.example.org"));
        let known = fingerprint(der);
        let digits = known.strip_prefix("SHA256:").unwrap();
        let colons: Vec<&str> =
            digits.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap()).collect();
        for text in [&*known, digits, &colons.join(":").to_uppercase(), &known.to_lowercase()] {
            assert!(is_fingerprint(text, der), "{text}");
        }
        assert!(
            !is_fingerprint("", der) && !is_fingerprint("SHA256:", der) && !is_fingerprint(&digits[1..], der)
        );
    }
}
