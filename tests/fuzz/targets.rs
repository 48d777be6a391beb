//! One file for each reader of bytes that others made: what it starts from, and what must hold
//! for whatever it is given. The tests and the coverage-guided fuzzer share them.

use std::path::{Path, PathBuf};

#[path = "targets/seed.rs"]
pub(crate) mod seed;

#[allow(dead_code, reason = "shared with the tests of the decisions")]
#[path = "../dhcp/lab.rs"]
mod lab;
#[allow(dead_code, reason = "shared with the tests of the decisions")]
#[path = "../dhcp/message.rs"]
mod message;
#[allow(dead_code, reason = "shared with the tests of the decisions")]
#[path = "../dhcp/pcap.rs"]
mod pcap;

#[path = "targets/age.rs"]
mod age;
#[path = "targets/capture.rs"]
mod capture;
#[path = "targets/config.rs"]
mod config;
#[path = "targets/dhcp.rs"]
mod dhcp;
#[path = "targets/http.rs"]
mod http;
#[path = "targets/image.rs"]
mod image;
#[path = "targets/import.rs"]
mod import;
#[path = "targets/manifest.rs"]
mod manifest;
#[path = "targets/path.rs"]
mod path;
#[path = "targets/syslog.rs"]
mod syslog;
#[path = "targets/template.rs"]
mod template;
#[path = "targets/tftp.rs"]
mod tftp;

/// A reader under attack.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub name: &'static str,
    /// Inputs a second, under libFuzzer on one processor, below which it is of no use: it would not come
    /// far from its seeds.
    pub pace: u32,
    /// Good inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Panics when a promise is broken.
    pub run: fn(&[u8]),
    /// Pieces that inputs are made of.
    pub words: &'static [&'static str],
}

pub(crate) const ALL: [Target; 12] = [
    age::TARGET,
    capture::TARGET,
    config::TARGET,
    dhcp::TARGET,
    http::TARGET,
    image::TARGET,
    import::TARGET,
    manifest::TARGET,
    path::TARGET,
    syslog::TARGET,
    template::TARGET,
    tftp::TARGET,
];

/// The project's folder, for the tests as for the crate in `fuzz/`.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().find(|folder| folder.join("tests/fuzz").is_dir());
    root.expect("both lie in the project").into()
}

/// Inputs that once broke a promise: they are tried before anything else.
pub(crate) fn found(target: &Target) -> Vec<Vec<u8>> {
    let folder = root().join("tests/fuzz/found").join(target.name);
    seed::files(&folder).into_iter().map(|(_, bytes)| bytes).collect()
}
