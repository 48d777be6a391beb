//! User data of claims: what a caller wants the claimed machine to be given. It is sealed in the store, goes to the
//! machine alone, and is erased when the machine needs it no more.

use std::sync::Arc;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::lifecycle::Known;
use super::token::TokenKey;
use super::{Claim, State};
use crate::model::Name;

/// Longest user data of a claim, in bytes.
pub const USER_DATA_MAX: usize = 1 << 20;
/// Most bytes of user data of all claims together: they are held in memory.
pub const TOTAL_MAX: usize = 256 << 20;
/// Bytes of a number that is used for one sealing alone.
pub const NONCE: usize = NONCE_LEN;

/// A sealed text: its nonce, and what ChaCha20-Poly1305 (RFC 8439) makes of it.
pub type Sealed = Arc<[u8]>;

/// What of a claim's user data is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserData {
    /// The claim has none, or none any more.
    None,
    Text(String),
    /// It had some and they can't be given out, for this reason.
    Withheld(&'static str),
}

/// The key that seals user data, which follows from that of the state directory.
pub(super) fn key(seed: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, seed).expect("a key has 32 bytes"))
}

fn seal(key: &TokenKey, nonce: [u8; NONCE], text: &str) -> Sealed {
    let mut sealed = text.as_bytes().to_vec();
    let nonce_of = Nonce::assume_unique_for_key(nonce);
    key.user_data()
        .seal_in_place_append_tag(nonce_of, Aad::empty(), &mut sealed)
        .expect("a text is far shorter than what can be sealed");
    nonce.into_iter().chain(sealed).collect()
}

fn open(key: &TokenKey, sealed: &[u8]) -> Option<String> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
    let mut text = sealed.to_vec();
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = key.user_data().open_in_place(nonce, Aad::empty(), &mut text).ok()?.len();
    text.truncate(length);
    String::from_utf8(text).ok()
}

impl State {
    /// A text of user data as it is stored; `nonce` is used for nothing else.
    pub fn sealed_user_data(&self, nonce: [u8; NONCE], text: &str) -> Sealed {
        seal(&self.lasting.token_key, nonce, text)
    }

    /// The user data of the claim that a deployment stands for.
    pub fn user_data(&self, deployment: &Name) -> UserData {
        let Some(claim) = self.lasting.claims.get(deployment).filter(|claim| claim.has_user_data) else {
            return UserData::None;
        };
        if claim.machine().is_some_and(|machine| self.known(machine) != Known::Accepted) {
            return UserData::Withheld("its machine is in no manifest any more");
        }
        let sealed = self.lasting.user_data.get(&claim.name);
        match sealed.and_then(|sealed| open(&self.lasting.token_key, sealed)) {
            Some(text) => UserData::Text(text),
            None => UserData::Withheld("they were lost, or the state was restored: claim anew"),
        }
    }

    /// Whether a claim's machine needs its user data no more once it is installed. cloud-init reads them whenever the
    /// machine starts.
    pub(super) fn outlives_user_data(&self, claim: &Claim) -> bool {
        self.deployment(&claim.name).is_none_or(|deployment| !deployment.has_metadata())
    }

    /// How many bytes of user data are kept.
    pub(super) fn user_data_bytes(&self) -> usize {
        self.lasting.user_data.values().map(|sealed| sealed.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_that_sealed_opens() {
        let (own, other) = (TokenKey::from([1; 32]), TokenKey::from([2; 32]));
        let sealed = seal(&own, [7; NONCE], "hunter2");
        assert!(!sealed.windows(7).any(|part| part == b"hunter2"));
        assert_eq!(open(&own, &sealed).as_deref(), Some("hunter2"));
        assert_eq!(open(&other, &sealed), None);
        let mut bent = sealed.to_vec();
        bent[NONCE] ^= 1;
        assert_eq!(
            (open(&own, &bent), open(&own, &sealed[..NONCE]), open(&own, b"short")),
            (None, None, None)
        );
        assert_ne!(seal(&own, [8; NONCE], "hunter2"), sealed);
    }
}
