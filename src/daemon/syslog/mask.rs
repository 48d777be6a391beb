//! Takes secrets out of what machines log: installers repeat command lines, answer files and their URLs.

use std::borrow::Cow;

use crate::desired::Deployment;
use crate::state::State;
use crate::state::token::Purpose;

/// Shorter secrets are not looked for: they would be found in words.
const SHORTEST: usize = 6;

/// The text without the secrets of the inventory, and without the tokens in URLs of the deployment whose machine
/// wrote it. To be called before anything is cut off: a part of a secret would not be found.
pub(super) fn masked<'t>(text: &'t str, state: &State, deployment: Option<&Deployment>) -> Cow<'t, str> {
    let mut text = Cow::Borrowed(text);
    let mut hide = |secret: &str, name: &str| {
        if secret.len() >= SHORTEST && text.contains(secret) {
            text = Cow::Owned(text.replace(secret, &format!("[{name}]")));
        }
    };
    for (name, secret) in state.secrets().known() {
        secret.lines().for_each(|line| hide(line.trim(), &format!("secret {name}")));
    }
    if let Some(deployment) = deployment {
        for purpose in [Purpose::Answers, Purpose::Hooks] {
            hide(&state.token(purpose, deployment), "token");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Secrets, Server};

    #[test]
    fn secrets_are_replaced_by_their_names_and_words_are_not() {
        let texts =
            [("root", "correct horse\n"), ("pin", "1234"), ("key", "first line of it\nsecond line of it")];
        let known = texts.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let state =
            State::new(Server::stand_in([10, 0, 0, 1].into())).with_secrets(Secrets::Known(known.into()));
        let masked = |text| masked(text, &state, None).into_owned();
        assert_eq!(
            masked("password=correct horse, again: correct horse"),
            "password=[secret root], again: [secret root]"
        );
        assert_eq!(masked("second line of it"), "[secret key]");
        assert_eq!(masked("at 1234 seconds"), "at 1234 seconds", "too short to be looked for");
    }
}
