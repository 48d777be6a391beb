//! The address of a controller.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use hyper::Uri;

use super::Fault;

/// Scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    pub(super) secure: bool,
    /// Without the brackets around an IPv6 address.
    pub(super) host: Arc<str>,
    pub(super) port: u16,
}

impl Endpoint {
    /// Parses the `url` of a manifest; also returns its path.
    pub fn parse(url: &Arc<str>) -> Result<(Endpoint, Arc<str>), Fault> {
        let bad = |why| Fault::BadUrl(url.clone(), why);
        let uri: Uri = url.parse().map_err(|_| bad("is none"))?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad("does not begin with https:// or http://, which Redfish needs")),
        };
        let authority = uri.authority().ok_or_else(|| bad("names no host"))?;
        if authority.as_str().contains('@') {
            // The message must not repeat the url: it may hold a password.
            return Err(Fault::BadUrl("of `power`".into(), "holds a user: name a secret as `credentials`"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').into();
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Ok((Endpoint { secure, host, port }, uri.path().into()))
    }

    /// Whether others on the network can read the traffic.
    pub(super) fn is_open(&self) -> bool {
        let loopback = self.host.parse::<IpAddr>().map(|address| address.is_loopback());
        !self.secure && !loopback.unwrap_or(&*self.host == "localhost")
    }

    /// For the Host header.
    pub(super) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.to_string() };
        match (self.secure, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_host_and_no_user() {
        let parsed = |url: &str| {
            Endpoint::parse(&url.into())
                .map(|(endpoint, path)| format!("{endpoint} {path} {}", endpoint.is_open()))
        };
        assert_eq!(parsed("https://10.0.99.11"), Ok("10.0.99.11 / false".into()));
        assert_eq!(
            parsed("http://bmc:8000/redfish/v1/Systems/2"),
            Ok("bmc:8000 /redfish/v1/Systems/2 true".into())
        );
        assert_eq!(parsed("http://127.0.0.1:80/"), Ok("127.0.0.1 / false".into()));
        assert_eq!(parsed("https://[fd00::1]:444"), Ok("[fd00::1]:444 / false".into()));
        let refused = parsed("https://root:calvin@bmc").unwrap_err().to_string();
        assert!(refused.contains("holds a user") && !refused.contains("calvin"), "{refused}");
        assert!(parsed("ipmi://10.0.99.11").is_err() && parsed("https://").is_err());
    }
}
