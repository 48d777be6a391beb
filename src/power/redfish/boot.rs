//! The override of the boot (DSP0268, `Boot` of ComputerSystem): the next start alone is one from the network.

use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::{link, local};
use crate::power::Fault;
use crate::power::talk::{Line, Reply, Sent, quoted};

/// How often the override is read until it is what was asked for: some controllers take a while.
const READINGS: u32 = 4;
const PAUSE: Duration = Duration::from_secs(1);

/// What a system says about its override.
#[derive(Debug, PartialEq)]
struct Override {
    enabled: String,
    target: String,
}

/// Has the next start come from the network, and reads whether the controller says so too.
pub(super) async fn network_once(
    line: &Line<'_>,
    path: &Arc<str>,
    system: &Value,
    uefi: Option<bool>,
) -> Result<(), Fault> {
    let boot = system.get("Boot").unwrap_or(&Value::Null);
    let targets = texts(boot.get("BootSourceOverrideTarget@Redfish.AllowableValues"));
    if !targets.is_empty() && !targets.iter().any(|target| target == "Pxe") {
        return Err(Fault::NotAble { what: "a boot by PXE", able: quoted(targets.join(", ").as_bytes()) });
    }
    let place = place(line, path, system).await?;
    // The mode is always sent: controllers take another one for granted than the machine has.
    let mode = match (uefi, boot.get("BootSourceOverrideMode").and_then(Value::as_str)) {
        (Some(false), _) => "Legacy",
        (None, Some("Legacy")) => "Legacy",
        _ => "UEFI",
    };
    let wanted = json!({ "Boot": {
        "BootSourceOverrideEnabled": "Once",
        "BootSourceOverrideTarget": "Pxe",
        "BootSourceOverrideMode": mode,
    } });
    let mut reply = change(line, &place, &wanted).await?;
    if reply.status == StatusCode::BAD_REQUEST && reply.mentions("BootSourceOverrideMode") {
        let without =
            json!({ "Boot": { "BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": "Pxe" } });
        reply = change(line, &place, &without).await?;
    }
    line.accepted(&place, &reply, "a boot from the network")?;
    let is_set = |seen: &Override| seen.target == "Pxe" && matches!(&*seen.enabled, "Once" | "Continuous");
    read_back(line, &place, path, is_set).await
}

/// Boots are again as the firmware has them.
pub(super) async fn clear(line: &Line<'_>, path: &Arc<str>, system: &Value) -> Result<(), Fault> {
    let place = place(line, path, system).await?;
    let mut reply =
        change(line, &place, &json!({ "Boot": { "BootSourceOverrideEnabled": "Disabled" } })).await?;
    let takes_none = line.controller().await?.quirk.takes_none;
    if reply.status == StatusCode::BAD_REQUEST && takes_none {
        let none = json!({ "Boot": { "BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": "None" } });
        reply = change(line, &place, &none).await?;
    }
    line.accepted(&place, &reply, "the end of the boots from the network")?;
    read_back(line, &place, path, |seen| seen.enabled == "Disabled" || seen.target == "None").await
}

/// Whether the controller boots from the network until it is told otherwise.
pub(super) async fn lasts(line: &Line<'_>, path: &Arc<str>, system: &Value) -> Result<bool, Fault> {
    let place = place(line, path, system).await?;
    let own = overridden(&line.get(&place).await?);
    Ok(own.is_some_and(|seen| seen.enabled == "Continuous" && seen.target == "Pxe"))
}

/// The resource that has the override.
async fn place(line: &Line<'_>, path: &Arc<str>, system: &Value) -> Result<Arc<str>, Fault> {
    let settings = system.get("@Redfish.Settings").and_then(|settings| link(settings.get("SettingsObject")?));
    // Of AMI's controllers not all name it.
    let usual = || local(&format!("{}/SD", path.trim_end_matches('/')));
    match line.controller().await?.quirk.is_override_in_settings {
        true => Ok(settings.or_else(usual).unwrap_or_else(|| path.clone())),
        false => Ok(path.clone()),
    }
}

/// Changes a resource, on the condition that the controller wants (RFC 9110 section 13.1.1).
async fn change(line: &Line<'_>, path: &Arc<str>, body: &Value) -> Result<Reply, Fault> {
    let mut sent = Sent::acting(body);
    let known = match line.controller().await?.quirk.needs_if_match {
        true => Some(etag(line, path).await?),
        false => None,
    };
    sent.if_match = known.as_deref();
    let mut reply = line.ask(&Method::PATCH, path, sent).await?;
    if !wants_condition(&reply) {
        return Ok(reply);
    }
    let fresh = etag(line, path).await?;
    let strong = fresh.strip_prefix("W/").unwrap_or(&fresh);
    for condition in [&fresh, strong, "*"] {
        sent.if_match = Some(condition);
        reply = line.ask(&Method::PATCH, path, sent).await?;
        if !wants_condition(&reply) {
            break;
        }
    }
    Ok(reply)
}

fn wants_condition(reply: &Reply) -> bool {
    matches!(reply.status, StatusCode::PRECONDITION_FAILED | StatusCode::PRECONDITION_REQUIRED)
}

/// The version of a resource; `*` where it has none.
async fn etag(line: &Line<'_>, path: &Arc<str>) -> Result<String, Fault> {
    let reply = line.ask(&Method::GET, path, Sent::default()).await?;
    line.judge(path, &reply)?;
    let header = reply.header("ETag").map(str::to_owned);
    let body = reply.json(path)?;
    let written = body
        .get("@odata.etag")
        .and_then(Value::as_str)
        .filter(|text| text.bytes().all(|c| (b' '..0x7f).contains(&c)));
    Ok(header.or(written.map(str::to_owned)).unwrap_or_else(|| "*".into()))
}

/// Reads the override where it was changed, and at the system, until one of them is what it is to be.
async fn read_back(
    line: &Line<'_>,
    place: &Arc<str>,
    system: &Arc<str>,
    is_right: impl Fn(&Override) -> bool,
) -> Result<(), Fault> {
    let mut seen = String::new();
    for attempt in 0..READINGS {
        if attempt > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        for path in [place, system] {
            let own = overridden(&line.get(path).await?);
            if own.as_ref().is_some_and(&is_right) {
                return Ok(());
            }
            seen = own.map_or_else(|| "nothing".into(), |own| format!("{} {}", own.enabled, own.target));
            if place == system {
                break;
            }
        }
    }
    Err(Fault::NotTaken { seen: quoted(seen.as_bytes()) })
}

fn overridden(system: &Value) -> Option<Override> {
    let text = |key: &str| system.get("Boot")?.get(key)?.as_str().map(str::to_owned);
    let enabled = text("BootSourceOverrideEnabled")?;
    Some(Override { enabled, target: text("BootSourceOverrideTarget").unwrap_or_default() })
}

fn texts(list: Option<&Value>) -> Vec<String> {
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}
