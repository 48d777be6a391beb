//! Which boot file each kind of client gets.

use voldemort::model::ClientArch;
use voldemort::proto::dhcp::boot_file::{BootFile, Booter};
use voldemort::proto::dhcp::client::{Client, ClientKind};

use super::lab::{Lab, mac};

fn choose(kind: ClientKind, code: u16, names: &[&'static str]) -> BootFile {
    let state = Lab::new(vec![]).loaders(names).state("10.0.0.1");
    let mut server = (**state.server()).clone();
    server.http_port = 8080;
    let client = Client { kind, arch: ClientArch::from_code(code) };
    let mac = mac("52:54:00:aa:00:01");
    let booter = Booter { client: &client, mac, machine: None, boot: None, experience: Default::default() };
    BootFile::of(&booter, &server, server.address).0
}

const ALL: [&str; 5] = ["undionly.kpxe", "snponly.efi", "ipxe.efi", "ipxe-arm64.efi", "shimx64.efi"];

#[test]
fn every_client_gets_its_program() {
    let name = |text: &str| BootFile::Name(text.into());
    let url = |text: &str| BootFile::Url(text.into());
    assert_eq!(choose(ClientKind::Pxe, 0, &ALL), name("undionly.kpxe"));
    assert_eq!(choose(ClientKind::Pxe, 7, &ALL), name("snponly.efi"));
    assert_eq!(choose(ClientKind::Pxe, 9, &ALL[2..]), name("ipxe.efi"));
    assert_eq!(choose(ClientKind::Pxe, 9, &ALL[4..]), name("shimx64.efi"));
    assert_eq!(choose(ClientKind::Pxe, 11, &ALL), name("ipxe-arm64.efi"));
    assert_eq!(choose(ClientKind::Http, 16, &ALL), url("http://10.0.0.1:8080/loader/snponly.efi"));
    let script = url("http://10.0.0.1:8080/ipxe/52-54-00-aa-00-01.ipxe");
    assert_eq!(choose(ClientKind::Ipxe { capable: true }, 7, &[]), script);
    assert_eq!(choose(ClientKind::Ipxe { capable: false }, 0, &ALL), url("tftp://10.0.0.1/undionly.kpxe"));
    assert_eq!(choose(ClientKind::System, 0, &ALL), BootFile::Nothing);
}

#[test]
fn what_is_missing_is_named() {
    let missing = |text: &str| BootFile::Missing(text.into());
    assert_eq!(
        choose(ClientKind::Pxe, 11, &["undionly.kpxe"]),
        missing(
            "no snponly-arm64.efi or ipxe-arm64.efi or shimaa64.efi or grubaa64.efi for aarch64 uefi among the firmware files"
        )
    );
    assert_eq!(choose(ClientKind::Pxe, 26, &ALL), missing("its architecture (option 93) is unknown"));
}
