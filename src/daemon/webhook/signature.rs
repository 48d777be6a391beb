//! Signatures of a webhook's requests, as Standard Webhooks describes them: HMAC-SHA256 over the message's id, the
//! time in seconds and the body, joined by dots.

use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::media::regular;
use crate::model::{base64, from_base64};

/// Longest file of secrets, in bytes.
const LARGEST_FILE: u64 = 64 << 10;
/// Most secrets of one webhook: the present one, and those that come and go while it is changed.
const SECRETS_MAX: usize = 4;
/// Shortest secret, in bytes.
const SHORTEST: usize = 16;
/// What a secret in base64 begins with.
const PREFIX: &str = "whsec_";

/// The secrets of a webhook; never shown.
pub(super) struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    /// Those in `file`, one a line.
    ///
    /// # Errors
    ///
    /// Names the file; nothing of a secret is in it.
    pub(super) fn read(file: &Path) -> Result<Secrets, String> {
        let text = regular::text(file, LARGEST_FILE).map_err(|error| format!("`secret` {error}"))?;
        let wrong = |why: &str| format!("`secret` {}: {why}", file.display());
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let secrets: Option<Vec<Vec<u8>>> = lines.map(secret).collect();
        let secrets = secrets.ok_or_else(|| wrong("what follows `whsec_` is no base64"))?;
        if secrets.is_empty() {
            return Err(wrong("the file is empty"));
        }
        if secrets.len() > SECRETS_MAX {
            return Err(wrong("it has more than 4 lines: write one secret on each, and remove old ones"));
        }
        if secrets.iter().any(|secret| secret.len() < SHORTEST) {
            return Err(wrong(
                "a secret is shorter than 16 bytes: `openssl rand -base64 32` makes a good one",
            ));
        }
        Ok(Secrets(secrets))
    }

    /// The value of `webhook-signature`: one signature for each secret.
    pub(super) fn sign(&self, id: &str, seconds: u64, body: &[u8]) -> String {
        let sign = |secret: &Vec<u8>| {
            let mut sum = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
            sum.update(format!("{id}.{seconds}.").as_bytes());
            sum.update(body);
            format!("v1,{}", base64(&sum.finalize().into_bytes()))
        };
        self.0.iter().map(sign).collect::<Vec<_>>().join(" ")
    }
}

fn secret(line: &str) -> Option<Vec<u8>> {
    match line.strip_prefix(PREFIX) {
        Some(coded) => from_base64(coded),
        None => Some(line.as_bytes().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_one_of_the_standard() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        // The example of the standard's own libraries.
        std::fs::write(&file, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let secrets = Secrets::read(&file).unwrap();
        let signed = secrets.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b"{\"test\": 2432232314}");
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        std::fs::write(&file, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n\nanother secret of words\n").unwrap();
        let both = Secrets::read(&file).unwrap().sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            b"{\"test\": 2432232314}",
        );
        assert!(both.starts_with(&format!("{signed} v1,")) && both.len() == 2 * signed.len() + 1);
    }

    #[test]
    fn a_file_without_a_good_secret_is_named_and_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        assert!(Secrets::read(&file).is_err());
        for (text, part) in [
            ("", "is empty"),
            ("TOP", "shorter than 16"),
            ("whsec_TOP!", "no base64"),
            (&*"TOP SECRET of words\n".repeat(5), "more than 4"),
        ] {
            std::fs::write(&file, text).unwrap();
            let why = Secrets::read(&file).err().unwrap();
            assert!(why.contains(part) && why.contains("secret: ") && !why.contains("TOP"), "{why}");
        }
    }
}
