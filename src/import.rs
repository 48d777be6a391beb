//! Configurations of other DHCP servers, as manifests: their networks, and the hosts that they know.
//!
//! Each reader takes texts and gives one [`Imported`], which [`manifest::write`] turns into TOML. Nothing that was read is
//! dropped without a word: a [`Remark`] names the line. What is no matter of networks and hosts (boot files of one's own,
//! conditions, DNS) is left out with one.

pub mod dnsmasq;
pub mod isc;
mod json;
pub mod kea;
pub mod manifest;

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::model::{Cidr, Mac, Range, Span};

/// Files within files go no deeper, so that two that name each other end.
const DEEPEST: usize = 16;
/// Files that are read at most.
const FILES_MAX: usize = 10_000;

/// Where files come from that a configuration names.
pub trait Files {
    /// The text of a file; the error says why there is none.
    ///
    /// # Errors
    ///
    /// It can't be read.
    fn read(&self, path: &str) -> Result<String, String>;

    /// The paths of the files in a folder, in order.
    ///
    /// # Errors
    ///
    /// It can't be read.
    fn list(&self, folder: &str) -> Result<Vec<String>, String>;
}

/// A line of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    pub file: Arc<str>,
    /// From 1 on.
    pub number: u32,
}

/// What a person should know: something that was not taken over, or was read with a guess.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remark {
    pub line: Line,
    pub text: String,
}

/// A network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// As the file calls it, in whatever characters.
    pub name: Option<String>,
    pub cidr: Cidr,
    pub gateway: Option<Ipv4Addr>,
    pub dns: Vec<Ipv4Addr>,
    pub domain: Option<String>,
    pub dynamic: Vec<Range>,
    pub lease: Option<Span>,
    /// Another server gives the addresses there.
    pub is_proxy: bool,
    /// Which of them are on one link: those with the same text.
    pub link: Option<String>,
    pub line: Line,
}

/// A host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// As the file calls it, in whatever characters.
    pub name: Option<String>,
    pub macs: Vec<Mac>,
    /// In the form of manifests: a text, or `hex:` and digits.
    pub client_ids: Vec<String>,
    pub uuid: Option<String>,
    pub address: Option<Ipv4Addr>,
    pub address6: Option<Ipv6Addr>,
    pub line: Line,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    pub subnets: Vec<Subnet>,
    pub hosts: Vec<Host>,
    pub remarks: Vec<Remark>,
}

impl Imported {
    fn remark(&mut self, line: &Line, text: impl Into<String>) {
        self.remarks.push(Remark { line: line.clone(), text: text.into() });
    }

    /// Adds what another file has.
    pub fn extend(&mut self, other: Imported) {
        self.subnets.extend(other.subnets);
        self.hosts.extend(other.hosts);
        self.remarks.extend(other.remarks);
    }
}

impl Subnet {
    fn new(cidr: Cidr, line: Line) -> Subnet {
        Subnet {
            name: None,
            cidr,
            gateway: None,
            dns: Vec::new(),
            domain: None,
            dynamic: Vec::new(),
            lease: None,
            is_proxy: false,
            link: None,
            line,
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line.file.escape_debug(), self.line.number, self.text)
    }
}

/// The length of a netmask; `None` if ones and zeros are mixed.
fn prefix_length(mask: Ipv4Addr) -> Option<u8> {
    let bits = u32::from(mask);
    let ones = bits.leading_ones();
    (bits.checked_shl(ones).unwrap_or(0) == 0).then(|| u8::try_from(ones).ok())?
}

/// The addresses of a list; what is none is remarked.
fn addresses<'a>(
    words: impl IntoIterator<Item = &'a str>,
    what: &str,
    line: &Line,
    out: &mut Imported,
) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    for word in words.into_iter().map(str::trim).filter(|word| !word.is_empty()) {
        match word.parse() {
            Ok(address) => found.push(address),
            Err(_) => {
                out.remark(line, format!("{what} `{}` is no IPv4 address and is left out", shown(word)))
            }
        }
    }
    found
}

/// A client id of these bytes, in the form of manifests.
fn client_id(bytes: &[u8]) -> String {
    let is_text = bytes.first().is_some_and(|first| *first != 0 && first.is_ascii_graphic())
        && bytes.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ')
        && !bytes.starts_with(b"hex:");
    match is_text {
        true => String::from_utf8_lossy(bytes).into_owned(),
        false => format!("hex:{}", crate::model::hex(bytes)),
    }
}

/// The bytes of `01:02:…` or `0102…`, or of groups of one digit as in `1:2:a`.
fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    if !text.contains([':', '-']) {
        let is_even = text.len().is_multiple_of(2)
            && !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let pair = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).ok();
        return is_even.then(|| (0..text.len()).step_by(2).map(pair).collect())?;
    }
    let group = |group: &str| {
        let is_pair = (1..=2).contains(&group.len()) && group.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_pair.then(|| u8::from_str_radix(group, 16).ok())?
    };
    text.split([':', '-']).map(group).collect()
}

/// A hardware address of Ethernet, also with groups of one digit.
fn mac(text: &str) -> Result<Mac, String> {
    let bytes = hex_bytes(text).and_then(|bytes| <[u8; 6]>::try_from(bytes).ok());
    match bytes {
        Some(bytes) => Mac::new(bytes).map_err(|error| error.to_string()),
        None => text.parse::<Mac>().map_err(|error| error.to_string()),
    }
}

/// Foreign text in a message.
fn shown(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    format!("{}{dots}", short.escape_debug())
}
