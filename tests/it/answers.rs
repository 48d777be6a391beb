//! Answer files as people write them: each mistake is found at its line of the template and nothing
//! else is, and what is merely unusual passes.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::program::voldemort;

/// The words by which a boot leads to answers of a kind.
const BOOTS: [(&str, &str); 11] = [
    ("preseed", "auto=true priority=critical url={{ answers_url }}"),
    ("kickstart", "inst.ks={{ answers_url }}"),
    ("autoinstall", "autoinstall ip=dhcp ds=nocloud-net;s={{ answers_url }}"),
    ("cloud-init", "ds=nocloud-net;s={{ answers_url }}"),
    ("ignition", "ignition.firstboot ignition.config.url={{ answers_url }}"),
    ("autoyast", "autoyast={{ answers_url }}"),
    ("agama", "inst.auto={{ answers_url }}"),
    ("alpine", "apkovl={{ answers_base_url }}alpine.apkovl.tar.gz"),
    ("proxmox", "proxmox-start-auto-installer"),
    ("talos", "talos.platform=metal talos.config={{ answers_url }}"),
    ("plain", "answers={{ answers_url }}"),
];

/// What a check says of templates, each with a deployment of its own: for each the lines and messages.
fn found(templates: &[(&str, &str)]) -> Vec<Vec<(u64, String)>> {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::write(root.join("kernel"), "kernel").unwrap();
    let mut site = "[subnet.lab]\ncidr = \"10.0.0.0/16\"\n".to_owned();
    for (kind, words) in BOOTS {
        write!(site, "[boot.{kind}]\nkernel = \"kernel\"\ncmdline = [\"{words}\"]\n").unwrap();
    }
    for (number, (kind, text)) in templates.iter().enumerate() {
        let name = format!("t{number:03}");
        std::fs::write(root.join(format!("{name}.liquid")), text).unwrap();
        write!(
            site,
            "[template.{name}]\nkind = \"{kind}\"\nfile = \"{name}.liquid\"\n[deployment.{name}]\n\
             mac = \"52:54:00:00:00:{number:02x}\"\naddress = \"10.0.1.{}\"\nsubnet = \"lab\"\n\
             boot = \"{kind}\"\ntemplate = \"{name}\"\n",
            number + 1
        )
        .unwrap();
    }
    std::fs::write(root.join("site.toml"), site).unwrap();
    let ran = voldemort(root, &["check", "--format", "json"]);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{}", ran.err));
    let mut by_file: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
    for problem in report["problems"].as_array().unwrap() {
        let line = problem["range"]["start"]["line"].as_u64().unwrap();
        let message = problem["message"].as_str().unwrap().to_owned();
        by_file.entry(problem["file"].as_str().unwrap().to_owned()).or_default().push((line, message));
    }
    assert_eq!(by_file.remove("site.toml"), None, "every mistake is in a template");
    (0..templates.len())
        .map(|number| by_file.remove(&format!("t{number:03}.liquid")).unwrap_or_default())
        .collect()
}

/// `=== KIND [LINE OF THE MISTAKE]`, and the template below it.
fn cases(text: &'static str) -> Vec<(&'static str, Option<u64>, &'static str)> {
    let case = |case: &'static str| {
        let (head, template) = case.split_once('\n').unwrap();
        let (kind, line) = head.split_once(' ').map_or((head, None), |(kind, line)| (kind, Some(line)));
        (kind, line.map(|line| line.parse().unwrap()), template)
    };
    text.split("=== ").skip(1).map(case).collect()
}

fn compare(text: &'static str) {
    let cases = cases(text);
    let templates: Vec<(&str, &str)> = cases.iter().map(|(kind, _, template)| (*kind, *template)).collect();
    let mut odd = String::new();
    for ((kind, line, template), problems) in cases.iter().zip(found(&templates)) {
        if !problems.iter().map(|(line, _)| *line).eq(*line) {
            write!(odd, "{kind}, wanted {line:?}, found {problems:?}:\n{template}\n").unwrap();
        }
    }
    assert!(odd.is_empty(), "{odd}");
}

#[test]
fn what_is_unusual_passes() {
    compare(include_str!("answers/valid.txt"));
}

#[test]
fn each_mistake_is_found_at_its_line() {
    compare(include_str!("answers/wrong.txt"));
}
