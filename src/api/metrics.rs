//! What `/metrics` says, in the text format of Prometheus.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use super::resource::{LeaseShown, LogSender, ServiceStatus, Webhook, status};
use crate::model::{AuditHead, Mode, Phase, PowerState, ServiceState, Time};
use crate::state::effect::TaskOutcome;
use crate::state::outbox::TaskKind;
use crate::state::{Aspect, LeaseState, NextBoot, State};

/// What was counted since the daemon began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Things that happened, by stage.
    pub events: BTreeMap<String, u64>,
    /// DHCP messages left unanswered, by reason.
    pub silences: BTreeMap<&'static str, u64>,
    /// Events that the timeline could not take in because too much happened at once.
    pub events_lost: u64,
    /// Lines of the log, and of stdout, that could not be written or would have had to wait.
    pub log_lines_dropped: u64,
    /// What became of tasks of executors.
    pub tasks: Vec<(TaskKind, TaskOutcome, u64)>,
    /// What the daemon is, by network interface.
    pub modes: Vec<(String, Mode)>,
    /// How many other DHCP servers answer, by network interface.
    pub other_servers: Vec<(String, usize)>,
    /// Every service of the daemon.
    pub services: Vec<ServiceStatus>,
    /// What was refused because a caller of the API met a limit, by the limit.
    pub api_refused: Vec<(&'static str, u64)>,
    /// Conditions that need a person, as the status lists them.
    pub troubles: usize,
    /// The last entry of the audit log.
    pub audit: AuditHead,
    /// Entries of it that could not be written.
    pub audit_lost: u64,
    /// Where events are sent.
    pub webhooks: Vec<Webhook>,
    /// Who sent messages of syslog.
    pub log_senders: Vec<LogSender>,
    /// Whether the inventory's source is being followed without errors.
    pub source_ready: bool,
}

/// Everything that is counted, one metric after the other.
pub fn text(state: &State, counts: &Counts, now: Time) -> String {
    let mut out = Page::default();
    out.head("voldemort_info", "gauge", "Version and revision that are served");
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("revision", &state.desired().revision)];
    out.row("voldemort_info", &labels, 1);
    out.head("voldemort_events_total", "counter", "Steps of boots, refusals and silences, by stage");
    for (stage, count) in &counts.events {
        out.row("voldemort_events_total", &[("stage", stage)], count);
    }
    out.head("voldemort_dhcp_silences_total", "counter", "DHCP messages left unanswered, by reason");
    for (reason, count) in &counts.silences {
        out.row("voldemort_dhcp_silences_total", &[("reason", reason)], count);
    }
    out.head("voldemort_events_lost_total", "counter", "Events that did not get into the timeline");
    out.row("voldemort_events_lost_total", &[], counts.events_lost);
    out.head(
        "voldemort_log_lines_dropped_total",
        "counter",
        "Lines dropped because their reader was too slow or the disk was full",
    );
    out.row("voldemort_log_lines_dropped_total", &[], counts.log_lines_dropped);
    out.head("voldemort_dhcp_mode", "gauge", "What the daemon is on a network (1)");
    for (interface, mode) in &counts.modes {
        out.row("voldemort_dhcp_mode", &[("interface", interface), ("mode", mode.name())], 1);
    }
    out.head("voldemort_dhcp_other_servers", "gauge", "Other DHCP servers that answer on a network");
    for (interface, count) in &counts.other_servers {
        out.row("voldemort_dhcp_other_servers", &[("interface", interface)], count);
    }
    out.head("voldemort_service_up", "gauge", "Whether a service of the daemon serves");
    for service in &counts.services {
        let up = u8::from(service.state == ServiceState::Serving);
        out.row("voldemort_service_up", &[("service", &service.name)], up);
    }
    out.head(
        "voldemort_api_refused_total",
        "counter",
        "What callers of the API were refused, by the limit they met",
    );
    for (limit, count) in &counts.api_refused {
        out.row("voldemort_api_refused_total", &[("limit", limit)], count);
    }
    out.head("voldemort_source_ready", "gauge", "Whether the inventory's source can be followed");
    out.row("voldemort_source_ready", &[], u8::from(counts.source_ready));
    out.head("voldemort_troubles", "gauge", "Conditions in the status that need a person");
    out.row("voldemort_troubles", &[], counts.troubles);
    out.head("voldemort_audit_head", "gauge", "The number of the last entry of the audit log, by its digest");
    out.row("voldemort_audit_head", &[("digest", &counts.audit.digest)], counts.audit.sequence);
    out.head("voldemort_audit_lost_total", "counter", "Entries of the audit log that could not be written");
    out.row("voldemort_audit_lost_total", &[], counts.audit_lost);
    webhooks(&counts.webhooks, &mut out);
    logs(&counts.log_senders, &mut out);
    leases(state, now, &mut out);
    effects(state, counts, now, &mut out);
    power(state, &mut out);
    desired(state, &mut out);
    out.text
}

