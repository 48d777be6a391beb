//! What is written for a machine that our agent found.

use std::sync::Arc;

use serde_json::json;
use voldemort::api::resource::discovered;
use voldemort::cli::check::check;
use voldemort::desired::{Media, Options};
use voldemort::media::Shelf;
use voldemort::model::facts::Facts;
use voldemort::model::{Mac, Name, Time};
use voldemort::state::life::{AgentReport, Said};
use voldemort::state::{Server, State, Verb};

use crate::permits::desired;

const SUBNETS: &str = "[subnet.rack]\ncidr = \"10.9.0.0/24\"\npower = { kind = \"redfish\" }\n\
    [subnet.desk]\ncidr = \"10.8.0.0/24\"\npower = { kind = \"wol\" }\n";

/// The settings of `power` in the manifest of a machine that was found in a subnet.
fn power(subnet: &str, bmc: Option<&str>) -> Vec<(String, serde_json::Value)> {
    let mut state = State::new(Server::stand_in("10.0.0.1".parse().unwrap())).adopt(desired(SUBNETS));
    let card: Mac = "52:54:00:00:00:09".parse().unwrap();
    let facts = Facts { bmc: bmc.map(|bmc| bmc.parse().unwrap()), ..Facts::default() };
    let said = Said::Hello { cards: [card].into(), disks: [].into(), facts: Some(Arc::new(facts)) };
    let report = AgentReport { card, subnet: Some(subnet.parse().unwrap()), epoch: 0, start: None, said };
    state.act(Verb::Agent(report), Time(3));
    let name: Name = "m525400000009".parse().unwrap();
    let edit = discovered::one(&state, &name).unwrap().edit(None, &[]);
    let own = edit.settings.into_iter().filter(|setting| setting.path[0] == "power");
    own.map(|setting| (setting.path[1].clone(), setting.value)).collect()
}

#[test]
fn its_subnet_and_its_facts_say_how_it_is_switched() {
    let set = |key: &str, value: &str| (key.to_owned(), json!(value));
    assert_eq!(power("rack", Some("10.9.1.7")), [set("kind", "redfish"), set("address", "10.9.1.7")]);
    assert_eq!(power("rack", Some("fd00::7"))[1], set("address", "[fd00::7]"));
    assert_eq!(power("rack", None), []);
    assert_eq!(power("desk", Some("10.9.1.7")), [set("kind", "wol")]);
    assert_eq!(power("lab", Some("10.9.1.7")), []);
}

#[test]
fn a_subnet_names_no_controller() {
    let folder = tempfile::tempdir().unwrap();
    let text = SUBNETS
        .replace("\"redfish\"", "\"redfish\", address = \"10.9.1.7\"")
        .replace("\"wol\"", "\"command\"");
    std::fs::write(folder.path().join("a.toml"), text).unwrap();
    let options = Options { media: Media::IfPresent, fallback: Vec::new() };
    let loaded = check(folder.path(), &Shelf::new(Vec::new(), None), &options).unwrap();
    let report = loaded.report();
    assert!(report.contains("subnet rack: `power` takes no `address`"), "{report}");
    assert!(report.contains("subnet desk: `power` of kind \"command\" needs a `command`"), "{report}");
}
