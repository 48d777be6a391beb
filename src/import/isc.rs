//! ISC dhcpd's configuration (dhcpd.conf(5)): statements that end with `;`, or with a block in braces.

mod words;

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::{
    DEEPEST, FILES_MAX, Files, Host, Imported, Line, Subnet, client_id, hex_bytes, mac, prefix_length, shown,
};
use crate::model::{Cidr, Range, Span};
use words::{Token, Word, words};

/// Blocks within blocks go no deeper.
const BLOCKS_MAX: usize = 64;

/// Statements without any meaning for the daemon or for manifests.
const SILENT: [&str; 17] = [
    "allow",
    "authoritative",
    "ddns-update-style",
    "ddns-updates",
    "get-lease-hostnames",
    "lease-file-name",
    "local-port",
    "log-facility",
    "max-lease-time",
    "min-lease-time",
    "not",
    "omapi-port",
    "one-lease-per-client",
    "pid-file-name",
    "ping-check",
    "server-name",
    "use-host-decl-names",
];

/// Reads a configuration with the files that it includes.
pub fn read(path: &str, text: &str, files: &dyn Files) -> Imported {
    let mut reader = Reader { files, out: Imported::default(), count: 0 };
    let mut tokens = reader.tokens(path, text, 0);
    tokens.reverse();
    let line = Line { file: path.into(), number: 1 };
    reader.block(&mut tokens, &Scope::default(), 0, &line);
    reader.out
}

struct Reader<'a> {
    files: &'a dyn Files,
    out: Imported,
    count: usize,
}

/// What is said around a statement.
#[derive(Clone, Default)]
struct Scope {
    /// The shared network that it is in.
    link: Option<String>,
    /// The subnet that it is in, by its place among those found.
    subnet: Option<usize>,
    /// Whether the block is that subnet's own.
    is_subnets: bool,
}

/// What a block says of the subnets within it, wherever it says so.
#[derive(Clone, Default, PartialEq)]
struct Settings {
    gateway: Option<Ipv4Addr>,
    dns: Vec<Ipv4Addr>,
    domain: Option<String>,
    lease: Option<Span>,
}

