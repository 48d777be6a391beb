//! The options of DHCPv4 that an inventory may set (IANA's registry "BOOTP Vendor Extensions and
//! DHCP Options"), by the names that Kea and dnsmasq give them.

use Form::*;

use super::similar::similar;

/// What the bytes of an option are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Address,
    /// One address or several.
    Addresses,
    /// Pairs of addresses (RFC 2132 section 8.1).
    AddressPairs,
    Text,
    /// Domain names as DNS writes them, one after the other (RFC 3397 without compression).
    Domains,
    Boolean,
    U8,
    U16,
    /// A list of 16-bit numbers.
    U16s,
    U32,
    /// A signed 32-bit number.
    I32,
    /// Bytes with a structure of their own, or of an option that nobody registered.
    Bytes,
}

/// One option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionDef {
    pub code: u8,
    pub form: Form,
    /// Kea's name first, then others that are in use.
    pub names: &'static [&'static str],
}

const fn option(code: u8, form: Form, names: &'static [&'static str]) -> OptionDef {
    OptionDef { code, form, names }
}

/// Every option with a name, by code.
pub const KNOWN: &[OptionDef] = &[
    option(2, I32, &["time-offset"]),
    option(3, Addresses, &["routers", "router"]),
    option(4, Addresses, &["time-servers", "time-server"]),
    option(5, Addresses, &["name-servers", "ien116-name-servers"]),
    option(6, Addresses, &["domain-name-servers", "dns-servers", "dns-server"]),
    option(7, Addresses, &["log-servers", "log-server"]),
    option(8, Addresses, &["cookie-servers"]),
    option(9, Addresses, &["lpr-servers", "lpr-server"]),
    option(10, Addresses, &["impress-servers"]),
    option(11, Addresses, &["resource-location-servers"]),
    option(12, Text, &["host-name", "hostname"]),
    option(13, U16, &["boot-size", "boot-file-size"]),
    option(14, Text, &["merit-dump"]),
    option(15, Text, &["domain-name"]),
    option(16, Address, &["swap-server"]),
    option(17, Text, &["root-path"]),
    option(18, Text, &["extensions-path", "extension-path"]),
    option(19, Boolean, &["ip-forwarding", "ip-forward-enable"]),
    option(20, Boolean, &["non-local-source-routing"]),
    option(21, AddressPairs, &["policy-filter"]),
    option(22, U16, &["max-dgram-reassembly", "max-datagram-reassembly"]),
    option(23, U8, &["default-ip-ttl", "default-ttl"]),
    option(24, U32, &["path-mtu-aging-timeout"]),
    option(25, U16s, &["path-mtu-plateau-table"]),
    option(26, U16, &["interface-mtu", "mtu"]),
    option(27, Boolean, &["all-subnets-local"]),
    option(28, Address, &["broadcast-address", "broadcast"]),
    option(29, Boolean, &["perform-mask-discovery"]),
    option(30, Boolean, &["mask-supplier"]),
    option(31, Boolean, &["router-discovery"]),
    option(32, Address, &["router-solicitation-address", "router-solicitation"]),
    option(33, AddressPairs, &["static-routes", "static-route"]),
    option(34, Boolean, &["trailer-encapsulation"]),
    option(35, U32, &["arp-cache-timeout", "arp-timeout"]),
    option(36, Boolean, &["ieee802-3-encapsulation", "ethernet-encap"]),
    option(37, U8, &["default-tcp-ttl", "tcp-ttl"]),
    option(38, U32, &["tcp-keepalive-interval", "tcp-keepalive"]),
    option(39, Boolean, &["tcp-keepalive-garbage"]),
    option(40, Text, &["nis-domain"]),
    option(41, Addresses, &["nis-servers", "nis-server"]),
    option(42, Addresses, &["ntp-servers", "ntp-server"]),
    option(43, Bytes, &["vendor-encapsulated-options", "vendor-encap"]),
    option(44, Addresses, &["netbios-name-servers", "netbios-ns"]),
    option(45, Addresses, &["netbios-dd-server", "netbios-dd"]),
    option(46, U8, &["netbios-node-type", "netbios-nodetype"]),
    option(47, Text, &["netbios-scope"]),
    option(48, Addresses, &["font-servers", "x-windows-fs"]),
    option(49, Addresses, &["x-display-manager", "x-windows-dm"]),
    option(64, Text, &["nisplus-domain-name", "nis+-domain"]),
    option(65, Addresses, &["nisplus-servers", "nis+-server"]),
    option(66, Text, &["tftp-server-name", "tftp-server"]),
    option(67, Text, &["boot-file-name", "bootfile-name"]),
    option(68, Addresses, &["mobile-ip-home-agent", "mobile-ip-home"]),
    option(69, Addresses, &["smtp-server"]),
    option(70, Addresses, &["pop-server", "pop3-server"]),
    option(71, Addresses, &["nntp-server"]),
    option(72, Addresses, &["www-server"]),
    option(73, Addresses, &["finger-server"]),
    option(74, Addresses, &["irc-server"]),
    option(75, Addresses, &["streettalk-server"]),
    option(76, Addresses, &["streettalk-directory-assistance-server"]),
    option(85, Addresses, &["nds-servers"]),
    option(86, Text, &["nds-tree-name"]),
    option(87, Text, &["nds-context"]),
    option(88, Domains, &["bcms-controller-names"]),
    option(89, Addresses, &["bcms-controller-address"]),
    option(98, Text, &["uap-servers"]),
    option(100, Text, &["pcode", "posix-timezone"]),
    option(101, Text, &["tcode", "tzdb-timezone"]),
    option(108, U32, &["v6-only-preferred"]),
    option(114, Text, &["v4-captive-portal"]),
    option(116, U8, &["auto-config"]),
    option(117, U16s, &["name-service-search"]),
    option(119, Domains, &["domain-search"]),
    option(120, Bytes, &["sip-server", "sip-servers"]),
    option(124, Bytes, &["vivco-suboptions", "vendor-class-id"]),
    option(125, Bytes, &["vivso-suboptions", "vendor-id-encap"]),
    option(136, Addresses, &["pana-agent"]),
    option(137, Domains, &["v4-lost"]),
    option(138, Addresses, &["capwap-ac-v4"]),
    option(141, Domains, &["sip-ua-cs-domains"]),
    option(150, Addresses, &["tftp-server-address", "tftp-server-addresses"]),
    option(209, Text, &["pxelinux-configfile", "loader-configfile"]),
    option(210, Text, &["pxelinux-pathprefix", "loader-pathprefix"]),
    option(211, U32, &["pxelinux-reboottime", "loader-reboottime"]),
    option(213, Text, &["v4-access-domain"]),
    option(252, Text, &["wpad-url", "wpad"]),
];

