use std::net::Ipv6Addr;

use super::*;
use crate::model::datagram;

fn ip(payload: &[u8]) -> Vec<u8> {
    datagram::packet("10.0.0.2:68".parse().unwrap(), "10.0.0.1:67".parse().unwrap(), payload).unwrap()
}

fn classic_file(link: u32, frame: &[u8]) -> Vec<u8> {
    let mut file = 0xa1b2_c3d4u32.to_le_bytes().to_vec();
    file.extend([2, 0, 4, 0]);
    file.extend([0; 8]);
    file.extend(65535u32.to_le_bytes());
    file.extend(link.to_le_bytes());
    for number in [7, 5, frame.len() as u32, frame.len() as u32] {
        file.extend(u32::to_le_bytes(number));
    }
    file.extend(frame);
    file
}

fn pcapng(link: u16, frame: &[u8]) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let length = (12 + body.len().div_ceil(4) * 4) as u32;
        let mut block = [kind.to_be_bytes(), length.to_be_bytes()].concat();
        block.extend(body);
        block.resize(length as usize - 4, 0);
        block.extend(length.to_be_bytes());
        block
    };
    let section =
        block(0x0a0d_0d0a, &[0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
    let mut interface = link.to_be_bytes().to_vec();
    interface.extend([0, 0, 0, 0, 255, 255, 0, 9, 0, 1, 9, 0, 0, 0, 0, 0, 0, 0]);
    let mut enhanced = [0, 0, 0, 0].to_vec();
    enhanced.extend(7_000_005_000u64.to_be_bytes());
    enhanced.extend((frame.len() as u32).to_be_bytes().repeat(2));
    enhanced.extend(frame);
    [section, block(1, &interface), block(6, &enhanced)].concat()
}

#[test]
fn every_kind_of_capture_says_the_same() {
    let ip = ip(b"hello");
    let ethernet = [&[0; 12][..], &[8, 0], &ip].concat();
    let vlan = [&[0; 12][..], &[0x81, 0, 0, 20, 8, 0], &ip].concat();
    let cooked = [&[0; 14][..], &[8, 0], &ip].concat();
    let cooked2 = [&[8, 0][..], &[0; 18], &ip].concat();
    for (link, frame) in [(1, &ethernet), (1, &vlan), (101, &ip), (228, &ip), (113, &cooked), (276, &cooked2)]
    {
        for file in [classic_file(link, frame), pcapng(link as u16, frame)] {
            let Capture { packets, lacks } = read(&file).unwrap();
            assert!(lacks.is_empty(), "{lacks:?}");
            assert_eq!(packets.len(), 1, "link type {link}");
            assert_eq!((packets[0].at, packets[0].payload.as_slice()), (7_000_005, &b"hello"[..]));
            assert_eq!(packets[0].destination.port(), 67);
        }
    }
}

#[test]
fn packets_of_ipv6_tell_their_card() {
    let mut ip = vec![0x60, 0, 0, 0, 0, 13, 17, 1];
    ip.extend("fe80::1".parse::<Ipv6Addr>().unwrap().octets());
    ip.extend("ff02::1:2".parse::<Ipv6Addr>().unwrap().octets());
    ip.extend([2, 34, 2, 35, 0, 13, 0, 0]);
    ip.extend(b"hello, and a trailer");
    let frame = [&[0x33, 0x33, 0, 1, 0, 2, 0x52, 0x54, 0, 0, 0, 1, 0x86, 0xdd][..], &ip].concat();
    let packets = read(&classic_file(1, &frame)).unwrap().packets;
    let packet = &packets[0];
    assert_eq!(packet.hardware.unwrap().to_string(), "52:54:00:00:00:01");
    assert_eq!(packet.source, "[fe80::1]:546".parse().unwrap());
    assert_eq!(packet.destination, "[ff02::1:2]:547".parse().unwrap());
    assert_eq!(packet.payload, b"hello");
    assert_eq!(read(&classic_file(101, &ip)).unwrap().packets[0].payload, b"hello");
}

/// A classic file of frames with their lengths on the wire.
fn frames(link: u32, frames: &[(&[u8], usize)]) -> Vec<u8> {
    let mut file = classic_file(link, &[]);
    file.truncate(24);
    for (frame, length) in frames {
        for number in [7, 5, frame.len() as u32, *length as u32] {
            file.extend(u32::to_le_bytes(number));
        }
        file.extend(*frame);
    }
    file
}

fn ethernet(ip: &[u8]) -> Vec<u8> {
    [&[0; 12][..], &[8, 0], ip].concat()
}

/// The frames of a packet whose body comes in parts of `size` bytes.
fn fragmented(ip: &[u8], size: usize) -> Vec<Vec<u8>> {
    let parts: Vec<&[u8]> = ip[20..].chunks(size).collect();
    let frame = |(index, part): (usize, &&[u8])| {
        let mut head = ip[..20].to_vec();
        head[2..4].copy_from_slice(&(20 + part.len() as u16).to_be_bytes());
        let more = if index + 1 < parts.len() { 0x2000 } else { 0 };
        let place = (index * size / 8) as u16 | more;
        head[6..8].copy_from_slice(&place.to_be_bytes());
        ethernet(&[&head[..], part].concat())
    };
    parts.iter().enumerate().map(frame).collect()
}

#[test]
fn what_the_capture_cut_is_told_and_counted() {
    let whole = ethernet(&ip(&[7; 300]));
    let (cut, length) = (&whole[..200], whole.len());
    let capture = read(&frames(1, &[(cut, length), (&whole, length)])).unwrap();
    assert_eq!((capture.packets[0].missing, capture.packets[1].missing), (142, 0));
    assert_eq!(capture.packets[0].payload.len(), 158);
    assert!(capture.lacks[0].starts_with("1 packet was cut to at most 200 bytes"), "{:?}", capture.lacks);
    // What tcpdump and Wireshark write of a simple packet block says no more than its length.
    let mut file = pcapng(1, &whole);
    let enhanced = file.len() - (32 + whole.len().div_ceil(4) * 4);
    file.truncate(enhanced);
    let body = [&(length as u32).to_be_bytes()[..], &whole, &[0; 2]].concat();
    let size = (12 + body.len() as u32).to_be_bytes();
    file.extend([&3u32.to_be_bytes()[..], &size, &body, &size].concat());
    assert_eq!(read(&file).unwrap().packets[0].payload.len(), 300);
}

#[test]
fn fragments_are_put_together_in_any_order() {
    let whole = ip(&(0..=255).cycle().take(1500).collect::<Vec<u8>>());
    let mut parts = fragmented(&whole, 480);
    parts.rotate_left(1);
    parts.push(parts[0].clone());
    let listed: Vec<(&[u8], usize)> = parts.iter().map(|part| (&part[..], part.len())).collect();
    let capture = read(&frames(1, &listed[..4])).unwrap();
    assert_eq!((capture.packets.len(), capture.lacks.len()), (1, 0), "{:?}", capture.lacks);
    assert_eq!(capture.packets[0].payload, whole[28..]);
    assert_eq!(capture.packets[0].destination.port(), 67);
    let capture = read(&frames(1, &listed[..3])).unwrap();
    assert!(capture.packets.is_empty());
    assert_eq!(capture.lacks, ["fragmented packets of which parts are missing: 1"]);
}

#[test]
fn check_sequences_are_no_part_of_the_packets() {
    // A flag and a count of words stand above the link type (4 bytes here); a card that reports
    // length 0 leaves it to the frame how long the packet is.
    let mut packet = ip(b"hello");
    packet[2..4].copy_from_slice(&[0, 0]);
    packet[24..26].copy_from_slice(&[0, 0]);
    let frame = [&ethernet(&packet)[..], &[0xde, 0xad, 0xbe, 0xef]].concat();
    let capture = read(&frames(0x2400_0001, &[(&frame, frame.len())])).unwrap();
    assert_eq!(capture.packets[0].payload, b"hello");
    assert_eq!(read(&frames(0x0800_0001, &[(&frame, frame.len())])).unwrap().packets.len(), 1);
}

#[test]
fn compressed_captures_are_read_as_far_as_they_go() {
    let file = frames(1, &[(&ethernet(&ip(b"hello")), 47)]);
    // `gzip -n` of it, stored: a header, one block as it is, checksum and length.
    let pack = |bytes: &[u8]| {
        let length = bytes.len() as u16;
        let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1];
        packed.extend([length.to_le_bytes(), (!length).to_le_bytes()].concat());
        packed.extend(bytes);
        packed.extend(crc(bytes).to_le_bytes());
        packed.extend(u32::from(length).to_le_bytes());
        packed
    };
    let packed = pack(&file);
    assert_eq!(read(&packed), read(&file));
    assert_eq!(read(&[pack(&file[..40]), pack(&file[40..])].concat()), read(&file), "two members");
    let short = read(&packed[..packed.len() - 12]).unwrap();
    assert_eq!(short.packets.len(), 0);
    assert!(short.lacks.iter().any(|lack| lack.contains("gzip")), "{:?}", short.lacks);
    assert!(matches!(read(&[0x1f, 0x8b, 9, 9, 9, 9, 9, 9, 9, 9, 9]), Err(CaptureError::Gzip(_))));
}

