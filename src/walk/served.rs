//! What one deployment's machine is served, as texts that can be compared and shown: the difference between
//! two revisions as the machine sees it.

use std::net::{IpAddr, Ipv4Addr};

use dhcproto::v4::{DhcpOption, Message, OptionCode};
use dhcproto::{Decodable, Decoder};

use super::client::{Client, Reply, Sender, link};
use super::client6::{self, Client6};
use super::route::Route;
use crate::desired::Deployment;
use crate::model::{Firmware, Mac, Time};
use crate::proto::tree::{self, Asker, Form, Transport};
use crate::render::{self, installer::METADATA_FILES};
use crate::state::{Purpose, State};

/// A text and its title.
pub type Served = (String, String);

/// The DHCP answer, kernel command line, boot script and answer files of `deployment`. What
/// `state.secrets()` gives for a secret is shown, so it has to be masks; the tokens of URLs are
/// replaced.
pub fn served(state: &State, deployment: &Deployment, now: Time) -> Vec<Served> {
    let Some(mac) = mac(state, deployment) else { return Vec::new() };
    let mut served = vec![("DHCP answer".to_owned(), dhcp(state, deployment, mac, now))];
    served.extend(boot(state, deployment, mac));
    let files = deployment.template.iter().flat_map(|template| template.kind.files());
    let metadata = METADATA_FILES.iter().filter(|_| deployment.has_metadata());
    // An archive of the main file says nothing more.
    let files = files.filter(|file| tree::is_text(file));
    served.extend(files.chain(metadata).filter_map(|file| {
        let text = tree::answer_file(state, deployment, file.name)?;
        Some((file.name.to_owned(), text.unwrap_or_else(|error| format!("can't be rendered: {error}"))))
    }));
    for (_, text) in &mut served {
        *text = without_tokens(state, deployment, text);
    }
    served
}

/// The network card that the deployment's machine boots from.
pub fn mac(state: &State, deployment: &Deployment) -> Option<Mac> {
    let machine = state.desired().machines.get(state.assignments().get(&deployment.name)?)?;
    state.active_mac(machine)
}

/// The tokens in URLs give access to the answers of an installation, so they must not be shown.
fn without_tokens(state: &State, deployment: &Deployment, text: &str) -> String {
    let token = |purpose| state.token(purpose, deployment);
    let all = [Purpose::Answers, Purpose::Hooks, Purpose::Metadata];
    all.into_iter().fold(text.to_owned(), |text, purpose| text.replace(&token(purpose), "TOKEN"))
}

/// The firmware that the machine was last seen with, else the commonest one.
fn firmware(state: &State, deployment: &Deployment, mac: Mac) -> Firmware {
    let seen = state.seen().get(&mac).and_then(|seen| seen.arch).map(|arch| arch.firmware);
    seen.or(Route::of(deployment).first().map(|route| route.firmware())).unwrap_or(Firmware::Uefi)
}

/// The machine of a deployment as the asker of its script: with its address, or one that it may get.
pub fn asker(state: &State, deployment: &Deployment, mac: Mac) -> Asker {
    let subnet = &deployment.subnet;
    if let (None, Some(ipv6)) = (subnet.cidr, &subnet.ipv6) {
        let first = ipv6.dynamic.first().map(|range| range.first);
        let address = state.address6_of(deployment, mac).or(ipv6.cidr.own_address(mac)).or(first);
        let own = client6::stand_in_address(ipv6);
        let address = address.unwrap_or(ipv6.cidr.network());
        return Asker::new(address, Some(own.into()), Transport::Http).on_card(mac);
    }
    let first = subnet.dynamic.first().map(|range| range.first);
    let last = || subnet.cidr.map_or(Ipv4Addr::UNSPECIFIED, |cidr| cidr.hosts().last);
    let address = state.address_of(deployment, mac).or(first).unwrap_or_else(last);
    Asker::new(address, None, Transport::Http).on_card(mac)
}

