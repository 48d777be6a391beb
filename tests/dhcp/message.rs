//! Datagrams of clients, and answers made readable.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use voldemort::model::Mac;

/// A client's message under construction.
#[derive(Clone)]
pub(crate) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    pub(crate) fn new(mac: Mac, kind: u8) -> Message {
        let mut bytes = vec![0; 240];
        bytes[..3].copy_from_slice(&[1, 1, 6]);
        bytes[4..8].copy_from_slice(&[0xca, 0xfe, 0, 1]);
        bytes[28..34].copy_from_slice(&mac.octets());
        bytes[236..].copy_from_slice(&[99, 130, 83, 99]);
        Message { bytes }.option(53, &[kind])
    }

    pub(crate) fn discover(mac: Mac) -> Message {
        Message::new(mac, 1)
    }

    pub(crate) fn request(mac: Mac) -> Message {
        Message::new(mac, 3)
    }

    pub(crate) fn option(mut self, code: u8, value: &[u8]) -> Message {
        self.bytes.extend_from_slice(&[code, value.len() as u8]);
        self.bytes.extend_from_slice(value);
        self
    }

    pub(crate) fn wants(self, address: &str) -> Message {
        self.option(50, &super::lab::ip(address).octets())
    }

    pub(crate) fn server(self, address: &str) -> Message {
        self.option(54, &super::lab::ip(address).octets())
    }

    pub(crate) fn ciaddr(self, address: &str) -> Message {
        self.field(12, address)
    }

    pub(crate) fn relay(self, address: &str) -> Message {
        self.field(24, address)
    }

    fn field(mut self, at: usize, address: &str) -> Message {
        self.bytes[at..at + 4].copy_from_slice(&super::lab::ip(address).octets());
        self
    }

    pub(crate) fn broadcast(mut self) -> Message {
        self.bytes[10] = 0x80;
        self
    }

    pub(crate) fn pxe_bios(self) -> Message {
        self.option(60, b"PXEClient:Arch:00000:UNDI:002001").option(93, &[0, 0])
    }

    pub(crate) fn pxe_uefi(self) -> Message {
        self.option(60, b"PXEClient:Arch:00007:UNDI:003000").option(93, &[0, 7])
    }

    pub(crate) fn http_uefi(self) -> Message {
        self.option(60, b"HTTPClient:Arch:00016:UNDI:003000").option(93, &[0, 16])
    }

    pub(crate) fn ipxe(self) -> Message {
        self.pxe_bios().option(77, b"iPXE").option(175, &[0x13, 1, 1, 0x18, 1, 1])
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        [&self.bytes[..], &[255]].concat()
    }
}

/// An answer, taken apart without the code under test.
#[derive(Debug)]
pub(crate) struct Answer {
    bytes: Vec<u8>,
    pub options: Vec<(u8, Vec<u8>)>,
}

impl Answer {
    pub(crate) fn read(bytes: &[u8]) -> Answer {
        assert!(bytes.len() >= 300, "shorter than a BOOTP message: {}", bytes.len());
        assert_eq!((bytes[0], &bytes[236..240]), (2, &[99, 130, 83, 99][..]));
        let mut options = Vec::new();
        let mut at = 240;
        while bytes[at] != 255 {
            let end = at + 2 + usize::from(bytes[at + 1]);
            options.push((bytes[at], bytes[at + 2..end].to_vec()));
            at = end;
        }
        assert!(bytes[at + 1..].iter().all(|byte| *byte == 0));
        Answer { bytes: bytes.to_vec(), options }
    }

    pub(crate) fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.iter().find(|(one, _)| *one == code).map(|(_, value)| &**value)
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn kind(&self) -> u8 {
        self.option(53).unwrap()[0]
    }

    pub(crate) fn address(&self, at: usize) -> Ipv4Addr {
        <[u8; 4]>::try_from(&self.bytes[at..at + 4]).unwrap().into()
    }

    pub(crate) fn yiaddr(&self) -> Ipv4Addr {
        self.address(16)
    }

    pub(crate) fn lease(&self) -> Option<u32> {
        Some(u32::from_be_bytes(self.option(51)?.try_into().unwrap()))
    }

    pub(crate) fn file(&self) -> String {
        let field = &self.bytes[108..236];
        let end = field.iter().position(|byte| *byte == 0).unwrap();
        String::from_utf8(field[..end].to_vec()).unwrap()
    }

    pub(crate) fn is_broadcast(&self) -> bool {
        self.bytes[10] & 0x80 != 0
    }

    /// One line for each thing it says.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (name, at) in [("ciaddr", 12), ("yiaddr", 16), ("siaddr", 20), ("giaddr", 24)] {
            if !self.address(at).is_unspecified() {
                let _ = writeln!(text, "      {name} {}", self.address(at));
            }
        }
        if !self.file().is_empty() {
            let _ = writeln!(text, "      file {:?}", self.file());
        }
        for (code, value) in &self.options {
            let shown = match code {
                1 | 3 | 6 | 28 | 54 if value.len() == 4 => {
                    Ipv4Addr::new(value[0], value[1], value[2], value[3]).to_string()
                }
                51 | 58 | 59 => format!("{} s", u32::from_be_bytes((**value).try_into().unwrap())),
                12 | 15 | 56 | 60 | 66 | 67 => format!("{:?}", String::from_utf8_lossy(value)),
                _ => value.iter().map(|byte| format!("{byte:02x}")).collect(),
            };
            let _ = writeln!(text, "      {code} {shown}");
        }
        let _ = writeln!(text, "      {} bytes", self.bytes.len());
        text
    }
}
