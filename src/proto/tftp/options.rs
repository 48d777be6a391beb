//! The options that client and server agree on before the first block.

use std::time::Duration;

use super::packet::Request;

/// Block size without the option, in bytes (RFC 1350).
pub const DEFAULT_BLOCK: u16 = 512;
/// Smallest block size that may be asked for (RFC 2348).
const MIN_BLOCK: u16 = 8;
/// Largest block size that may be asked for (RFC 2348).
pub const MAX_BLOCK: u16 = 65464;
/// Largest window granted, in blocks.
pub const MAX_WINDOW: u16 = 64;
/// IP, UDP and TFTP headers in front of the data, in bytes.
const HEADERS: u16 = 32;
/// Ethernet's largest packet, in bytes. The path MTU of this host says nothing about the client's card: on
/// a host with jumbo frames the switch would drop larger blocks, every time.
const USUAL_MTU: u16 = 1500;
/// The range of `utimeout`, in microseconds (tftp-hpa).
const MICROSECONDS: std::ops::RangeInclusive<u64> = 10_000..=255_000_000;

/// The agreed shape of a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Data bytes in each block but the last.
    pub block: u16,
    /// Blocks sent before an acknowledgement is awaited.
    pub window: u16,
    /// The time-out that the client asks for.
    pub timeout: Option<Duration>,
    /// The OACK packet, if any option was accepted.
    pub reply: Option<Vec<u8>>,
}

impl Grant {
    /// Answers the options of `request`: never more than was asked for, and nothing that was not asked for.
    /// `size` is the exact number of bytes to come, `None` where it is unknown (netascii). `mtu` is the
    /// path's, in bytes: no block is sent in fragments, which boot ROMs often cannot reassemble.
    pub fn negotiate(request: &Request<'_>, size: Option<u64>, mtu: u16) -> Grant {
        let mut grant = Grant { block: DEFAULT_BLOCK, window: 1, timeout: None, reply: None };
        let mut reply = vec![0, 6];
        for (index, (name, value)) in request.options.iter().enumerate() {
            let earlier = &request.options[..index];
            if earlier.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
                continue;
            }
            if let Some(answer) = grant.accept(name, value, size, mtu) {
                reply.extend([name, &b"\0"[..], answer.to_string().as_bytes(), b"\0"].concat());
            }
        }
        grant.reply = (reply.len() > 2).then_some(reply);
        grant
    }

    /// The value to answer, or `None` to leave the option out.
    fn accept(&mut self, name: &[u8], value: &[u8], size: Option<u64>, mtu: u16) -> Option<u64> {
        let asked: u64 = std::str::from_utf8(value).ok()?.trim().parse().ok()?;
        let at_most = |limit: u16| u16::try_from(asked).unwrap_or(u16::MAX).min(limit);
        match name.to_ascii_lowercase().as_slice() {
            b"blksize" if asked >= MIN_BLOCK.into() => {
                let fitting = mtu.min(USUAL_MTU).saturating_sub(HEADERS).clamp(MIN_BLOCK, MAX_BLOCK);
                self.block = at_most(fitting);
                Some(self.block.into())
            }
            b"windowsize" if asked >= 1 => {
                self.window = at_most(MAX_WINDOW);
                Some(self.window.into())
            }
            b"tsize" => size,
            // U-Boot gives up if another value comes back.
            b"timeout" => {
                let seconds = u8::try_from(asked).ok().filter(|seconds| *seconds > 0)?;
                self.timeout = Some(Duration::from_secs(seconds.into()));
                Some(asked)
            }
            b"utimeout" if MICROSECONDS.contains(&asked) => {
                self.timeout = Some(Duration::from_micros(asked));
                Some(asked)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::tftp::{Mode, Packet};

    fn grant(options: &str) -> Grant {
        let options = options.replace(['=', ' '], "\0");
        let datagram = [b"\0\x01x\0octet\0", options.as_bytes(), b"\0"].concat();
        let Ok(Packet::Read(request)) = Packet::parse(&datagram) else { panic!("{options}") };
        assert_eq!(request.mode, Mode::Octet);
        Grant::negotiate(&request, Some(1_000_000), 1500)
    }

    fn reply(options: &str) -> String {
        let packet = grant(options).reply.unwrap_or_default();
        String::from_utf8(packet).unwrap().replace('\0', " ").replacen(" \u{6}", "", 1).trim_end().to_owned()
    }

    #[test]
    fn each_loader_gets_what_it_asked_for() {
        assert_eq!(reply("tsize=0 blksize=1468 windowsize=4"), "tsize 1000000 blksize 1468 windowsize 4");
        assert_eq!(reply("blksize=1432 tsize=0"), "blksize 1432 tsize 1000000");
        assert_eq!(reply("timeout=5 blksize=1468"), "timeout 5 blksize 1468");
        assert_eq!(reply("BLKSIZE=1024 multicast="), "BLKSIZE 1024");
    }

    #[test]
    fn never_more_than_fits() {
        assert_eq!(reply("blksize=65464 windowsize=65535"), "blksize 1468 windowsize 64");
        assert_eq!(reply("blksize=99999 blksize=512"), "blksize 1468");
        let wide = [(&b"blksize"[..], &b"1468"[..])];
        let request = Request { name: b"x", mode: Mode::Octet, options: wide.to_vec() };
        assert_eq!(Grant::negotiate(&request, None, 1400).block, 1368);
        let jumbo = Request { options: vec![(&b"blksize"[..], &b"65464"[..])], ..request.clone() };
        assert_eq!(Grant::negotiate(&jumbo, None, 9000).block, 1468);
        assert_eq!(Grant::negotiate(&jumbo, None, u16::MAX).block, 1468);
        assert_eq!(Grant::negotiate(&request, None, 20).block, 8);
    }

    #[test]
    fn nonsense_is_left_out() {
        assert_eq!(reply("utimeout=250000"), "utimeout 250000");
        assert_eq!(grant("utimeout=250000").timeout, Some(Duration::from_millis(250)));
        for options in [
            "utimeout=9999",
            "utimeout=255000001",
            "blksize=7",
            "blksize=x",
            "windowsize=0",
            "timeout=0",
            "timeout=256",
            "other=1",
            "",
        ] {
            assert_eq!(grant(options).reply, None, "{options}");
        }
        assert_eq!((grant("").block, grant("").window), (512, 1));
        let size = [(&b"tsize"[..], &b"0"[..])];
        let text = Request { name: b"x", mode: Mode::Netascii, options: size.to_vec() };
        assert_eq!(Grant::negotiate(&text, None, 1500).reply, None);
    }
}
