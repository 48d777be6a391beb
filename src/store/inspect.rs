//! Looks at a state directory without changing it, also while a daemon uses it.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::database::Snapshot;
use super::former::{self, FormerFile, v01};
use super::last::{self, Said};
use super::log;
use super::log::digest::Keys;
use super::log::disk::Files;
use super::log::load::{Image, LoadError, Loaded};
use super::log::read::Mode;
use super::mark::{self, Mark, MarkError, Phase};
use super::{History, Saved, events};

/// What was found of one file, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub is_well: bool,
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", if self.is_well { "ok" } else { "WRONG" }, self.text)
    }
}

fn well(text: impl Into<String>) -> Finding {
    Finding { is_well: true, text: text.into() }
}

fn wrong(text: impl Into<String>) -> Finding {
    Finding { is_well: false, text: text.into() }
}

/// Everything that there is to say of a directory, a file at a time.
pub fn inspect(directory: &Path) -> Vec<Finding> {
    let mode = match std::fs::metadata(directory) {
        Ok(metadata) => metadata.mode() & 0o7777,
        Err(error) => return vec![wrong(format!("{}: {error}", directory.display()))],
    };
    let mut findings = vec![match mode & 0o077 {
        0 => well(format!("{} can be read only by its owner", directory.display())),
        _ => wrong(format!(
            "{} has mode {mode:o}: others can read it until the daemon starts",
            directory.display()
        )),
    }];
    let mark = match Mark::read(directory) {
        Ok(Some(mark)) => mark,
        Ok(None) => {
            findings.push(unmarked(directory));
            return findings;
        }
        Err(why) => {
            findings.push(wrong(format!("{}: {}", mark::FILE, mark_error(why))));
            return findings;
        }
    };
    if mark.is_former {
        findings.push(well(format!(
            "{}: state of an earlier version, which the next start upgrades",
            mark::FILE
        )));
        return findings;
    }
    findings.push(match mark.phase {
        Phase::Ready => well(format!("{}: lineage {}", mark::FILE, mark.lineage)),
        _ => wrong(format!(
            "{}: the daemon died while it made the directory; its next start continues",
            mark::FILE
        )),
    });
    of_log(directory, &mark, &mut findings);
    findings.push(
        match Snapshot::take(&directory.join(events::FILE)).and_then(|file| file.count(events::TABLE)) {
            Ok(count) => well(format!("{}: {count} events", events::FILE)),
            Err(error) => wrong(format!("{}: {error}; events alone are lost", events::FILE)),
        },
    );
    let (pages, damaged) = History::new(directory).count();
    findings.push(match damaged {
        0 => well(format!("history: {pages} revisions")),
        _ => wrong(format!("history: {damaged} of {pages} revisions can't be read, and can't be pinned")),
    });
    for (name, _) in former::places(directory).iter().filter(|(_, place)| *place != FormerFile::Text) {
        findings.push(wrong(format!(
            "{name}: is not the text that keeps earlier versions from taking this directory for theirs"
        )));
    }
    findings
}

fn unmarked(directory: &Path) -> Finding {
    let old = directory.join(v01::FILE);
    let is_text = former::place_of(directory, v01::FILE) == FormerFile::Text;
    match std::fs::metadata(&old) {
        Ok(metadata) if metadata.len() > 0 && !is_text => {
            well(format!("{}: state of version 0.1, which the next start upgrades", v01::FILE))
        }
        Ok(metadata) if metadata.len() == 0 => {
            wrong(format!("{}: is empty, and {} is missing", v01::FILE, mark::FILE))
        }
        _ => wrong(format!(
            "{}: is missing: this directory was never initialised, or has lost its key",
            mark::FILE
        )),
    }
}

pub(super) fn mark_error(why: MarkError) -> String {
    match why {
        MarkError::File(error) => format!("can't be read: {error}"),
        MarkError::Damaged => "is damaged".into(),
        MarkError::Later(first) => format!("a later version wrote it (\"{}\")", first.escape_debug()),
    }
}

/// What the log says; read once more where a daemon may just have written to it.
fn of_log(directory: &Path, mark: &Mark, findings: &mut Vec<Finding>) {
    const TRIES: usize = 5;
    let (keys, disk) = (Keys::new(&mark.record_key), Files::new(directory));
    let mut last = None;
    for _ in 0..TRIES {
        let read = Image::read(&disk).and_then(|image| {
            let loaded = image.load(&keys, None, Mode::Strict, &str::to_owned)?;
            of_loaded(&loaded, findings);
            Ok(loaded.end.position.sequence)
        });
        match read {
            Ok(sequence) => return of_end(directory, mark, sequence, findings),
            Err(error @ LoadError::Lost { .. }) => last = Some(error),
            Err(error) => return findings.push(wrong(error.to_string())),
        }
    }
    findings.extend(last.map(|error| wrong(error.to_string())));
}

fn of_loaded(loaded: &Loaded, findings: &mut Vec<Finding>) {
    let mut saved = Saved::of(&loaded.laid);
    findings.extend(saved.settle_conflicts().1.into_iter().map(wrong));
    findings.extend(saved.damaged.iter().map(|damage| wrong(damage.to_string())));
    findings.extend(saved.remarks.iter().map(wrong));
    for (file, count) in &loaded.mended {
        findings.push(wrong(format!("{file}: {count} damaged places can be put right; no record is lost")));
    }
    let torn = match loaded.end.torn {
        0 => "",
        _ => "; a crash cut the last write short, which was never acknowledged",
    };
    findings.push(well(format!(
        "{}: {} records fit their digests, {} leases among them; serial {}; the last frame is {} in {}{torn}",
        log::SNAPSHOT,
        loaded.laid.raws().count() - saved.damaged.len(),
        saved.leases.len() + saved.leases6.len(),
        saved.serial,
        loaded.end.position.sequence,
        log::segment(loaded.number)
    )));
    if saved.restored {
        findings.push(well("it is a restored copy whose installations are not settled yet"));
    }
}

/// Whether the log ends before a frame that was noted elsewhere, and whether the directory is a copy.
fn of_end(directory: &Path, mark: &Mark, sequence: u64, findings: &mut Vec<Finding>) {
    // Beside a daemon the log grows while it is read.
    let is_free = matches!(mark::lock(directory), Ok(Some(_)));
    findings.extend(match last::look(directory, &mark.record_key) {
        Ok(Said::Frame(known)) if known > sequence && is_free => Some(wrong(format!(
            "{}: the log is an older copy: it ends with frame {sequence}, and had frame {known} once",
            last::FILE
        ))),
        Ok(Said::Copied) => Some(wrong(format!(
            "{}: the directory is a copy: a daemon that uses it treats installations as doubtful",
            last::FILE
        ))),
        Ok(Said::Backup) => {
            Some(well(format!("{}: this is a backup: `voldemort state restore` restores it", last::FILE)))
        }
        Ok(Said::Frame(_) | Said::Nothing) => None,
        Err(error) => Some(wrong(format!("{}: {error}", last::FILE))),
    });
    let noted = events::noted(directory);
    if noted > sequence {
        let text = format!("the log ends with frame {sequence} and had frame {noted} once");
        findings.push(wrong(text));
    }
}
