//! Talos: a machine configuration in YAML, one document of version `v1alpha1` and others beside it.

use super::{Completion, Installer, Kind, Need, Proof, Template, main_file};
use crate::render::builtin::{Input, secret, text};
use crate::render::common::{Limits, Unable};
use crate::render::finding::{Finding, asks, refused};
use crate::render::syntax::cloud::{Key, Value};
use crate::render::syntax::yaml;

/// Talos's kernel reference.
const CMDLINE: &[&str] =
    &["talos.platform=metal", "slab_nomerge", "pti=on", "talos.config={{ answers_url }}"];

const NO_ACCOUNTS: &str = "Talos has no accounts: `talosctl` and the certificates of its API lead in";
const NO_PACKAGES: &str = "the system is an image that takes no packages";
const NO_SHELL: &str = "Talos has no shell";
const NO_LANGUAGE: &str = "Talos has no console to log in to";
const IMAGE: &str = "the image brings its partitions";

pub(super) static INSTALLER: Installer = Installer {
    kind: Kind::Talos,
    files: &[main_file("machine.yaml")],
    takes_folder: false,
    by_dhcp: false,
    check: read,
    needs: &[
        Need {
            words: &["talos.config="],
            why: "Talos waits for its configuration where `talos.config=` names none",
            help: "add \"talos.config={{ answers_url }}\"",
        },
        Need {
            words: &["talos.platform=metal"],
            why: "Talos reads `talos.config=` on the platform `metal`",
            help: "add \"talos.platform=metal\"",
        },
    ],
    cmdline: CMDLINE,
    passwords: |_| Vec::new(),
    // Its image has the layout of others; its volume name tells it.
    image: None,
    completion: Completion::SecondBoot,
    template: Some(Template {
        source: include_str!("../../../templates/talos.liquid"),
        inputs: template_inputs,
        proof: Proof::Validated,
        proven_by: "Talos's own library (siderolabs/talos/pkg/machinery), as `talosctl validate --mode metal` does",
        limits: &Limits {
            cannot: &[
                Unable { variable: "packages", why: NO_PACKAGES },
                Unable { variable: "mirror", why: NO_PACKAGES },
                Unable { variable: "users", why: NO_ACCOUNTS },
                Unable { variable: "ssh_keys", why: NO_ACCOUNTS },
                Unable { variable: "user", why: NO_ACCOUNTS },
                Unable { variable: "user_hash", why: NO_ACCOUNTS },
                Unable { variable: "root_hash", why: NO_ACCOUNTS },
                Unable { variable: "timezone", why: "Talos keeps UTC" },
                Unable { variable: "locale", why: NO_LANGUAGE },
                Unable { variable: "keymap", why: NO_LANGUAGE },
                Unable { variable: "layout", why: IMAGE },
                Unable { variable: "second_disk", why: IMAGE },
                Unable { variable: "disk_passphrase", why: IMAGE },
                Unable { variable: "post", why: NO_SHELL },
                Unable { variable: "first_boot", why: NO_SHELL },
            ],
            hints: &["serial", "wwn", "model", "min-size"],
            takes_first: true,
            groups: false,
            layouts: &[],
            https_mirror: true,
            own_account: "",
            joins_scripts: false,
            every_disk: &[],
            vlan_needs_bond: false,
        },
    }),
};

/// What the built-in template reads beside the well-known and the common variables. Its secrets are those of
/// `talosctl gen secrets`.
fn template_inputs() -> Vec<Input> {
    vec![
        text("type", "worker", "what the machine is: worker or controlplane"),
        text("cluster", "talos", "the cluster's name"),
        text("endpoint", "", "URL of the Kubernetes API, as https://10.0.10.10:6443; needed"),
        text("image", "", "the installer's image; empty is that of the release that runs"),
        text("pod_subnet", "10.244.0.0/16", "network of the pods"),
        text("service_subnet", "10.96.0.0/12", "network of the services"),
        secret("machine_token", "`trustdinfo.token`; needed"),
        secret("machine_ca_crt", "`certs.os.crt`; needed"),
        secret("machine_ca_key", "`certs.os.key`; needed by a controlplane"),
        secret(
            "cluster_id",
            "`cluster.id`; without it and `cluster-secret` the nodes do not discover each other",
        ),
        secret("cluster_secret", "`cluster.secret`"),
        secret("bootstrap_token", "`secrets.bootstraptoken`"),
        secret("cluster_ca_crt", "`certs.k8s.crt`"),
        secret("cluster_ca_key", "`certs.k8s.key`; needed by a controlplane, as all that follow are"),
        secret("secretbox_secret", "`secrets.secretboxencryptionsecret`"),
        secret("aggregator_ca_crt", "`certs.k8saggregator.crt`"),
        secret("aggregator_ca_key", "`certs.k8saggregator.key`"),
        secret("service_account_key", "`certs.k8sserviceaccount.key`"),
        secret("etcd_ca_crt", "`certs.etcd.crt`"),
        secret("etcd_ca_key", "`certs.etcd.key`"),
    ]
}

