//! A small inventory, and a keeper that writes leases into memory.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use voldemort::desired::{Boot, Deployment, Desired, Machine, Place, Subnet, boot};
use voldemort::media::Entry;
use voldemort::model::{Cpu, Identity, Mac, Name, Origin, Span, Time};
use voldemort::proto::dhcp::{self, Decision, Link, Mode};
use voldemort::state::command::Outcome;
use voldemort::state::{Server, State, Verb};

pub(crate) fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

pub(crate) fn mac(text: &str) -> Mac {
    text.parse().unwrap()
}

fn origin(line: u32) -> Origin {
    Origin { file: "lab.toml".into(), line, column: 1 }
}

pub(crate) fn subnet(name: &str, cidr: &str, dynamic: &[&str]) -> Subnet {
    let cidr: voldemort::model::Cidr = cidr.parse().unwrap();
    Subnet {
        name: name.parse().unwrap(),
        cidr: Some(cidr),
        gateway: Some(cidr.hosts().first),
        dns: vec![cidr.hosts().first],
        domain: Some("lab.example".into()),
        dynamic: dynamic.iter().map(|range| range.parse().unwrap()).collect(),
        lease: Span::seconds(3600),
        options: Default::default(),
        mode: Default::default(),
        unknown: Default::default(),
        idle: Default::default(),
        power: None,
        ipv6: None,
        segment: name.parse().unwrap(),
        origin: origin(1),
    }
}

fn boot(name: &str) -> Arc<Boot> {
    Arc::new(Boot {
        name: name.parse().unwrap(),
        prefix: name.into(),
        kernel: boot::File { path: "linux".into(), entry: None },
        initrd: vec![],
        modules: vec![],
        agent: None,
        cmdline: vec![],
        cpu: Cpu::X86_64,
        loader: vec![],
        tree: None,
        origin: origin(5),
    })
}

/// An inventory under construction.
pub(crate) struct Lab {
    desired: Desired,
    tenants: imbl::OrdMap<Name, Name>,
    loaders: Vec<&'static str>,
}

impl Lab {
    pub(crate) fn new(subnets: Vec<Subnet>) -> Lab {
        let subnets = subnets.into_iter().map(|subnet| (subnet.name.clone(), Arc::new(subnet))).collect();
        Lab {
            desired: Desired { revision: "dir@test".into(), subnets, ..Desired::default() },
            tenants: imbl::OrdMap::new(),
            loaders: vec!["undionly.kpxe", "snponly.efi", "ipxe.efi"],
        }
    }

    pub(crate) fn loaders(mut self, names: &[&'static str]) -> Lab {
        self.loaders = names.to_vec();
        self
    }

    pub(crate) fn machine(mut self, name: &str, macs: &[&str]) -> Lab {
        let name: Name = name.parse().unwrap();
        let macs: Vec<Mac> = macs.iter().map(|text| mac(text)).collect();
        self.desired.macs.extend(macs.iter().map(|mac| (*mac, name.clone())));
        let line = 10 + self.desired.machines.len() as u32;
        let labels = BTreeMap::new();
        let machine = Machine {
            name: name.clone(),
            macs,
            ids: vec![],
            labels,
            protect: None,
            options: Default::default(),
            power: None,
            power_on: false,
            loader: vec![],
            origin: origin(line),
        };
        self.desired.machines.insert(name, Arc::new(machine));
        self
    }

    /// A deployment on the machine of the same name; `address` none for "auto".
    pub(crate) fn deployment(mut self, name: &str, subnet: &str, address: Option<&str>) -> Lab {
        let name: Name = name.parse().unwrap();
        let line = 20 + self.desired.deployments.len() as u32;
        let deployment = Deployment {
            name: name.clone(),
            place: Place::Machine(name.clone()),
            address: address.map(ip),
            address6: None,
            subnet: self.desired.subnets[subnet].clone(),
            boot: boot("debian"),
            template: None,
            profile: None,
            user_data: None,
            values: Arc::default(),
            redeploy: 1,
            options: Default::default(),
            digest: "0".into(),
            origin: origin(line),
        };
        self.desired.deployments.insert(name.clone(), Arc::new(deployment));
        self.tenants.insert(name.clone(), name);
        self
    }

    /// Names a boot that our agent runs on.
    pub(crate) fn agent(mut self) -> Lab {
        self.desired.agent.boots.insert(Cpu::X86_64, boot("agent"));
        self
    }

    /// Gives a machine further marks to be known by.
    pub(crate) fn known_by(mut self, name: &str, client_id: Option<&str>, uuid: Option<&str>) -> Lab {
        let machine = self.desired.machines.get_mut(name).and_then(Arc::get_mut).unwrap();
        machine.ids.extend(client_id.map(|text| Identity::client_id(text).unwrap()));
        machine.ids.extend(uuid.map(|text| Identity::uuid(text).unwrap()));
        self
    }

    /// Gives a deployment an IPv6 address.
    pub(crate) fn address6(mut self, name: &str, address: &str) -> Lab {
        let deployment = self.desired.deployments.get_mut(name).and_then(Arc::get_mut).unwrap();
        deployment.address6 = Some(address.parse().unwrap());
        self
    }

    pub(crate) fn state(self, server: &str) -> State {
        let entry = || Entry { path: Path::new("/x").into(), id: Default::default(), extents: [].into() };
        let server = Server {
            address: ip(server),
            others: vec![],
            http_port: 80,
            gives_addresses: true,
            loaders: self.loaders.iter().map(|name| ((*name).into(), entry())).collect(),
        };
        let state = State::new(server).with_desired(self.desired);
        state.with_lasting(|lasting| lasting.assignments = self.tenants)
    }
}

pub(crate) fn link(server: &str, cidr: &str) -> Link {
    Link {
        server: ip(server),
        cidr: cidr.parse().unwrap(),
        mode: Mode::Server,
        port: 67,
        source: "0.0.0.0:68".parse().unwrap(),
        broadcast: true,
    }
}

/// Decides as the daemon does: leases that are needed are made, then it is decided again, which must
/// come to the answer that was drafted.
pub(crate) fn settle(state: &mut State, link: &Link, now: Time, datagram: &[u8]) -> Decision {
    let mut drafted = None;
    for _ in 0..3 {
        match dhcp::handle(state, link, now, datagram) {
            Decision::NeedLease(request, draft) => {
                let address = match state.act(Verb::Lease(vec![request]), now) {
                    Outcome::Leased(addresses) => addresses[0],
                    other => panic!("a lease came to {other:?}"),
                };
                drafted = address.zip(draft).map(|(address, draft)| draft.give(address));
            }
            settled => {
                assert!(drafted.is_none_or(|drafted| drafted == settled), "the draft was another answer");
                return settled;
            }
        }
    }
    panic!("the decision does not settle");
}
