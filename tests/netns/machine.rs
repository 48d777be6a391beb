//! A machine that installs, as tests play it: the inventory that it is in, its lease, its requests, and the URLs in what it
//! is given.

use std::path::Path;

use super::net::Net;

/// An inventory of this manifest with a kernel and an initrd: its path.
pub(crate) fn inventory(folder: &Path, manifest: &str) -> String {
    let root = folder.join("inventory");
    std::fs::create_dir_all(root.join("files")).unwrap();
    std::fs::write(root.join("lab.toml"), manifest).unwrap();
    std::fs::write(root.join("files/vmlinuz"), "the kernel").unwrap();
    std::fs::write(root.join("files/initrd.gz"), "the initrd").unwrap();
    root.display().to_string()
}

/// The lease that udhcpc gets, as an address.
pub(crate) fn udhcpc(net: &Net, mac: &str) -> String {
    net.client_mac(mac);
    let said = net.client_output(&["sh", "-c", "busybox udhcpc -f -q -n -t 5 -i cli -s /bin/true 2>&1"]);
    let lease = said.lines().find_map(|line| line.strip_prefix("udhcpc: lease of "));
    lease.and_then(|lease| lease.split(' ').next()).unwrap_or_else(|| panic!("{said}")).to_owned()
}

pub(crate) fn get(net: &Net, url: &str) -> String {
    net.client_output(&["curl", "-s", "--max-time", "10", url])
}

/// The URL in a text that has this part.
pub(crate) fn url_in<'a>(text: &'a str, part: &str) -> &'a str {
    let is_end = |c: char| matches!(c, ';' | '\'');
    let mut words = text.split_whitespace().map(|word| word.trim_end_matches(is_end));
    let found = words.find(|word| word.contains(part)).unwrap_or_else(|| panic!("{part}: {text}"));
    &found[found.find("http://").unwrap()..]
}
