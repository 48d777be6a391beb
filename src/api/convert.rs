//! From the table to what travels.

use super::types::{self, LeaseShown, PowerShown};
use crate::desired::Machine;
use crate::model::{Mac, PowerReading, Time};
use crate::power::driver;
use crate::state::{DriftKind, Duty, Event, LeaseState, Seen, State};

pub fn deployments(table: &State) -> Vec<types::Deployment> {
    table.desired.deployments.keys().filter_map(|name| deployment(table, name.as_str())).collect()
}

/// `None` if there is no such deployment.
pub fn deployment(table: &State, name: &str) -> Option<types::Deployment> {
    let found = table.desired.deployments.get(name)?;
    let machine = table.assignments.get(&found.name);
    let described = machine.and_then(|machine| table.desired.machines.get(machine));
    let macs: Vec<Mac> = described.map(|machine| table.cards(machine)).unwrap_or_default();
    let leased = macs.iter().find_map(|mac| table.leases.address_of(*mac));
    let leased6 = macs.iter().find_map(|mac| Some(table.leases6.of(*mac)?.address));
    let install = table.install_of(&found.name);
    let duty = table.duty(found);
    Some(types::Deployment {
        name: found.name.to_string(),
        machine: machine.map(ToString::to_string),
        macs: macs.iter().map(ToString::to_string).collect(),
        address: found.address.or(leased),
        address6: found.address6.or(leased6),
        boot: found.boot.name.to_string(),
        template: found.template.as_ref().map(|template| template.name.to_string()),
        redeploy: found.redeploy,
        phase: table.phase(found).into(),
        next_boot: match duty {
            Duty::Install { .. } => "installs".into(),
            Duty::NetworkBoot => format!("boots {} from the network", found.boot.name),
            Duty::LocalBoot(reason) => format!("boots its own disk: {reason}"),
        },
        since: install.map(|install| install.since.to_string()),
        subnet: types::Subnet {
            name: found.subnet.name.to_string(),
            cidr: found.subnet.network(),
            gateway: found.subnet.gateway,
        },
        origin: found.origin.to_string(),
    })
}

/// The machines of the manifests, then those that were only seen.
pub fn machines(table: &State) -> Vec<types::Machine> {
    let described = table.desired.machines.values().map(|machine| {
        let cards = table.cards(machine);
        let seen = cards.iter().filter_map(|mac| table.seen.get(mac)).max_by_key(|seen| seen.last);
        types::Machine {
            name: Some(machine.name.to_string()),
            macs: cards.iter().map(ToString::to_string).collect(),
            labels: machine.labels.clone(),
            deployment: table.tenants.get(&machine.name).map(ToString::to_string),
            protected: table.protected.contains(&machine.name),
            origin: Some(machine.origin.to_string()),
            power: power(table, machine),
            ..sighting(seen)
        }
    });
    let mut strangers: Vec<_> = table.seen.iter().filter(|(mac, _)| table.machine(**mac).is_none()).collect();
    strangers.sort_by_key(|(mac, _)| **mac);
    let strangers = strangers
        .into_iter()
        .map(|(mac, seen)| types::Machine { macs: vec![mac.to_string()], ..sighting(Some(seen)) });
    described.chain(strangers).collect()
}

fn sighting(seen: Option<&Seen>) -> types::Machine {
    types::Machine {
        name: None,
        macs: Vec::new(),
        labels: Default::default(),
        deployment: None,
        protected: false,
        address: seen.and_then(|seen| seen.address),
        arch: seen.and_then(|seen| seen.arch).map(|arch| arch.to_string()),
        last_seen: seen.map(|seen| seen.last.to_string()),
        stuck: seen.and_then(|seen| seen.stuck.as_deref()).map(str::to_owned),
        origin: None,
        power: None,
    }
}

/// `None` where the manifest does not say how its power is told.
fn power(table: &State, machine: &Machine) -> Option<types::Power> {
    let told = machine.power.as_ref()?;
    let unknown = |reason: String| types::Power {
        kind: told.kind.into(),
        state: PowerShown::Unknown.into(),
        since: None,
        reason: Some(reason),
        before: None,
    };
    let Some(PowerReading { state, since, before }) = table.power_of(machine) else {
        return Some(unknown(driver(told.kind).unread().into()));
    };
    Some(match state {
        Ok(state) => types::Power {
            state: PowerShown::from(*state).into(),
            reason: None,
            since: Some(since.to_string()),
            ..unknown(String::new())
        },
        Err(why) => types::Power {
            since: Some(since.to_string()),
            before: before.map(|(state, _)| state.into()),
            ..unknown(why.to_string())
        },
    })
}