impl Reader<'_> {
    /// The words of a file, with those of the files that it includes in their places.
    fn tokens(&mut self, path: &str, text: &str, depth: usize) -> Vec<Token> {
        let file: Arc<str> = path.into();
        let mut all = Vec::new();
        let mut own = words(&file, text).into_iter().peekable();
        let mut is_first = true;
        while let Some(token) = own.next() {
            let begins =
                std::mem::replace(&mut is_first, matches!(token.word, Word::End | Word::Open | Word::Close));
            let names = match own.peek().map(|next| &next.word) {
                Some(Word::Text(name) | Word::Plain(name))
                    if begins && token.word == Word::Plain("include".into()) =>
                {
                    Some(name.clone())
                }
                _ => None,
            };
            let Some(name) = names else {
                all.push(token);
                continue;
            };
            own.next();
            if own.peek().is_some_and(|next| next.word == Word::End) {
                own.next();
            }
            is_first = true;
            all.extend(self.include(&name, &token.line, depth));
        }
        all
    }

    fn include(&mut self, path: &str, line: &Line, depth: usize) -> Vec<Token> {
        self.count += 1;
        if depth >= DEEPEST || self.count > FILES_MAX {
            self.out.remark(line, format!("too many files within files: {} is not read", shown(path)));
            return Vec::new();
        }
        match self.files.read(path) {
            Ok(text) => self.tokens(path, &text, depth + 1),
            Err(why) => {
                self.out.remark(line, format!("{} is not read: {why}", shown(path)));
                Vec::new()
            }
        }
    }

    /// Statements until the end of a block, which begins in this line; `tokens` has them last to first.
    fn block(&mut self, tokens: &mut Vec<Token>, scope: &Scope, depth: usize, begin: &Line) {
        let first = if depth == 0 { 0 } else { self.out.subnets.len() };
        let mut settings = Settings::default();
        self.statements(tokens, scope, depth, &mut settings);
        if settings == Settings::default() {
            return;
        }
        let within = match self.out.subnets.len() > first {
            true => first..self.out.subnets.len(),
            false => scope.subnet.filter(|_| scope.is_subnets).map_or(0..0, |place| place..place + 1),
        };
        if within.is_empty() {
            self.out
                .remark(begin, "the network settings of this block are not taken over: no subnet is in it");
        }
        for subnet in &mut self.out.subnets[within] {
            let Settings { gateway, dns, domain, lease } = settings.clone();
            subnet.gateway = subnet.gateway.or(gateway.filter(|gateway| subnet.cidr.is_host(*gateway)));
            subnet.dns = if subnet.dns.is_empty() { dns } else { std::mem::take(&mut subnet.dns) };
            subnet.domain = subnet.domain.take().or(domain);
            subnet.lease = subnet.lease.or(lease);
        }
    }

    fn statements(&mut self, tokens: &mut Vec<Token>, scope: &Scope, depth: usize, settings: &mut Settings) {
        while let Some(token) = tokens.pop() {
            let line = token.line.clone();
            let name = match token.word {
                Word::Close if depth > 0 => return,
                Word::Close => continue,
                Word::End => continue,
                Word::Open => {
                    self.skip(tokens);
                    continue;
                }
                Word::Plain(name) => name.to_ascii_lowercase(),
                Word::Text(_) | Word::Comma => {
                    arguments(tokens);
                    continue;
                }
            };
            let (words, has_block) = arguments(tokens);
            match has_block {
                true if depth >= BLOCKS_MAX => {
                    self.out.remark(&line, format!("blocks go {BLOCKS_MAX} deep: this one is left out"));
                    self.skip(tokens);
                }
                true => self.nested(&name, &words, tokens, scope, depth, &line),
                false => self.statement(&name, &words, scope, settings, &line),
            }
        }
    }

    fn nested(
        &mut self,
        name: &str,
        words: &[Word],
        tokens: &mut Vec<Token>,
        scope: &Scope,
        depth: usize,
        line: &Line,
    ) {
        let first = words.first().map(Word::text).unwrap_or_default();
        match name {
            "group" | "pool" => {
                self.block(tokens, &Scope { is_subnets: false, ..scope.clone() }, depth + 1, line);
            }
            "shared-network" => {
                let link = Some(first.to_owned());
                self.block(tokens, &Scope { link, ..Scope::default() }, depth + 1, line);
            }
            "subnet" => match subnet(words) {
                Some(cidr) => {
                    let mut subnet = Subnet::new(cidr, line.clone());
                    subnet.link.clone_from(&scope.link);
                    self.out.subnets.push(subnet);
                    let subnet = Some(self.out.subnets.len() - 1);
                    self.block(tokens, &Scope { subnet, is_subnets: true, ..scope.clone() }, depth + 1, line);
                }
                None => {
                    self.out.remark(line, "a subnet without an address and a netmask is left out");
                    self.skip(tokens);
                }
            },
            "host" => self.host(first, tokens, line),
            "subnet6" => {
                self.out.remark(line, "a network of IPv6 is not taken over: see `ipv6` of subnets");
                self.hosts_within(tokens, scope, depth);
            }
            "if" | "elsif" | "else" | "switch" => {
                self.out.remark(line, format!("what depends on a condition (`{name}`) is not taken over"));
                self.skip(tokens);
            }
            "class" | "subclass" => {
                self.out.remark(line, format!("class {} is not taken over", shown(first)));
                self.skip(tokens);
            }
            _ => {
                self.out.remark(line, format!("`{}` is not taken over", shown(name)));
                self.skip(tokens);
            }
        }
    }

    /// The hosts of a block whose settings are not taken over.
    fn hosts_within(&mut self, tokens: &mut Vec<Token>, scope: &Scope, depth: usize) {
        let remarks = self.out.remarks.len();
        let inner = Scope { subnet: None, is_subnets: false, ..scope.clone() };
        self.statements(tokens, &inner, depth + 1, &mut Settings::default());
        // Of its other statements one remark is enough.
        self.out.remarks.truncate(remarks);
    }

    fn statement(&mut self, name: &str, words: &[Word], scope: &Scope, settings: &mut Settings, line: &Line) {
        match name {
            "option" => self.option(words, settings, line),
            "default-lease-time" => match words.first().and_then(|word| word.text().parse::<u64>().ok()) {
                Some(seconds) if (60..=u64::from(u32::MAX)).contains(&seconds) => {
                    settings.lease = Some(Span::seconds(seconds));
                }
                _ => {
                    self.out.remark(line, "a lease time that is no number of seconds from 60 on is left out")
                }
            },
            "range" => self.range(words, scope, line),
            "filename" | "next-server" => {
                self.out.remark(line, format!("`{name}` is not taken over: boots are served by manifests"));
            }
            "deny" | "ignore" => {
                let what: Vec<&str> = words.iter().map(Word::text).collect();
                self.out.remark(line, format!("`{name} {}` is not taken over", shown(&what.join(" "))));
            }
            _ if SILENT.contains(&name) => {}
            _ => self.out.remark(line, format!("`{}` is not taken over", shown(name))),
        }
    }

    fn option(&mut self, words: &[Word], settings: &mut Settings, line: &Line) {
        let name = words.first().map(Word::text).unwrap_or_default().to_ascii_lowercase();
        let values: Vec<&str> = words.iter().skip(1).map(Word::text).collect();
        match name.as_str() {
            "routers" => {
                settings.gateway =
                    super::addresses(values, "the router", line, &mut self.out).first().copied();
            }
            "domain-name-servers" => {
                settings.dns = super::addresses(values, "the name server", line, &mut self.out);
            }
            "domain-name" => settings.domain = values.first().map(|name| (*name).to_owned()),
            "subnet-mask" | "broadcast-address" | "dhcp-server-identifier" => {}
            _ => {
                let text =
                    format!("the option `{}` is not taken over: see `options` of subnets", shown(&name));
                self.out.remark(line, text);
            }
        }
    }

    fn range(&mut self, words: &[Word], scope: &Scope, line: &Line) {
        let ends: Vec<&str> = words.iter().map(Word::text).filter(|word| *word != "dynamic-bootp").collect();
        let Some(place) = scope.subnet else {
            self.out.remark(line, "a range outside of a subnet is left out");
            return;
        };
        let range = match ends.as_slice() {
            [one] => format!("{one}-{one}").parse::<Range>(),
            [first, last] => format!("{first}-{last}").parse(),
            _ => Err(crate::model::net::NetError::RangeShape),
        };
        match range {
            Ok(range) => self.out.subnets[place].dynamic.push(range),
            Err(error) => {
                self.out.remark(line, format!("the range {} is left out: {error}", shown(&ends.join(" "))))
            }
        }
    }

    fn host(&mut self, name: &str, tokens: &mut Vec<Token>, line: &Line) {
        let mut host = Host { name: Some(name.to_owned()), line: line.clone(), ..Host::default() };
        while let Some(token) = tokens.pop() {
            let line = token.line.clone();
            let name = match token.word {
                Word::Close => break,
                Word::Plain(name) => name.to_ascii_lowercase(),
                Word::Open => {
                    self.skip(tokens);
                    continue;
                }
                _ => continue,
            };
            let (words, has_block) = arguments(tokens);
            if has_block {
                self.out.remark(&line, format!("`{}` in a host is not taken over", shown(&name)));
                self.skip(tokens);
                continue;
            }
            self.host_statement(&name, &words, &mut host, &line);
        }
        self.out.hosts.push(host);
    }

    fn host_statement(&mut self, name: &str, words: &[Word], host: &mut Host, line: &Line) {
        let texts: Vec<&str> = words.iter().map(Word::text).collect();
        match (name, texts.as_slice()) {
            ("hardware", ["ethernet", address]) => match mac(address) {
                Ok(mac) => host.macs.push(mac),
                Err(why) => self.out.remark(line, format!("`{}` is left out: {why}", shown(address))),
            },
            ("hardware", [kind, ..]) => {
                self.out.remark(
                    line,
                    format!("hardware of type {} is left out: only Ethernet is served", shown(kind)),
                );
            }
            ("fixed-address", all) => {
                let mut found =
                    super::addresses(all.iter().copied(), "the address", line, &mut self.out).into_iter();
                host.address = found.next();
                if found.next().is_some() {
                    self.out.remark(line, "the first of several addresses is taken over");
                }
            }
            ("fixed-address6", [address, ..]) => match address.parse() {
                Ok(address) => host.address6 = Some(address),
                Err(_) => {
                    self.out.remark(line, format!("`{}` is no IPv6 address and is left out", shown(address)))
                }
            },
            ("option", ["host-name", own, ..]) => host.name = Some((*own).to_owned()),
            ("option", ["dhcp-client-identifier", ..]) => {
                host.client_ids.extend(words.get(1).map(written_id))
            }
            ("host-identifier", ["option", "dhcp-client-identifier", ..]) => {
                host.client_ids.extend(words.get(2).map(written_id));
            }
            ("host-identifier", _) => {
                self.out.remark(
                    line,
                    "what identifies the host is not taken over: it has to be its card or client id",
                );
            }
            ("dynamic" | "deleted", _) => {}
            _ => self.out.remark(
                line,
                format!(
                    "`{}` of host {} is not taken over",
                    shown(name),
                    shown(host.name.as_deref().unwrap_or("-"))
                ),
            ),
        }
    }

    /// Passes over the rest of a block.
    fn skip(&mut self, tokens: &mut Vec<Token>) {
        let mut open = 1u32;
        while let Some(token) = tokens.pop() {
            match token.word {
                Word::Open => open += 1,
                Word::Close => open -= 1,
                _ => {}
            }
            if open == 0 {
                return;
            }
        }
    }
}

