//! `[[webhook]]`: where events are sent.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use hyper::Uri;

use super::tree::{Complaints, Found, Table};
use crate::model::similar::similar;
use crate::model::{Name, Stage};

/// Most webhooks: each has a task and a connection of its own.
const WEBHOOKS_MAX: usize = 32;

/// One `[[webhook]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// What it is called in status and metrics, and what its position is stored under.
    pub name: Name,
    pub url: WebhookUrl,
    /// A file with the secret that requests are signed with; a second line is the one before it or after it.
    pub secret: PathBuf,
    /// A PEM file with the authorities that its server is verified against, instead of those of this host.
    pub ca: Option<PathBuf>,
    /// Which events are sent, as the parameters of `GET /v1/events` have it.
    pub wanted: WantedEvents,
}

/// The texts of the parameters of `GET /v1/events`; `None` wants all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedEvents {
    /// Separated by commas.
    pub stage: Option<String>,
    /// Terms separated by commas.
    pub label: Option<String>,
    pub machine: Option<String>,
    pub deployment: Option<String>,
}

/// Where a webhook's requests go. Path and query are secrets at many services, and are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl {
    pub secure: bool,
    /// Without the brackets around an IPv6 address.
    pub host: String,
    pub port: u16,
    /// Path and query, as they are sent.
    pub target: String,
}

impl WebhookUrl {
    /// For the Host header.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.secure, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

/// Without what may be secret: `https://hooks.example.org/…`.
impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        let rest = if self.target == "/" { "/" } else { "/…" };
        write!(f, "{scheme}://{}{rest}", self.authority())
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for WebhookUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<WebhookUrl, &'static str> {
        let uri: Uri = text.parse().map_err(|_| "is no URL, as in https://example.org/hook")?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("must begin with https:// or http://"),
        };
        let authority = uri.authority().ok_or("names no host")?;
        if authority.as_str().contains('@') {
            return Err("must hold no user and password: requests are signed with `secret`");
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err("names no host");
        }
        let port = match authority.port() {
            None if authority.as_str().ends_with(':') => return Err("has an empty port"),
            None if secure => 443,
            None => 80,
            Some(port) => port.as_u16(),
        };
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        Ok(WebhookUrl { secure, host, port, target })
    }
}

/// Every `[[webhook]]`, in the order of the file.
pub(super) fn webhooks(root: &mut Table, complaints: &mut Complaints<'_>) -> Vec<Webhook> {
    let tables = root.tables("webhook", "webhook", complaints);
    if tables.len() > WEBHOOKS_MAX {
        let message =
            format!("`webhook`: there are {}, and at most {WEBHOOKS_MAX} are possible", tables.len());
        complaints.add(tables.last().and_then(|table| table.at), message);
    }
    let mut webhooks: Vec<Webhook> = Vec::new();
    for table in tables {
        let at = table.at;
        let Some(webhook) = webhook(table, complaints) else { continue };
        if webhooks.iter().any(|other| other.name == webhook.name) {
            complaints.add(at, format!("`webhook`: the name {} is there twice", webhook.name));
        }
        webhooks.push(webhook);
    }
    webhooks
}

/// `None` after a complaint.
fn webhook(mut table: Table, complaints: &mut Complaints<'_>) -> Option<Webhook> {
    for (key, what) in [
        ("name", "what is it called?"),
        ("url", "where are the events sent?"),
        ("secret", "name a file with the secret that requests are signed with"),
    ] {
        if !table.has(key) {
            complaints.add(table.at, format!("`webhook.{key}` is missing: {what}"));
        }
    }
    let name: Option<Found<Name>> = table.parsed("name", complaints);
    // The URL is not repeated: it may hold a secret.
    let url = table.text("url", complaints).and_then(|Found { at, value }| match value.parse() {
        Ok(url) => Some(url),
        Err(why) => {
            complaints.add(at, format!("`webhook.url` {why}"));
            None
        }
    });
    let secret = file(&mut table, "secret", complaints);
    let ca = file(&mut table, "ca", complaints);
    let joined =
        |texts: Vec<Found<String>>| texts.into_iter().map(|found| found.value).collect::<Vec<_>>().join(",");
    let stages = table.text_or_texts("stage", complaints);
    stages.iter().flatten().for_each(|found| known_stages(found, complaints));
    let labels = table.text_or_texts("label", complaints);
    let wanted = WantedEvents {
        stage: stages.map(joined),
        label: labels.map(joined),
        machine: table.text("machine", complaints).map(|found| found.value),
        deployment: table.text("deployment", complaints).map(|found| found.value),
    };
    table.finish(complaints);
    Some(Webhook { name: name?.value, url: url?, secret: secret?, ca, wanted })
}

