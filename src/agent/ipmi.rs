//! The address of the machine's management controller, which the controller says itself (IPMI v2.0 rev. 1.1, sections
//! 22.24 and 23.2). Nothing is changed there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A question to the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub netfn: u8,
    pub command: u8,
    pub data: Vec<u8>,
}

const APPLICATION: u8 = 0x06;
const TRANSPORT: u8 = 0x0c;
const GET_CHANNEL_INFO: u8 = 0x42;
const GET_LAN_PARAMETERS: u8 = 0x02;
/// Those that a controller may have for networks.
const CHANNELS: std::ops::RangeInclusive<u8> = 1..=11;
/// The medium of a channel that is a network (table 6-3).
const NETWORK: u8 = 0x04;
/// Parameters of a network (table 23-4).
const IPV4_ADDRESS: u8 = 3;
const IPV6_STATIC: u8 = 56;
const IPV6_DYNAMIC: u8 = 59;

/// The first address of the controller. `ask` returns what follows the completion code of an answer that is one.
pub fn address(ask: &mut dyn FnMut(Question) -> Option<Vec<u8>>) -> Option<IpAddr> {
    CHANNELS.into_iter().find_map(|channel| {
        let question = Question { netfn: APPLICATION, command: GET_CHANNEL_INFO, data: vec![channel] };
        let is_network = ask(question)?.get(1).is_some_and(|medium| medium & 0x7f == NETWORK);
        if !is_network {
            return None;
        }
        let mut read = |parameter: u8| {
            let data = vec![channel, parameter, 0, 0];
            let answer = ask(Question { netfn: TRANSPORT, command: GET_LAN_PARAMETERS, data })?;
            // The first byte is the revision of the parameter.
            Some(answer.get(1..)?.to_vec())
        };
        let v4 = read(IPV4_ADDRESS).and_then(|bytes| ipv4(&bytes)).map(IpAddr::V4);
        v4.or_else(|| {
            [IPV6_STATIC, IPV6_DYNAMIC].into_iter().find_map(|one| ipv6(&read(one)?)).map(IpAddr::V6)
        })
    })
}

fn ipv4(bytes: &[u8]) -> Option<Ipv4Addr> {
    let bytes: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
    let address = Ipv4Addr::from(bytes);
    (!address.is_unspecified() && !address.is_broadcast()).then_some(address)
}

/// Behind the number of the address and where it is from.
fn ipv6(bytes: &[u8]) -> Option<Ipv6Addr> {
    let bytes: [u8; 16] = bytes.get(2..18)?.try_into().ok()?;
    let address = Ipv6Addr::from(bytes);
    (!address.is_unspecified() && !address.is_unicast_link_local()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parameters = &'static [(u8, &'static [u8])];

    /// A controller whose second channel is a network with these parameters.
    fn controller(parameters: Parameters) -> impl FnMut(Question) -> Option<Vec<u8>> {
        move |question| match (question.netfn, question.command, &question.data[..]) {
            (APPLICATION, GET_CHANNEL_INFO, [channel]) => match channel {
                1 => Some(vec![1, 0x05, 1]),
                2 => Some(vec![2, NETWORK, 1]),
                _ => None,
            },
            (TRANSPORT, GET_LAN_PARAMETERS, [2, wanted, 0, 0]) => {
                let (_, bytes) = parameters.iter().find(|(own, _)| own == wanted)?;
                Some([&[0x11][..], bytes].concat())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_controller_says_its_address() {
        assert_eq!(address(&mut controller(&[(3, &[10, 0, 99, 11])])), Some([10, 0, 99, 11].into()));
        const SIX: [u8; 20] = [0, 0x80, 0xfd, 0, 0, 0x99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x11, 64, 0];
        let six = Some("fd00:99::11".parse().unwrap());
        assert_eq!(address(&mut controller(&[(3, &[0, 0, 0, 0]), (56, &SIX)])), six);
        assert_eq!(address(&mut controller(&[(56, &[0; 20]), (59, &SIX)])), six);
    }

    #[test]
    fn what_is_no_address_is_none() {
        const NONE: [Parameters; 5] =
            [&[], &[(3, &[])], &[(3, &[10, 0])], &[(3, &[0, 0, 0, 0])], &[(56, &[0, 0x80, 0xfe])]];
        for parameters in NONE {
            assert_eq!(address(&mut controller(parameters)), None, "{parameters:?}");
        }
        assert_eq!(address(&mut |_| None), None);
        assert_eq!(address(&mut |_| Some(Vec::new())), None);
    }
}
