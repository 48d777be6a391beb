//! The daemon's file.

use voldemort::config::Config;

use super::{Target, seed};

pub(crate) const TARGET: Target = Target {
    name: "config",
    pace: 200,
    seeds,
    run,
    words: &[
        "[network]\n",
        "[dhcp]\n",
        "mode = ",
        "\"10.0.0.1\"",
        "\"\\u001b\"",
        "{",
        "}",
        "[[",
        " = ",
        "\n",
    ],
};

const TOML: &str = r#"
[network]
interface = "eth0"
address   = "10.0.10.1"
[network.subnet]
cidr    = "10.0.10.0/24"
gateway = "10.0.10.1"
dns     = ["10.0.10.1"]
dynamic = "10.0.10.100-10.0.10.199"
[dhcp]
mode = "server"
[http]
port = 80
[api]
listen = "127.0.0.1:12345"
[inventory]
git    = "https://example.com/inventory.git"
branch = "main"
poll   = "60s"
[firmware]
paths = ["/usr/lib/ipxe", "/usr/lib/shim", "/usr/lib/grub"]
[state]
directory = "/var/lib/voldemort"
"#;

const JSON: &str = r#"{"network": {"interface": "eth0", "address": "10.0.10.1"}, "dhcp": {"mode": "proxy"},
"http": {"port": 8080}, "state": {"directory": "/x"}}"#;

fn seeds() -> Vec<Vec<u8>> {
    let examples = seed::files(&super::root().join("examples")).into_iter();
    let own = examples.filter(|(path, _)| path.ends_with("voldemort.toml")).map(|(_, bytes)| bytes);
    own.chain([TOML.into(), JSON.into()]).collect()
}

fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Err(error) = Config::parse(&text, "voldemort.toml") {
        let said = error.to_string();
        assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "{said:?}");
        assert!(error.problems.len() <= 21, "{} problems", error.problems.len());
    }
}
