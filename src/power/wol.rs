//! Wake-on-LAN: a packet that wakes a machine; it has no reply. Whether it helped is seen when the machine speaks on the
//! network.

use std::net::{Ipv4Addr, SocketAddrV4};

use tokio::net::UdpSocket;

use super::driver::{Answer, Broadcast, Driver, Failure, Question, Sending};
use super::{Fault, Login, Read};
use crate::model::{Capabilities, Mac, PowerKind, PowerStep};

pub(super) struct Wol;

/// Packets are lost, and cost nothing.
const TIMES: usize = 3;

impl Driver for Wol {
    fn capabilities(&self) -> Capabilities {
        PowerKind::Wol.capabilities()
    }

    fn unread(&self) -> &'static str {
        "wake-on-LAN can't report the power state"
    }

    fn read<'a>(&'a self, _question: Question<'a>) -> Answer<'a, Read> {
        Box::pin(std::future::ready(Err(Fault::NotReported(PowerKind::Wol))))
    }

    fn send<'a>(&'a self, question: Question<'a>, step: PowerStep) -> Sending<'a> {
        Box::pin(async move {
            match step {
                PowerStep::On => wake(&question).await.map_err(Failure::from),
                step => Err(Fault::Unable(PowerKind::Wol, step).into()),
            }
        })
    }
}

/// Sends the packets of every card of a machine to every network that it may be on. One that gets away is enough.
async fn wake(question: &Question<'_>) -> Result<(), Fault> {
    let password = question.login.map(|login| secure_on(login).ok_or(Fault::BadSecureOn)).transpose()?;
    let mut last = "the daemon serves no network that it could be on".to_owned();
    let mut sent = false;
    for network in question.networks {
        for _ in 0..TIMES {
            for mac in question.macs {
                match send(network, question.tools.wake_port, &packet(*mac, password.as_ref())).await {
                    Ok(()) => sent = true,
                    Err(error) => last = format!("{}: {error}", network.to),
                }
            }
        }
    }
    if sent { Ok(()) } else { Err(Fault::NotSent(last)) }
}

async fn send(network: &Broadcast, port: u16, packet: &[u8]) -> std::io::Result<()> {
    let from = network.from.unwrap_or(Ipv4Addr::UNSPECIFIED);
    let socket = UdpSocket::bind(SocketAddrV4::new(from, 0)).await?;
    socket.set_broadcast(true)?;
    socket.send_to(packet, SocketAddrV4::new(network.to, port)).await.map(drop)
}

/// Six bytes of ones, the address sixteen times, and the SecureOn password if the card has one (AMD publication
/// 20213, "Magic Packet Technology").
fn packet(mac: Mac, password: Option<&[u8; 6]>) -> Vec<u8> {
    let mut packet = vec![0xff; 6];
    for _ in 0..16 {
        packet.extend_from_slice(&mac.octets());
    }
    packet.extend(password.into_iter().flatten());
    packet
}

/// Six bytes, written as a hardware address is.
fn secure_on(login: &Login) -> Option<[u8; 6]> {
    let digits: String = login.password.trim().chars().filter(|c| !matches!(c, ':' | '-')).collect();
    let mut bytes = [0; 6];
    let is_hex = digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    for (at, byte) in bytes.iter_mut().enumerate().filter(|_| is_hex) {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
    }
    is_hex.then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_has_the_address_sixteen_times_and_the_password_last() {
        let mac: Mac = "52:54:00:aa:00:01".parse().unwrap();
        let plain = packet(mac, None);
        assert_eq!((plain.len(), &plain[..6]), (102, &[0xff; 6][..]));
        assert!(plain[6..].chunks(6).all(|chunk| chunk == mac.octets()));
        let password = secure_on(&Login::word("01:02:03:04:05:06\n")).unwrap();
        let secured = packet(mac, Some(&password));
        assert_eq!((secured.len(), &secured[102..]), (108, &[1, 2, 3, 4, 5, 6][..]));
        assert_eq!(secure_on(&Login::word("calvin")), None);
    }
}
