//! The crate async-tftp, which the project was asked to use, beside our own server: both must give the same
//! client the same files and grant it the same options.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use async_tftp::server::TftpServerBuilder;
use tokio::task::JoinHandle;

use super::{Client, serve};
use crate::kit::{Shelf, bytes, disk, loopback};
use voldemort::daemon::tftp::Limits;

/// The crate on a free port of every address of this host; it has no way to stop but being dropped.
async fn theirs(folder: &Path) -> (SocketAddr, JoinHandle<()>) {
    let builder = TftpServerBuilder::with_dir_ro(folder).unwrap().bind("0.0.0.0:0".parse().unwrap());
    let server = builder.build().await.unwrap();
    let mut address = SocketAddr::V4(loopback(1));
    address.set_port(server.listen_addr().unwrap().port());
    (address, tokio::spawn(async move { server.serve().await.unwrap() }))
}

/// The options of an OACK, in no order.
fn granted(packet: &[u8]) -> BTreeMap<String, String> {
    assert_eq!(packet[..2], [0, 6], "{:?}", packet.escape_ascii().to_string());
    let mut words =
        packet[2..].split(|byte| *byte == 0).map(|word| String::from_utf8(word.to_vec()).unwrap());
    let mut options = BTreeMap::new();
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        options.insert(name.to_ascii_lowercase(), value);
    }
    options
}

/// What a server grants, and the file it sends.
async fn fetch(server: SocketAddr, name: &str, options: &str) -> (BTreeMap<String, String>, Vec<u8>) {
    let mut client = Client::ask(server, name, options).await;
    if options.is_empty() {
        return (BTreeMap::new(), client.take(512, 1).await);
    }
    let granted = granted(&client.receive().await);
    let number = |name: &str, usual| granted.get(name).map_or(usual, |value| value.parse().unwrap());
    let (block, window) = (number("blksize", 512), number("windowsize", 1));
    client.ack(0).await;
    let file = client.take(block as usize, window).await;
    (granted, file)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_crate_and_our_server_agree() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = [0, 1, 511, 512, 513, 1468 * 4, 100_001];
    let mut content = Vec::new();
    for size in sizes {
        let path = folder.path().join(format!("f{size}"));
        std::fs::write(&path, bytes(size)).unwrap();
        content.push((format!("f{size}"), disk(&path, &[(0, size as u64)])));
    }
    let names: Vec<(&str, _)> = content.iter().map(|(name, file)| (name.as_str(), file.clone())).collect();
    let ours = serve(Shelf::with(&names), Limits::default());
    let (theirs, task) = theirs(folder.path()).await;
    for options in
        ["", "tsize=0", "blksize=1468", "blksize=1000 tsize=0", "blksize=1024 windowsize=4 tsize=0"]
    {
        for size in sizes {
            let name = format!("f{size}");
            let (our_options, our_file) = fetch(ours.address.into(), &name, options).await;
            let (their_options, their_file) = fetch(theirs, &name, options).await;
            assert_eq!(our_options, their_options, "{name} {options}");
            assert!(our_file == bytes(size) && their_file == our_file, "{name} {options}");
        }
    }
    for server in [ours.address.into(), theirs] {
        let missing = Client::ask(server, "nothing", "").await.receive().await;
        assert_eq!(missing[..4], [0, 5, 0, 1], "{server}: file not found");
    }
    task.abort();
    ours.stop().await;
}

/// One of the reasons for a server of our own: a host with several addresses. Firmware drops what comes from
/// another address than it asked. Once the crate can do this, compare again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_crate_answers_from_another_address_than_was_asked() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x"), b"hello").unwrap();
    let (mut address, task) = theirs(folder.path()).await;
    address.set_ip(loopback(77).ip().to_owned().into());
    let mut client = Client::ask(address, "x", "").await;
    client.receive().await;
    assert_ne!(client.transfer.unwrap().ip(), address.ip());
    task.abort();
}
