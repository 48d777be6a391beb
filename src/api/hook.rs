//! Webhooks: who may ask for a fetch. A hook can do nothing else, whatever its body says.

use hmac::{Hmac, KeyInit, Mac};
use hyper::HeaderMap;
use sha2::Sha256;

/// Largest body, in bytes.
pub const BODY_MAX: usize = 1 << 20;

type Sum = Hmac<Sha256>;

/// Whether the request was made by somebody who knows `secret`: GitHub and Forgejo sign the body
/// (`X-Hub-Signature-256: sha256=…`), so does Gitea (`X-Gitea-Signature: …`), GitLab sends the
/// secret itself (`X-Gitlab-Token`).
pub fn is_genuine(headers: &HeaderMap, body: &[u8], secret: &[u8]) -> bool {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if secret.is_empty() {
        return false;
    }
    if let Some(signature) = header("x-hub-signature-256") {
        return signature.strip_prefix("sha256=").is_some_and(|hex| is_signed(hex, body, secret));
    }
    if let Some(hex) = header("x-gitea-signature").or(header("x-forgejo-signature")) {
        return is_signed(hex, body, secret);
    }
    // Compared by their sums: the time it takes tells nothing about the secret.
    let token = headers.get("x-gitlab-token").map(|value| value.as_bytes());
    token.is_some_and(|token| {
        let sum = sum(secret, token).finalize().into_bytes();
        self::sum(secret, secret).verify_slice(&sum).is_ok()
    })
}

fn is_signed(hex: &str, body: &[u8], secret: &[u8]) -> bool {
    let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(byte).collect();
    bytes.is_some_and(|bytes| sum(secret, body).verify_slice(&bytes).is_ok())
}

fn sum(key: &[u8], text: &[u8]) -> Sum {
    let mut sum = Sum::new_from_slice(key).expect("HMAC takes keys of any length");
    sum.update(text);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn genuine(name: &'static str, value: &str) -> bool {
        let headers = [(name.parse().unwrap(), value.parse().unwrap())].into_iter().collect();
        is_genuine(&headers, b"Hello, World!", b"It's a Secret to Everybody")
    }

    /// The example of GitHub's manual.
    const SUM: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    #[test]
    fn each_forge_proves_it_in_its_way() {
        assert!(genuine("x-hub-signature-256", &format!("sha256={SUM}")));
        assert!(genuine("x-gitea-signature", SUM));
        assert!(genuine("x-forgejo-signature", SUM));
        assert!(genuine("x-gitlab-token", "It's a Secret to Everybody"));
    }

    #[test]
    fn nobody_else_does() {
        for (name, value) in [
            ("x-hub-signature-256", SUM.to_owned()),
            ("x-hub-signature-256", format!("sha256={}", &SUM[2..])),
            ("x-hub-signature-256", format!("sha256={}", SUM.replace('7', "8"))),
            ("x-hub-signature-256", "sha256=".to_owned()),
            ("x-hub-signature-256", "sha256=\u{20ac}\u{20ac}".replace('\u{20ac}', "zz")),
            ("x-hub-signature", format!("sha256={SUM}")),
            ("x-gitea-signature", String::new()),
            ("x-gitlab-token", "It's a Secret".to_owned()),
            ("x-gitlab-token", String::new()),
        ] {
            assert!(!genuine(name, &value), "{name}: {value}");
        }
        let nothing = HeaderMap::new();
        assert!(!is_genuine(&nothing, b"", b"secret") && !is_genuine(&nothing, b"", b""));
    }
}
