//! Tokens of the control API: who shows one over TCP is its holder. Only a digest is kept: who reads the state
//! directory can't use them.

use std::sync::Arc;

use super::State;
use crate::model::{By, Caller, Name, Role, Time, Token};

/// Most tokens at a time: each request by TCP is compared with them.
pub(super) const TOKENS_MAX: usize = 1000;

/// A token that was created and not revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    /// No two have the same.
    pub name: Name,
    /// A number that stands in the token itself, by which one that was found somewhere is recognised.
    pub id: u32,
    /// SHA-256 of the token.
    pub digest: [u8; 32],
    pub role: Role,
    /// The pools whose deployments it may change, and nothing else; any where there are none. Reading is not bound.
    pub pools: Vec<Name>,
    /// Who created it; `None` for a caller of a later version.
    pub by: Option<Caller>,
    pub created: Time,
    /// From then on it opens nothing; `None` if it does not end by itself.
    pub expires: Option<Time>,
    /// When it was last used, to about an hour.
    pub used: Option<Time>,
}

impl ApiToken {
    pub fn is_expired(&self, now: Time) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }

    /// Who shows it.
    pub fn holder(&self) -> Caller {
        Caller { by: By::Token(Token::Named(self.name.clone())), role: self.role }
    }
}

impl State {
    /// The token with this SHA-256, whether it has ended or not.
    pub fn api_token_of(&self, digest: &[u8; 32]) -> Option<&Arc<ApiToken>> {
        self.lasting.tokens.values().find(|token| token.digest == *digest)
    }

    /// Whether a token that was accepted before still is: it was not revoked, and has not ended.
    pub fn accepts(&self, token: &ApiToken, now: Time) -> bool {
        let same = self.lasting.tokens.get(&token.name).is_some_and(|known| known.digest == token.digest);
        same && !token.is_expired(now)
    }
}
