//! Redfish (DSP0266): the service root names the collection of systems, the system its power state.

use std::sync::Arc;

use serde_json::Value;

use super::driver::{Answer, Capabilities, Driver, Question};
use super::talk::Line;
use super::{Endpoint, Fault, Read};
use crate::model::PowerState;

/// The service root, which is readable without a login (DSP0266 section 8.2).
const ROOT: &str = "/redfish/v1/";
/// A url below this path names one system, for controllers that have several.
const SYSTEMS: &str = "/redfish/v1/Systems/";

pub(super) struct Redfish;

impl Driver for Redfish {
    fn capabilities(&self) -> Capabilities {
        Capabilities { read: true }
    }

    fn unread(&self) -> &'static str {
        "its controller was not read yet"
    }

    fn read<'a>(&'a self, question: Question<'a>) -> Answer<'a> {
        Box::pin(read(question))
    }
}

/// Reads the power state. The first reading takes three requests, later ones take one.
async fn read(question: Question<'_>) -> Result<Read, Fault> {
    let Question { power, login, system, trust, limits } = question;
    let (endpoint, path) = Endpoint::parse(power.url.as_ref().ok_or(Fault::NoUrl)?)?;
    if login.is_some() && endpoint.is_open() {
        return Err(Fault::Unprotected);
    }
    let named = path.strip_prefix(SYSTEMS).is_some_and(|name| !name.is_empty());
    if !named && !matches!(&*path, "/" | "/redfish" | "/redfish/" | "/redfish/v1" | ROOT) {
        let url = power.url.clone().unwrap_or_default();
        return Err(Fault::BadUrl(
            url,
            "has a path that is no Redfish system: the controller's address alone is enough",
        ));
    }
    let line = Line { endpoint, fingerprint: power.fingerprint.as_ref(), login, trust, limits };
    let system = if named { Some(path) } else { system };
    let asked = tokio::time::timeout(limits.whole, ask(&line, system, named));
    let slow = |_| Fault::Slow { endpoint: line.endpoint.clone(), seconds: limits.whole.as_secs() };
    asked.await.map_err(slow)?
}

async fn ask(line: &Line<'_>, system: Option<Arc<str>>, named: bool) -> Result<Read, Fault> {
    if let Some(system) = system {
        match state(line, system).await {
            // Firmware updates rename systems.
            Err(Fault::Missing(_)) if !named => {}
            found => return found,
        }
    }
    let system = find(line).await?;
    state(line, system).await
}

async fn state(line: &Line<'_>, system: Arc<str>) -> Result<Read, Fault> {
    let found = line.get(&system, true).await?;
    let odd = |why: String| Fault::Odd { path: system.clone(), why };
    match found.get("PowerState") {
        Some(Value::String(text)) => match PowerState::of_redfish(text) {
            Some(state) => Ok(Read { state, system }),
            None => {
                Err(odd(format!("it has no power state {:?}", text.chars().take(40).collect::<String>())))
            }
        },
        Some(Value::Null) => Err(odd("its PowerState is null".into())),
        _ => Err(odd("it has no PowerState".into())),
    }
}

/// The only system of a controller.
async fn find(line: &Line<'_>) -> Result<Arc<str>, Fault> {
    let root: Arc<str> = ROOT.into();
    let service = line.get(&root, false).await?;
    let systems = service
        .get("Systems")
        .and_then(link)
        .ok_or_else(|| Fault::Odd { path: root, why: "it has no Systems".into() })?;
    let collection = line.get(&systems, true).await?;
    let odd = |why: &str| Fault::Odd { path: systems.clone(), why: why.into() };
    let members =
        collection.get("Members").and_then(Value::as_array).ok_or_else(|| odd("it has no Members"))?;
    match members.as_slice() {
        [] => Err(Fault::NoSystem),
        [only] => link(only).ok_or_else(|| odd("its member has no address")),
        [first, ..] => Err(Fault::ManySystems {
            count: members.len(),
            first: format!("https://{}{}", line.endpoint, link(first).unwrap_or_default()),
        }),
    }
}

/// The path of `@odata.id`, if it is on this controller.
fn link(resource: &Value) -> Option<Arc<str>> {
    let path = resource.get("@odata.id")?.as_str()?;
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
