//! The daemon of this host, if one runs.

use super::finding::Finding;
use crate::api::Client;
use crate::api::client::{Address, ClientError};
use crate::api::resource::Status;
use crate::config::{Config, Listen, runtime};
use crate::model::ServiceState;

/// Asks the Unix socket of the settings.
pub(super) fn look(config: Option<&Config>) -> Finding {
    let socket = config.and_then(|config| {
        config.api.listen.iter().find_map(|listen| match listen {
            Listen::Unix(path) => Some(path.clone()),
            Listen::Tcp(_) => None,
        })
    });
    let path = socket.unwrap_or_else(|| runtime::SOCKET.into());
    let finding = Finding::about("daemon", path.display());
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return finding.unknown(error.to_string(), "look with `voldemortctl get status`"),
    };
    let client = Client::new(vec![Address::Socket { path, network: runtime::network() }]);
    judge(finding, runtime.block_on(client.get::<Status>("/v1/status")))
}

fn judge(finding: Finding, answer: Result<Status, ClientError>) -> Finding {
    let status = match answer {
        Ok(status) => status,
        Err(ClientError::Unreachable { .. }) => return finding.ok("none runs"),
        Err(error) => {
            return finding.unknown(error.to_string(), "look with `voldemortctl get status`, as root");
        }
    };
    let own = env!("CARGO_PKG_VERSION");
    if status.version != own {
        let found = format!("version {} runs, and this is {own}", status.version);
        return finding.warning(found, "systemctl restart voldemort: the state directory is kept");
    }
    let waiting = status.services.iter().filter(|service| service.state != ServiceState::Serving);
    let waiting: Vec<String> =
        waiting.map(|service| format!("{} ({})", service.name, service.reason)).collect();
    let troubles: Vec<String> = waiting.into_iter().chain(status.troubles).collect();
    if troubles.is_empty() {
        return finding.ok(format!("version {own} runs and serves"));
    }
    finding.warning(
        format!("version {own} runs, with trouble: {}", troubles.join("; ")),
        "voldemortctl get status, voldemortctl events",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Level;

    #[test]
    fn another_version_and_trouble_are_warnings() {
        let finding = || Finding::about("daemon", "x");
        let status = |version: &str, troubles: &[&str]| Status {
            version: version.into(),
            troubles: troubles.iter().map(|one| (*one).to_owned()).collect(),
            ..Status::default()
        };
        let level = |status| judge(finding(), Ok(status)).level;
        assert_eq!(level(status(env!("CARGO_PKG_VERSION"), &[])), Level::Ok);
        assert_eq!(level(status(env!("CARGO_PKG_VERSION"), &["can't store"])), Level::Warning);
        assert_eq!(level(status("0.0.1", &[])), Level::Warning);
        let gone = ClientError::Unreachable { address: "x".into(), cause: "none".into() };
        assert_eq!(judge(finding(), Err(gone)).level, Level::Ok);
        assert_eq!(judge(finding(), Err(ClientError::NotAllowed("no".into()))).level, Level::Unknown);
    }
}