/// The documents of a text, each with the number of its first line.
fn documents(text: &str) -> Vec<(usize, String)> {
    let mut documents = vec![(1, String::new())];
    for (line, at) in text.split_inclusive('\n').zip(1..) {
        if line.trim_end() == "---" {
            documents.push((at + 1, String::new()));
        } else if let Some((_, document)) = documents.last_mut() {
            document.push_str(line);
        }
    }
    documents.retain(|(_, document)| document.lines().any(|line| !line.is_empty() && !line.starts_with('#')));
    documents
}

fn read(text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut keys: Vec<Key> = Vec::new();
    let mut whole = true;
    for (first, document) in documents(text) {
        let read = yaml::read(&document, first);
        whole &= read.found.is_empty() && !read.merges;
        found.extend(read.found);
        keys.extend(read.keys);
    }
    if !whole {
        return found;
    }
    let find = |path: &str| keys.iter().find(|key| key.path == path);
    let Some(machine) = find("machine") else {
        // Parts that are put into a configuration elsewhere, as `talosctl` patches are.
        found.push(asks(1, "Talos waits: no document has `machine`"));
        return found;
    };
    match find("version").map(|key| &key.value) {
        Some(Value::Plain(version)) if version == "v1alpha1" => {}
        Some(Value::Other) => {}
        _ => found.push(refused(machine.line, 1, "the document with `machine` needs `version: v1alpha1`")),
    }
    let types = ["worker", "controlplane", "init"];
    match find("machine.type") {
        None => found.push(refused(machine.line, 1, "`machine.type` is missing: worker or controlplane")),
        Some(Key { value: Value::Plain(kind), line, .. }) if !types.contains(&kind.as_str()) => {
            found.push(refused(*line, 1, format!("`machine.type` is worker or controlplane, not `{kind}`")));
        }
        Some(_) => {}
    }
    let needed = [
        (find("machine.token").is_some(), "`machine.token`"),
        (find("machine.ca").is_some() || find("machine.acceptedCAs").is_some(), "`machine.ca`"),
        (find("machine.install").is_some(), "`machine.install`"),
        (find("cluster.controlPlane").is_some(), "`cluster.controlPlane`"),
    ];
    let missing = needed.iter().filter(|(is_there, _)| !is_there);
    found.extend(missing.map(|(_, what)| refused(machine.line, 1, format!("{what} is missing"))));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "version: v1alpha1\nmachine:\n  type: worker\n  token: a\n  ca: {crt: aa, key: ''}\n  \
                         install: {disk: /dev/sda}\ncluster:\n  controlPlane: {endpoint: 'https://a:6443'}\n";

    fn said(text: &str) -> Vec<(u32, String)> {
        read(text).into_iter().map(|found| (found.error.line, found.error.message)).collect()
    }

    #[test]
    fn whole_configurations_pass() {
        assert_eq!(said(WHOLE), []);
        assert_eq!(said(&format!("# a\n---\n{WHOLE}---\napiVersion: v1alpha1\nkind: KmsgLogConfig\n")), []);
    }

    #[test]
    fn what_talos_refuses_is_found_at_its_line() {
        for (text, line, words) in [
            (WHOLE.replace("worker", "slave"), 3, "`slave`"),
            (WHOLE.replace("  token: a\n", ""), 2, "`machine.token`"),
            (WHOLE.replace("v1alpha1", "v2"), 2, "`version: v1alpha1`"),
            (WHOLE.replace("controlPlane", "controlplane"), 2, "`cluster.controlPlane`"),
            ("kind: X\n".to_owned(), 1, "`machine`"),
        ] {
            let said = said(&text);
            assert!(said.iter().any(|(at, why)| *at == line && why.contains(words)), "{text}: {said:?}");
        }
    }
}
