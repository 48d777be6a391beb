//! The deployment that is booted: what a virtual machine needs to know of it to replace its hardware.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::disk::Disk;
use crate::desired::{Deployment, Desired, Machine, Place};
use crate::model::wish::is_wish;
use crate::model::{Cidr, Cpu, Mac, Name};
use crate::walk;

/// A deployment, as its virtual machine sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    pub deployment: Name,
    /// The machine's first card, from which it boots.
    pub mac: Mac,
    pub cidr: Cidr,
    /// Address of the daemon in the private network.
    pub server: Ipv4Addr,
    pub disk: Disk,
    /// The memory that its boot needs, in MiB.
    pub memory: Option<u32>,
    /// Whether it installs something; if not, it runs from the network (diskless).
    pub installs: bool,
    /// Whether the daemon needs a key to serve the inventory.
    pub has_secrets: bool,
}

/// Why a deployment can't be tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    #[error("there is no deployment {name}; there are: {known}")]
    Unknown { name: String, known: String },
    #[error("deployment {0} has no machine: no free machine of the inventory has its labels")]
    NoMachine(Name),
    #[error("deployment {0} is in subnet {1}, which has no IPv4: `try` needs IPv4")]
    Ipv6Alone(Name, Name),
    #[error("deployment {0} boots machines with {1}: `try` has virtual ones with x86_64 alone")]
    Processor(Name, Cpu),
    #[error("the virtual machine can't have a disk as deployment {0} wants it: {1}")]
    Disk(Name, String),
}

impl Subject {
    /// Finds a deployment in an inventory, with the machine that it has there.
    pub fn find(desired: &Arc<Desired>, name: &str) -> Result<Subject, SubjectError> {
        let found = desired.deployments.values().find(|deployment| deployment.name.to_string() == name);
        let Some(deployment) = found else {
            let names: Vec<String> = desired.deployments.keys().map(Name::to_string).collect();
            return Err(SubjectError::Unknown { name: name.into(), known: names.join(", ") });
        };
        let mac = machine_of(desired, deployment).and_then(|machine| machine.macs.first().copied());
        let mac = mac.ok_or_else(|| SubjectError::NoMachine(deployment.name.clone()))?;
        let cpu = deployment.boot.cpu;
        if !matches!(cpu, Cpu::X86_64 | Cpu::I386) {
            return Err(SubjectError::Processor(deployment.name.clone(), cpu));
        }
        let subnet = &deployment.subnet;
        let no_ipv4 = || SubjectError::Ipv6Alone(deployment.name.clone(), subnet.name.clone());
        let cidr = subnet.cidr.ok_or_else(no_ipv4)?;
        Ok(Subject {
            deployment: deployment.name.clone(),
            mac,
            cidr,
            server: server_address(cidr, subnet.gateway),
            disk: Disk::of(deployment).map_err(|why| SubjectError::Disk(deployment.name.clone(), why))?,
            memory: None,
            installs: deployment.installs(),
            has_secrets: false,
        })
    }
}

/// The machine that the daemon gives a deployment. For one that selects by facts, which nobody knows here, it is the first
/// machine with the labels that no other deployment has: the one that is tried has no hardware of its own.
fn machine_of<'a>(desired: &'a Arc<Desired>, deployment: &Deployment) -> Option<&'a Arc<Machine>> {
    let chosen = walk::choices(desired);
    if let Some(machine) = chosen.get(&deployment.name) {
        return desired.machines.get(machine);
    }
    let Place::Select(wanted) = &deployment.place else { return None };
    let fits = |machine: &Machine| {
        let mut labels = wanted.iter().filter(|(_, value)| !is_wish(value));
        labels.all(|(key, value)| machine.labels.get(key) == Some(value))
    };
    let taken: BTreeSet<&Name> = chosen.values().collect();
    desired.machines.values().find(|machine| !taken.contains(&machine.name) && fits(machine))
}

/// The gateway's address, so that machines reach a host there; without a gateway, the first host address.
pub fn server_address(cidr: Cidr, gateway: Option<Ipv4Addr>) -> Ipv4Addr {
    gateway.filter(|gateway| cidr.is_host(*gateway)).unwrap_or(cidr.hosts().first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::check;
    use crate::desired::{Media, Options};
    use crate::media::Shelf;

    #[test]
    fn it_has_the_machine_that_the_daemon_gives_it() {
        let folder = tempfile::tempdir().unwrap();
        let machine = |number: u32, size: &str| {
            format!("[machine.m{number}]\nmac = '52:54:00:aa:00:0{number}'\nlabels = {{ size = '{size}' }}\n")
        };
        let deployment = |name: &str, place: &str, address: u32| {
            format!("[deployment.{name}]\n{place}\nboot = 'b'\naddress = '10.0.10.{address}'\n")
        };
        let text = [
            "[subnet.lab]\ncidr = '10.0.10.0/24'\n[boot.b]\nkernel = 'linux'\n".to_owned(),
            [1, 2, 3].map(|number| machine(number, "small")).concat(),
            machine(4, "large"),
            deployment("db", "machine = 'm1'", 11),
            deployment("web-1", "select = { size = 'small' }", 12),
            deployment("web-2", "select = { size = 'small' }", 13),
            deployment("web-3", "select = { size = 'small' }", 14),
            "[boot.arm]\nkernel = 'linux'\narch = 'aarch64'\n".to_owned(),
            machine(5, "arm"),
            deployment("arm", "machine = 'm5'", 16).replace("boot = 'b'", "boot = 'arm'"),
            deployment("big", "select = { size = 'large', memory = '>= 64GiB' }", 15),
        ];
        std::fs::write(folder.path().join("lab.toml"), text.concat()).unwrap();
        std::fs::write(folder.path().join("linux"), "the kernel").unwrap();
        let shelf = Shelf::new(Vec::new(), None).with_directory(folder.path().to_owned());
        let options = Options { media: Media::IfPresent, fallback: Vec::new() };
        let loaded = check(folder.path(), &shelf, &options).unwrap();
        let mac = |name: &str| Subject::find(&loaded.desired, name).map(|subject| subject.mac.to_string());
        for (name, number) in [("db", 1), ("web-1", 2), ("web-2", 3), ("big", 4)] {
            assert_eq!(mac(name), Ok(format!("52:54:00:aa:00:0{number}")), "{name}");
        }
        let none = mac("web-3").unwrap_err().to_string();
        assert!(none.contains("no free machine of the inventory has its labels"), "{none}");
        let other = mac("arm").unwrap_err().to_string();
        assert!(other.starts_with("deployment arm boots machines with aarch64"), "{other}");
    }

    #[test]
    fn the_daemon_takes_the_gateways_place() {
        let cidr: Cidr = "10.0.10.0/24".parse().unwrap();
        let gateway = Ipv4Addr::new(10, 0, 10, 254);
        assert_eq!(server_address(cidr, Some(gateway)), gateway);
        assert_eq!(server_address(cidr, None), Ipv4Addr::new(10, 0, 10, 1));
        assert_eq!(server_address(cidr, Some(Ipv4Addr::new(192, 168, 0, 1))), Ipv4Addr::new(10, 0, 10, 1));
    }
}
