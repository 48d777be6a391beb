//! Images that manifests name by their address, from web servers.

use std::path::Path;

use crate::media::Fetch;
use crate::media::verify::Verifier;
use crate::source::download::Download;

/// The web, as this host reaches it.
#[derive(Debug)]
pub(super) struct Web;

impl Fetch for Web {
    fn fetch(
        &self,
        url: &str,
        sha256: &str,
        path: &Path,
        goes_on: &dyn Fn(u64, u64) -> bool,
    ) -> Result<(), String> {
        let download = Download::new(url, path);
        let fetched = download.run(&mut |done, total| goes_on(done, total.unwrap_or_default()));
        fetched.map_err(|error| error.to_string())?;
        let found = Verifier::default().digest(download.part()).map_err(|error| error.to_string())?;
        if !found.eq_ignore_ascii_case(sha256) {
            download.discard();
            return Err(format!("what came has the sha256 {found}, and the manifest asks for {sha256}"));
        }
        download.keep(path).map_err(|error| error.to_string())
    }
}
