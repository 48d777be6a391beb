//! Whose a request is: by a session where the controller has them, which is opened once and used until it ends, else by
//! user and password with each request.

use std::sync::Arc;

use hyper::{Method, StatusCode};
use serde_json::json;

use super::local;
use crate::power::talk::{Line, Pass, Reply, Sent};
use crate::power::{Fault, Login};

/// A session that is open, as far as known.
#[derive(Clone)]
pub(super) struct Session {
    token: Arc<str>,
    login: Login,
    /// Where it is ended.
    place: Option<Arc<str>>,
}

impl Line<'_> {
    /// A request by whoever the login is of.
    pub(super) async fn ask(&self, method: &Method, path: &Arc<str>, sent: Sent<'_>) -> Result<Reply, Fault> {
        let Some(login) = self.login else {
            return self.exchange(method, path, sent, Pass::Nobody).await;
        };
        let controller = self.controller().await?;
        let Some(sessions) = &controller.sessions else {
            return self.exchange(method, path, sent, Pass::Basic(login)).await;
        };
        if let Some(session) = &controller.session {
            if session.login == *login {
                let reply = self.exchange(method, path, sent, Pass::Session(&session.token)).await?;
                // It ended, as sessions do that are not used for some time, or with a restart of the controller.
                if reply.status != StatusCode::UNAUTHORIZED {
                    return Ok(reply);
                }
            } else {
                // The password was changed: that of before opens nothing any more.
                self.end(session).await;
            }
        }
        let session = self.open(sessions, login).await?;
        let known = super::Controller { session: session.clone(), ..controller.clone() };
        self.tools.learn(&self.endpoint, known);
        let pass = session.as_ref().map_or(Pass::Basic(login), |session| Pass::Session(&session.token));
        self.exchange(method, path, sent, pass).await
    }

    /// Opens a session; `None` where the controller can't just now, or can't at all.
    async fn open(&self, sessions: &Arc<str>, login: &Login) -> Result<Option<Session>, Fault> {
        let body = json!({ "UserName": &*login.user, "Password": &*login.password });
        let sent = Sent { body: Some(&body), ..Sent::default() };
        let reply = self.exchange(&Method::POST, sessions, sent, Pass::Nobody).await?;
        let is_wrong = reply.status == StatusCode::UNAUTHORIZED
            // iLO says so.
            || reply.status == StatusCode::BAD_REQUEST && reply.mentions("unauthorized");
        if is_wrong {
            return Err(Fault::WrongLogin);
        }
        if reply.status == StatusCode::FORBIDDEN {
            return Err(Fault::Forbidden(sessions.clone()));
        }
        // Of an absolute url the path counts: the next request goes to the same controller in any case.
        let place = reply.header("Location").map(|place| match place.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
            None => place,
        });
        let place = place.and_then(local);
        let token = reply.header("X-Auth-Token").filter(|_| reply.status.is_success());
        Ok(token.map(|token| Session { token: token.into(), login: login.clone(), place }))
    }

    /// Ends a session, so that controllers, which have few, can open others. If that fails, it ends by itself.
    async fn end(&self, session: &Session) {
        if let Some(place) = &session.place {
            let pass = Pass::Session(&session.token);
            let _ = self.exchange(&Method::DELETE, place, Sent::default(), pass).await;
        }
    }
}
