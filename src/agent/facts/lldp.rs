//! What a switch says of itself (IEEE 802.1AB-2016, clause 8): type-length-value triples.

use std::net::Ipv4Addr;

use crate::api::agent::Neighbour;

const END: u8 = 0;
const CHASSIS: u8 = 1;
const PORT: u8 = 2;
const PORT_TEXT: u8 = 4;
const SYSTEM: u8 = 5;

/// Reads the payload of a frame of Ethernet type 0x88cc; `None` without a chassis and a port.
pub fn neighbour(payload: &[u8]) -> Option<Neighbour> {
    let (mut chassis, mut port, mut system, mut text) = (None, None, None, None);
    let mut rest = payload;
    while let [high, low, more @ ..] = rest {
        let head = u16::from_be_bytes([*high, *low]);
        let (kind, length) = ((head >> 9) as u8, usize::from(head & 0x1ff));
        let value = more.get(..length)?;
        rest = &more[length..];
        match kind {
            END => break,
            // Where the hardware address and the name stand among the subtypes differs (8.5.2.2, 8.5.3.2).
            CHASSIS => chassis = identity(value, 4, 5),
            PORT => port = identity(value, 3, 4),
            PORT_TEXT => text = words(value),
            SYSTEM => system = words(value),
            _ => {}
        }
    }
    let chassis = chassis?;
    Some(Neighbour { system: system.unwrap_or(chassis), port: port.or(text)? })
}

fn identity(value: &[u8], mac: u8, network: u8) -> Option<String> {
    let (kind, value) = value.split_first()?;
    match value {
        _ if *kind == mac => {
            let pairs: Vec<String> = value.iter().map(|byte| format!("{byte:02x}")).collect();
            Some(pairs.join(":"))
        }
        // Family 1 is IPv4.
        [1, a, b, c, d] if *kind == network => Some(Ipv4Addr::new(*a, *b, *c, *d).to_string()),
        _ => words(value),
    }
}

fn words(value: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(value);
    let text = text.trim_matches(|sign: char| sign.is_whitespace() || sign == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(parts: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, value) in parts {
            bytes.extend(((u16::from(*kind) << 9) | value.len() as u16).to_be_bytes());
            bytes.extend_from_slice(value);
        }
        bytes
    }

    #[test]
    fn switches_are_read() {
        let mac: &[u8] = &[4, 2, 0, 0, 0, 0, 1];
        let named =
            frame(&[(1, mac), (2, b"\x05Gi1/0/7"), (3, &[0, 120]), (4, b"uplink"), (5, b"sw1"), (0, &[])]);
        assert_eq!(neighbour(&named), Some(Neighbour { system: "sw1".into(), port: "Gi1/0/7".into() }));
        let bare = frame(&[(1, mac), (2, &[3, 2, 0, 0, 0, 0, 2]), (3, &[0, 120])]);
        assert_eq!(
            neighbour(&bare),
            Some(Neighbour { system: "02:00:00:00:00:01".into(), port: "02:00:00:00:00:02".into() })
        );
        let address = frame(&[(1, &[5, 1, 10, 0, 0, 1]), (2, b"\x07 "), (4, b"port 7")]);
        assert_eq!(neighbour(&address), Some(Neighbour { system: "10.0.0.1".into(), port: "port 7".into() }));
        assert_eq!(neighbour(&frame(&[(2, b"\x05x")])), None);
        assert_eq!(neighbour(&named[..12]), None);
    }

    proptest::proptest! {
        #[test]
        fn noise_is_harmless(bytes: Vec<u8>) {
            neighbour(&bytes);
        }
    }
}
