//! The six packets on the wire.

/// Longest text in an ERROR packet, in bytes: old ROMs print it into a fixed line.
const MAX_ERROR_TEXT: usize = 120;

/// A packet from a client. DATA and OACK are never sent to a server and stay unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    Read(Request<'a>),
    Write,
    Ack(u16),
    Error { code: u16, text: String },
}

/// What a read request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// As on the wire: see [`crate::proto::path::tftp_name`].
    pub name: &'a [u8],
    pub mode: Mode,
    /// Names and values in the order they came.
    pub options: Vec<(&'a [u8], &'a [u8])>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Octet,
    Netascii,
}

/// Why a datagram is no packet for a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    #[error("the packet is truncated")]
    Short,
    #[error("operation {0} is not one a client sends")]
    Operation(u16),
    #[error("the transfer mode is neither octet nor netascii")]
    Mode,
}

/// Error codes of RFC 1350 that this server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    Undefined = 0,
    NotFound = 1,
    Access = 2,
    Illegal = 4,
    UnknownTransfer = 5,
}

impl<'a> Packet<'a> {
    /// Reads one datagram. Bytes after the packet are ignored: some ROMs pad.
    pub fn parse(datagram: &'a [u8]) -> Result<Packet<'a>, PacketError> {
        let (operation, rest) = number(datagram)?;
        match operation {
            1 => request(rest).map(Packet::Read),
            2 => Ok(Packet::Write),
            4 => Ok(Packet::Ack(number(rest)?.0)),
            5 => {
                let (code, text) = number(rest)?;
                let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
                Ok(Packet::Error { code, text: String::from_utf8_lossy(text).into_owned() })
            }
            other => Err(PacketError::Operation(other)),
        }
    }
}

fn number(bytes: &[u8]) -> Result<(u16, &[u8]), PacketError> {
    let (number, rest) = bytes.split_first_chunk().ok_or(PacketError::Short)?;
    Ok((u16::from_be_bytes(*number), rest))
}

/// A truncated list of options is read up to the break.
fn request(bytes: &[u8]) -> Result<Request<'_>, PacketError> {
    let (name, rest) = text(bytes).ok_or(PacketError::Short)?;
    let (mode, mut rest) = text(rest).ok_or(PacketError::Short)?;
    let mode = match mode {
        mode if mode.eq_ignore_ascii_case(b"octet") => Mode::Octet,
        mode if mode.eq_ignore_ascii_case(b"netascii") => Mode::Netascii,
        _ => return Err(PacketError::Mode),
    };
    let mut options = Vec::new();
    while let Some((option, tail)) = text(rest) {
        let Some((value, tail)) = text(tail) else { break };
        options.push((option, value));
        rest = tail;
    }
    Ok(Request { name, mode, options })
}

/// The bytes before the next NUL, and what follows it.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// The four bytes in front of block `number`'s data; numbers roll over from 65535 to 0.
pub fn data_header(number: u64) -> [u8; 4] {
    let [high, low] = (number as u16).to_be_bytes();
    [0, 3, high, low]
}

/// An ERROR packet; `text` is made printable ASCII and cut to what old ROMs can show.
pub fn error(code: ErrorCode, text: &str) -> Vec<u8> {
    let mut packet = vec![0, 5, 0, code as u8];
    let printable = |c: char| if c.is_ascii_graphic() || c == ' ' { c as u8 } else { b'?' };
    packet.extend(text.chars().take(MAX_ERROR_TEXT).map(printable));
    packet.push(0);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_real_firmware_is_read() {
        // OVMF asking for iPXE (captures/noping-uefi-pxe4.pcap).
        let datagram = b"\0\x01ipxe.efi\0octet\0blksize\x001468\0windowsize\x004\0";
        let Ok(Packet::Read(request)) = Packet::parse(datagram) else { panic!("not read") };
        assert_eq!((request.name, request.mode), (&b"ipxe.efi"[..], Mode::Octet));
        assert_eq!(request.options, [(&b"blksize"[..], &b"1468"[..]), (b"windowsize", b"4")]);
    }

    #[test]
    fn a_broken_option_list_ends_at_the_break() {
        let Ok(Packet::Read(request)) = Packet::parse(b"\0\x01x\0OcTeT\0blksize\x00512\0tsize\0") else {
            panic!("not read")
        };
        assert_eq!(request.options.len(), 1);
    }

    #[test]
    fn any_prefix_of_a_packet_is_survived() {
        let datagram = b"\0\x01x\0netascii\0blksize\x00512\0";
        for end in 0..datagram.len() {
            let _ = Packet::parse(&datagram[..end]);
        }
        assert_eq!(Packet::parse(b""), Err(PacketError::Short));
        assert_eq!(Packet::parse(b"\0\x04\x01"), Err(PacketError::Short));
        assert_eq!(Packet::parse(b"\0\x01x\0mail\0"), Err(PacketError::Mode));
        assert_eq!(Packet::parse(b"\0\x03\0\x01x"), Err(PacketError::Operation(3)));
    }

    #[test]
    fn errors_are_short_and_printable() {
        assert_eq!(error(ErrorCode::NotFound, "no\nfile é"), b"\0\x05\0\x01no?file ?\0");
        assert_eq!(error(ErrorCode::Access, &"x".repeat(999)).len(), 4 + MAX_ERROR_TEXT + 1);
        let packet = Packet::parse(b"\0\x05\0\x08User aborted the transfer\0").unwrap();
        assert_eq!(packet, Packet::Error { code: 8, text: "User aborted the transfer".into() });
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_break_the_reader(operation in 0..8u8, bytes: Vec<u8>) {
            let _ = Packet::parse(&[&[0, operation], bytes.as_slice()].concat());
        }
    }
}
