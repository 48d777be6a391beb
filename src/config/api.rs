//! `[api]`: where the server for people listens, and how it shows who it is.

use rustls::pki_types::ServerName;

use super::read::pair;
use super::tree::{Complaints, Found, Table};
use super::{Api, Listen};
use crate::model::Role;

/// `[api]`, or the default where the file has none.
pub(super) fn api(root: &mut Table, complaints: &mut Complaints<'_>) -> Api {
    let default = || Api {
        listen: Listen::defaults(),
        group_role: Role::Editor,
        viewer_token: None,
        names: Vec::new(),
        given: None,
    };
    let Some(mut table) = root.table("api", "api", complaints) else { return default() };
    let listen = listens(&mut table, complaints);
    let role = table.parsed("group-role", complaints).map(|found| found.value);
    let viewer_token = table.text("viewer-token", complaints).map(|found| found.value.into());
    let names = names(&mut table, complaints);
    let given = pair(&mut table, "api", complaints);
    if given.is_some() && !listen.iter().any(Listen::is_beyond_loopback) {
        let why = "`api.certificate` is not used: TLS is spoken at addresses beyond loopback, and `api.listen` has \
                   none";
        complaints.add(table.at, why.to_owned());
    }
    table.finish(complaints);
    Api { listen, group_role: role.unwrap_or(Role::Editor), viewer_token, names, given }
}

/// One address, or a list of them.
fn listens(table: &mut Table, complaints: &mut Complaints<'_>) -> Vec<Listen> {
    let Some(texts) = table.text_or_texts("listen", complaints) else { return Listen::defaults() };
    if texts.is_empty() {
        complaints.add(table.at, "`api.listen`: without an address nobody could reach the daemon".into());
    }
    let mut listens = Vec::new();
    for Found { at, value } in texts {
        match value.parse::<Listen>() {
            Ok(listen) if listens.contains(&listen) => {
                complaints.add(at, format!("`api.listen`: `{value}` is there twice"));
            }
            Ok(listen) => listens.push(listen),
            Err(why) => complaints.add(at, format!("`api.listen`: `{value}`: {why}")),
        }
    }
    listens
}

/// What clients call this host besides its addresses and its own name.
fn names(table: &mut Table, complaints: &mut Complaints<'_>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for Found { at, value } in table.text_or_texts("names", complaints).unwrap_or_default() {
        let name = value.to_ascii_lowercase();
        // What a certificate can be for, and a client can verify: no pattern, no port, no URL.
        match ServerName::try_from(name.as_str()) {
            Err(_) => {
                let why = format!(
                    "`api.names`: `{value}` is no name of a host and no address: write it as boot.example.org"
                );
                complaints.add(at, why);
            }
            Ok(_) if names.contains(&name) => {
                complaints.add(at, format!("`api.names`: `{value}` is there twice"));
            }
            Ok(_) => names.push(name),
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn read(api: &str) -> Result<Config, String> {
        let text = format!("[network]\ninterface = \"eth0\"\naddress = \"10.0.0.1\"\n[api]\n{api}");
        Config::parse(&text, "v.toml").map_err(|error| error.to_string())
    }

    #[test]
    fn addresses_beyond_loopback_come_with_a_certificate() {
        let far =
            read("listen = ['0.0.0.0:12345', '[::1]:1']\nnames = ['Boot.example.org', '192.0.2.7']").unwrap();
        assert_eq!(far.api.names, ["boot.example.org", "192.0.2.7"]);
        let beyond: Vec<bool> = far.api.listen.iter().map(|listen| listen.is_beyond_loopback()).collect();
        assert_eq!(beyond, [true, false]);
        let given = read("listen = '10.0.0.1:1'\ncertificate = 'c.pem'\nkey = 'k.pem'").unwrap();
        assert_eq!(given.api.given, Some(("c.pem".into(), "k.pem".into())));
        for (api, why) in [
            ("certificate = 'c.pem'", "v.toml:4:1: `api`: `certificate` and `key` go together"),
            ("certificate = 'c.pem'\nkey = 'k.pem'", "v.toml:4:1: `api.certificate` is not used: "),
            ("names = ['*.example.org']", "v.toml:5:10: `api.names`: `*.example.org` is no name"),
            ("names = 'https://x/'", "`https://x/` is no name"),
            ("names = ['x:1']", "`x:1` is no name"),
            ("names = ['']", "`` is no name"),
            ("names = ['a', 'A']", "`A` is there twice"),
            ("listen = 'example.org:1'", "write it as"),
        ] {
            let said = read(api).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }
}
