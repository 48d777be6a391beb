//! dnsmasq's configuration (dnsmasq(8)): a setting a line, `name` or `name=value`.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::{
    DEEPEST, FILES_MAX, Files, Host, Imported, Line, Subnet, addresses, client_id, hex_bytes, mac,
    prefix_length, shown,
};
use crate::model::{Cidr, Range, Span};

/// Settings about boots: the daemon serves boots by itself.
const OF_BOOTS: [&str; 9] = [
    "dhcp-boot",
    "dhcp-match",
    "dhcp-userclass",
    "dhcp-vendorclass",
    "enable-tftp",
    "pxe-prompt",
    "pxe-service",
    "tftp-root",
    "tftp-secure",
];
/// Of DHCP, and without any meaning for the daemon or for manifests.
const SILENT: [&str; 9] = [
    "dhcp-authoritative",
    "dhcp-lease-max",
    "dhcp-leasefile",
    "dhcp-no-override",
    "dhcp-sequential-ip",
    "log-dhcp",
    "no-ping",
    "dhcp-rapid-commit",
    "quiet-dhcp",
];

/// Reads a configuration with the files that it names.
pub fn read(path: &str, text: &str, files: &dyn Files) -> Imported {
    let mut reader =
        Reader { files, out: Imported::default(), count: 0, options: Vec::new(), domain: None, ignored: 0 };
    reader.file(path, text, 0);
    reader.finish(path)
}

struct Reader<'a> {
    files: &'a dyn Files,
    out: Imported,
    count: usize,
    /// Options for all networks, and those of one that a tag names.
    options: Vec<DhcpOption>,
    domain: Option<String>,
    /// Settings of the name server.
    ignored: usize,
}

struct DhcpOption {
    tags: Vec<String>,
    name: String,
    values: Vec<String>,
    line: Line,
}