/// Options that the server sets itself, and what to write instead.
const OWN: &[(u8, &[&str], &str)] = &[
    (0, &["pad"], "it is not an option"),
    (1, &["subnet-mask", "netmask"], "the subnet's `cidr` sets it"),
    (50, &["dhcp-requested-address"], "clients send it"),
    (51, &["dhcp-lease-time", "lease-time"], "the subnet's `lease` sets it"),
    (52, &["dhcp-option-overload"], "boot firmware reads the fields that it would use"),
    (53, &["dhcp-message-type"], "the server sets the type of each message"),
    (54, &["dhcp-server-identifier", "server-identifier"], "it is this server's address"),
    (55, &["dhcp-parameter-request-list"], "clients send it"),
    (56, &["dhcp-message"], "the server says why it refuses"),
    (57, &["dhcp-max-message-size"], "clients send it"),
    (58, &["dhcp-renewal-time", "T1"], "it is half of the subnet's `lease`"),
    (59, &["dhcp-rebinding-time", "T2"], "it is seven eighths of the subnet's `lease`"),
    (60, &["vendor-class-identifier", "vendor-class"], "the server sends what the client's firmware needs"),
    (61, &["dhcp-client-identifier", "client-id"], "it is the client's, sent back"),
    (77, &["user-class"], "clients send it"),
    (82, &["dhcp-agent-options", "agent-info"], "it is the relay's, sent back"),
    (90, &["authenticate"], "messages are not authenticated"),
    (93, &["client-system", "client-arch"], "clients send it"),
    (94, &["client-ndi", "client-interface-id"], "clients send it"),
    (97, &["uuid-guid", "client-machine-id"], "it is the client's, sent back"),
    (118, &["subnet-selection"], "it is the client's, sent back"),
    (121, &["classless-static-route", "classless-static-routes"], "write `routes` instead"),
    (175, &["etherboot", "ipxe-encap"], "the server sets what iPXE needs"),
    (249, &["microsoft-classless-static-route", "ms-classless-static-route"], "write `routes` instead"),
    (255, &["end"], "it is not an option"),
];

