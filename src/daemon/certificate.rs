//! A certificate that changes while it is served: one of the daemon's own authority, for all that this host is called
//! and made anew before it ends (the API's beyond loopback), or a given one that is read again when its files change
//! (the API's, and that of HTTPS for machines). What is wrong with the files is a condition of the daemon, which goes on
//! with the certificate that it has.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::tz::TimeZone;
use rcgen::{CertificateParams, SanType, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, ServerName};

use tokio::task::JoinSet;

use super::host_addresses;
use super::service::{Part, Row, StatusBoard, supervise};
use super::tls::{self, Authority, TlsError};
use super::{Stop, now, stopped};
use crate::api::certificate::{fingerprint, is_for, is_signed_by, validity};
use crate::model::{Span, Time};

/// Time between two looks at the files, the names of this host and the clock.
const LOOK: Duration = Duration::from_secs(2);
const DAY: Span = Span::seconds(86_400);
/// For how long a certificate of our own is good, in days of UTC.
const GOOD: u64 = 90;
/// It is made anew when it is good for less than this.
const RENEW: Span = Span::seconds(30 * 86_400);
/// That a given certificate ends is said so long before.
const SOON: Span = Span::seconds(7 * 86_400);
/// No certificate of ours was ever made before: the year of this program's first version. A clock that is earlier
/// has lost the time.
const EARLIEST: Time = Time(1_767_225_600_000);
/// More names than this make a certificate that clients refuse to read.
const NAMES_MAX: usize = 500;

/// What is shown now, and where the next one comes from.
pub(super) struct Certificate {
    source: Source,
    present: Mutex<Present>,
}

enum Source {
    Own {
        authority: Box<Authority>,
        /// What the settings say that this host is called.
        names: Vec<String>,
        /// Where the API listens beyond loopback.
        listen: Vec<IpAddr>,
    },
    Given {
        certificate: PathBuf,
        key: PathBuf,
    },
}

#[derive(Clone)]
struct Present {
    config: Arc<ServerConfig>,
    leaf: CertificateDer<'static>,
    /// The last certificate that is shown: what clients pin.
    top: String,
    /// Of one of our own: what it is for.
    names: BTreeSet<String>,
    from: Time,
    until: Time,
    /// The state of the given files when they were read.
    files: Option<[Stamp; 2]>,
}

/// What changes with a file: its inode, its length, and when it was written, in seconds and nanoseconds.
type Stamp = (u64, u64, i64, i64);

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").field("top", &self.present().top).finish_non_exhaustive()
    }
}

impl Certificate {
    /// Reads the given files, or has the authority in the state directory sign one.
    pub(super) fn open(
        given: Option<&(PathBuf, PathBuf)>,
        names: &[String],
        listen: Vec<IpAddr>,
        state: &Path,
    ) -> Result<Certificate, TlsError> {
        let source = match given {
            Some((certificate, key)) => Source::Given { certificate: certificate.clone(), key: key.clone() },
            None => {
                let (authority, names) = (Box::new(Authority::open(state)?), names.to_vec());
                Source::Own { authority, names, listen }
            }
        };
        let present = match &source {
            Source::Own { authority, names, listen } => own(authority, wanted(names, listen), now())?,
            Source::Given { certificate, key } => given_files(certificate, key)?,
        };
        Ok(Certificate { source, present: Mutex::new(present) })
    }

