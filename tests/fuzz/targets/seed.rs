//! Inputs from what the project's tests have: captures and golden folders.

use std::path::{Path, PathBuf};

/// Every file below a folder with its path in it, in order of paths; none where there is no folder.
pub(crate) fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let bytes = std::fs::read(&path).unwrap();
                    files.push((path.strip_prefix(folder).unwrap().to_owned(), bytes));
                }
            }
        }
    }
    files.sort();
    files
}

/// UDP payloads of every capture of the tests: each capture's own, with the port they went to.
pub(crate) fn captures() -> Vec<Vec<(u16, Vec<u8>)>> {
    let captures = files(&super::root().join("tests/captures"));
    let payloads = |file: &[u8]| {
        let datagrams = super::pcap::read(file).into_iter();
        datagrams.map(|datagram| (datagram.destination.port(), datagram.payload)).collect()
    };
    captures.iter().map(|(_, file)| payloads(file)).collect()
}

/// Parts with their length in two bytes before each.
pub(crate) fn join(parts: &[Vec<u8>]) -> Vec<u8> {
    let with_length = |part: &Vec<u8>| [&(part.len() as u16).to_be_bytes()[..], part].concat();
    parts.iter().flat_map(with_length).collect()
}

/// The parts again; the last one may be cut off.
pub(crate) fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let (part, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
        parts.push(part);
        bytes = rest;
    }
    parts
}
