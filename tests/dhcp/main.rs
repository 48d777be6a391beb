//! DHCP decisions, driven from outside: exchanges of every kind, and what real clients sent.

mod boot_file;
mod conformance;
mod conformance6;
mod exchange;
mod ipv6;
mod lab;
mod message;
mod options;
mod pcap;
mod property;
mod reasons;
mod replay;
mod sheet;
