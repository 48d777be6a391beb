//! The sources as the control API sees them: who may call them, and when they are read next.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use hyper::HeaderMap;

use crate::api::Hooked;
use crate::api::hook::Mark;
use crate::media::regular;
use crate::model::{Name, Time};
use crate::source::Handle;

/// Longest file of a webhook's secret, in bytes.
const LARGEST_SECRET: u64 = 64 << 10;

/// Handles of the running sources, and the files with the secrets of their webhooks.
#[derive(Clone, Default)]
pub struct Hooks(Arc<BTreeMap<Name, (Handle, Option<PathBuf>)>>);

impl Hooks {
    pub fn new(sources: BTreeMap<Name, (Handle, Option<PathBuf>)>) -> Hooks {
        Hooks(Arc::new(sources))
    }

    /// Has every source read again.
    pub fn poke_all(&self) {
        self.0.values().for_each(|(handle, _)| handle.poke());
    }

    /// A source by its name.
    pub fn source(&self, name: &Name) -> Option<&Handle> {
        self.0.get(name).map(|(handle, _)| handle)
    }

    /// Whether the caller knows the secret of a source, which is read anew each time. Without its body a call may
    /// be one that only the body can prove genuine.
    pub fn judge(&self, name: &str, headers: &HeaderMap, body: Option<&[u8]>) -> Hooked {
        let found = self.0.iter().find(|(known, _)| known.as_str() == name);
        let Some((_, Some(file))) = found.map(|(_, source)| source) else { return Hooked::Unknown };
        let Some(mark) = Mark::of(headers) else { return Hooked::Forged };
        let secret = match regular::text(file, LARGEST_SECRET) {
            Ok(text) => text.trim().to_owned(),
            Err(error) => {
                tracing::warn!("the webhook's secret {error}");
                return Hooked::Forged;
            }
        };
        match mark.is_genuine(body, secret.as_bytes()) {
            None => Hooked::Signed,
            Some(false) => Hooked::Forged,
            Some(true) => Hooked::Called,
        }
    }

    /// When the source is read next; `None` while it is being read.
    pub fn next(&self, name: &Name) -> Option<Time> {
        let next = self.0.get(name).and_then(|(handle, _)| handle.next())?;
        let since = next.duration_since(UNIX_EPOCH).ok()?;
        u64::try_from(since.as_millis()).ok().map(Time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Inventory;
    use crate::source::{self, SourceConfig};

    #[tokio::test]
    async fn a_call_needs_the_secret_of_the_day() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        let (out, mut updates) = tokio::sync::mpsc::channel(1);
        let settings = SourceConfig {
            inventory: Inventory::Directory(folder.path().join("inventory")),
            poll: None,
            state: folder.path().join("state"),
            fetcher: Default::default(),
        };
        std::fs::create_dir(folder.path().join("inventory")).unwrap();
        let handle = source::spawn(settings, out);
        updates.recv().await.unwrap();
        let name: Name = "lab".parse().unwrap();
        let silent: Name = "silent".parse().unwrap();
        let hooks = Hooks::new(
            [(name.clone(), (handle.clone(), Some(file.clone()))), (silent, (handle, None))].into(),
        );
        let with =
            |token: &str| [("x-gitlab-token".parse().unwrap(), token.parse().unwrap())].into_iter().collect();
        let call = |source: &str, token: &str| hooks.judge(source, &with(token), None);
        assert_eq!(call("lab", "one"), Hooked::Forged, "no secret, no calls");
        for secret in ["one\n", "two"] {
            std::fs::write(&file, secret).unwrap();
            assert_eq!(call("lab", secret.trim()), Hooked::Called);
            assert_eq!(call("lab", "three"), Hooked::Forged);
        }
        std::fs::write(&file, "").unwrap();
        assert_eq!(call("lab", ""), Hooked::Forged);
        assert_eq!((call("silent", "two"), call("other", "two")), (Hooked::Unknown, Hooked::Unknown));
        assert!(hooks.next(&name).is_some_and(|next| next > Time(0)), "when it is read next");
    }
}
