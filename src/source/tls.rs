//! The certificate authorities that https servers are verified against.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Trusts the authorities in the file `ca` and no others, or those of this host.
pub(crate) fn client(ca: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let fail = |why: &dyn std::fmt::Display| format!("`ca` {}: {why}", path.display());
            let certificates = CertificateDer::pem_file_iter(path).map_err(|error| fail(&error))?;
            for certificate in certificates {
                roots.add(certificate.map_err(|error| fail(&error))?).map_err(|error| fail(&error))?;
            }
            if roots.is_empty() {
                return Err(fail(&"it holds no certificate"));
            }
        }
        None => {
            // Hosts have certificates that rustls does not read: they are left out, as in browsers.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(
                    "this host trusts no certificate authority: install ca-certificates, or name one \
                            with `ca`"
                        .to_owned(),
                );
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
