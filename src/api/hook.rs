//! Webhooks: who may ask for a fetch. A hook can do nothing else, whatever its body says.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use hyper::HeaderMap;
use sha2::Sha256;

/// Largest body, in bytes.
pub const BODY_MAX: usize = 1 << 20;
/// Bodies read at once; more wait for their turn.
pub const BODIES_MAX: usize = 8;
/// Longest time for a body to come, its turn included.
pub const BODY_TIME: Duration = Duration::from_secs(10);

type Sum = Hmac<Sha256>;

/// The proof that a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark<'a> {
    /// Made of the body with the secret, in hexadecimal digits: GitHub and Forgejo
    /// (`X-Hub-Signature-256: sha256=…`), Gitea (`X-Gitea-Signature: …`).
    Signature(&'a str),
    /// The secret itself: GitLab (`X-Gitlab-Token`).
    Token(&'a [u8]),
}

impl<'a> Mark<'a> {
    pub fn of(headers: &'a HeaderMap) -> Option<Mark<'a>> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(signature) = header("x-hub-signature-256") {
            return signature.strip_prefix("sha256=").map(Mark::Signature);
        }
        let signature = header("x-gitea-signature").or(header("x-forgejo-signature"));
        let token = || headers.get("x-gitlab-token").map(|value| Mark::Token(value.as_bytes()));
        signature.map(Mark::Signature).or_else(token)
    }

    /// Whether the sender knows `secret`; `None` if that depends on the body, which was not read yet.
    pub fn is_genuine(self, body: Option<&[u8]>, secret: &[u8]) -> Option<bool> {
        if secret.is_empty() {
            return Some(false);
        }
        match self {
            Mark::Signature(hex) => body.map(|body| is_signed(hex, body, secret)),
            // Compared by their sums: the time it takes discloses nothing about the secret.
            Mark::Token(token) => {
                let sum = sum(secret, token).finalize().into_bytes();
                Some(self::sum(secret, secret).verify_slice(&sum).is_ok())
            }
        }
    }
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
        let secret = b"It's a Secret to Everybody";
        let mark = Mark::of(&headers);
        // A signature can't be checked without the body, a token can.
        let early = mark.map(|mark| mark.is_genuine(None, secret));
        let late = mark.and_then(|mark| mark.is_genuine(Some(b"Hello, World!"), secret));
        assert!(early.is_none_or(|early| early.is_none_or(|early| late == Some(early))), "{name}");
        late == Some(true)
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
        assert_eq!(Mark::of(&nothing), None);
        assert_eq!(Mark::Token(b"").is_genuine(None, b""), Some(false));
        assert_eq!(Mark::Signature(SUM).is_genuine(None, b""), Some(false));
    }
}
