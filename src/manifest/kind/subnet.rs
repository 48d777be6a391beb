//! `[subnet.NAME]`: a network.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::table::table;
use super::{Extra, Kind, Power};
use crate::manifest::Marked;
use crate::manifest::shape::Form;
use crate::manifest::shape::Shape::*;
use crate::model::{Advertise, Cidr, Cidr6, Idle, Mode, Name, Range, Range6, Span, Unknown};

table! {
    pub struct Subnet: "subnets", "A network the daemon serves." {
        cidr: Option<Marked<Cidr>> = may "cidr": Text(Form::Cidr),
            "The network, as in \"10.0.10.0/24\"; without it the subnet has IPv6 alone.";
        gateway: Option<Marked<Ipv4Addr>> = may "gateway": Text(Form::Address),
            "Router that machines use.";
        dns: Vec<Marked<Ipv4Addr>> = may "dns": Several(&Text(Form::Address)),
            "Name servers that machines use.";
        domain: Option<Marked<Arc<str>>> = may "domain": Text(Form::HostName),
            "Domain of the machines' host names.";
        dynamic: Vec<Marked<Range>> = may "dynamic": Several(&Text(Form::Range)),
            "Addresses for machines without a fixed one, as in \"10.0.10.100-10.0.10.199\". Without it unknown \
             machines get no answer.";
        lease: Option<Marked<Span>> = may "lease": Text(Form::Duration),
            "How long a dynamic address is lent, as in \"8h\"; one hour if absent.";
        shares: Option<Marked<Name>> = may "shares": Text(Form::Name(Kind::Subnet)),
            "Another subnet that is on the same link: machines there may get addresses of both.";
        mode: Option<Marked<Mode>> = may "mode": Text(Form::Choice(Mode::NAMES)),
            "What the daemon does there, if its own file allows more: \"proxy\" leaves addresses to another \
             DHCP server, \"listen\" answers nothing and reports what it would, \"off\" is silent.";
        unknown: Option<Marked<Unknown>> = may "unknown": Text(Form::Choice(Unknown::NAMES)),
            "What a network boot of a machine that no manifest declares is answered: \"ignore\" (as without the key), \
             nothing; \"discover\", our agent once, which reports the hardware and hands over to the machine's own \
             disk; \"register\", the same, and a manifest is written for it.";
        idle: Option<Marked<Idle>> = may "idle": Text(Form::Choice(Idle::NAMES)),
            "What our agent does on a machine that nobody has: \"reboot\" (as without the key), \"off\", or \"wait\" \
             for the next claim.";
        power: Option<Power> = may "power": Table(Power::FIELDS),
            "How machines are switched that are registered there, without `url` and `address`: their management controllers' \
             addresses are among what our agent finds out.";
        ipv6: Option<Ipv6> = may "ipv6": Table(Ipv6::FIELDS),
            "IPv6 on the same link; without it the daemon does not use IPv6 there.";
        ..extra: Extra;
    }
    either: ["cidr", "ipv6"];
}

table! {
    pub struct Ipv6: "`ipv6` tables",
        "IPv6 on a subnet's link: DHCPv6, network boots over IPv6 and, if wanted, router advertisements."
    {
        cidr: Option<Marked<Cidr6>> = must "cidr": Text(Form::Cidr6),
            "The network, as in \"fd00:10::/64\". This host needs an address in it.";
        dynamic: Vec<Marked<Range6>> = may "dynamic": Several(&Text(Form::Range6)),
            "Addresses for machines without a fixed one, as in \"fd00:10::1000-fd00:10::1fff\". Without it unknown \
             machines get no answer.";
        dns: Vec<Marked<Ipv6Addr>> = may "dns": Several(&Text(Form::Address6)),
            "Name servers that machines use.";
        ra: Option<Marked<Advertise>> = may "ra": Text(Form::Choice(Advertise::NAMES)),
            "Router advertisements: \"managed\" sends machines to DHCPv6 for their address, \"slaac\" has them \
             make their own, \"other\" leaves addresses to another router; \"off\" (or absent) sends none.";
        router: Option<Marked<bool>> = may "router": Boolean,
            "Whether the advertisements make this host the default router; false if absent.";
    }
}
