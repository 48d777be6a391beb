//! `voldemort media`: images come to where they are served from, whole, and vouched for.

mod vouch;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Subcommand;

use super::{Exit, exit};
use crate::media::verify::Verifier;
use crate::media::{MediaError, distribution, image};
use crate::source::download::Download;
use vouch::Voucher;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch or copy an image into a folder of media
    ///
    /// A download that broke off is gone on with by the same command. The file gets its name when it is whole and,
    /// with --sha256 or --signed-by, when it is known to be the right one.
    Add(Add),
}

#[derive(Debug, clap::Args)]
struct Add {
    /// Its https:// or http:// address, or a file
    source: String,
    /// The folder: one of `[media] paths` in the daemon's settings, or an inventory
    #[arg(long, value_name = "DIR", default_value = ".")]
    into: PathBuf,
    /// The SHA-256 that its bytes must have, in hexadecimal
    #[arg(long, value_name = "HEX", value_parser = digest)]
    sha256: Option<String>,
    /// A keyring of OpenPGP keys, one of which must have signed the file, or a list of checksums that lies
    /// beside it (SHA256SUMS, CHECKSUM, NAME.sha256)
    #[arg(long, value_name = "KEYRING", conflicts_with = "sha256")]
    signed_by: Option<PathBuf>,
}

fn digest(text: &str) -> Result<String, String> {
    let is_digest = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest
        .then(|| text.to_ascii_lowercase())
        .ok_or_else(|| "a SHA-256 has 64 hexadecimal digits".to_owned())
}

pub fn run(args: &Args) -> Exit {
    let Command::Add(add) = &args.command;
    match add.run() {
        Ok(text) => exit::print(&text),
        Err(why) => {
            exit::talk(&why);
            Exit::Failed
        }
    }
}

impl Add {
    fn run(&self) -> Result<String, String> {
        let name = file_name(&self.source)?;
        let file = self.into.join(&name);
        if !self.into.is_dir() {
            return Err(format!("{} is no folder", self.into.display()));
        }
        let voucher = match (&self.sha256, &self.signed_by) {
            (Some(sha256), _) => Voucher::Digest(sha256.clone()),
            (None, Some(keyring)) => vouch::by_signature(&self.source, &name, keyring)?,
            (None, None) => Voucher::Nobody,
        };
        if file.exists() {
            return self.present(&file, &voucher);
        }
        let download = self.bring(&file)?;
        let part = download.part();
        let judged = voucher.judge(part, &name).and_then(|()| not_a_page(part));
        if let Err(why) = judged {
            download.discard();
            return Err(format!("{}: {why}; what came was removed", self.source));
        }
        download.keep(&file).map_err(|error| error.to_string())?;
        describe(&file, &voucher)
    }

    /// A file that has the name already is never written over.
    fn present(&self, file: &Path, voucher: &Voucher) -> Result<String, String> {
        if matches!(voucher, Voucher::Nobody) {
            return Err(format!(
                "{} is there already: remove it first, or name its --sha256",
                file.display()
            ));
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let judged = voucher.judge(file, &name);
        judged.map_err(|why| format!("{} is there already and is another file ({why})", file.display()))?;
        describe(file, voucher)
    }

    /// The bytes beside where they will be.
    fn bring(&self, file: &Path) -> Result<Download, String> {
        let download = Download::new(&self.source, file);
        if is_url(&self.source) {
            let mut line = Line::default();
            let done = download.run(&mut |done, total| {
                line.show(done, total);
                true
            });
            line.end();
            done.map_err(|error| error.to_string())?;
        } else {
            let copied = std::fs::copy(&self.source, download.part());
            copied.map_err(|error| {
                download.discard();
                format!("{} to {}: {error}", self.source, download.part().display())
            })?;
        }
        Ok(download)
    }
}

fn is_url(source: &str) -> bool {
    source.contains("://")
}

/// The last part of an address or path, as a name of a file.
fn file_name(source: &str) -> Result<String, String> {
    let plain = if is_url(source) { source.split(['?', '#']).next().unwrap_or_default() } else { source };
    let last = plain.rsplit('/').next().unwrap_or_default();
    let host_only = is_url(source) && plain.matches('/').count() < 3;
    if last.is_empty() || last == ".." || last == "." || host_only || last.contains(|c: char| c.is_control())
    {
        return Err(format!("{source} names no file"));
    }
    Ok(last.replace("%20", " "))
}

/// A server that has no such file may answer with a page that says so, and 200.
fn not_a_page(part: &Path) -> Result<(), String> {
    match image::open(part) {
        Err(MediaError::NotAnImage { why, .. }) if why.contains("web page") => Err(format!("it is {why}")),
        _ => Ok(()),
    }
}

/// What there is now.
fn describe(file: &Path, voucher: &Voucher) -> Result<String, String> {
    let sha256 = Verifier::default().digest(file).map_err(|error| error.to_string())?;
    let mut text = format!("{}\nsha256 {sha256}{}\n", file.display(), voucher.words());
    match image::open(file) {
        Ok(index) => {
            if let Some(system) = distribution::of(&index) {
                let words = [Some(system.name), system.release.as_deref(), system.arch.as_deref()];
                text += &format!("{}\n", words.into_iter().flatten().collect::<Vec<_>>().join(" "));
            }
            text += &format!("`voldemort iso inspect {}` prints a [boot] for it\n", file.display());
        }
        Err(why) => text += &format!("it is no image: {why}\n"),
    }
    if matches!(voucher, Voucher::Nobody) {
        text += "nobody vouches for it: compare the sha256 with what its makers publish\n";
    }
    Ok(text)
}

/// One line on a terminal that says how far it is; nothing elsewhere.
#[derive(Default)]
struct Line {
    last: Option<Instant>,
    shown: bool,
}

impl Line {
    fn show(&mut self, done: u64, total: Option<u64>) {
        let recent = self.last.is_some_and(|last| last.elapsed() < Duration::from_millis(500));
        if recent || !std::io::stderr().is_terminal() {
            return;
        }
        self.last = Some(Instant::now());
        self.shown = true;
        let of = match total {
            Some(total) if total > 0 => format!(" of {} MiB, {} %", total >> 20, done * 100 / total),
            _ => " MiB".to_owned(),
        };
        // A terminal that takes no more is no reason to stop.
        let _ = write!(std::io::stderr(), "\r{}{of}   ", done >> 20);
    }

    fn end(&mut self) {
        if self.shown {
            let _ = writeln!(std::io::stderr());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_end_of_addresses() {
        let name = |source: &str| file_name(source).ok();
        assert_eq!(name("https://h/a/debian%2012.iso?x=/y#z"), Some("debian%2012.iso".replace("%20", " ")));
        assert_eq!(name("/srv/x.iso"), Some("x.iso".into()));
        assert_eq!(name("x.iso"), Some("x.iso".into()));
        for none in ["https://h", "https://h/", "https://h/a/", "/srv/", "https://h/..", "", "https://h/a\n"]
        {
            assert_eq!(name(none), None, "{none}");
        }
    }
}