    /// What new connections are served with.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.present().config
    }

    /// The fingerprint of what clients pin: the authority, if it is shown.
    pub(super) fn fingerprint(&self) -> String {
        self.present().top
    }

    /// Whether it is for this host name or address.
    pub(super) fn is_for(&self, host: &str) -> bool {
        is_for(&self.present().leaf, host)
    }

    /// Keeps it good in a task until the stop; the row `name` says what is wrong.
    pub(super) fn kept(
        self: Arc<Certificate>,
        name: &str,
        board: &StatusBoard,
        stop: &Stop,
        tasks: &mut JoinSet<()>,
    ) {
        let rows: Arc<[Row]> = [board.row(name, Part::Auxiliary)].into();
        let (mine, stop) = (rows.clone(), stop.clone());
        tasks.spawn(supervise(rows, move || {
            let (certificate, rows, mut stop) = (self.clone(), mine.clone(), stop.clone());
            async move {
                tokio::select! {
                    () = certificate.keep(&rows[0]) => {}
                    () = stopped(&mut stop) => {}
                }
                Ok(())
            }
        }));
    }

    /// Looks again and again, and shows on `row` what is wrong. Never ends.
    async fn keep(self: Arc<Certificate>, row: &Row) {
        loop {
            let own = self.clone();
            let looked = tokio::task::spawn_blocking(move || own.look(now())).await;
            match looked.unwrap_or_else(|panic| Err(panic.to_string())) {
                Ok(()) => row.serving(),
                Err(why) => row.waiting(why),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Renews what is due; the error is what a person has to see to.
    fn look(&self, now: Time) -> Result<(), String> {
        match &self.source {
            Source::Own { authority, names, listen } => {
                let (present, wanted) = (self.present(), wanted(names, listen));
                let is_due = now < present.from || present.until - RENEW < now;
                if is_due || wanted != present.names {
                    let next = own(authority, wanted, now).map_err(|error| error.to_string())?;
                    tracing::info!("API: a new certificate, good until {}", next.until);
                    self.set(next);
                }
                if let Some(why) = authority.damage() {
                    return Err(format!(
                        "{why}; the API goes on with the authority that was read at the start: put the file back from \
                         a backup, or clients have to log in anew after the next start"
                    ));
                }
                match now < EARLIEST {
                    true => Err(format!(
                        "this host's clock says {now}: certificates that are made now have expired for others. Set \
                         the clock"
                    )),
                    false => Ok(()),
                }
            }
            Source::Given { certificate, key } => {
                if stamps(certificate, key) != self.present().files {
                    let next = given_files(certificate, key).map_err(|error| {
                        format!("{error}; the server goes on with the certificate that it had before")
                    })?;
                    tracing::info!("TLS: {} was read again", certificate.display());
                    self.set(next);
                }
                given_dates(certificate, &self.present(), now)
            }
        }
    }

    fn present(&self) -> Present {
        self.present.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, next: Present) {
        *self.present.lock().unwrap_or_else(PoisonError::into_inner) = next;
    }
}

/// All that this host is called, for a certificate.
fn wanted(names: &[String], listen: &[IpAddr]) -> BTreeSet<String> {
    let host =
        fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_ascii_lowercase();
    let host = Some(host).filter(|host| ServerName::try_from(host.as_str()).is_ok());
    let any = |four: bool| listen.iter().any(|listen| listen.is_unspecified() && listen.is_ipv4() == four);
    let is_link_local = |address: &IpAddr| matches!(address, IpAddr::V6(six) if six.is_unicast_link_local());
    // Where it listens at every address, each of them may be the one that clients use.
    let of_host = host_addresses::addresses().unwrap_or_default();
    let of_host = of_host.into_iter().filter(|own| any(own.is_ipv4()) && !is_link_local(own));
    let named = listen.iter().copied().filter(|listen| !listen.is_unspecified());
    let loopback = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let first = loopback.into_iter().chain(names.iter().cloned()).chain(host);
    let addresses = named.chain(of_host).map(|address| address.to_canonical().to_string());
    first.chain(addresses).take(NAMES_MAX).collect()
}

/// A new certificate of the authority. Its root is shown with it, so that clients can pin it.
fn own(authority: &Authority, names: BTreeSet<String>, now: Time) -> Result<Present, TlsError> {
    let mut params = CertificateParams::new(Vec::new())?;
    for name in &names {
        params.subject_alt_names.push(match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.as_str().try_into()?),
        });
    }
    // Clocks differ by minutes, not days.
    let (from, until) = (now - DAY, now + Span(DAY.0 * GOOD));
    let date = |time| {
        let (year, month, day) = day(time);
        date_time_ymd(year, month, day)
    };
    (params.not_before, params.not_after) = (date(from), date(until));
    let (leaf, key) = authority.issue(params)?;
    let root = authority.root();
    if !is_signed_by(&leaf, &root, now) {
        return Err(authority.mixed());
    }
    let top = fingerprint(&root);
    let config = tls::config(vec![leaf.clone(), root], key).map_err(TlsError::OwnRefused)?;
    Ok(Present { config, leaf, top, names, from, until, files: None })
}

