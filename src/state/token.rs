//! Capability URLs: who knows the token may fetch one installation's answers or report on it.

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac as _};
use ring::aead::LessSafeKey;
use ring::signature::{Ed25519KeyPair, KeyPair};
use sha2::Sha256;

use super::{Install, State, user_data};
use crate::desired::Deployment;
use crate::model::{Name, base64, hex};

/// What a token opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Answers,
    Hooks,
    /// What cloud-init reads as long as the installation is the machine's present one.
    Metadata,
}

/// The key of the capability URLs, as HMAC begins with it: the blocks that depend on the key alone are half of
/// what a token costs, and each request for an answer file takes one or more tokens.
#[derive(Clone)]
pub struct TokenKey(Arc<Keys>);

struct Keys {
    hmac: Hmac<Sha256>,
    /// Signs what our agent is to do. It follows from the key of the state directory, so that it lasts as long.
    orders: Ed25519KeyPair,
    /// Seals user data of claims; it follows likewise.
    user_data: LessSafeKey,
}

impl From<[u8; 32]> for TokenKey {
    fn from(key: [u8; 32]) -> TokenKey {
        let hmac: Hmac<Sha256> = Hmac::new_from_slice(&key).expect("HMAC takes keys of any length");
        let derived = |purpose: &[u8]| -> [u8; 32] {
            let mut seed = hmac.clone();
            seed.update(purpose);
            seed.finalize().into_bytes().into()
        };
        let seed = derived(b"orders of our agent");
        let orders = Ed25519KeyPair::from_seed_unchecked(&seed).expect("a seed has 32 bytes");
        let user_data = user_data::key(&derived(b"user data of claims"));
        TokenKey(Arc::new(Keys { hmac, orders, user_data }))
    }
}

impl TokenKey {
    fn hmac(&self) -> Hmac<Sha256> {
        self.0.hmac.clone()
    }

    pub(super) fn user_data(&self) -> &LessSafeKey {
        &self.0.user_data
    }

    /// The public key of what is signed for our agent.
    pub fn agent_key(&self) -> [u8; 32] {
        self.0.orders.public_key().as_ref().try_into().expect("Ed25519's public keys have 32 bytes")
    }

    /// Ed25519 over the bytes of a text, in base64.
    pub fn sign(&self, text: &str) -> String {
        base64(self.0.orders.sign(text.as_bytes()).as_ref())
    }
}

/// Without the key, which must not get into a log.
impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey")
    }
}

impl State {
    /// Of a deployment's present installation, or of the one that is about to begin.
    pub fn token(&self, purpose: Purpose, deployment: &Deployment) -> String {
        let install = self.install_of(&deployment.name);
        match install.filter(|install| install.redeploy == deployment.redeploy) {
            Some(begun) => self.token_of(purpose, &deployment.name, deployment.redeploy, Some(begun.epoch)),
            None => self.early_token(purpose, deployment),
        }
    }

    /// Of an installation that was never begun, under the deployment's present tenancy. Whoever saw it opens nothing
    /// with it later.
    fn early_token(&self, purpose: Purpose, deployment: &Deployment) -> String {
        let early = self.token_of(purpose, &deployment.name, deployment.redeploy, None);
        match self.epoch_of(&deployment.name) {
            Some(epoch) => {
                let mut hmac = self.lasting.token_key.hmac();
                hmac.update(format!("{early}\nbefore {epoch}").as_bytes());
                hex(&hmac.finalize().into_bytes()[..16])
            }
            None => early,
        }
    }

    /// 32 hexadecimal digits, bound to the state directory's key, the deployment's name and `redeploy`
    /// number, and the epoch of its installation: a token of an earlier one opens nothing.
    pub fn token_of(&self, purpose: Purpose, deployment: &Name, redeploy: u64, epoch: Option<u64>) -> String {
        let purpose = match purpose {
            Purpose::Answers => "answers",
            Purpose::Hooks => "hooks",
            Purpose::Metadata => "nocloud",
        };
        let mut hmac = self.lasting.token_key.hmac();
        hmac.update(format!("{purpose}\n{deployment}\n{redeploy}").as_bytes());
        if let Some(epoch) = epoch {
            hmac.update(format!("\n{epoch}").as_bytes());
        }
        let digest = hmac.finalize().into_bytes();
        hex(&digest[..16])
    }

    /// A number that only this state directory makes of `text`.
    pub fn seal(&self, text: &str) -> String {
        let mut hmac = self.lasting.token_key.hmac();
        hmac.update(b"plan\n");
        hmac.update(text.as_bytes());
        hmac.finalize().into_bytes()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The installation that a URL with this deployment name and token is of. The deployment may have
    /// another name by now.
    pub fn install_by(&self, token: &str, purpose: Purpose, name: &Name) -> Option<&Install> {
        self.lasting.installs.named(name).find(|install| {
            let fits = |epoch| is_same(token, &self.token_of(purpose, name, install.redeploy, epoch));
            fits(Some(install.epoch)) || (install.plain_urls && fits(None))
        })
    }

    /// Whether `token` is that of URLs which the deployment's machine would be given now.
    pub fn is_current(&self, token: &str, purpose: Purpose, deployment: &Deployment) -> bool {
        is_same(token, &self.token(purpose, deployment))
    }

    /// Whether `token` is of an installation of the deployment's present tenancy that was never begun.
    pub fn is_unbegun(&self, token: &str, purpose: Purpose, deployment: &Deployment) -> bool {
        let begun = self.install_of(&deployment.name).is_some_and(|one| one.redeploy >= deployment.redeploy);
        !begun && is_same(token, &self.early_token(purpose, deployment))
    }
}

/// Takes the same time wherever they differ.
pub(super) fn is_same(token: &str, expected: &str) -> bool {
    let different = |sum: u8, (a, b): (u8, u8)| sum | (a ^ b);
    token.len() == expected.len() && token.bytes().zip(expected.bytes()).fold(0, different) == 0
}
