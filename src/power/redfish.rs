//! Redfish (DSP0266): the service root names the collection of systems, the system its power state and its actions.

mod boot;
mod quirk;
mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::Method;
use serde_json::{Value, json};

use super::driver::{Answer, Driver, Failure, Question, Sending};
use super::talk::{Line, Pass, Reply, Sent, quoted};
use super::{Endpoint, Fault, Read};
use crate::model::{Capabilities, PowerKind, PowerState, PowerStep};
use quirk::Quirk;
use session::Session;

/// The service root, which is readable without a login (DSP0266 section 8.2).
const ROOT: &str = "/redfish/v1/";
/// A url below this path names one system, for controllers that have several.
const SYSTEMS: &str = "/redfish/v1/Systems/";

pub(super) struct Redfish;

/// What was learned of a controller.
#[derive(Clone)]
pub(super) struct Controller {
    /// The collection of systems.
    systems: Option<Arc<str>>,
    /// Where sessions are opened; `None` where it has none.
    sessions: Option<Arc<str>>,
    quirk: &'static Quirk,
    session: Option<Session>,
}

impl Driver for Redfish {
    fn capabilities(&self) -> Capabilities {
        PowerKind::Redfish.capabilities()
    }

    fn unread(&self) -> &'static str {
        "its controller was not read yet"
    }

    fn read<'a>(&'a self, question: Question<'a>) -> Answer<'a, Read> {
        Box::pin(async move {
            let place = Place::of(&question)?;
            place.within(async { place.state().await.map(|(read, _)| read) }).await
        })
    }

    fn send<'a>(&'a self, question: Question<'a>, step: PowerStep) -> Sending<'a> {
        Box::pin(async move {
            let place = Place::of(&question)?;
            let acted = place
                .within(async {
                    let (read, system) = place.state().await?;
                    let path = read.system.unwrap_or_default();
                    match step {
                        PowerStep::On | PowerStep::Off => place.reset(&path, &system, step, read.state).await,
                        PowerStep::BootOnce => {
                            boot::network_once(&place.line, &path, &system, question.uefi).await
                        }
                        PowerStep::ClearBoot => boot::clear(&place.line, &path, &system).await,
                    }
                })
                .await;
            acted.map_err(|fault| Failure {
                fault,
                may_have_acted: place.line.is_acting.load(Ordering::Relaxed),
            })
        })
    }

    fn boot_lasts<'a>(&'a self, question: Question<'a>) -> Answer<'a, bool> {
        Box::pin(async move {
            let place = Place::of(&question)?;
            place
                .within(async {
                    let (read, system) = place.state().await?;
                    boot::lasts(&place.line, &read.system.unwrap_or_default(), &system).await
                })
                .await
        })
    }
}

/// Where a machine's system is looked for.
struct Place<'a> {
    line: Line<'a>,
    system: Option<Arc<str>>,
    /// Whether the manifest names the system.
    is_named: bool,
}

