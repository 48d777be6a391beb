//! Repository addresses, as people write them for git.

use hyper::Uri;

/// A repository's address, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) enum Address {
    /// A path or `file://` URL of this host.
    Local(String),
    /// `git://`: the host.
    Daemon(String),
    Web(Web),
    Ssh(Ssh),
}

/// `https://user:password@host:port/path` or http.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct Web {
    pub secure: bool,
    /// Without the brackets of an IPv6 address.
    pub host: String,
    pub port: u16,
    /// From its first slash, without one at its end.
    pub path: String,
    pub user: Option<String>,
    pub password: Option<String>,
}

/// `ssh://user@host:port/path` or `user@host:path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct Ssh {
    pub user: Option<String>,
    pub host: String,
    pub port: Option<u16>,
    pub path: String,
}

impl Address {
    /// Errors are sentences about the address.
    pub(in crate::source) fn parse(url: &str) -> Result<Address, String> {
        let Some((scheme, _)) = url.split_once("://") else {
            return if is_scp_like(url) { scp(url) } else { Ok(Address::Local(url.to_owned())) };
        };
        let scheme = scheme.to_ascii_lowercase();
        match scheme.as_str() {
            "file" => return Ok(Address::Local(url.to_owned())),
            "http" | "https" | "git" | "ssh" | "git+ssh" | "ssh+git" => {}
            _ => return Err(format!("{scheme}:// is not known; https, ssh, git and file are")),
        }
        let uri: Uri = url.parse().map_err(|error| format!("this is no URL: {error}"))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err("the URL names no host".to_owned());
        }
        let (user, password) = credentials(&uri)?;
        match scheme.as_str() {
            "git" => Ok(Address::Daemon(host)),
            "http" | "https" => {
                let secure = scheme == "https";
                let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
                let path = uri.path().trim_end_matches('/').to_owned();
                Ok(Address::Web(Web { secure, host, port, path, user, password }))
            }
            _ => {
                let path = decoded(uri.path())?;
                // `/~someone/x` is below that person's home, as git has it.
                let path = path.strip_prefix('/').filter(|rest| rest.starts_with('~')).unwrap_or(&path);
                Ssh { user, host, port: uri.port_u16(), path: path.to_owned() }.sound()
            }
        }
    }

    /// Whether everybody on the way could read and change what is fetched.
    pub(in crate::source) fn is_open(&self) -> bool {
        match self {
            Address::Daemon(host) => !is_loopback(host),
            Address::Web(web) => web.is_open(),
            Address::Local(_) | Address::Ssh(_) => false,
        }
    }
}

impl Web {
    pub(in crate::source) fn is_open(&self) -> bool {
        !self.secure && !is_loopback(&self.host)
    }

    /// Scheme, host and port: the server that gets the credentials.
    pub(in crate::source) fn origin(&self) -> (bool, &str, u16) {
        (self.secure, &self.host, self.port)
    }

    /// `host:port` as in a Host header; the port only if it is not the scheme's own.
    pub(in crate::source) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.secure, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

impl Ssh {
    /// Refuses what ssh or the remote git would take for an option.
    fn sound(self) -> Result<Address, String> {
        let Ssh { user, host, port: _, path } = &self;
        let strange =
            |text: &str| text.starts_with('-') || text.chars().any(|c| c.is_whitespace() || c.is_control());
        if strange(host) || user.as_deref().is_some_and(strange) {
            return Err("the host or user of the URL is not one".to_owned());
        }
        if path.trim_matches('/').is_empty() || path.starts_with('-') || path.chars().any(char::is_control) {
            return Err("the URL names no path on its host".to_owned());
        }
        Ok(Address::Ssh(self))
    }
}

/// `user@host:path`, as git reads it: a colon before the first slash.
pub(in crate::source) fn is_scp_like(url: &str) -> bool {
    url.split_once(':').is_some_and(|(host, _)| !host.is_empty() && !host.contains('/'))
        && !url.contains("://")
}

fn scp(url: &str) -> Result<Address, String> {
    let (place, path) = match url.split_once("]:") {
        Some((place, path)) => (place.replacen('[', "", 1), path),
        None => url.split_once(':').map(|(place, path)| (place.to_owned(), path)).unwrap_or_default(),
    };
    let (user, host) = match place.rsplit_once('@') {
        Some((user, host)) => (Some(user.to_owned()), host.to_owned()),
        None => (None, place),
    };
    Ssh { user, host, port: None, path: path.to_owned() }.sound()
}

fn credentials(uri: &Uri) -> Result<(Option<String>, Option<String>), String> {
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let Some((who, _)) = authority.rsplit_once('@') else { return Ok((None, None)) };
    let (user, password) = match who.split_once(':') {
        Some((user, password)) => (user, Some(decoded(password)?)),
        None => (who, None),
    };
    let user = Some(decoded(user)?).filter(|user| !user.is_empty());
    Ok((user, password))
}

/// Percent signs resolved.
fn decoded(text: &str) -> Result<String, String> {
    let wrong = || "the URL has a percent sign that means nothing".to_owned();
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).ok_or_else(wrong)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ssh(url: &str) -> (Option<String>, String, Option<u16>, String) {
        match Address::parse(url) {
            Ok(Address::Ssh(Ssh { user, host, port, path })) => (user, host, port, path),
            other => panic!("{url}: {other:?}"),
        }
    }

    #[test]
    fn ssh_is_written_in_two_ways() {
        let git = Some("git".to_owned());
        assert_eq!(ssh("git@h:ops/x.git"), (git.clone(), "h".into(), None, "ops/x.git".into()));
        assert_eq!(ssh("h:/srv/x"), (None, "h".into(), None, "/srv/x".into()));
        assert_eq!(ssh("git@[fe80::1]:x"), (git.clone(), "fe80::1".into(), None, "x".into()));
        assert_eq!(
            ssh("ssh://git@h:2222/srv/a%20b"),
            (git.clone(), "h".into(), Some(2222), "/srv/a b".into())
        );
        assert_eq!(ssh("ssh://h/~me/x"), (None, "h".into(), None, "~me/x".into()));
    }

    #[test]
    fn nothing_is_taken_for_an_option() {
        for url in ["-oProxyCommand=x:y", "ssh://-oProxyCommand=x/y", "h:-x", "ssh://h", "git@h:", "-l@h:x"] {
            assert!(Address::parse(url).is_err(), "{url}: {:?}", Address::parse(url));
        }
    }

    #[test]
    fn webs_have_hosts_ports_and_credentials() {
        let Ok(Address::Web(web)) = Address::parse("https://me:p%40ss@[::1]:8443/a/b.git/") else { panic!() };
        assert_eq!((web.origin(), web.path.as_str()), ((true, "::1", 8443), "/a/b.git"));
        assert_eq!((web.user.as_deref(), web.password.as_deref()), (Some("me"), Some("p@ss")));
        assert_eq!(web.authority(), "[::1]:8443");
        for (url, open) in [
            ("http://git.example/x", true),
            ("http://127.0.0.1/x", false),
            ("https://h/x", false),
            ("git://h/x", true),
            ("git://localhost/x", false),
            ("h:x", false),
            ("/srv/x", false),
        ] {
            assert_eq!(Address::parse(url).unwrap().is_open(), open, "{url}");
        }
        assert!(Address::parse("svn://h/x").unwrap_err().contains("svn:// is not known"));
        assert_eq!(Address::parse("./x:y"), Ok(Address::Local("./x:y".into())));
    }
}
