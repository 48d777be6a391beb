//! The deployment that is booted: what a virtual machine needs to know of it to replace its hardware.

use std::net::Ipv4Addr;

use super::disk::Disk;
use crate::desired::{Desired, Place};
use crate::model::wish::is_wish;
use crate::model::{Cidr, Mac, Name};

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
    #[error("deployment {0} has no machine: no machine of the inventory has its labels")]
    NoMachine(Name),
    #[error("deployment {0} is in subnet {1}, which has no IPv4: `try` needs IPv4")]
    Ipv6Alone(Name, Name),
    #[error("the virtual machine can't have a disk as deployment {0} wants it: {1}")]
    Disk(Name, String),
}

impl Subject {
    /// Finds a deployment in an inventory. One that selects by labels gets the first machine that has them.
    pub fn find(desired: &Desired, name: &str) -> Result<Subject, SubjectError> {
        let found = desired.deployments.values().find(|deployment| deployment.name.to_string() == name);
        let Some(deployment) = found else {
            let names: Vec<String> = desired.deployments.keys().map(Name::to_string).collect();
            return Err(SubjectError::Unknown { name: name.into(), known: names.join(", ") });
        };
        let mut machines = desired.machines.values();
        let machine = match &deployment.place {
            Place::Machine(wanted) => machines.find(|machine| machine.name == *wanted),
            Place::Select(labels) => machines.find(|machine| {
                // The machine that is tried has no hardware of its own.
                let mut labels = labels.iter().filter(|(_, value)| !is_wish(value));
                labels.all(|(key, value)| machine.labels.get(key) == Some(value))
            }),
        };
        let mac = machine.and_then(|machine| machine.macs.first().copied());
        let mac = mac.ok_or_else(|| SubjectError::NoMachine(deployment.name.clone()))?;
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

/// The gateway's address, so that machines reach a host there; without a gateway, the first host address.
pub fn server_address(cidr: Cidr, gateway: Option<Ipv4Addr>) -> Ipv4Addr {
    gateway.filter(|gateway| cidr.is_host(*gateway)).unwrap_or(cidr.hosts().first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_takes_the_gateways_place() {
        let cidr: Cidr = "10.0.10.0/24".parse().unwrap();
        let gateway = Ipv4Addr::new(10, 0, 10, 254);
        assert_eq!(server_address(cidr, Some(gateway)), gateway);
        assert_eq!(server_address(cidr, None), Ipv4Addr::new(10, 0, 10, 1));
        assert_eq!(server_address(cidr, Some(Ipv4Addr::new(192, 168, 0, 1))), Ipv4Addr::new(10, 0, 10, 1));
    }
}
