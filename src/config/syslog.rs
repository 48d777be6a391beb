//! `[syslog]`: where the daemon takes the logs of machines.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use super::tree::{Complaints, Found, Table};

/// Most listeners.
const LISTENERS_MAX: usize = 16;

/// One address of `[syslog] listen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyslogListen {
    Udp(SocketAddr),
    Tcp(SocketAddr),
}

impl fmt::Display for SyslogListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SyslogListen::Udp(address) => write!(f, "udp:{address}"),
            SyslogListen::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

impl FromStr for SyslogListen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<SyslogListen, &'static str> {
        let wrong = "write it as udp:0.0.0.0:514, tcp:10.0.10.1:514 or udp:[::]:514";
        let (kind, address) = text.split_once(':').ok_or(wrong)?;
        let address: SocketAddr = address.parse().map_err(|_| wrong)?;
        if address.port() == 0 {
            return Err("a port is a number from 1 to 65535");
        }
        match kind {
            "udp" => Ok(SyslogListen::Udp(address)),
            "tcp" => Ok(SyslogListen::Tcp(address)),
            _ => Err(wrong),
        }
    }
}

/// Without the table, or with an empty list, no logs are taken.
pub(super) fn syslog(root: &mut Table, complaints: &mut Complaints<'_>) -> Vec<SyslogListen> {
    let Some(mut table) = root.table("syslog", "syslog", complaints) else { return Vec::new() };
    if !table.has("listen") {
        complaints.add(table.at, "`syslog.listen` is missing, as in [\"udp:0.0.0.0:514\"]".to_owned());
    }
    let texts = table.text_or_texts("listen", complaints).unwrap_or_default();
    table.finish(complaints);
    if texts.len() > LISTENERS_MAX {
        complaints
            .add(texts[0].at, format!("`syslog.listen`: at most {LISTENERS_MAX} addresses are possible"));
    }
    let mut listens = Vec::new();
    for Found { at, value } in texts {
        match value.parse::<SyslogListen>() {
            Ok(listen) if listens.contains(&listen) => {
                complaints.add(at, format!("`syslog.listen`: `{value}` is there twice"));
            }
            Ok(listen) => listens.push(listen),
            Err(why) => complaints.add(at, format!("`syslog.listen`: `{value}`: {why}")),
        }
    }
    listens
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn addresses_say_how_and_where() {
        let read = |text: &str| {
            let text = format!("network = {{ interface = 'e', address = '10.0.0.1' }}\n{text}");
            Config::parse(&text, "f").map(|config| config.syslog).map_err(|error| error.to_string())
        };
        assert_eq!(read(""), Ok(Vec::new()));
        let both = ["udp:0.0.0.0:514", "tcp:[::1]:6514"];
        let found = read(&format!("[syslog]\nlisten = {both:?}")).unwrap();
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), both);
        for wrong in ["514", "udp:514", "0.0.0.0:514", "udp:0.0.0.0", "tls:0.0.0.0:514", "udp:0.0.0.0:0", ""]
        {
            assert!(
                read(&format!("[syslog]\nlisten = '{wrong}'")).unwrap_err().contains("`syslog.listen`"),
                "{wrong}"
            );
        }
        assert!(
            read("[syslog]\nlisten = ['udp:0.0.0.0:514', 'udp:0.0.0.0:514']").unwrap_err().contains("twice")
        );
        assert!(read("[syslog]").unwrap_err().contains("missing"));
    }
}