/// Year, month and day of UTC.
fn day(time: Time) -> (i32, u8, u8) {
    let stamp = i64::try_from(time.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let date = stamp.unwrap_or(jiff::Timestamp::MAX).to_zoned(TimeZone::UTC).date();
    (date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
}

fn given_files(certificate: &Path, key: &Path) -> Result<Present, TlsError> {
    // Before they are read: what is written meanwhile is read at the next look.
    let files = stamps(certificate, key);
    let (config, chain) = tls::read(certificate, key)?;
    let broken = || TlsError::Empty(certificate.to_owned());
    let (leaf, top) = (chain.first().ok_or_else(broken)?.clone(), chain.last().ok_or_else(broken)?);
    let (from, until) = validity(&leaf).ok_or_else(broken)?;
    Ok(Present { config, top: fingerprint(top), leaf, names: BTreeSet::new(), from, until, files })
}

/// `None` where one is not there.
fn stamps(certificate: &Path, key: &Path) -> Option<[Stamp; 2]> {
    let stamp = |path: &Path| {
        let found = fs::metadata(path).ok()?;
        Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
    };
    Some([stamp(certificate)?, stamp(key)?])
}

/// What is wrong with the dates of a given certificate. It is shown nevertheless: whoever pinned it has the choice.
fn given_dates(path: &Path, present: &Present, now: Time) -> Result<(), String> {
    let (path, Present { from, until, .. }) = (path.display(), present);
    if now < *from {
        return Err(format!(
            "{path} is good from {from} on, and this host's clock says {now}: one of them is wrong"
        ));
    }
    if *until <= now {
        return Err(format!(
            "{path} has expired at {until} (this host's clock says {now}): clients refuse it"
        ));
    }
    match *until <= now + SOON {
        true => Err(format!("{path} expires at {until}: put a new certificate into the file")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_900_000_000_000);
    const ANY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

    fn own_at(state: &Path, names: &[&str], listen: IpAddr) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Certificate::open(None, &names, vec![listen], state).unwrap()
    }

    #[test]
    fn our_own_is_for_all_that_the_host_is_called() {
        let state = tempfile::tempdir().unwrap();
        let one = own_at(state.path(), &["boot.example.org", "192.0.2.7"], [10, 0, 0, 5].into());
        for (host, expected) in [
            ("boot.example.org", true),
            ("BOOT.EXAMPLE.ORG", true),
            ("192.0.2.7", true),
            ("10.0.0.5", true),
            ("localhost", true),
            ("::1", true),
            ("evil.example", false),
            ("10.0.0.6", false),
        ] {
            assert_eq!(one.is_for(host), expected, "{host}");
        }
        let all = own_at(state.path(), &[], ANY);
        let of_host = host_addresses::addresses().unwrap();
        assert!(of_host.iter().filter(|own| own.is_ipv4()).all(|own| all.is_for(&own.to_string())));
        assert_eq!(one.fingerprint(), all.fingerprint(), "it is the same authority");
        assert!(is_signed_by(&all.present().leaf, &Authority::open(state.path()).unwrap().root(), now()));
    }

    #[test]
    fn our_own_is_made_anew_before_it_ends_and_when_the_clock_is_set() {
        let state = tempfile::tempdir().unwrap();
        let certificate = own_at(state.path(), &[], ANY);
        let leaf = || certificate.present().leaf;
        let mut before = leaf();
        let mut renewed = |at: Time| {
            let said = certificate.look(at);
            let changed = before != leaf();
            before = leaf();
            (changed, said.is_ok())
        };
        assert_eq!(renewed(NOW), (true, true), "it was made years before");
        assert_eq!(renewed(NOW + Span(DAY.0 * 59)), (false, true));
        assert_eq!(renewed(NOW + Span(DAY.0 * 61)), (true, true));
        assert_eq!(renewed(NOW), (true, true), "the clock was set back");
        let (from, until) = validity(&leaf()).unwrap();
        assert!(from <= NOW - DAY && NOW + Span(DAY.0 * 88) < until, "{from} {until}");
        // Without a battery a clock begins anew.
        assert_eq!(renewed(Time(5_000)), (true, false));
        assert!(certificate.look(Time(5_000)).unwrap_err().contains("clock says 1970-01-01T00:00:05"));
        assert_eq!(renewed(NOW), (true, true));
    }

    #[test]
    fn damage_to_the_authority_is_said_and_the_present_one_kept() {
        let state = tempfile::tempdir().unwrap();
        let certificate = own_at(state.path(), &[], ANY);
        let (key, root) = (state.path().join("tls/authority.key"), state.path().join("tls/authority.pem"));
        let (pinned, good) = (certificate.fingerprint(), [fs::read(&key).unwrap(), fs::read(&root).unwrap()]);
        let other = tempfile::tempdir().unwrap();
        Authority::open(other.path()).unwrap();
        for (path, good) in [(&key, &good[0]), (&root, &good[1])] {
            let theirs = fs::read(other.path().join("tls").join(path.file_name().unwrap())).unwrap();
            for bad in [Some(&b"nonsense"[..]), Some(&[]), Some(&theirs), None] {
                match bad {
                    Some(bad) => fs::write(path, bad).unwrap(),
                    None => fs::remove_file(path).unwrap(),
                }
                let why = certificate.look(NOW).unwrap_err();
                assert!(why.starts_with(&path.display().to_string()) && why.contains("log in anew"), "{why}");
                assert_eq!(certificate.fingerprint(), pinned);
            }
            fs::write(path, good).unwrap();
            certificate.look(NOW).unwrap();
        }
        // A root of another key would be pinned in vain.
        fs::copy(other.path().join("tls/authority.pem"), &root).unwrap();
        let why = Certificate::open(None, &[], vec![ANY], state.path()).unwrap_err().to_string();
        assert!(why.contains("authority.pem") && why.contains("is not the root of"), "{why}");
    }

    fn pair(from: Time, until: Time) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["boot.example.org".to_owned()]).unwrap();
        let date = |time| {
            let (year, month, day) = day(time);
            date_time_ymd(year, month, day)
        };
        (params.not_before, params.not_after) = (date(from), date(until));
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn given_files_are_read_again_and_their_dates_said() {
        let folder = tempfile::tempdir().unwrap();
        let (path, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
        let write = |(certificate, private): &(String, String)| {
            fs::write(&path, certificate).unwrap();
            fs::write(&key, private).unwrap();
        };
        let open = || Certificate::open(Some(&(path.clone(), key.clone())), &[], vec![ANY], folder.path());
        assert!(open().is_err());
        let year = Span(DAY.0 * 365);
        write(&pair(NOW, NOW + year));
        let certificate = open().unwrap();
        let first = certificate.fingerprint();
        assert!(certificate.is_for("boot.example.org") && !certificate.is_for("localhost"));
        certificate.look(NOW + DAY).unwrap();
        let early = certificate.look(NOW - DAY - DAY).unwrap_err();
        assert!(early.contains("is good from") && early.contains("clock"), "{early}");
        assert!(certificate.look(NOW + year - DAY - DAY).unwrap_err().contains("expires at"));
        assert!(certificate.look(NOW + year + DAY).unwrap_err().contains("has expired at"));
        // Half of a change: the certificate of another key.
        let next = pair(NOW, NOW + year + year);
        fs::write(&path, &next.0).unwrap();
        let half = certificate.look(NOW + DAY).unwrap_err();
        assert!(half.contains("goes on with the certificate that it had"), "{half}");
        assert_eq!(certificate.fingerprint(), first);
        write(&next);
        certificate.look(NOW + year).unwrap();
        assert_ne!(certificate.fingerprint(), first);
        fs::remove_file(&key).unwrap();
        assert!(certificate.look(NOW + year).unwrap_err().contains("k.pem"));
    }
}