/// A text may hold several, as in the parameter of `GET /v1/events`.
fn known_stages(found: &Found<String>, complaints: &mut Complaints<'_>) {
    for name in found.value.split(',').map(str::trim).filter(|name| Stage::named(name).is_none()) {
        let help = match similar(name, Stage::NAMES.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", Stage::NAMES.join(", ")),
        };
        complaints.add(found.at, format!("`webhook.stage`: no event has the stage `{name}`; {help}"));
    }
}

fn file(table: &mut Table, key: &'static str, complaints: &mut Complaints<'_>) -> Option<PathBuf> {
    let Found { at, value } = table.text(key, complaints)?;
    if value.is_empty() {
        complaints.add(at, format!("`{}` is empty: name a file", table.path(key)));
        return None;
    }
    Some(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const NETWORK: &str = "network = { interface = 'e', address = '10.0.0.1' }\n";

    fn read(text: &str) -> Result<Vec<Webhook>, Vec<String>> {
        match Config::parse(&format!("{NETWORK}{text}"), "f") {
            Ok(config) => Ok(config.webhooks),
            Err(error) => Err(error.problems.into_iter().map(|problem| problem.message).collect()),
        }
    }

    #[test]
    fn a_url_is_shown_without_its_path() {
        let url: WebhookUrl = "https://hooks.example.org/T0/SECRET?key=SECRET".parse().unwrap();
        assert_eq!((url.target.as_str(), url.port), ("/T0/SECRET?key=SECRET", 443));
        assert_eq!(format!("{url} {url:?}").matches("https://hooks.example.org/…").count(), 2);
        let shown = |text: &str| text.parse::<WebhookUrl>().unwrap().to_string();
        assert_eq!(shown("http://[::1]:8080"), "http://[::1]:8080/");
        assert_eq!(shown("http://example.org:80/"), "http://example.org/");
        for wrong in [
            "example.org/x",
            "ftp://example.org",
            "https://",
            "https:///x",
            "https://u:p@h/",
            "",
            "http://h:/",
        ] {
            assert!(wrong.parse::<WebhookUrl>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_webhook_is_read_and_each_mistake_named() {
        let text = "[[webhook]]\nname = 'chat'\nurl = 'https://h/x'\nsecret = 's'\nstage = ['failed', 'stuck']\n\
                    label = 'rack=r1,!old'\nca = 'ca.pem'\n[[webhook]]\nname = 'all'\nurl = 'http://h'\nsecret = 't'\n";
        let both = read(text).unwrap();
        assert_eq!(both[0].wanted.stage.as_deref(), Some("failed,stuck"));
        assert_eq!((both[0].ca.clone(), &both[1].wanted), (Some("ca.pem".into()), &WantedEvents::default()));
        for (text, part) in [
            ("url = 'https://h/x'\nsecret = 's'", "`webhook.name` is missing"),
            ("name = 'a'\nsecret = 's'", "`webhook.url` is missing"),
            ("name = 'a'\nurl = 'https://h/x'", "`webhook.secret` is missing"),
            ("name = 'A'\nurl = 'https://h/x'\nsecret = 's'", "`webhook.name`: `A`"),
            ("name = 'a'\nurl = 'https://u:PASSWORD@h/x'\nsecret = 's'", "`webhook.url` must hold no user"),
            ("name = 'a'\nurl = 'https://h/x'\nsecret = ''", "`webhook.secret` is empty"),
            ("name = 'a'\nurl = 'https://h/x'\nsecret = 's'\nstages = 'x'", "did you mean `stage`"),
            (
                "name = 'a'\nurl = 'https://h/x'\nsecret = 's'\nstage = 'failed,faild'",
                "`faild`; did you mean `failed`?",
            ),
            (
                "name = 'a'\nurl = 'https://h/x'\nsecret = 's'\nstage = ['nothing']",
                "`nothing`; there are offer, ack",
            ),
        ] {
            let wrong = read(&format!("[[webhook]]\n{text}")).unwrap_err();
            assert!(wrong.iter().any(|line| line.contains(part)), "{text}: {wrong:?}");
            assert!(!wrong.concat().contains("PASSWORD"), "{wrong:?}");
        }
        let twice = "[[webhook]]\nname = 'a'\nurl = 'https://h/x'\nsecret = 's'\n".repeat(2);
        assert!(read(&twice).unwrap_err()[0].contains("there twice"));
    }
}
