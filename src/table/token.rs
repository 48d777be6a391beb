//! Capability URLs: who knows the token may fetch one installation's answers or report on it.

use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;

use super::Table;
use crate::model::{Name, hex};

/// What a token opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Answers,
    Hooks,
}

impl Table {
    /// 32 hexadecimal digits, bound to the state directory's key, the deployment and its
    /// `redeploy` number: a token of an earlier installation opens nothing.
    pub fn token(&self, purpose: Purpose, deployment: &Name, redeploy: u64) -> String {
        let purpose = match purpose {
            Purpose::Answers => "answers",
            Purpose::Hooks => "hooks",
        };
        let mut hmac =
            Hmac::<Sha256>::new_from_slice(&self.token_key).expect("HMAC takes keys of any length");
        hmac.update(format!("{purpose}\n{deployment}\n{redeploy}").as_bytes());
        let digest = hmac.finalize().into_bytes();
        hex(&digest[..16])
    }

    /// A number that only this state directory makes of `text`.
    pub fn seal(&self, text: &str) -> String {
        let mut hmac =
            Hmac::<Sha256>::new_from_slice(&self.token_key).expect("HMAC takes keys of any length");
        hmac.update(b"plan\n");
        hmac.update(text.as_bytes());
        hmac.finalize().into_bytes()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether `token` is the one for this purpose; takes the same time wherever they differ.
    pub fn accepts(&self, token: &str, purpose: Purpose, deployment: &Name, redeploy: u64) -> bool {
        let expected = self.token(purpose, deployment, redeploy);
        let different = |sum: u8, (a, b): (u8, u8)| sum | (a ^ b);
        token.len() == expected.len() && token.bytes().zip(expected.bytes()).fold(0, different) == 0
    }
}
