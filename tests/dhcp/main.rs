//! DHCP decisions, driven from outside: exchanges of every kind, and what real clients sent.

mod battery;
mod boot_file;
mod boot_once;
mod conformance;
mod conformance6;
mod discovery;
mod exchange;
mod identity;
mod ipv6;
mod lab;
mod learned;
mod message;
mod modes;
mod networks;
mod options;
mod pcap;
mod property;
mod reasons;
mod reasons6;
mod replay;
mod sheet;
