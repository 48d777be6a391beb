//! An admin creates or revokes a token of the control API; the daemon notes that one was used.

use std::sync::Arc;

use super::super::api_token::{ApiToken, TOKENS_MAX};
use super::super::command::Outcome;
use super::super::record::Record;
use super::super::{Event, Stage, State};
use super::{Applied, observe};
use crate::model::{Caller, Name, Time, Token};

/// Names are unique, also among those that have ended: which holder a line of the log means must be clear.
pub(super) fn create(state: &mut State, token: ApiToken, now: Time, out: &mut Applied) -> Outcome {
    let name = token.name.clone();
    let tokens = &mut state.lasting.tokens;
    if Token::OWN.iter().any(|own| own.name() == name.as_str()) {
        return Outcome::Refused(format!(
            "{name} is the name of a token of the daemon's own: choose another"
        ));
    }
    if let Some(known) = tokens.get(&name) {
        let ended = if known.is_expired(now) { ", which has expired" } else { "" };
        return Outcome::Refused(format!(
            "there is a token {name} already{ended}: choose another name, or revoke that one first"
        ));
    }
    if tokens.len() >= TOKENS_MAX {
        return Outcome::Refused(format!("there are {TOKENS_MAX} tokens already: revoke one first"));
    }
    if token.is_expired(now) {
        return Outcome::Refused(format!("token {name} would have expired when it is created"));
    }
    let until = token.expires.map_or("until it is revoked".to_owned(), |end| format!("until {end}"));
    let by = token.by.as_ref().map_or("a caller that is not on record".to_owned(), Caller::to_string);
    let bound = match token.pools.as_slice() {
        [] => String::new(),
        pools => format!(", for the pools {}", pools.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")),
    };
    let text =
        format!("token {name} ({}, number {:08x}) was created by {by}, {until}{bound}", token.role, token.id);
    let token = Arc::new(token);
    tokens.insert(name.clone(), token.clone());
    out.records.push(Record::ApiToken(name, Some(token)));
    observe::observe(state, Event::new(now, Stage::Daemon, text), out);
    Outcome::Done
}

pub(super) fn revoke(state: &mut State, name: &Name, by: &Caller, now: Time, out: &mut Applied) -> Outcome {
    let Some(token) = state.lasting.tokens.remove(name) else { return Outcome::Revoked(None) };
    out.records.push(Record::ApiToken(name.clone(), None));
    let text = format!("token {name} ({}, number {:08x}) was revoked by {by}", token.role, token.id);
    observe::observe(state, Event::new(now, Stage::Daemon, text), out);
    Outcome::Revoked(Some(token))
}

/// Another token of the same name that was created since is not the one that was used.
pub(super) fn used(state: &mut State, name: &Name, id: u32, now: Time, out: &mut Applied) -> Outcome {
    if let Some(token) = state.lasting.tokens.get(name).filter(|token| token.id == id) {
        let token = Arc::new(ApiToken { used: Some(now), ..(**token).clone() });
        state.lasting.tokens.insert(name.clone(), token.clone());
        out.records.push(Record::ApiToken(name.clone(), Some(token)));
    }
    Outcome::Done
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::super::command::{Command, Verb};
    use super::super::super::{Server, apply};
    use super::*;
    use crate::model::Role;

    fn token(name: &str, id: u32, expires: Option<u64>) -> ApiToken {
        let by = Some(Caller::DAEMON);
        let (name, expires) = (name.parse().unwrap(), expires.map(Time));
        let digest = [id as u8; 32];
        ApiToken {
            name,
            id,
            digest,
            role: Role::Editor,
            pools: Vec::new(),
            by,
            created: Time(10),
            expires,
            used: None,
        }
    }

    struct Hall(State, Applied);

    impl Hall {
        fn new() -> Hall {
            Hall(State::new(Server::stand_in(Ipv4Addr::LOCALHOST)), Applied::default())
        }

        fn act(&mut self, verb: Verb, now: u64) -> Outcome {
            self.1.clear(0);
            apply(&mut self.0, Command::daemon(verb), Time(now), &mut self.1)
        }

        fn create(&mut self, token: ApiToken, now: u64) -> Outcome {
            self.act(Verb::CreateToken(Box::new(token)), now)
        }
    }

    #[test]
    fn a_token_lives_until_it_ends_or_is_revoked() {
        let mut hall = Hall::new();
        assert_eq!(hall.create(token("ci", 1, Some(100)), 10), Outcome::Done);
        assert!(matches!(&hall.1.records[..], [Record::ApiToken(name, Some(_))] if name.as_str() == "ci"));
        assert_eq!(hall.1.events.len(), 1);
        let ci = hall.0.api_token_of(&[1; 32]).unwrap().clone();
        assert!(hall.0.api_token_of(&[2; 32]).is_none());
        assert_eq!(ci.holder().to_string(), "token ci (editor)");
        assert_eq!((hall.0.accepts(&ci, Time(99)), hall.0.accepts(&ci, Time(100))), (true, false));
        assert_eq!(hall.act(Verb::UsedToken("ci".parse().unwrap(), 2), 20), Outcome::Done);
        assert!(hall.1.records.is_empty(), "another token was used");
        hall.act(Verb::UsedToken("ci".parse().unwrap(), 1), 20);
        assert_eq!(hall.0.api_token_of(&[1; 32]).unwrap().used, Some(Time(20)));
        assert!(hall.0.accepts(&ci, Time(99)), "it is the same token");
        let revoke = || Verb::RevokeToken("ci".parse().unwrap());
        assert!(matches!(hall.act(revoke(), 30), Outcome::Revoked(Some(_))));
        assert_eq!(hall.1.records, [Record::ApiToken("ci".parse().unwrap(), None)]);
        assert_eq!(hall.act(revoke(), 30), Outcome::Revoked(None));
        assert!(hall.1.records.is_empty() && !hall.0.accepts(&ci, Time(30)));
        // A new one of the same name is another.
        assert_eq!(hall.create(token("ci", 3, None), 40), Outcome::Done);
        assert!(!hall.0.accepts(&ci, Time(40)));
    }

    #[test]
    fn what_would_be_ambiguous_or_useless_is_refused() {
        let mut hall = Hall::new();
        hall.create(token("ci", 1, Some(100)), 10);
        for (token, now, why) in [
            (token("ci", 2, None), 20, "there is a token ci already: "),
            (token("ci", 2, None), 200, "which has expired"),
            (token("start", 2, None), 20, "the daemon's own"),
            (token("viewer", 2, None), 20, "the daemon's own"),
            (token("late", 2, Some(20)), 20, "would have expired"),
        ] {
            let Outcome::Refused(said) = hall.create(token, now) else { panic!("{why}") };
            assert!(said.contains(why), "{said}");
            assert!(hall.1.records.is_empty() && hall.1.events.is_empty());
        }
        for at in 1..TOKENS_MAX {
            assert_eq!(hall.create(token(&format!("t{at}"), 9, None), 20), Outcome::Done);
        }
        let Outcome::Refused(said) = hall.create(token("more", 9, None), 20) else { panic!("one too many") };
        assert!(said.contains("1000 tokens"), "{said}");
    }
}