fn webhooks(all: &[Webhook], out: &mut Page) {
    let mut one = |name: &str, kind, help: &str, value: fn(&Webhook) -> u64| {
        out.head(name, kind, help);
        all.iter().for_each(|webhook| out.row(name, &[("webhook", &webhook.name)], value(webhook)));
    };
    one("voldemort_webhook_pending", "gauge", "Events that wait to be sent to a webhook", |one| one.pending);
    one("voldemort_webhook_lag_seconds", "gauge", "How long the oldest of them waits", |one| one.lag_seconds);
    one("voldemort_webhook_delivered_total", "counter", "Messages that a webhook accepted", |one| {
        one.delivered
    });
    one("voldemort_webhook_failures_total", "counter", "Attempts to send that failed", |one| one.failures);
    one("voldemort_webhook_lost_total", "counter", "Events forgotten before they could be sent", |one| {
        one.lost
    });
}

fn logs(senders: &[LogSender], out: &mut Page) {
    let mut sum = |name: &str, help: &str, value: fn(&LogSender) -> u64| {
        out.head(name, "gauge", help);
        out.row(name, &[], senders.iter().map(value).sum::<u64>());
    };
    sum(
        "voldemort_log_received",
        "Messages of syslog that came from the senders that are remembered",
        |one| one.received,
    );
    sum("voldemort_log_malformed", "Of those, how many were in no known form", |one| one.malformed);
    sum("voldemort_log_left_out", "Of those, how many were too many at once", |one| one.left_out);
}

fn leases(state: &State, now: Time, out: &mut Page) {
    let mut by_state = LeaseShown::ALL.map(|state| (state, 0u64));
    let mut count = |shown: LeaseShown| {
        by_state.iter_mut().filter(|(state, _)| *state == shown).for_each(|(_, count)| *count += 1);
    };
    let mut used: BTreeMap<&str, u64> = BTreeMap::new();
    for lease in state.leases().iter() {
        if lease.state != LeaseState::Released && !lease.is_active(now) {
            count(LeaseShown::Expired);
            continue;
        }
        count(lease.state.into());
        let subnet = state.desired().subnets.values().find(|subnet| subnet.is_dynamic(lease.address));
        if let Some(subnet) = subnet.filter(|_| lease.is_active(now)) {
            *used.entry(subnet.name.as_str()).or_default() += 1;
        }
    }
    out.head("voldemort_leases", "gauge", "Addresses by the state of their lease");
    for (state, count) in by_state {
        out.row("voldemort_leases", &[("state", state.name())], count);
    }
    out.head("voldemort_dynamic_addresses", "gauge", "Size of a subnet's dynamic ranges");
    for subnet in state.desired().subnets.values() {
        let size: u64 = subnet.dynamic.iter().map(|range| range.len()).sum();
        out.row("voldemort_dynamic_addresses", &[("subnet", subnet.name.as_str())], size);
    }
    out.head("voldemort_dynamic_addresses_used", "gauge", "Dynamic addresses in use, on offer or resting");
    for name in state.desired().subnets.keys() {
        let count = used.get(name.as_str()).copied().unwrap_or_default();
        out.row("voldemort_dynamic_addresses_used", &[("subnet", name.as_str())], count);
    }
}