impl<'a> Place<'a> {
    fn of(question: &Question<'a>) -> Result<Place<'a>, Fault> {
        let power = question.power;
        let (endpoint, path) = Endpoint::parse(power.url.as_ref().ok_or(Fault::NoUrl)?)?;
        if question.login.is_some() && endpoint.is_open() {
            return Err(Fault::Unprotected);
        }
        let is_named = path.strip_prefix(SYSTEMS).is_some_and(|name| !name.is_empty());
        if !is_named && !matches!(&*path, "/" | "/redfish" | "/redfish/" | "/redfish/v1" | ROOT) {
            let url = power.url.clone().unwrap_or_default();
            return Err(Fault::BadUrl(
                url,
                "has a path that is no Redfish system: the controller's address alone is enough",
            ));
        }
        let line = Line {
            endpoint,
            fingerprint: power.fingerprint.as_ref(),
            login: question.login,
            tools: question.tools,
            is_acting: AtomicBool::new(false),
        };
        let system = if is_named { Some(path) } else { question.system.clone() };
        Ok(Place { line, system, is_named })
    }

    /// Bounds what is done in time.
    async fn within<T>(&self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let limit = self.line.tools.limits.whole;
        let slow = |_| Fault::Slow { endpoint: self.line.endpoint.clone(), seconds: limit.as_secs() };
        tokio::time::timeout(limit, work).await.map_err(slow)?
    }

    /// The power state and the system's resource. The first reading takes three requests, later ones take one.
    async fn state(&self) -> Result<(Read, Value), Fault> {
        if let Some(system) = self.system.clone() {
            match self.line.state(system).await {
                // Firmware updates rename systems.
                Err(Fault::Missing(_)) if !self.is_named => {}
                found => return found,
            }
        }
        let system = self.line.find().await?;
        self.line.state(system).await
    }

    /// Asks for the action `ComputerSystem.Reset`, in a form that the controller says it has.
    async fn reset(
        &self,
        path: &Arc<str>,
        system: &Value,
        step: PowerStep,
        state: PowerState,
    ) -> Result<(), Fault> {
        let action = system.get("Actions").and_then(|actions| actions.get("#ComputerSystem.Reset"));
        let target = action.and_then(|action| local(action.get("target")?.as_str()?));
        let target = target.unwrap_or_else(|| format!("{path}/Actions/ComputerSystem.Reset").into());
        let able = self.able(action).await?;
        let wanted: &[&str] = match (step, state) {
            (PowerStep::On, PowerState::Off) => &["On", "ForceOn", "PushPowerButton"],
            (PowerStep::On, _) => &["On", "ForceOn"],
            _ => &["ForceOff", "GracefulShutdown"],
        };
        let can = |word: &&&str| able.is_empty() || able.iter().any(|one| one == **word);
        let Some(word) = wanted.iter().find(can) else {
            return Err(Fault::NotAble { what: wanted[0], able: quoted(able.join(", ").as_bytes()) });
        };
        let body = json!({ "ResetType": word });
        let reply = self.line.ask(&Method::POST, &target, Sent::acting(&body)).await?;
        self.line.accepted(&target, &reply, word)
    }

    /// The forms of the action that the controller lists; empty where it lists none.
    async fn able(&self, action: Option<&Value>) -> Result<Vec<String>, Fault> {
        let words = |list: Option<&Value>| -> Vec<String> {
            let list = list.and_then(Value::as_array).into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let Some(action) = action else { return Ok(Vec::new()) };
        let own = words(action.get("ResetType@Redfish.AllowableValues"));
        let info = action.get("@Redfish.ActionInfo").and_then(Value::as_str).and_then(local);
        let Some(info) = info.filter(|_| own.is_empty()) else { return Ok(own) };
        let info = self.line.get(&info).await?;
        let parameters = info.get("Parameters").and_then(Value::as_array).into_iter().flatten();
        let mut reset = parameters.filter(|one| one.get("Name").and_then(Value::as_str) == Some("ResetType"));
        Ok(words(reset.next().and_then(|one| one.get("AllowableValues"))))
    }
}

impl Line<'_> {
    /// The JSON at `path`, by whoever the login is of.
    async fn get(&self, path: &Arc<str>) -> Result<Value, Fault> {
        let reply = self.ask(&Method::GET, path, Sent::default()).await?;
        self.judge(path, &reply)?;
        reply.json(path)
    }

    /// What is wrong with the answer to a request that changes something.
    fn accepted(&self, path: &Arc<str>, reply: &Reply, what: &'static str) -> Result<(), Fault> {
        match reply.status.as_u16() {
            // 202: it is carried out later, which is seen when the state is read.
            200..=204 => Ok(()),
            400 | 409 | 412 | 428 => Err(Fault::NotAccepted { what, why: reply.complaint() }),
            _ => self.judge(path, reply),
        }
    }

    async fn state(&self, system: Arc<str>) -> Result<(Read, Value), Fault> {
        let found = self.get(&system).await?;
        let odd = |why: String| Fault::Odd { path: system.clone(), why };
        let state = match found.get("PowerState") {
            Some(Value::String(text)) => match PowerState::of_redfish(text) {
                Some(state) => state,
                None => {
                    let text = text.chars().take(40).collect::<String>();
                    return Err(odd(format!("it has no power state {text:?}")));
                }
            },
            Some(Value::Null) => return Err(odd("its PowerState is null".into())),
            _ => return Err(odd("it has no PowerState".into())),
        };
        Ok((Read { state, system: Some(system) }, found))
    }

    /// What is known of the controller; its service root is read where that is nothing.
    async fn controller(&self) -> Result<Controller, Fault> {
        if let Some(known) = self.tools.controller(&self.endpoint) {
            return Ok(known);
        }
        let root: Arc<str> = ROOT.into();
        let reply = self.exchange(&Method::GET, &root, Sent::default(), Pass::Nobody).await?;
        self.judge(&root, &reply)?;
        let service = reply.json(&root)?;
        let controller = Controller {
            systems: service.get("Systems").and_then(link),
            sessions: service.get("Links").and_then(|links| link(links.get("Sessions")?)),
            quirk: Quirk::of(&service),
            session: None,
        };
        // One without systems may be starting up.
        if controller.systems.is_some() {
            self.tools.learn(&self.endpoint, controller.clone());
        }
        Ok(controller)
    }

    /// The only system of a controller.
    async fn find(&self) -> Result<Arc<str>, Fault> {
        let no_systems = || Fault::Odd { path: ROOT.into(), why: "it has no Systems".into() };
        let systems = self.controller().await?.systems.ok_or_else(no_systems)?;
        let collection = self.get(&systems).await;
        if let Err(Fault::Missing(_)) = &collection {
            // Another firmware may have another root.
            self.tools.forget(&self.endpoint);
        }
        let collection = collection?;
        let odd = |why: &str| Fault::Odd { path: systems.clone(), why: why.into() };
        let members =
            collection.get("Members").and_then(Value::as_array).ok_or_else(|| odd("it has no Members"))?;
        match members.as_slice() {
            [] => Err(Fault::NoSystem),
            [only] => link(only).ok_or_else(|| odd("its member has no address")),
            [first, ..] => Err(Fault::ManySystems {
                count: members.len(),
                first: format!("https://{}{}", self.endpoint, link(first).unwrap_or_default()),
            }),
        }
    }
}

/// The path of `@odata.id`, if it is on this controller.
fn link(resource: &Value) -> Option<Arc<str>> {
    local(resource.get("@odata.id")?.as_str()?)
}

/// A path, if it is on this controller.
fn local(path: &str) -> Option<Arc<str>> {
    let right =
        path.starts_with('/') && !path.starts_with("//") && path.bytes().all(|c| c.is_ascii_graphic());
    right.then(|| path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_on_the_controller() {
        let found = |id: Value| link(&serde_json::json!({ "@odata.id": id }));
        assert_eq!(found("/redfish/v1/Systems/1".into()).as_deref(), Some("/redfish/v1/Systems/1"));
        for odd in ["", "x", "//evil/redfish", "https://evil/redfish", "/a b", "/a\r\nX: y", "/\u{e4}"] {
            assert_eq!(found(odd.into()), None, "{odd:?}");
        }
        assert_eq!(found(7.into()), None);
        assert_eq!(link(&Value::Null), None);
    }
}
