//! The addresses that the API listens on.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use super::runtime;

/// `[api] listen`: an address of TCP, or a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Listen {
    /// The addresses that the API listens on if the daemon's file names none.
    pub fn defaults() -> Vec<Listen> {
        let tcp = SocketAddr::from((Ipv4Addr::LOCALHOST, runtime::PORT));
        vec![Listen::Unix(runtime::SOCKET.into()), Listen::Tcp(tcp)]
    }

    /// Whether other hosts reach it. Tokens are not sent in clear text there: it speaks TLS.
    pub fn is_beyond_loopback(&self) -> bool {
        match self {
            Listen::Tcp(address) => !address.ip().to_canonical().is_loopback(),
            Listen::Unix(_) => false,
        }
    }
}

impl FromStr for Listen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Listen, &'static str> {
        if let Some(path) = text.strip_prefix("unix:").or_else(|| text.starts_with('/').then_some(text)) {
            return if path.is_empty() {
                Err("the socket's path is missing")
            } else {
                Ok(Listen::Unix(path.into()))
            };
        }
        let text = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.to_owned(),
        };
        let address = text.parse();
        let address: SocketAddr = address.map_err(
            |_| "write it as 127.0.0.1:12345, [::1]:12345, 0.0.0.0:12345 or unix:/run/voldemort.sock",
        )?;
        Ok(Listen::Tcp(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_hosts_reach_is_known() {
        let beyond = |text: &str| text.parse::<Listen>().unwrap().is_beyond_loopback();
        for near in [
            "127.0.0.1:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
            "localhost:1",
            "/run/x.sock",
            "unix:/run/x.sock",
        ] {
            assert!(!beyond(near), "{near}");
        }
        for far in ["0.0.0.0:12345", "[::]:12345", "10.0.0.1:12345", "[::ffff:10.0.0.1]:1"] {
            assert!(beyond(far), "{far}");
        }
        for odd in ["", "12345", "unix:", "localhost:", "example.org:1"] {
            assert!(odd.parse::<Listen>().is_err(), "{odd}");
        }
    }
}
