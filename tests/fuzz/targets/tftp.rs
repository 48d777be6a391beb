//! TFTP: a first datagram, and the session that follows it.

use std::time::Duration;

use voldemort::proto::path::tftp_name;
use voldemort::proto::tftp::{Grant, Packet, Sender, Transmit, netascii, packet};

use super::{Target, seed};

pub(crate) const TARGET: Target = Target {
    name: "tftp",
    pace: 500,
    seeds,
    run,
    words: &[
        "\u{0}\u{1}",
        "\u{0}\u{4}\u{0}\u{1}",
        "\u{0}\u{5}\u{0}\u{8}",
        "octet\u{0}",
        "netascii\u{0}",
        "blksize\u{0}1468\u{0}",
        "blksize\u{0}8\u{0}",
        "tsize\u{0}0\u{0}",
        "timeout\u{0}255\u{0}",
        "windowsize\u{0}64\u{0}",
        "99999999999999999999",
    ],
};

/// Of IP, UDP and TFTP before the data, in bytes.
const HEADERS: u16 = 32;
/// Without the option, in bytes.
const DEFAULT_BLOCK: u16 = 512;

/// The first part holds the length of the file and the path's MTU; each other one a wait in steps of
/// 50 ms and a datagram.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let session = |length: u32, request: &str, rest: &[&[u8]]| {
        let first = [&length.to_be_bytes()[..], &1500u16.to_be_bytes()].concat();
        let request = [b"\0\0\x01", request.as_bytes()].concat();
        let rest = rest.iter().map(|packet| packet.to_vec());
        seed::join(&[first, request].into_iter().chain(rest).collect::<Vec<_>>())
    };
    seeds.push(session(
        3000,
        "a\0octet\0blksize\x001468\0windowsize\x004\0tsize\x000\0",
        &[b"\0\0\x04\0\0", b"\x01\0\x04\0\x01", b"\0\0\x04\0\x03"],
    ));
    seeds.push(session(
        1200,
        "tftp://h/a\0netascii\0",
        &[b"\0\0\x04\0\x01", b"\xff\0\x04\0\x01", b"\0\0\x04\0\x02"],
    ));
    seeds.push(session(
        1 << 25,
        "a\0octet\0blksize\x008\0windowsize\x0064\0",
        &[b"\0\0\x04\0\0", b"\0\0\x04\0\x21"],
    ));
    seeds.push(session(99, "a\0octet\0tsize\x000\0", &[b"\0\0\x05\0\x08User aborted the transfer\0"]));
    for capture in seed::captures() {
        let requests = capture.into_iter().filter(|(port, _)| *port == 69);
        seeds.extend(requests.map(|(_, payload)| {
            let first = vec![0, 1, 0, 0, 5, 220];
            let request = [&[0][..], &payload].concat();
            seed::join(&[first, request, b"\0\0\x04\0\0".to_vec(), b"\0\0\x04\0\x01".to_vec()])
        }));
    }
    seeds
}

fn run(bytes: &[u8]) {
    let mut parts = seed::split(bytes).into_iter();
    let Some(&[a, b, c, d, e, f, ..]) = parts.next() else { return };
    let length = u64::from(u32::from_be_bytes([a, b, c, d]));
    let mtu = u16::from_be_bytes([e, f]);
    let Some((_, request)) = parts.next().and_then(<[u8]>::split_first) else { return };
    let Ok(Packet::Read(request)) = Packet::parse(request) else { return };
    let name = tftp_name(request.name);
    let refusal = packet::error(packet::ErrorCode::NotFound, &format!("{name:?}"));
    assert!(refusal.len() <= 5 + 120 && refusal.ends_with(&[0]), "{refusal:?}");
    let grant = Grant::negotiate(&request, Some(length), mtu);
    // No block travels in fragments, but that of a client which asks for no size (RFC 1350).
    let largest = mtu.saturating_sub(HEADERS).max(DEFAULT_BLOCK);
    assert!((8..=largest).contains(&grant.block) && (1..=64).contains(&grant.window), "{grant:?}");
    assert!(grant.reply.as_ref().is_none_or(|reply| reply.len() <= request_size(&request) + 100));
    assert!(netascii::encode(request.name).len() >= request.name.len());
    session(length, grant, parts);
}

fn request_size(request: &voldemort::proto::tftp::Request<'_>) -> usize {
    request.options.iter().map(|(name, value)| name.len() + value.len() + 2).sum()
}

fn session<'a>(length: u64, grant: Grant, parts: impl Iterator<Item = &'a [u8]>) {
    let (block, window) = (u64::from(grant.block), grant.window);
    let mut now = Duration::from_secs(1);
    let mut sender = Sender::new(length, grant, now);
    let mut delivered = 0;
    for part in parts {
        check(&mut sender, now, length, block, window);
        let Some((wait, datagram)) = part.split_first() else { continue };
        now += Duration::from_millis(50) * u32::from(*wait);
        sender.handle_timeout(now);
        if let Ok(packet) = Packet::parse(datagram) {
            sender.handle(now, &packet);
        }
        assert!(sender.delivered() >= delivered && sender.delivered() <= length);
        delivered = sender.delivered();
    }
    // The client is gone: the transfer ends by itself, and soon.
    let end = now + Duration::from_secs(31);
    while sender.outcome().is_none() {
        check(&mut sender, now, length, block, window);
        let next = sender.deadline();
        assert!(next > now && next <= end, "from {now:?} to {next:?}");
        now = next;
        sender.handle_timeout(now);
    }
    assert_eq!(sender.poll_transmit(now), None, "nothing is sent after the end");
}

fn check(sender: &mut Sender, now: Duration, length: u64, block: u64, window: u16) {
    let mut sent = 0;
    while let Some(transmit) = sender.poll_transmit(now) {
        sent += 1;
        assert!(sent <= 1, "one thing at a time");
        let Transmit::Blocks(run) = transmit else { continue };
        assert!(run.count >= 1 && run.count <= window, "{run:?}");
        assert_eq!(run.offset, (run.first - 1) * block);
        assert!(run.offset + run.length as u64 <= length, "{run:?}");
        let short =
            !(run.length as u64).is_multiple_of(block) || run.length as u64 / block < u64::from(run.count);
        assert_eq!(
            short,
            run.offset + run.length as u64 == length
                && run.first + u64::from(run.count) - 1 == length / block + 1
        );
    }
}
