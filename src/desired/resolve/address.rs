//! Which network a deployment is in, and whether its address can be used there.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::profile::Effective;
use super::subnet::LEASE_USUAL;
use super::{Resolver, listed};
use crate::desired::Subnet;
use crate::manifest::document::{self, Address, Resource};
use crate::manifest::{Code, Level, Mark, Marked, Problem};
use crate::model::{Cidr, Mode, Name, Origin};

type Written = Resource<document::Deployment>;

impl Resolver<'_> {
    /// The named subnet, else the only one, else the one around the address. `None` after a
    /// problem, here or at the subnet itself.
    pub(super) fn chosen_subnet(&mut self, resource: &Written, effective: &Effective) -> Option<Arc<Subnet>> {
        if let Some(choice) = &effective.subnet {
            return self.desired.subnets.get(&choice.name.value).cloned();
        }
        let address = fixed(resource);
        if self.documents.subnets.is_empty() && !self.incomplete() {
            return Some(self.fallback(resource, address));
        }
        let mut subnets = self.desired.subnets.values();
        if let (Some(only), None) = (subnets.next(), subnets.next()) {
            return Some(only.clone());
        }
        let address6 = resource.body.address6.as_ref();
        let around = |subnet: &&Arc<Subnet>| match (&address, &subnet.ipv6) {
            (Some(address), _) => subnet.contains(address.value),
            (None, Some(ipv6)) => address6.is_some_and(|address| ipv6.cidr.contains(address.value)),
            (None, None) => false,
        };
        let found = self.desired.subnets.values().find(around).cloned();
        if found.is_none() && effective.whole && !self.incomplete() {
            self.problems.push(self.no_subnet(resource, address));
        }
        found
    }

    /// The network of an inventory that declares none.
    fn fallback(&mut self, resource: &Written, address: Option<Marked<Ipv4Addr>>) -> Arc<Subnet> {
        let holds =
            |subnet: &&Arc<Subnet>| address.as_ref().is_some_and(|address| subnet.contains(address.value));
        let fallback = &self.options.fallback;
        if let Some(subnet) = fallback.iter().find(holds).or(fallback.first()) {
            return subnet.clone();
        }
        // Nothing is known of the network: the documentation's (RFC 5737) stands in where not
        // even an address is.
        let network = address.map_or(Ipv4Addr::new(192, 0, 2, 0), |address| address.value);
        let cidr = Cidr::around(network, 24);
        let name = cidr.network().to_string().replace('.', "-");
        let name: Name = format!("guessed-{name}").parse().expect("digits and hyphens are a name");
        let file = &self.documents.sources.get(resource.mark.file).path;
        let guess = || Subnet {
            name: name.clone(),
            cidr: Some(cidr),
            gateway: None,
            dns: Vec::new(),
            domain: None,
            dynamic: if network == cidr.network() { vec![cidr.hosts()] } else { Vec::new() },
            lease: LEASE_USUAL,
            options: Default::default(),
            mode: Mode::Server,
            unknown: Default::default(),
            idle: Default::default(),
            power: None,
            ipv6: None,
            segment: name.clone(),
            origin: Origin { file: file.clone(), line: 1, column: 1 },
        };
        self.desired.subnets.entry(name.clone()).or_insert_with(|| Arc::new(guess())).clone()
    }

    fn no_subnet(&self, resource: &Written, address: Option<Marked<Ipv4Addr>>) -> Problem {
        let all = listed(
            self.desired.subnets.values().map(|subnet| format!("{} ({})", subnet.name, subnet.network())),
        );
        let problem = match address {
            Some(address) => {
                let message = format!("address {} is in none of the subnets", address.value);
                Problem::new(Code::NoSubnet, address.mark, message, format!("address of `{}`", resource.name))
            }
            None => {
                let message = format!("deployment {} could be in any of several subnets", resource.name);
                Problem::new(Code::NoSubnet, resource.mark, message, "neither it nor its profile names one")
            }
        };
        problem.help(format!("set `subnet`, here or in a profile; the subnets are: {all}"))
    }

    /// Records a fixed address; a second deployment that has it is a mistake.
    pub(super) fn fixed_address(&mut self, resource: &Written) {
        let Some(address) = fixed(resource) else { return };
        let Some((other, first)) = self.fixed.get(&address.value) else {
            self.fixed.insert(address.value, (resource.name.clone(), address.mark));
            return;
        };
        let message = format!("two deployments have the address {}", address.value);
        let problem = Problem::new(
            Code::AddressTwice,
            address.mark,
            message,
            format!("address of `{}`", resource.name),
        )
        .also(*first, format!("address of `{other}`"));
        self.problems.push(problem.help("give one of them another address, or \"auto\""));
    }

    /// Checks the address against its subnet.
    pub(super) fn address(
        &mut self,
        resource: &Written,
        effective: &Effective,
        subnet: &Arc<Subnet>,
    ) -> Option<Ipv4Addr> {
        let Some(cidr) = subnet.cidr else {
            self.ipv6_alone(resource, effective, subnet);
            return None;
        };
        let Some(address) = fixed(resource) else {
            // Elsewhere another server has the addresses.
            if subnet.dynamic.is_empty() && effective.whole && subnet.mode == Mode::Server {
                self.problems.push(self.no_dynamic(resource, subnet));
            }
            return None;
        };
        let own = self.documents.subnets.get(&subnet.name);
        let about = |key: fn(&document::Subnet) -> Option<Mark>| own.and_then(|own| key(&own.body));
        let at = address.value;
        let problem = if !cidr.contains(at) {
            self.outside(resource, effective, (subnet, cidr), &address)
        } else if !cidr.is_host(at) {
            let what = if at == cidr.network() { "network" } else { "broadcast" };
            let message = format!("{at} is the {what} address of subnet `{}`", subnet.name);
            let problem = Problem::new(Code::Reserved, address.mark, message, "no machine can have it");
            also(problem, about(|body| Some(body.cidr.as_ref()?.mark)), "subnet defined here")
                .help(format!("host addresses are {}", cidr.hosts()))
        } else if subnet.gateway == Some(at) {
            let message = format!("{at} is the gateway of subnet `{}`", subnet.name);
            let problem = Problem::new(Code::Reserved, address.mark, message, "the router has it");
            also(problem, about(|body| Some(body.gateway.as_ref()?.mark)), "gateway set here")
        } else if subnet.is_dynamic(at) && own.is_none() {
            // The author of a manifest can't change the daemon's settings; an address with an owner is
            // leased from there to no other client.
            let message = format!("{at} lies in the dynamic range of the daemon's settings");
            let label = "reserved for this machine from now on; a client that leases it now keeps it until the lease ends";
            let problem = Problem::new(Code::InDynamic, address.mark, message, label);
            self.problems.push(problem.level(Level::Warning));
            return Some(at);
        } else if subnet.is_dynamic(at) {
            let message = format!("{at} lies in a dynamic range of subnet `{}`", subnet.name);
            let problem =
                Problem::new(Code::InDynamic, address.mark, message, "might be lent to another machine");
            also(problem, about(|body| Some(body.dynamic.first()?.mark)), "dynamic addresses")
                .help("take an address outside of the range, or shorten the range")
        } else {
            return Some(at);
        };
        self.problems.push(problem);
        None
    }

    fn outside(
        &self,
        resource: &Written,
        effective: &Effective,
        (subnet, network): (&Subnet, Cidr),
        address: &Marked<Ipv4Addr>,
    ) -> Problem {
        let at = address.value;
        let message = format!("address {at} is outside subnet `{}`", subnet.name);
        let hosts = network.hosts().len();
        let label = format!("not one of the {hosts} host addresses of {}", network);
        let mut problem = Problem::new(Code::Outside, address.mark, message, label);
        let cidr = self.documents.subnets.get(&subnet.name).and_then(|own| own.body.cidr.as_ref());
        problem = also(problem, cidr.map(|cidr| cidr.mark), "subnet defined here");
        if let Some(choice) = &effective.subnet {
            let profile = resource.body.profile.as_ref().map(|profile| &profile.value);
            let label = match self.path(&resource.name, profile, choice) {
                Some(path) => format!("subnet chosen here ({path})"),
                None => "subnet chosen here".to_owned(),
            };
            problem = problem.also(choice.name.mark, label);
        }
        match self.meant(at, (subnet, network)) {
            Some(help) => problem.help(help),
            None => problem.help(format!("host addresses are {}", network.hosts())),
        }
    }

    /// The same host part in the right network, if it is free.
    fn meant(&self, at: Ipv4Addr, (subnet, network): (&Subnet, Cidr)) -> Option<String> {
        let mask = u32::from(network.netmask());
        let meant = Ipv4Addr::from(u32::from(network.network()) | (u32::from(at) & !mask));
        let taken =
            self.fixed.contains_key(&meant) || subnet.gateway == Some(meant) || subnet.is_dynamic(meant);
        if taken || !network.is_host(meant) {
            return None;
        }
        let differing: Vec<usize> =
            (0..4).filter(|part| at.octets()[*part] != meant.octets()[*part]).collect();
        let first = match differing.as_slice() {
            [part] => format!(
                "the {} number is the only one that differs: ",
                ["first", "second", "third", "fourth"][*part]
            ),
            _ => String::new(),
        };
        Some(format!("{first}did you mean {meant}? (it is free)"))
    }

    /// Where there is no IPv4, the address comes from `address6`, from the range, or from the machine
    /// itself.
    fn ipv6_alone(&mut self, resource: &Written, effective: &Effective, subnet: &Arc<Subnet>) {
        let own = self.documents.subnets.get(&subnet.name).map(|own| own.mark);
        if let Some(address) = fixed(resource) {
            let message = format!("subnet `{}` has IPv6 alone, and {} is IPv4", subnet.name, address.value);
            let problem = Problem::new(Code::Outside, address.mark, message, "no network holds it");
            let help = "write an IPv6 address as `address6`, or give the subnet a `cidr`";
            self.problems.push(also(problem, own, "has no `cidr`").help(help));
            return;
        }
        let gets_one = resource.body.address6.is_some()
            || subnet.ipv6.as_ref().is_some_and(|ipv6| ipv6.gives_addresses());
        if !gets_one && effective.whole {
            let mark = resource.body.address.as_ref().map_or(resource.mark, |address| address.mark);
            let message = format!("deployment {} gets no address in subnet `{}`", resource.name, subnet.name);
            let problem = Problem::new(Code::NoDynamic, mark, message, "has no `address6`");
            let help = "give the deployment an `address6`, or the subnet's `ipv6` a `dynamic` range";
            self.problems.push(also(problem, own, "its `ipv6` has no `dynamic` range").help(help));
        }
    }

    fn no_dynamic(&self, resource: &Written, subnet: &Subnet) -> Problem {
        let (mark, label) = match &resource.body.address {
            Some(address) => (address.mark, "asks for a dynamic address"),
            None => (resource.mark, "has no `address`, so it needs a dynamic one"),
        };
        let message = format!("deployment {} gets no address in subnet `{}`", resource.name, subnet.name);
        let problem = Problem::new(Code::NoDynamic, mark, message, label);
        let own = self.documents.subnets.get(&subnet.name);
        also(problem, own.map(|own| own.mark), "has no `dynamic` range")
            .help("give the deployment an `address`, or the subnet a `dynamic` range")
    }
}

/// The address that the manifest gives.
pub(super) fn fixed(resource: &Written) -> Option<Marked<Ipv4Addr>> {
    match resource.body.address {
        Some(Marked { value: Address::Fixed(address), mark }) => Some(Marked::new(address, mark)),
        _ => None,
    }
}

fn also(problem: Problem, mark: Option<Mark>, label: &str) -> Problem {
    match mark {
        Some(mark) => problem.also(mark, label),
        None => problem,
    }
}