pub fn leases(table: &State, now: Time) -> Vec<types::Lease> {
    let machine = |mac| table.machine(mac).map(|machine| machine.name.to_string());
    let shown = |state: LeaseState, expires: Time| match expires <= now {
        true => LeaseShown::Expired.into(),
        false => LeaseShown::from(state).into(),
    };
    let row = |lease: &crate::state::Lease| types::Lease {
        address: lease.address.into(),
        mac: lease.mac.to_string(),
        machine: machine(lease.mac),
        hostname: lease.hostname.clone(),
        state: shown(lease.state, lease.expires),
        expires: lease.expires.to_string(),
    };
    let row6 = |lease: &crate::state::Lease6| types::Lease {
        address: lease.address.into(),
        mac: lease.mac.to_string(),
        machine: machine(lease.mac),
        hostname: None,
        state: shown(lease.state, lease.expires),
        expires: lease.expires.to_string(),
    };
    table.leases.iter().map(row).chain(table.leases6.iter().map(row6)).collect()
}

/// Why an address that somebody wants to free is not held by anybody.
pub fn not_held(table: &State, address: std::net::IpAddr) -> String {
    let owner = match address {
        std::net::IpAddr::V4(address) => table.desired.fixed_at(address),
        std::net::IpAddr::V6(address) => table.desired.fixed6_at(address),
    };
    match owner {
        Some(name) => format!(
            "{address} is the address of deployment {name} by its manifest, and no lease: to free it, \
             change the deployment's address"
        ),
        None => format!("{address} is free already: `voldemortctl get leases` shows what is not"),
    }
}

/// What machines suffer from, in words.
pub fn troubles(table: &State, now: Time) -> Vec<String> {
    let pools = table.pools(now);
    let count = doubtful(table);
    let doubts = (count > 0).then(|| {
        let what = if count == 1 { "installation is doubtful: its machine boots" } else { "installations are doubtful: their machines boot" };
        format!(
            "{count} {what} from disk until somebody settles it with `voldemortctl approve installs` (install) or \
             `voldemortctl adopt` (it has its system)"
        )
    });
    let clashes = table.host_clashes().into_iter().map(|(deployment, address)| {
        format!("{address} of deployment {} is an address of this host: no machine gets it", deployment.name)
    });
    let contests = table.contested.iter().map(|(machine, contest)| contest.text(machine));
    let pools = pools.iter().filter_map(|pool| pool.exhausted());
    doubts.into_iter().chain(pools).chain(clashes).chain(contests).collect()
}

/// Installations that a person has to settle.
pub fn doubtful(table: &State) -> usize {
    if table.trust.is_doubtful() { table.doubtful().count() } else { 0 }
}

pub fn boots(table: &State) -> Vec<types::Boot> {
    let row = |boot: &std::sync::Arc<crate::desired::Boot>| types::Boot {
        name: boot.name.to_string(),
        prefix: boot.prefix.to_string(),
        arch: boot.cpu.to_string(),
        kernel: boot.kernel.path.to_string(),
        initrd: boot.initrd.iter().map(|initrd| initrd.path.to_string()).collect(),
        image: boot.tree.as_ref().map(|tree| tree.label.clone()),
        origin: boot.origin.to_string(),
    };
    table.desired.boots.values().map(row).collect()
}

pub fn event(sequence: u64, event: &Event) -> types::Event {
    types::Event {
        seq: sequence,
        at: event.at.to_string(),
        at_ms: event.at.0,
        stage: event.stage.into(),
        mac: event.mac.map(|mac| mac.to_string()),
        address: event.address,
        deployment: event.deployment.as_ref().map(ToString::to_string),
        text: event.text.to_string(),
    }
}

pub fn drift(table: &State) -> Vec<types::Drift> {
    let row = |drift: crate::state::Drift| {
        let crate::state::Drift { deployment, machine, kind, actual, desired, since } = drift;
        types::Drift {
            deployment: deployment.to_string(),
            machine: machine.map(|machine| machine.to_string()),
            kind: kind.aspect().into(),
            actual,
            desired,
            since: since.map(|since| since.to_string()),
            text: meaning(kind).into(),
        }
    };
    table.drift().into_iter().map(row).collect()
}

fn meaning(kind: DriftKind) -> &'static str {
    match kind {
        DriftKind::Content => "installed with another content; raise redeploy to install this one",
        DriftKind::Address => "uses another address until it asks DHCP again",
        DriftKind::Machine => "installed on another machine; raise redeploy to install here",
        DriftKind::Off => "is to run and is switched off; somebody has to switch it on",
        DriftKind::Abandoned => "is given up and still runs what this former deployment installed",
    }
}
