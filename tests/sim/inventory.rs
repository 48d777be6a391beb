//! What the simulated halls are to become.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use voldemort::desired::{Desired, Media, Options};
use voldemort::inventory::{Depth, load};
use voldemort::manifest::Environment;
use voldemort::media::Shelf;
use voldemort::model::Mac;
use voldemort::render::Kind as Answers;

/// Lease time of the dynamic ranges, in seconds.
pub(crate) const LEASE: u64 = 600;
/// Answer files by turns; what else an installation needs is the same for all.
pub(crate) const TEMPLATES: [(&str, Answers, &str); 3] = [
    ("preseed", Answers::Preseed, "url={{ answers_url }}"),
    ("kickstart", Answers::Kickstart, "inst.ks={{ answers_url }}"),
    ("autoinstall", Answers::Autoinstall, "ds=nocloud;s={{ answers_base_url }}"),
];

pub(crate) fn machine_name(number: u32) -> String {
    format!("m{number}")
}

/// The inventory that all halls of a size begin with: every machine under number 1.
pub(crate) fn first(machines: u32) -> Arc<Desired> {
    static KNOWN: Mutex<BTreeMap<u32, Arc<Desired>>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(machines).or_insert_with(|| inventory(machines, &|_| 1)).clone()
}

/// The sources that the halls' inventory comes from. Machines belong to them by turns.
pub(crate) const SOURCES: [&str; 2] = ["lab", "annex"];

/// Which source a machine is from.
pub(crate) fn source_of(machine: u32) -> usize {
    machine as usize % SOURCES.len()
}

/// The inventory with these numbers.
pub(crate) fn desired(numbers: &[u64]) -> Arc<Desired> {
    inventory(numbers.len() as u32, &|number| numbers[number as usize])
}

/// Every tenth machine has a management controller, every third any free address. `redeploy` says which number each is to be installed under.
pub(crate) fn inventory(machines: u32, redeploy: &dyn Fn(u32) -> u64) -> Arc<Desired> {
    let mut text = format!(
        "[subnet.lab]\ncidr = \"10.0.0.0/16\"\ngateway = \"10.0.0.254\"\n\
         dynamic = \"10.0.4.1-10.0.{}.250\"\nlease = \"{LEASE}s\"\n\
         ipv6 = {{ cidr = \"fd00:10::/64\", dynamic = \"fd00:10::1000-fd00:10::103f\", ra = \"managed\" }}\n\
         [subnet.far]\ncidr = \"10.9.0.0/24\"\ndynamic = \"10.9.0.10-10.9.0.19\"\nlease = \"{LEASE}s\"\n",
        4 + machines / 250
    );
    for (name, _, word) in TEMPLATES {
        text += &format!(
            "[boot.{name}]\nkernel = \"vmlinuz\"\ninitrd = [\"initrd.gz\"]\ncmdline = [\"{word}\"]\n"
        );
    }
    for number in 0..machines {
        let (boot, ..) = TEMPLATES[number as usize % TEMPLATES.len()];
        let address = match number % 3 {
            0 => "auto".to_owned(),
            _ => format!("10.0.{}.{}", 128 + number / 250, 1 + number % 250),
        };
        let (name, mac) = (machine_name(number), mac(0, number));
        let machine = match number % 10 {
            0 => {
                let url = format!("https://10.8.{}.{}", number / 250, 1 + number % 250);
                text += &format!(
                    "[machine.{name}]\nmac = \"{mac}\"\npower = {{ kind = \"redfish\", url = \"{url}\" }}\n"
                );
                format!("machine = \"{name}\"")
            }
            _ => format!("mac = \"{mac}\""),
        };
        text += &format!(
            "[deployment.{name}]\n{machine}\naddress = \"{address}\"\nsubnet = \"lab\"\nboot = \"{boot}\"\n\
             template = \"{boot}\"\nredeploy = {}\nvars = {{ root-hash = \"$6$x\" }}\n",
            redeploy(number),
        );
    }
    resolved(text)
}

/// An inventory of one manifest, with a kernel and an initrd.
pub(crate) fn resolved(text: String) -> Arc<Desired> {
    let folder = tempfile::tempdir().unwrap();
    for file in ["vmlinuz", "initrd.gz"] {
        std::fs::write(folder.path().join(file), file).unwrap();
    }
    let files = BTreeMap::from([(Arc::from("a.toml"), Bytes::from(text))]);
    let options = Options { media: Media::Required, fallback: Vec::new() };
    let shelf = Shelf::new(Vec::new(), None).with_directory(folder.path().to_owned());
    let loaded = load("r".into(), &files, &Environment::default(), &shelf, &options, Depth::OneFirmware);
    assert_eq!(loaded.errors(), 0, "{}", loaded.report());
    loaded.desired
}

pub(crate) fn mac(kind: u8, number: u32) -> Mac {
    let [_, a, b, c] = number.to_be_bytes();
    Mac::new([0x52, 0x54, kind, a, b, c]).unwrap()
}
