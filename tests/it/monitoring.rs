//! What is given to Prometheus and Grafana: rules and panels use metrics that the daemon has, and their own tools read them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::kit::has;

const METRICS: &str = include_str!("../../docs/metrics.md");
const ALERTS: &str = include_str!("../../packaging/monitoring/alerts.yml");
const DASHBOARD: &str = include_str!("../../packaging/monitoring/dashboard.json");

/// The words in a text that begin as metrics do.
fn metrics(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("voldemort_")).collect()
}

/// The expressions of the dashboard's panels.
fn expressions() -> Vec<String> {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn rules_and_panels_use_metrics_that_there_are() {
    let known = metrics(METRICS);
    assert!(known.len() > 25, "{known:?}");
    let expressions = expressions().join("\n");
    for used in metrics(ALERTS).into_iter().chain(metrics(&expressions)) {
        assert!(known.contains(used), "{used} is no metric");
    }
    let page = include_str!("../../docs/monitoring.md");
    for alert in ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(
            page.contains(&format!("| {alert} |")),
            "docs/monitoring.md does not say what to do about {alert}"
        );
    }
}

#[test]
fn prometheus_takes_the_rules_and_the_expressions_of_the_panels() {
    if !has("promtool") {
        return assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/monitoring");
    let promtool = |arguments: &[&str]| {
        let output = Command::new("promtool").args(arguments).current_dir(&folder).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    };
    promtool(&["check", "rules", "alerts.yml"]);
    promtool(&["test", "rules", "alerts_test.yml"]);
    // An expression of a panel, with what Grafana puts in, is one that a rule may have.
    let rules = expressions().iter().enumerate().fold(
        "groups: [{name: panels, rules: [\n".to_owned(),
        |text, (at, one)| {
            let expression = one.replace("$__rate_interval", "5m").replace("$instance", ".*");
            text + &format!("{{record: panel{at}, expr: {}}},\n", serde_json::Value::from(expression))
        },
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), rules + "]}]\n").unwrap();
    promtool(&["check", "rules", file.path().to_str().unwrap()]);
}

/// Grafana needs numbers of panels that differ, and places within its 24 columns that do not overlap.
#[test]
fn panels_have_places_of_their_own() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    let mut taken = BTreeSet::new();
    for panel in panels {
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{panel}");
        for y in at("y")..at("y") + at("h") {
            for x in at("x")..at("x") + at("w") {
                assert!(taken.insert((x, y)), "{} overlaps another panel", panel["title"]);
            }
        }
    }
}
