//! Looks at a state directory without changing it, also while a daemon uses it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::last::{self, Said};
use super::mark::{self, Mark, MarkError, Phase};
use super::records::{self, RecordsError, Snapshot};
use super::seal::Unfit;
use super::{History, events, former, journal};

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
        0 => well(format!("{} can be read by its owner alone", directory.display())),
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
    findings.push(match mark.phase {
        Phase::Ready => well(format!("{}: lineage {}", mark::FILE, mark.lineage)),
        _ => wrong(format!(
            "{}: the daemon died while it made the directory; its next start goes on",
            mark::FILE
        )),
    });
    let batch = of_records(directory, &mark, &mut findings);
    of_journal(directory, &mark, batch, &mut findings);
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
    if !former::is_refusal(directory) {
        findings.push(wrong(format!(
            "{}: is not the text that keeps version 0.1 from taking this directory for a new one",
            former::FILE
        )));
    }
    findings
}

fn unmarked(directory: &Path) -> Finding {
    let old = directory.join(former::FILE);
    match std::fs::metadata(&old) {
        Ok(metadata) if metadata.len() > 0 && !former::is_refusal(directory) => {
            well(format!("{}: state of version 0.1, which the next start upgrades", former::FILE))
        }
        Ok(metadata) if metadata.len() == 0 => {
            wrong(format!("{}: is empty, and {} is missing", former::FILE, mark::FILE))
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

/// How many batches the records know of, and where they saw the journal; nothing if they can't be read.
fn of_records(directory: &Path, mark: &Mark, findings: &mut Vec<Finding>) -> Option<(u64, (u64, u64))> {
    let path = directory.join(records::FILE);
    // Beside a daemon the file changes while it is read.
    let is_free = matches!(mark::lock(directory), Ok(Some(_)));
    let file = if is_free { Snapshot::checked(&path) } else { Snapshot::take(&path) };
    let contents = file.map_err(RecordsError::of).and_then(|file| file.contents(&mark.record_key));
    let contents = match contents {
        Ok(contents) => contents,
        Err(error) => {
            findings.push(wrong(format!("{}: {error}", records::FILE)));
            return None;
        }
    };
    let (count, head) = (contents.records.len(), &contents.head);
    let mut journal = head.journal;
    for (kind, Unfit { names }) in &contents.unfit {
        let text =
            format!("{}: the record {kind} {} does not fit its digest", records::FILE, names.join(" or "));
        findings.push(wrong(text));
    }
    if contents.incomplete {
        findings
            .push(wrong(format!("{}: records are missing, were added, or are earlier ones", records::FILE)));
    }
    findings.push(well(format!(
        "{}: {count} records fit their digests; serial {}",
        records::FILE,
        head.serial
    )));
    match last::look(directory, &mark.record_key) {
        Ok(Said::Extent(extent)) if extent.batch > head.batch && is_free => findings.push(wrong(format!(
            "{}: is an older copy: it knows of {} changes, and {} were made",
            records::FILE,
            head.batch,
            extent.batch
        ))),
        Ok(Said::Copied) => findings.push(wrong(format!(
            "{}: the directory is a copy: a daemon that uses it takes installations for doubtful",
            last::FILE
        ))),
        Ok(Said::Backup) => findings
            .push(well(format!("{}: this is a backup: `voldemort state restore` puts it back", last::FILE))),
        Ok(Said::Extent(extent)) if is_free => journal = journal.max(extent.journal),
        Ok(Said::Extent(_) | Said::Nothing) => {}
        Err(error) => findings.push(wrong(format!("{}: {error}", last::FILE))),
    }
    if head.restored {
        findings.push(well("it is a restored copy whose installations are not settled yet"));
    }
    Some((head.batch, journal))
}

fn of_journal(directory: &Path, mark: &Mark, known: Option<(u64, (u64, u64))>, findings: &mut Vec<Finding>) {
    let file = journal::FILE;
    let (batch, at) = known.unwrap_or((u64::MAX, (0, 0)));
    let bytes = match std::fs::read(directory.join(file)) {
        Ok(bytes) if bytes.is_empty() => return findings.push(wrong(format!("{file}: is empty"))),
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return findings.push(wrong(format!("{file}: is missing")));
        }
        Err(error) => return findings.push(wrong(format!("{file}: {error}"))),
    };
    let mut leases = BTreeMap::new();
    let told = journal::frame::replay(&bytes, &mark.record_key.salt(), &mut leases)
        .and_then(|told| told.reaches(at));
    findings.push(match told {
        Ok(told) if told.torn > 0 => well(format!(
            "{file}: {} leases; a crash cut the last write short, which was never acknowledged",
            leases.len()
        )),
        Ok(_) => well(format!("{file}: {} leases", leases.len())),
        Err(damage) => wrong(format!("{file}: {damage}")),
    });
    if told.is_ok_and(|told| told.batch > batch) {
        findings.push(wrong(format!("{} is an older copy than {file}", records::FILE)));
    }
}
