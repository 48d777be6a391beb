//! A client of DHCPv6 that no manifest names (RFC 8415): takes an address, renews it, gives it back, finds it in use,
//! or vanishes and wants it again.

use std::net::Ipv6Addr;

use voldemort::model::{Mac, Mode};
use voldemort::proto::dhcp6::Link;

const SOLICIT: u8 = 1;
const ADVERTISE: u8 = 2;
const REQUEST: u8 = 3;
const RENEW: u8 = 5;
const REBIND: u8 = 6;
const REPLY: u8 = 7;
const RELEASE: u8 = 8;
const DECLINE: u8 = 9;
/// Options.
const CLIENT_ID: u16 = 1;
const SERVER_ID: u16 = 2;
const IA_NA: u16 = 3;
const IA_ADDRESS: u16 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Off,
    Advertise,
    Reply,
    Bound,
}

pub(crate) struct Stranger6 {
    pub(crate) mac: Mac,
    pub(crate) state: State,
    pub(crate) attempt: u64,
    pub(crate) tries: u32,
    pub(crate) address: Option<Ipv6Addr>,
    server: Vec<u8>,
    asked: Vec<u8>,
}

/// An address with its valid lifetime in seconds, which is 0 if the client has to stop using it.
pub(crate) struct Given {
    pub(crate) address: Ipv6Addr,
    pub(crate) seconds: u32,
}

fn option(code: u16, value: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], &(value.len() as u16).to_be_bytes(), value].concat()
}

/// The options of a message or of an option.
fn options(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(4) {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        found.push((u16::from_be_bytes([head[0], head[1]]), &rest[..length]));
        bytes = &rest[length..];
    }
    found
}

impl Stranger6 {
    pub(crate) fn new(mac: Mac) -> Stranger6 {
        let (server, asked) = (Vec::new(), Vec::new());
        Stranger6 { mac, state: State::Off, attempt: 0, tries: 0, address: None, server, asked }
    }

    pub(crate) fn link(&self, server: Ipv6Addr) -> Link {
        let source = "[fe80::1234]:546".parse().unwrap();
        Link { server, mode: Mode::Server, source, unicast: false, hardware: Some(self.mac) }
    }

    fn say(&mut self, state: State, kind: u8, address: Option<Ipv6Addr>) -> Vec<u8> {
        self.state = state;
        self.attempt += 1;
        self.tries = 0;
        let [.., a, b, c] = self.attempt.to_be_bytes();
        let mut message = vec![kind, a, b, c];
        message.extend(option(CLIENT_ID, &[&[0, 3, 0, 1], &self.mac.octets()[..]].concat()));
        if !matches!(kind, SOLICIT | REBIND) {
            message.extend(option(SERVER_ID, &self.server));
        }
        let address = address.map(|address| option(IA_ADDRESS, &[&address.octets()[..], &[0; 8]].concat()));
        message.extend(option(IA_NA, &[&[0; 12][..], &address.unwrap_or_default()].concat()));
        self.asked = message.clone();
        message
    }

    /// Begins anew, wanting what it had before, if anything.
    pub(crate) fn solicit(&mut self) -> Vec<u8> {
        self.say(State::Advertise, SOLICIT, self.address)
    }

    pub(crate) fn renew(&mut self) -> Vec<u8> {
        self.say(State::Reply, RENEW, self.address)
    }

    /// Asks any server, as a client does whose own one does not answer.
    pub(crate) fn rebind(&mut self) -> Vec<u8> {
        self.say(State::Reply, REBIND, self.address)
    }

    pub(crate) fn release(&mut self) -> Vec<u8> {
        let address = self.address.take();
        self.say(State::Off, RELEASE, address)
    }

    pub(crate) fn decline(&mut self) -> Vec<u8> {
        let address = self.address.take();
        self.say(State::Off, DECLINE, address)
    }

    /// The same message once more.
    pub(crate) fn again(&mut self) -> Vec<u8> {
        self.tries += 1;
        self.asked.clone()
    }

    /// The REQUEST that follows an ADVERTISE, if it offers an address.
    pub(crate) fn request(&mut self, answer: &[u8]) -> Option<Vec<u8>> {
        let given = (answer[0] == ADVERTISE).then(|| Stranger6::given(answer)).flatten()?;
        let server = options(&answer[4..]).into_iter().find(|(code, _)| *code == SERVER_ID);
        self.server = server.expect("an answer names its server").1.to_vec();
        Some(self.say(State::Reply, REQUEST, Some(given.address)))
    }

    /// What a REPLY gives.
    pub(crate) fn replied(answer: &[u8]) -> Option<Option<Given>> {
        (answer[0] == REPLY).then(|| Stranger6::given(answer))
    }

    /// The first address of an answer that may be used.
    fn given(answer: &[u8]) -> Option<Given> {
        let all = options(&answer[4..]);
        let associations = all.iter().filter(|(code, _)| *code == IA_NA);
        let inner = associations.flat_map(|(_, value)| options(&value[12..]));
        let addresses = inner.filter(|(code, _)| *code == IA_ADDRESS).map(|(_, value)| Given {
            address: <[u8; 16]>::try_from(&value[..16]).unwrap().into(),
            seconds: u32::from_be_bytes(value[20..24].try_into().unwrap()),
        });
        let mut usable = addresses.filter(|given| given.seconds > 0);
        usable.next()
    }
}
