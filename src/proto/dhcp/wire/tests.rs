use proptest::prelude::*;

use super::*;

/// A client's datagram of 52:54:00:aa:00:01 with these options and END.
pub(crate) fn datagram(options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[..8].copy_from_slice(&[1, 1, 6, 1, 1, 2, 3, 4]);
    bytes[8..12].copy_from_slice(&[0, 9, 0x80, 0]);
    bytes[28..34].copy_from_slice(&[0x52, 0x54, 0, 0xaa, 0, 1]);
    bytes[236..].copy_from_slice(&COOKIE);
    bytes.extend_from_slice(options);
    bytes.push(END);
    bytes
}

pub(crate) fn option(code: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in value.chunks(255) {
        bytes.extend_from_slice(&[code, part.len() as u8]);
        bytes.extend_from_slice(part);
    }
    bytes
}

pub(crate) fn decode(bytes: &[u8]) -> Request<'_> {
    Request::decode(bytes).unwrap()
}

fn refusal(bytes: &[u8]) -> WireError {
    Request::decode(bytes).unwrap_err()
}

#[test]
fn reads_lists_joined_and_overloaded_options() {
    let mut bytes = datagram(
        &[
            option(53, &[1]),
            option(93, &[0, 7, 0, 11, 9]),
            option(60, b"PXE"),
            option(52, &[3]),
            vec![0, 0],
            option(60, b"Client"),
        ]
        .concat(),
    );
    bytes[108..113].copy_from_slice(&[60, 2, b':', b'A', 255]);
    bytes[44..48].copy_from_slice(&[60, 1, b'r', 255]);
    let request = decode(&bytes);
    assert_eq!(request.kind, MessageType::Discover);
    assert_eq!(request.architectures().collect::<Vec<_>>(), [7, 11]);
    assert_eq!(request.option(60), Some(&b"PXEClient:Ar"[..]));
    assert_eq!(request.header.fname(), None);
}

#[test]
fn reads_what_a_relay_adds() {
    let relay = [1, 3, b'e', b't', b'h', 5, 4, 10, 9, 0, 1, 11, 4, 10, 9, 0, 254, 9, 200, 1];
    let bytes = datagram(&[option(53, &[1]), option(82, &relay)].concat());
    let request = decode(&bytes);
    assert_eq!(request.relay_address(5), Some(Ipv4Addr::new(10, 9, 0, 1)));
    assert_eq!(request.relay_address(11), Some(Ipv4Addr::new(10, 9, 0, 254)));
    assert_eq!(request.relay_option(1), Some(&b"eth"[..]));
    assert_eq!(request.relay_option(9), None, "runs over the end");
}

#[test]
fn odd_values_of_hints_are_ignored() {
    let bytes = datagram(&[option(53, &[1]), option(97, &[0; 16]), option(12, b"a\x1b[31m\xff\0")].concat());
    let request = decode(&bytes);
    assert_eq!(request.machine_id(), None);
    assert_eq!(request.host_name().as_deref(), Some("a[31m\u{fffd}"));
    assert_eq!(request.max_size(), 576);
    assert!(request.wants(3));
}

#[test]
fn says_what_is_wrong() {
    let good = datagram(&option(53, &[1]));
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        refusal(&bytes)
    };
    assert_eq!(refusal(&good[..239]), WireError::Short(239));
    assert_eq!(refusal(&[]), WireError::Short(0));
    assert_eq!(with(0, 2), WireError::Operation(2));
    assert_eq!(with(1, 32), WireError::Hardware { kind: 32, length: 6 });
    assert_eq!(with(2, 255), WireError::Hardware { kind: 1, length: 255 });
    assert_eq!(with(28, 0x53), WireError::Mac(MacError::Multicast));
    assert_eq!(with(236, 0), WireError::Cookie([0, 130, 83, 99]));
    assert_eq!(refusal(&good[..240]), WireError::NoMessageType);
    let truncated = |code, length, left| WireError::Truncated { code, area: "options", length, left };
    assert_eq!(refusal(&good[..242]), truncated(53, 1, 0));
    assert_eq!(refusal(&good[..241]), truncated(53, 1, 0));
    assert!(Request::decode(&good[..243]).is_ok(), "END may be missing");
    let refuse = |code, value: &[u8]| refusal(&datagram(&[option(53, &[1]), option(code, value)].concat()));
    assert_eq!(refuse(50, &[1; 3]), WireError::Length { code: 50, length: 3, expected: 4 });
    assert_eq!(refuse(53, &[1]), WireError::Length { code: 53, length: 2, expected: 1 });
    assert_eq!(refuse(57, &[1]), WireError::Length { code: 57, length: 1, expected: 2 });
    assert_eq!(refuse(52, &[4]), WireError::Overload(4));
    let mut overloaded = datagram(&[option(53, &[1]), option(52, &[1])].concat());
    overloaded[234] = 60;
    overloaded[235] = 9;
    assert_eq!(
        refusal(&overloaded),
        WireError::Truncated { code: 60, area: "file field", length: 9, left: 0 }
    );
}

proptest! {
    #[test]
    fn options_survive_the_wire(
        values in prop::collection::btree_map(
            (1u8..255).prop_filter("fixed form", |code| ![50, 52, 53, 54, 57].contains(code)),
            prop::collection::vec(any::<u8>(), 1..600),
            0..8,
        ),
        kind in 1u8..9,
    ) {
        let mut area = option(53, &[kind]);
        for (code, value) in &values {
            area.extend(option(*code, value));
        }
        let bytes = datagram(&area);
        let request = decode(&bytes);
        prop_assert_eq!(u8::from(request.kind), kind);
        let read: BTreeMap<u8, Vec<u8>> = request
            .options
            .iter()
            .filter(|(code, _)| **code != 53)
            .map(|(code, value)| (*code, value.to_vec()))
            .collect();
        prop_assert_eq!(read, values);
    }

    #[test]
    fn no_bytes_panic(noise in prop::collection::vec(any::<u8>(), 0..700), plain in any::<bool>()) {
        let bytes = if plain { noise } else { datagram(&noise) };
        if let Ok(request) = Request::decode(&bytes) {
            let _ = (request.architectures().count(), request.host_name(), request.max_size());
            let _ = (request.relay_address(5), request.machine_id(), request.wants(3));
        }
    }
}