impl Reader<'_> {
    fn file(&mut self, path: &str, text: &str, depth: usize) {
        let file: Arc<str> = path.into();
        for (number, text) in text.lines().enumerate() {
            let line = Line { file: file.clone(), number: u32::try_from(number + 1).unwrap_or(u32::MAX) };
            let text = without_comment(text);
            if text.is_empty() {
                continue;
            }
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name.trim(), unquoted(value.trim())),
                None => (text, String::new()),
            };
            self.setting(name, &value, &line, depth);
        }
    }

    fn setting(&mut self, name: &str, value: &str, line: &Line, depth: usize) {
        match name {
            "conf-file" => self.include(value, line, depth),
            "conf-dir" => self.folder(value, line, depth),
            "dhcp-hostsfile" => self.hosts_file(value, line),
            "dhcp-hostsdir" => {
                for path in self.list(value, line) {
                    self.hosts_file(&path, line);
                }
            }
            "dhcp-host" => self.host(value, line),
            "dhcp-range" => self.range(value, line),
            "dhcp-option" | "dhcp-option-force" => self.option(value, line),
            "domain" => {
                let (domain, rest) = value.split_once(',').unwrap_or((value, ""));
                if !rest.is_empty() {
                    self.out.remark(line, "a domain for some addresses alone is not taken over");
                } else if domain != "#" {
                    self.domain = Some(domain.to_owned());
                }
            }
            "read-ethers" => self.out.remark(line, "/etc/ethers is not read"),
            _ if SILENT.contains(&name) => {}
            _ if OF_BOOTS.contains(&name) || name.starts_with("tftp-") || name.starts_with("pxe-") => {
                self.out.remark(
                    line,
                    format!("`{}` is not taken over: boots are served by manifests", shown(name)),
                );
            }
            _ if name.starts_with("dhcp-") || name == "enable-ra" || name.starts_with("ra-") => {
                self.out.remark(line, format!("`{}` is not taken over", shown(name)));
            }
            _ => self.ignored += 1,
        }
    }

    fn read(&mut self, path: &str, line: &Line) -> Option<String> {
        self.count += 1;
        if self.count > FILES_MAX {
            self.out.remark(line, format!("more than {FILES_MAX} files: {} is not read", shown(path)));
            return None;
        }
        match self.files.read(path) {
            Ok(text) => Some(text),
            Err(why) => {
                self.out.remark(line, format!("{} is not read: {why}", shown(path)));
                None
            }
        }
    }

    fn include(&mut self, path: &str, line: &Line, depth: usize) {
        if depth >= DEEPEST {
            self.out
                .remark(line, format!("files within files go {DEEPEST} deep: {} is not read", shown(path)));
            return;
        }
        if let Some(text) = self.read(path, line) {
            self.file(path, &text, depth + 1);
        }
    }

    fn list(&mut self, folder: &str, line: &Line) -> Vec<String> {
        self.files.list(folder).unwrap_or_else(|why| {
            self.out.remark(line, format!("{} is not read: {why}", shown(folder)));
            Vec::new()
        })
    }

    /// `conf-dir=FOLDER[,END…]`: files that end so are left out, or alone read where a star is before the end.
    fn folder(&mut self, value: &str, line: &Line, depth: usize) {
        let mut parts = value.split(',').map(str::trim);
        let folder = parts.next().unwrap_or_default();
        let (only, without): (Vec<&str>, Vec<&str>) =
            parts.filter(|part| !part.is_empty()).partition(|part| part.starts_with('*'));
        for path in self.list(folder, line) {
            let name = path.rsplit('/').next().unwrap_or(&path);
            let is_hidden = name.starts_with('.')
                || name.ends_with('~')
                || (name.starts_with('#') && name.ends_with('#'));
            let is_wanted = only.is_empty() || only.iter().any(|end| name.ends_with(&end[1..]));
            if !is_hidden && is_wanted && !without.iter().any(|end| name.ends_with(end)) {
                self.include(&path, line, depth);
            }
        }
    }

    /// A value of `dhcp-host` a line.
    fn hosts_file(&mut self, path: &str, line: &Line) {
        let Some(text) = self.read(path, line) else { return };
        let file: Arc<str> = path.into();
        for (number, text) in text.lines().enumerate() {
            let line = Line { file: file.clone(), number: u32::try_from(number + 1).unwrap_or(u32::MAX) };
            let text = without_comment(text);
            if !text.is_empty() {
                self.host(text, &line);
            }
        }
    }

    fn host(&mut self, value: &str, line: &Line) {
        let mut host = Host { line: line.clone(), ..Host::default() };
        let (mut remarks, mut is_ignored) = (Vec::new(), false);
        for part in value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let lower = part.to_ascii_lowercase();
            if let Some(id) = strip(part, "id:") {
                match id {
                    "*" => remarks.push(
                        "`id:*` is not taken over: client ids are not looked at where cards are known"
                            .to_owned(),
                    ),
                    id => host.client_ids.push(written_id(id)),
                }
            } else if strip(part, "set:").or(strip(part, "net:")).is_some() {
                remarks.push(format!("`{}` is not taken over", shown(part)));
            } else if strip(part, "tag:").is_some() {
                remarks.push(format!("`{}` is not taken over: the host is known everywhere", shown(part)));
            } else if lower == "ignore" {
                is_ignored = true;
            } else if let Some(inner) = part.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                match inner.parse() {
                    Ok(address) => host.address6 = Some(address),
                    Err(_) => {
                        remarks.push(format!("`{}` is no whole IPv6 address and is left out", shown(part)))
                    }
                }
            } else if let Ok(address) = part.parse::<Ipv4Addr>() {
                host.address = Some(address);
            } else if is_hardware(part) {
                match card(part) {
                    Ok(mac) => host.macs.push(mac),
                    Err(why) => remarks.push(format!("`{}` is left out: {why}", shown(part))),
                }
            } else if lease(&lower).is_some() {
                remarks.push(format!("the lease time {} of one host is not taken over", shown(part)));
            } else if host.name.is_none() && is_host_name(part) {
                host.name = Some(part.to_owned());
            } else {
                remarks.push(format!("`{}` is not understood and is left out", shown(part)));
            }
        }
        for text in remarks {
            self.out.remark(line, text);
        }
        match is_ignored {
            true => self.out.remark(
                line,
                "a host that is ignored is not taken over: machines in no manifest get no boot",
            ),
            false => self.out.hosts.push(host),
        }
    }

    fn range(&mut self, value: &str, line: &Line) {
        let parts = value.split(',').map(str::trim);
        let parts = parts.map(|part| part.strip_prefix("interface:").map_or(part, |_| ""));
        let mut name = None;
        let mut rest = Vec::new();
        for part in parts.filter(|part| !part.is_empty()) {
            match (strip(part, "set:"), strip(part, "tag:").or(strip(part, "net:"))) {
                (Some(tag), _) => name = Some(tag.to_owned()),
                (_, Some(_)) => self.out.remark(line, format!("`{}` is not taken over", shown(part))),
                _ => rest.push(part),
            }
        }
        if rest.iter().any(|part| part.contains(':')) {
            self.out.remark(line, "a range of IPv6 addresses is not taken over: see `ipv6` of subnets");
            return;
        }
        let Some(first) = rest.first().and_then(|part| part.parse::<Ipv4Addr>().ok()) else {
            self.out.remark(line, format!("the range `{}` does not begin with an address", shown(value)));
            return;
        };
        let mut found = addresses(
            rest[1..].iter().copied().filter(|part| part.parse::<Ipv4Addr>().is_ok()),
            "",
            line,
            &mut self.out,
        )
        .into_iter();
        let words: Vec<&str> =
            rest[1..].iter().copied().filter(|part| part.parse::<Ipv4Addr>().is_err()).collect();
        let is_mode = |word: &str| matches!(word, "static" | "proxy");
        let mode = words.iter().find(|word| is_mode(word)).copied();
        let last = if mode.is_some() { None } else { found.next() };
        let length = found.next().and_then(prefix_length);
        if length.is_none() {
            self.out.remark(line, "the range names no netmask: a /24 is assumed");
        }
        let mut subnet = Subnet::new(Cidr::around(first, length.unwrap_or(24)), line.clone());
        subnet.name = name;
        subnet.is_proxy = mode == Some("proxy");
        if let Some(last) = last {
            match format!("{first}-{last}").parse::<Range>() {
                Ok(range) => subnet.dynamic.push(range),
                Err(error) => self.out.remark(line, format!("{first},{last} is left out: {error}")),
            }
        }
        for word in words.into_iter().filter(|word| !is_mode(word)) {
            match lease(&word.to_ascii_lowercase()) {
                Some(Some(span)) => subnet.lease = Some(span),
                Some(None) => self.out.remark(line, "leases that never end are not taken over"),
                None => self.out.remark(line, format!("`{}` is not taken over", shown(word))),
            }
        }
        self.out.subnets.push(subnet);
    }

    fn option(&mut self, value: &str, line: &Line) {
        let mut tags = Vec::new();
        let mut rest = value.split(',').map(str::trim).peekable();
        while let Some(tag) = rest.peek().and_then(|part| strip(part, "tag:").or(strip(part, "net:"))) {
            tags.push(tag.to_owned());
            rest.next();
        }
        let name = rest.next().unwrap_or_default();
        let name = strip(name, "option:").unwrap_or(name).to_ascii_lowercase();
        let name = match name.as_str() {
            "3" | "router" => "router",
            "6" | "dns-server" => "dns",
            "15" | "domain-name" => "domain",
            other => {
                self.out.remark(
                    line,
                    format!("the option `{}` is not taken over: see `options` of subnets", shown(other)),
                );
                return;
            }
        };
        let values = rest.map(str::to_owned).collect();
        self.options.push(DhcpOption { tags, name: name.to_owned(), values, line: line.clone() });
    }

    /// Options and domain belong to the networks, which may be named after them.
    fn finish(mut self, path: &str) -> Imported {
        let mut options = std::mem::take(&mut self.options);
        // Those of a network go over those of all.
        options.sort_by_key(|option| !option.tags.is_empty());
        // The networks for which something is said, and what.
        let mut said = Vec::new();
        for option in options {
            let DhcpOption { tags, name, values, line } = option;
            let is_own = |subnet: &Subnet| tags.iter().all(|tag| subnet.name.as_ref() == Some(tag));
            let mut fitting: Vec<usize> = (0..self.out.subnets.len()).collect();
            fitting.retain(|at| is_own(&self.out.subnets[*at]));
            if fitting.is_empty() {
                self.out.remark(&line, "an option for clients with certain tags is not taken over");
                continue;
            }
            said.extend(fitting.iter().map(|at| (*at, name.clone())));
            // The server itself stands for 0.0.0.0.
            let words = values.iter().map(String::as_str).filter(|word| *word != "0.0.0.0");
            if name == "domain" {
                fitting.iter().for_each(|at| self.out.subnets[*at].domain = values.first().cloned());
                continue;
            }
            let found = addresses(words, "the server", &line, &mut self.out);
            for at in fitting {
                let subnet = &mut self.out.subnets[at];
                match name.as_str() {
                    "router" => {
                        let own = found.iter().copied().find(|one| subnet.cidr.is_host(*one));
                        subnet.gateway = own.or(subnet.gateway);
                    }
                    _ => subnet.dns.clone_from(&found),
                }
            }
        }
        self.own_address(&said);
        for subnet in &mut self.out.subnets {
            subnet.domain = subnet.domain.take().or_else(|| self.domain.clone());
        }
        if self.ignored > 0 {
            let line = Line { file: path.into(), number: 1 };
            let text = format!("{} settings about names and interfaces are not taken over", self.ignored);
            self.out.remark(&line, text);
        }
        self.out
    }
}