/// The words of a statement behind its name, and whether a block follows. A block that ends instead stays.
fn arguments(tokens: &mut Vec<Token>) -> (Vec<Word>, bool) {
    let mut words = Vec::new();
    while let Some(token) = tokens.pop() {
        match token.word {
            Word::End => return (words, false),
            Word::Open => return (words, true),
            Word::Close => {
                tokens.push(token);
                return (words, false);
            }
            Word::Comma => {}
            word => words.push(word),
        }
    }
    (words, false)
}

/// `10.0.0.0 netmask 255.255.255.0`
fn subnet(words: &[Word]) -> Option<Cidr> {
    let texts: Vec<&str> = words.iter().map(Word::text).collect();
    let [address, "netmask", mask] = texts.as_slice() else { return None };
    Some(Cidr::around(address.parse().ok()?, prefix_length(mask.parse().ok()?)?))
}

/// A string is a text; what stands without quotes is bytes.
fn written_id(word: &Word) -> String {
    match word {
        Word::Text(text) => client_id(&bytes(text)),
        word => match hex_bytes(word.text()) {
            Some(bytes) => client_id(&bytes),
            None => client_id(word.text().as_bytes()),
        },
    }
}

/// The bytes of a string, in which escapes stand for bytes.
fn bytes(text: &str) -> Vec<u8> {
    let mut all = Vec::with_capacity(text.len());
    for c in text.chars() {
        match u8::try_from(u32::from(c)) {
            Ok(byte) => all.push(byte),
            Err(_) => all.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    all
}