/// The kernel command line, one word a line, and the script around it.
fn boot(state: &State, deployment: &Deployment, mac: Mac) -> Vec<Served> {
    let asker = asker(state, deployment, mac);
    let address = match asker.address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    let facts = tree::facts_at(state, deployment, mac, address, asker.at);
    let words = match render::cmdline(&deployment.boot.cmdline, &facts, &|_| None) {
        Ok(words) => words,
        Err(error) => return vec![("kernel command line".into(), format!("can't be rendered: {error}"))],
    };
    let script = tree::boot_script(state, &asker, Form::Ipxe, mac, deployment);
    let script = script.unwrap_or_else(|error| format!("can't be rendered: {error}"));
    // A changed word is shown once: in the command line, not also in the script around it.
    let line = words.join(" ");
    let script = if line.is_empty() { script } else { script.replace(&line, "(kernel command line)") };
    let words = words.iter().map(|word| format!("{word}\n")).collect();
    vec![("kernel command line".into(), words), ("boot script".into(), script)]
}

/// The essential options of the OFFER to `mac`, one a line, if it boots as the machine of `deployment`
/// does; or why there is none.
pub fn dhcp(state: &State, deployment: &Deployment, mac: Mac, now: Time) -> String {
    let firmware = firmware(state, deployment, mac);
    let Some(cidr) = deployment.subnet.cidr else { return dhcp6(state, deployment, mac, now) };
    let link = link(state, cidr);
    let client = Client { mac, cpu: deployment.boot.cpu, firmware, link: &link, now };
    let answer = client.discover(&mut state.clone());
    let datagram = match answer {
        Ok(datagram) => datagram,
        Err(why) => return format!("none: {why}\n"),
    };
    let Ok(message) = Message::decode(&mut Decoder::new(&datagram)) else {
        return "unreadable\n".into();
    };
    let fixed = state.desired().fixed_at(message.yiaddr()).is_some();
    let address = if fixed { message.yiaddr().to_string() } else { "one of the dynamic range".into() };
    let mut lines = vec![format!("address {address}")];
    lines.extend(OPTIONS.iter().filter_map(|code| option(message.opts().get(*code)?)));
    let file = Reply::of(datagram.clone()).boot_file();
    if !file.is_empty() {
        lines.push(format!("next server {}", message.siaddr()));
        lines.push(format!("boot file {file}"));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The same for DHCPv6, on a subnet that has nothing else.
fn dhcp6(state: &State, deployment: &Deployment, mac: Mac, now: Time) -> String {
    let Some(ipv6) = &deployment.subnet.ipv6 else { return "none\n".into() };
    let link = client6::link(client6::stand_in_address(ipv6), mac);
    let firmware = firmware(state, deployment, mac);
    let client = Client6 { mac, cpu: deployment.boot.cpu, firmware, link: &link, ipv6, now };
    match client.configure(&mut state.clone(), Sender::Firmware) {
        Ok(exchange) => {
            let fixed = deployment.address6.map(|address| address.to_string());
            let address = fixed.unwrap_or_else(|| "one of the dynamic range".into());
            format!("address {address}\nboot file {}\n", exchange.lease.file)
        }
        Err(why) => format!("none: {why}\n"),
    }
}

const OPTIONS: [OptionCode; 6] = [
    OptionCode::SubnetMask,
    OptionCode::Router,
    OptionCode::DomainNameServer,
    OptionCode::DomainName,
    OptionCode::Hostname,
    OptionCode::AddressLeaseTime,
];

fn option(option: &DhcpOption) -> Option<String> {
    let list = |addresses: &[std::net::Ipv4Addr]| {
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    Some(match option {
        DhcpOption::SubnetMask(mask) => format!("netmask {mask}"),
        DhcpOption::Router(routers) => format!("router {}", list(routers)),
        DhcpOption::DomainNameServer(servers) => format!("dns {}", list(servers)),
        DhcpOption::DomainName(name) => format!("domain {name}"),
        DhcpOption::Hostname(name) => format!("host name {name}"),
        DhcpOption::AddressLeaseTime(seconds) => format!("lease {seconds} s"),
        _ => return None,
    })
}