/// The checksum of RFC 1952 section 8.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
    })
}

#[test]
fn a_file_that_ends_in_a_packet_says_so() {
    let frame = ethernet(&ip(b"hello"));
    let whole = frames(1, &[(&frame, frame.len()), (&frame, frame.len())]);
    assert!(read(&whole).unwrap().lacks.is_empty());
    for file in [whole, pcapng(1, &frame)] {
        let capture = read(&file[..file.len() - 1]).unwrap();
        assert!(capture.lacks[0].starts_with("the file ends inside a packet"), "{:?}", capture.lacks);
    }
}

#[test]
fn extension_headers_of_ipv6_are_passed_over() {
    let udp = [2, 34, 2, 35, 0, 13, 0, 0, b'h', b'e', b'l', b'l', b'o'];
    let packet = |next: u8, rest: &[u8]| {
        let mut packet = vec![0x60, 0, 0, 0, 0, rest.len() as u8, next, 1];
        packet.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1].repeat(2));
        packet.extend(rest);
        packet
    };
    let hop_by_hop = packet(0, &[&[17, 0, 1, 4, 0, 0, 0, 0][..], &udp].concat());
    let first = packet(44, &[&[17, 0, 0, 1, 0, 0, 0, 9][..], &udp[..8]].concat());
    let last = packet(44, &[&[17, 0, 0, 8, 0, 0, 0, 9][..], &udp[8..]].concat());
    for file in [frames(101, &[(&hop_by_hop, 61)]), frames(101, &[(&last, 53), (&first, 56)])] {
        let capture = read(&file).unwrap();
        assert_eq!(capture.packets[0].payload, b"hello");
        assert_eq!(capture.packets[0].destination.port(), 547);
    }
}

#[test]
fn what_is_none_is_said_and_nothing_breaks() {
    assert_eq!(read(b""), Err(CaptureError::Unknown));
    assert_eq!(read(b"#!ipxe\n"), Err(CaptureError::Unknown));
    let ethernet = [&[0; 12][..], &[8, 0], &ip(b"hello")].concat();
    assert_eq!(read(&classic_file(147, &ethernet)), Err(CaptureError::Link(147)));
    for file in [classic_file(1, &ethernet), pcapng(1, &ethernet)] {
        for length in 0..file.len() {
            let _ = read(&file[..length]);
        }
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 0xff;
            let _ = read(&damaged);
        }
    }
}
