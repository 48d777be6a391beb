use std::collections::BTreeSet;

use super::super::metrics;
use super::*;
use crate::desired::{self, Media, Options};
use crate::manifest;
use crate::media::Shelf;
use crate::model::Name;
use crate::state::{Install, InstallStage, Server};

/// What manifests mean.
fn desired(text: &str) -> desired::Desired {
    let (documents, _) = manifest::parse(&[("lab.toml".into(), text.to_owned().into())].into());
    let options = Options { media: Media::IfPresent, fallback: Vec::new() };
    desired::resolve(&documents, &Shelf::new(Vec::new(), None), &options).0
}

/// A daemon that has one of each thing that is counted.
fn sample() -> String {
    let text = "[subnet.lab]\ncidr = \"10.0.10.0/24\"\ndynamic = \"10.0.10.100-10.0.10.199\"\n";
    let state = State::new(Server::stand_in([10, 0, 0, 1].into())).with_desired(desired(text));
    let service = ServiceStatus {
        name: "dhcp eth0".into(),
        state: ServiceState::Serving.into(),
        since: String::new(),
        reason: String::new(),
        auxiliary: false,
    };
    let webhook = Webhook {
        name: "chat".into(),
        url: String::new(),
        position: 0,
        pending: 0,
        lag_seconds: 0,
        delivered: 0,
        failures: 0,
        lost: 0,
        last_success: None,
        failing_since: None,
        last_error: None,
    };
    let counts = Counts {
        events: [("offer".to_owned(), 3)].into(),
        silences: [("unknown-machine", 2)].into(),
        tasks: TaskKind::ALL.map(|kind| (kind, TaskOutcome::Done, 1)).into(),
        modes: vec![("eth\"0".into(), Mode::Server)],
        other_servers: vec![("eth1".into(), 2)],
        services: vec![service],
        api_refused: vec![("requests", 1)],
        webhooks: vec![webhook],
        ..Counts::default()
    };
    metrics::text(&state, &counts, Time(0))
}

#[test]
fn every_row_belongs_to_a_described_metric() {
    let page = sample();
    assert!(page.contains("\nvoldemort_events_total{stage=\"offer\"} 3\n"), "{page}");
    assert!(page.contains("{reason=\"unknown-machine\"} 2\n"), "{page}");
    assert!(page.contains("{interface=\"eth\\\"0\",mode=\"server\"} 1\n"), "{page}");
    assert!(page.contains("voldemort_dhcp_other_servers{interface=\"eth1\"} 2\n"), "{page}");
    let mut described = "";
    for line in page.lines() {
        match line.strip_prefix("# TYPE ") {
            Some(rest) => described = rest.split(' ').next().unwrap(),
            None if line.starts_with("# HELP") => {}
            None => assert_eq!(line.split(['{', ' ']).next(), Some(described), "{line}"),
        }
    }
}

/// What fails is counted apart from what is doubtful: an alert says something else of it.
#[test]
fn installations_are_counted_by_how_far_they_have_come() {
    let one = |n: u8| {
        format!(
            "[deployment.d{n}]\nmac = '52:54:00:00:00:0{n}'\naddress = '10.0.10.1{n}'\nboot = 'b'\n\
             template = 'preseed'\n"
        )
    };
    let text =
        "[subnet.lab]\ncidr = '10.0.10.0/24'\n[boot.b]\nkernel = 'k'\ncmdline = ['url={{ answers_url }}']\n";
    let desired = desired(&(text.to_owned() + &(1..=4).map(one).collect::<String>()));
    let mut state = State::new(Server::stand_in([10, 0, 0, 1].into())).adopt(desired.into());
    for (name, stage) in [
        ("d1", InstallStage::Failed),
        ("d2", InstallStage::Failed),
        ("d3", InstallStage::Unreported),
        ("d4", InstallStage::Doubtful),
    ] {
        let name: Name = name.parse().unwrap();
        let (machine, deployment) = (&state.desired().machines[&name], &state.desired().deployments[&name]);
        let install = Install::new(machine, deployment, stage, Time(0));
        state.record_new(install);
    }
    let page = metrics::text(&state, &Counts::default(), Time(0));
    for (phase, count) in [("failed", 2), ("unreported", 1), ("doubtful", 1), ("installed", 0)] {
        let row = format!("\nvoldemort_deployments_phase{{phase=\"{phase}\"}} {count}\n");
        assert!(page.contains(&row), "{row}: {page}");
    }
}

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");

const HEAD: &str = "\
# Metrics

`GET /metrics` gives them in the text format of Prometheus. It takes a token of the role viewer ([the API](api.md)). \
`packaging/monitoring/` has alert rules and a Grafana dashboard that use them ([how to load them](monitoring.md)).

Printed from the code by a test (`UPDATE_GOLDEN=1 cargo test --lib metrics` writes it anew).

| metric | kind | labels | what it counts |
|---|---|---|---|
";

#[test]
fn the_page_is_what_the_daemon_says() {
    let sample = sample();
    let mut page = HEAD.to_owned();
    let lines: Vec<&str> = sample.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) else {
            continue;
        };
        let kind = lines[at + 1].rsplit(' ').next().unwrap();
        let row = lines.get(at + 2).filter(|row| !row.starts_with('#'));
        let row = row.unwrap_or_else(|| panic!("the sample has no row of {name}"));
        let labels: BTreeSet<&str> = row
            .split_once('{')
            .map(|(_, rest)| rest.split("\",").map(|label| label.split('=').next().unwrap()).collect())
            .unwrap_or_default();
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        page += &format!("| `{name}` | {kind} | {} | {help} |\n", labels.join(", "));
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert_eq!(written, page, "UPDATE_GOLDEN=1 writes docs/metrics.md anew");
}
