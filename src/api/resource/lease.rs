//! `GET /v1/leases` and `DELETE /v1/leases/ADDRESS`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Bound;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Row, or_dash};
use crate::api::Word;
use crate::api::problem::problem;
use crate::api::route::{Route, Routes};
use crate::api::routes::Backend;
use crate::model::words::words;
use crate::model::{Name, Time};
use crate::state::{self, LeaseState};

/// A row of `GET /v1/leases`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Lease {
    pub address: IpAddr,
    pub mac: String,
    pub machine: Option<String>,
    pub hostname: Option<String>,
    pub state: Word<LeaseShown>,
    /// RFC 3339; empty for a fixed address.
    pub expires: String,
}

words! {
    /// What becomes of an address now.
    pub enum LeaseShown {
        Offered = "offered",
        Bound = "bound",
        Released = "released",
        Declined = "declined",
        /// Its time is over, whatever it was.
        Expired = "expired",
        /// It belongs to a deployment by its manifest, whether its machine uses it or not.
        Fixed = "fixed",
    }
}

impl From<LeaseState> for LeaseShown {
    fn from(state: LeaseState) -> LeaseShown {
        match state {
            LeaseState::Offered => LeaseShown::Offered,
            LeaseState::Bound => LeaseShown::Bound,
            LeaseState::Released => LeaseShown::Released,
            LeaseState::Declined => LeaseShown::Declined,
        }
    }
}

/// `DELETE /v1/leases/ADDRESS`: an address that is free now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Freed {
    pub address: IpAddr,
    /// Who had it, or who declined it or was seen using it.
    pub mac: String,
    /// What it was.
    pub state: Word<LeaseState>,
    /// RFC 3339; until when it would have been that.
    pub until: String,
}

/// All leases and fixed addresses by address, IPv4 first; those after the one of the key `after`.
pub fn all<'a>(
    state: &'a state::State,
    now: Time,
    after: Option<&str>,
) -> impl Iterator<Item = Lease> + use<'a> {
    let mut fixed = fixed(state, after).peekable();
    let mut leases = leases(state, now, after).peekable();
    std::iter::from_fn(move || {
        let is_fixed = match (fixed.peek(), leases.peek()) {
            (Some(fixed), Some(lease)) => fixed.address <= lease.address,
            (fixed, _) => fixed.is_some(),
        };
        if is_fixed { fixed.next() } else { leases.next() }
    })
}

/// The addresses that deployments have by their manifests; of an address that is leased as well, before the lease.
fn fixed<'a>(state: &'a state::State, after: Option<&str>) -> impl Iterator<Item = Lease> + use<'a> {
    let after = after.and_then(|after| address_of(after).0);
    let all = state.desired().fixed_in_order();
    let first = after.map_or(0, |after| all.partition_point(|(address, _)| *address <= after));
    let row = move |(address, deployment): &(IpAddr, Name)| {
        let machine = state.assignments().get(deployment);
        let known = machine.and_then(|name| state.desired().machines.get(name));
        let mac = known.and_then(|machine| state.active_mac(machine));
        Lease {
            address: *address,
            mac: mac.map_or_else(|| "-".to_owned(), |mac| mac.to_string()),
            machine: machine.map(Name::to_string),
            hostname: None,
            state: LeaseShown::Fixed.into(),
            expires: String::new(),
        }
    };
    all[first..].iter().map(row)
}

fn leases<'a>(
    state: &'a state::State,
    now: Time,
    after: Option<&str>,
) -> impl Iterator<Item = Lease> + use<'a> {
    let (first, first6) = bounds(after);
    let leases = first.into_iter().flat_map(|first| state.leases().from(first));
    let leases6 = state.leases6().from(first6);
    let shown = move |state: LeaseState, expires: Time| match expires <= now {
        true => LeaseShown::Expired.into(),
        false => LeaseShown::from(state).into(),
    };
    let machine = |mac| state.machine(mac).map(|machine| machine.name.to_string());
    let row = move |lease: &state::Lease| Lease {
        address: lease.address.into(),
        mac: lease.mac.to_string(),
        machine: machine(lease.mac),
        hostname: lease.hostname.clone(),
        state: shown(lease.state, lease.expires),
        expires: lease.expires.to_string(),
    };
    let row6 = move |lease: &state::Lease6| Lease {
        address: lease.address.into(),
        mac: lease.mac.to_string(),
        machine: machine(lease.mac),
        hostname: None,
        state: shown(lease.state, lease.expires),
        expires: lease.expires.to_string(),
    };
    // An offer and a past lease of one address are two rows: of the offer's, the other one comes next.
    let offered =
        after.and_then(|after| after.strip_suffix(OFFERED)).and_then(|own| own.parse::<IpAddr>().ok());
    let is_later = move |lease: &Lease| Some(lease.address) != offered || lease.state != LeaseShown::Offered;
    leases.map(row).chain(leases6.map(row6)).filter(is_later)
}

