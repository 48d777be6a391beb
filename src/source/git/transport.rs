//! How libgit2 reaches other hosts: https over rustls, ssh by the system's `ssh`. Neither
//! OpenSSL nor libssh2 is linked.

mod http;
mod ssh;

use git2::transport::{Transport, register};

use super::address::Address;
use crate::model::Access;

/// Has libgit2 reach `address` with what `access` allows; returns the URL to give to libgit2,
/// which holds no secret. To be called once in a process, before any thread is started.
pub(super) fn prepare(address: &Address, url: &str, access: &Access) -> Result<String, String> {
    if address.is_open() && !access.insecure {
        return Err("it would travel unprotected: everybody on the way could change which machines are \
                    installed with what. Use https or ssh, or say `insecure = true`"
            .to_owned());
    }
    let words = |error: git2::Error| error.message().to_owned();
    match address {
        Address::Local(_) | Address::Daemon(_) => Ok(url.to_owned()),
        Address::Web(web) => {
            let shared = http::Shared::new(web.clone(), access)?;
            let scheme = if web.secure { "https" } else { "http" };
            // SAFETY: nothing else uses libgit2 yet.
            unsafe {
                register(scheme, move |remote| Transport::smart(remote, true, http::Http(shared.clone())))
            }
            .map_err(words)?;
            Ok(format!("{scheme}://{}{}", web.authority(), web.path))
        }
        Address::Ssh(place) => {
            let ssh = ssh::Client { place: place.clone(), access: access.clone() };
            // SAFETY: nothing else uses libgit2 yet.
            unsafe { register("ssh", move |remote| Transport::smart(remote, false, ssh.clone())) }
                .map_err(words)?;
            Ok("ssh://host/path".to_owned())
        }
    }
}