/// Why a key is not an option that an inventory may set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// The server's own; what to do instead.
    Own { code: u8, instead: &'static str },
    /// A number outside 1 to 254.
    Number,
    /// No such name, and the one that looks most like it.
    Name(Option<&'static str>),
}

/// The option that a key of an inventory names: a name, or a code from 1 to 254.
pub fn find(key: &str) -> Result<(u8, Form), Unknown> {
    if !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit()) {
        let code: u8 = key.parse().map_err(|_| Unknown::Number)?;
        return match OWN.iter().find(|(own, ..)| *own == code) {
            Some((code, _, instead)) => Err(Unknown::Own { code: *code, instead }),
            None => {
                Ok((code, KNOWN.iter().find(|known| known.code == code).map_or(Bytes, |known| known.form)))
            }
        };
    }
    if let Some(known) = KNOWN.iter().find(|known| known.names.contains(&key)) {
        return Ok((known.code, known.form));
    }
    if let Some((code, _, instead)) = OWN.iter().find(|(_, names, _)| names.contains(&key)) {
        return Err(Unknown::Own { code: *code, instead });
    }
    let names = KNOWN.iter().flat_map(|known| known.names).copied();
    Err(Unknown::Name(similar(key, names)))
}

/// What to call an option in messages: `ntp-servers (42)`, or the code alone.
pub fn name(code: u8) -> String {
    match KNOWN.iter().find(|known| known.code == code) {
        Some(known) => format!("{} ({code})", known.names[0]),
        None => code.to_string(),
    }
}

/// The key of an inventory that names this option.
pub fn key(code: u8) -> String {
    let known = KNOWN.iter().find(|known| known.code == code);
    known.map_or_else(|| code.to_string(), |known| known.names[0].to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_and_names_are_unique() {
        let codes = KNOWN.iter().map(|known| known.code).chain(OWN.iter().map(|(code, ..)| *code));
        let names = KNOWN.iter().flat_map(|known| known.names);
        let names: Vec<_> = names.chain(OWN.iter().flat_map(|(_, names, _)| *names)).collect();
        let codes: Vec<u8> = codes.collect();
        assert_eq!(codes.iter().collect::<BTreeSet<_>>().len(), codes.len());
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }

    #[test]
    fn keys_are_names_or_numbers() {
        assert_eq!(find("ntp-servers"), Ok((42, Addresses)));
        assert_eq!(find("ntp-server"), Ok((42, Addresses)), "dnsmasq's name");
        assert_eq!(find("42"), Ok((42, Addresses)));
        assert_eq!(find("224"), Ok((224, Bytes)));
        assert_eq!(find("ntp-sever"), Err(Unknown::Name(Some("ntp-server"))));
        assert_eq!(find("colour-of-the-sky"), Err(Unknown::Name(None)));
        for own in ["0", "53", "54", "51", "82", "255", "dhcp-lease-time", "121"] {
            assert!(matches!(find(own), Err(Unknown::Own { .. })), "{own}");
        }
        assert_eq!(find("256"), Err(Unknown::Number));
    }
}