impl Reader<'_> {
    /// What dnsmasq gives by itself where no option is `said` for a network, which its configuration does not name.
    fn own_address(&mut self, said: &[(usize, String)]) {
        for at in 0..self.out.subnets.len() {
            let subnet = &self.out.subnets[at];
            if subnet.is_proxy {
                continue;
            }
            let line = subnet.line.clone();
            for (option, what, key) in [("router", "router", "gateway"), ("dns", "name server", "dns")] {
                if !said.iter().any(|(of, name)| *of == at && name == option) {
                    let text = format!(
                        "without an option for it dnsmasq is the {what} itself, which is not taken over: see `{key}`"
                    );
                    self.out.remark(&line, text);
                }
            }
        }
    }
}

/// A setting without a comment: `#` at its beginning or behind a blank, outside of quotes.
fn without_comment(text: &str) -> &str {
    let (mut quoted, mut blank) = (false, true);
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '#' if blank && !quoted => return text[..at].trim(),
            _ => {}
        }
        blank = c.is_whitespace();
    }
    text.trim()
}

fn unquoted(text: &str) -> String {
    text.replace('"', "")
}

fn strip<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    let head = text.get(..start.len())?;
    head.eq_ignore_ascii_case(start).then(|| &text[start.len()..])
}

/// Whether it is meant as a hardware address: `aa:bb:…`, with stars, or with the type of its network before a hyphen.
fn is_hardware(text: &str) -> bool {
    let text = text.split_once('-').map_or(text, |(kind, rest)| if kind.len() <= 2 { rest } else { text });
    let groups: Vec<&str> = text.split(':').collect();
    groups.len() >= 6
        && groups.iter().all(|group| *group == "*" || group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn card(text: &str) -> Result<crate::model::Mac, String> {
    if text.contains('*') {
        return Err("a manifest names whole hardware addresses".to_owned());
    }
    match text.split_once('-') {
        Some(("01" | "1", rest)) => mac(rest),
        Some((kind, rest)) if kind.len() <= 2 && rest.contains(':') => {
            Err(format!("its network is of type {kind}, and only Ethernet (1) is served"))
        }
        _ => mac(text),
    }
}

/// A client id: pairs of digits with colons are bytes, anything else is a text.
fn written_id(text: &str) -> String {
    match hex_bytes(text).filter(|_| text.contains(':')) {
        Some(bytes) => client_id(&bytes),
        None => client_id(text.as_bytes()),
    }
}

/// `45m`, `12h`, `3600`, `infinite`: the inner `None` is a lease that never ends.
fn lease(text: &str) -> Option<Option<Span>> {
    if text == "infinite" {
        return Some(None);
    }
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        Some((at, 'd')) => (&text[..at], 86_400),
        Some((at, 'w')) => (&text[..at], 604_800),
        _ => (text, 1),
    };
    let number: u64 = digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some(Some(Span::seconds(number.checked_mul(unit)?.min(u64::from(u32::MAX)))))
}

fn is_host_name(text: &str) -> bool {
    text.len() <= 253
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        && text.bytes().any(|byte| byte.is_ascii_alphanumeric())
}