/// What the keys of an offer and of a fixed address have behind the address.
const OFFERED: &str = " offered";
const FIXED: &str = " fixed";

/// The address of a key, and whether the leases of that address come after it.
fn address_of(after: &str) -> (Option<IpAddr>, bool) {
    let before_leases = after.strip_suffix(OFFERED).or_else(|| after.strip_suffix(FIXED));
    (before_leases.unwrap_or(after).parse().ok(), before_leases.is_some())
}

/// Where the leases behind a key begin; of IPv4 `None` where there are none.
fn bounds(after: Option<&str>) -> (Option<Bound<Ipv4Addr>>, Bound<Ipv6Addr>) {
    let Some(after) = after else { return (Some(Bound::Unbounded), Bound::Unbounded) };
    match address_of(after) {
        (Some(IpAddr::V4(address)), true) => (Some(Bound::Included(address)), Bound::Unbounded),
        (Some(IpAddr::V4(address)), false) => (Some(Bound::Excluded(address)), Bound::Unbounded),
        (Some(IpAddr::V6(address)), true) => (None, Bound::Included(address)),
        (Some(IpAddr::V6(address)), false) => (None, Bound::Excluded(address)),
        (None, _) => (Some(Bound::Unbounded), Bound::Unbounded),
    }
}

/// Why an address that somebody wants to free is not held by anybody.
fn not_held(state: &state::State, address: IpAddr) -> String {
    let owner = match address {
        IpAddr::V4(address) => state.desired().fixed_at(address),
        IpAddr::V6(address) => state.desired().fixed6_at(address),
    };
    match owner {
        Some(name) => format!(
            "{address} is the address of deployment {name} by its manifest, and no lease: to free it, \
             change the deployment's address"
        ),
        None => format!("{address} is free already: `voldemortctl get leases` shows what is not"),
    }
}

impl Row for Lease {
    const COLUMNS: &'static [&'static str] = &["ADDRESS", "MAC", "MACHINE", "HOST NAME", "STATE", "EXPIRES"];

    fn name(&self) -> &str {
        &self.mac
    }

    fn key(&self) -> String {
        match self.state == LeaseShown::Offered {
            true => format!("{}{OFFERED}", self.address),
            false if self.state == LeaseShown::Fixed => format!("{}{FIXED}", self.address),
            false => self.address.to_string(),
        }
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.address.to_string(),
            self.mac.clone(),
            or_dash(self.machine.as_ref()),
            or_dash(self.hostname.as_ref()),
            self.state.to_string(),
            or_dash(Some(&self.expires).filter(|expires| !expires.is_empty())),
        ]
    }
}

pub fn routes<B: Backend>() -> Routes<B> {
    let route = Route::delete("/v1/leases/{address}", "Frees an address: whatever keeps it from others ends")
        .answers::<Freed>(StatusCode::OK, "It is free now")
        .says(StatusCode::NOT_FOUND, "Nothing keeps it");
    Routes::new().add(route, free::<B>)
}

async fn free<B: Backend>(State(backend): State<B>, Path(address): Path<String>) -> Response {
    let Ok(address) = address.parse::<IpAddr>() else {
        return problem(StatusCode::BAD_REQUEST, &format!("{address} is no IPv4 or IPv6 address"));
    };
    match backend.free(address).await {
        Ok(Some(freed)) => Json(freed).into_response(),
        Ok(None) => problem(StatusCode::NOT_FOUND, &not_held(&backend.state(), address)),
        Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, &error),
    }
}
