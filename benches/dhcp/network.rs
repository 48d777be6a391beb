//! Where the servers run, and what loads on them come to.

use std::process::Command;

/// What a load came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figure {
    /// Exchanges a second.
    pub rate: f64,
    /// The share of exchanges that came to no end.
    pub lost: f64,
    /// Processors that the server and the asking side kept busy, 1.0 for each.
    pub server: f64,
    pub asking: f64,
    /// Exchanges that were begun, as a share of those that were to be begun.
    pub asked: f64,
    /// Milliseconds on average that an exchange waits for its two answers.
    pub mean: f64,
}

impl Figure {
    /// Microseconds of the server's processor time for one exchange.
    pub(crate) fn cost(&self) -> f64 {
        self.server * 1e6 / self.rate.max(1.0)
    }
}

/// Two namespaces joined by a cable; gone when dropped.
pub(crate) struct Network {
    pub server: String,
    pub client: String,
}

impl Network {
    pub(crate) fn new() -> Network {
        let id = std::process::id();
        let (server, client) = (format!("dhcp-{id}-s"), format!("dhcp-{id}-c"));
        for line in [
            format!("netns add {server}"),
            format!("netns add {client}"),
            format!("-n {server} link add srv type veth peer cli netns {client}"),
            format!("-n {server} address add 10.0.0.1/8 dev srv"),
            format!("-n {server} link set srv up"),
            format!("-n {server} link set lo up"),
            format!("-n {client} address add 10.0.0.2/8 dev cli"),
            format!("-n {client} link set cli up"),
        ] {
            ip(&line);
        }
        Network { server, client }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        ip(&format!("netns delete {}", self.server));
        ip(&format!("netns delete {}", self.client));
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status();
    assert!(status.is_ok_and(|status| status.success()), "ip {arguments}");
}