/// What executors have to do, and did.
fn effects(state: &State, counts: &Counts, now: Time, out: &mut Page) {
    out.head("voldemort_power_reads_total", "counter", "Management controllers asked for a machine's power");
    for (kind, outcome, count) in &counts.tasks {
        let word = match outcome {
            TaskOutcome::Done => "told",
            TaskOutcome::Failed => "failed",
            TaskOutcome::GivenUp | TaskOutcome::Cancelled => continue,
        };
        if *kind == TaskKind::ReadPower {
            out.row("voldemort_power_reads_total", &[("outcome", word)], count);
        }
    }
    out.head(
        "voldemort_effects_total",
        "counter",
        "Tasks done outside the state, attempts that failed, tasks given up or cancelled",
    );
    for (kind, outcome, count) in &counts.tasks {
        out.row("voldemort_effects_total", &[("task", kind.name()), ("outcome", outcome.name())], count);
    }
    out.head("voldemort_effects_pending", "gauge", "Tasks that are not done yet");
    for kind in TaskKind::ALL {
        out.row("voldemort_effects_pending", &[("task", kind.name())], state.outbox().of(kind).count());
    }
    out.head("voldemort_effects_oldest_seconds", "gauge", "How long the oldest of them waits");
    for kind in TaskKind::ALL {
        let oldest = state.outbox().of(kind).next().map_or(0, |one| now.since(one.since).as_seconds());
        out.row("voldemort_effects_oldest_seconds", &[("task", kind.name())], oldest);
    }
}

/// Of the machines whose manifest says how their power is told.
fn power(state: &State, out: &mut Page) {
    let mut states = [("on", 0u64), ("off", 0), ("other", 0), ("unknown", 0)];
    for machine in state.desired().machines.values().filter(|machine| machine.power.is_some()) {
        let at = match state.power_of(machine).map(|reading| &reading.state) {
            Some(Ok(PowerState::On)) => 0,
            Some(Ok(PowerState::Off)) => 1,
            Some(Ok(PowerState::PoweringOn | PowerState::PoweringOff | PowerState::Paused)) => 2,
            Some(Err(_)) | None => 3,
        };
        states[at].1 += 1;
    }
    out.head("voldemort_machine_power", "gauge", "Machines with a management controller by their power");
    for (state, count) in states {
        out.row("voldemort_machine_power", &[("state", state)], count);
    }
    let mut aspects = BTreeMap::from(Aspect::ALL.map(|aspect| (aspect, 0u64)));
    for drift in state.drift() {
        *aspects.entry(drift.kind.aspect()).or_default() += 1;
    }
    out.head("voldemort_drift", "gauge", "Machines that are not as the inventory has them, by what differs");
    for (aspect, count) in aspects {
        out.row("voldemort_drift", &[("kind", aspect.name())], count);
    }
}

fn desired(state: &State, out: &mut Page) {
    let mut boots = BTreeMap::from(NextBoot::ALL.map(|next| (next, 0u64)));
    let mut phases = BTreeMap::from(Phase::ALL.map(|phase| (phase, 0u64)));
    for deployment in state.desired().deployments.values() {
        *boots.entry(state.duty(deployment).next_boot()).or_default() += 1;
        *phases.entry(state.phase(deployment)).or_default() += 1;
    }
    out.head("voldemort_deployments", "gauge", "Deployments by what their next boot does");
    for (next, count) in boots {
        out.row("voldemort_deployments", &[("next_boot", next.name())], count);
    }
    out.head("voldemort_deployments_phase", "gauge", "Deployments by how far their installation has come");
    for (phase, count) in phases {
        out.row("voldemort_deployments_phase", &[("phase", phase.name())], count);
    }
    let help = "Deployments of which nobody knows whether they are installed: a person has to settle that";
    out.head("voldemort_deployments_doubtful", "gauge", help);
    out.row("voldemort_deployments_doubtful", &[], status::doubtful(state));
    out.head("voldemort_machines", "gauge", "Machines of the inventory");
    out.row("voldemort_machines", &[], state.desired().machines.len());
    out.head("voldemort_machines_stuck", "gauge", "Machines that boot again and again and get no further");
    out.row("voldemort_machines_stuck", &[], state.loops().stuck_count());
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String can't fail.
        let _ = writeln!(self.text, "# HELP {name} {help}.\n# TYPE {name} {kind}");
    }

    fn row(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let label = |(key, value): &(&str, &str)| {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            format!("{key}=\"{value}\"")
        };
        let labels: Vec<String> = labels.iter().map(label).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.text, "{name}{labels} {value}");
    }
}

#[cfg(test)]
mod tests;
