//! The addresses that the API listens on.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use super::runtime;

/// `[api] listen`: loopback or a Unix socket.
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
}

impl FromStr for Listen {
    type Err = &'static str;

    /// Tokens are sent in clear text here: without TLS they must not leave this host.
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
        let address: SocketAddr = text
            .parse()
            .map_err(|_| "write it as 127.0.0.1:12345, [::1]:12345 or unix:/run/voldemort.sock")?;
        if address.ip().is_loopback() {
            Ok(Listen::Tcp(address))
        } else {
            Err("beyond loopback and a Unix socket the API needs TLS, which it does not have yet; reach it \
                 through ssh -L 12345:127.0.0.1:12345")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_stays_on_this_host() {
        for good in ["127.0.0.1:1", "[::1]:1", "localhost:1", "/run/x.sock", "unix:/run/x.sock"] {
            assert!(good.parse::<Listen>().is_ok(), "{good}");
        }
        for far in ["0.0.0.0:12345", "[::]:12345", "10.0.0.1:12345"] {
            assert!(far.parse::<Listen>().unwrap_err().contains("needs TLS"), "{far}");
        }
        for odd in ["", "12345", "unix:", "localhost:", "example.org:1"] {
            assert!(odd.parse::<Listen>().is_err(), "{odd}");
        }
    }
}
