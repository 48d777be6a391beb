//! `voldemort check --fix`: corrects mechanical mistakes in the inventory's own files.

use std::sync::Arc;

use super::Job;
use crate::cli::exit::{say, talk};
use crate::inventory::{Depth, Loaded};
use crate::manifest::fix::{Files, Fixed, mend};
use crate::manifest::is_manifest;
use crate::source;
use crate::source::replace::{is_own, replace};

/// The result of a repair.
#[derive(Debug)]
pub struct Repair {
    pub fixed: Vec<Fixed>,
    /// Files that were written, by their path in the inventory.
    pub written: Vec<String>,
}

/// Corrects mistakes, lists the corrections, and checks again what is now on disk.
pub(super) fn run(job: &Job) -> Result<Loaded, String> {
    let Repair { fixed, written } = repair(job)?;
    for one in &fixed {
        say(line_of(one));
    }
    if !fixed.is_empty() {
        let (mistakes, files) = (plural(fixed.len(), "mistake"), plural(written.len(), "file"));
        talk(&format!("fixed {mistakes} in {files}"));
    }
    job.check()
}

/// `machines.toml:4:11: fixed V0012: "yes" is now true`
fn line_of(fixed: &Fixed) -> String {
    let Fixed { code, origin, before, after } = fixed;
    let what = match after.as_str() {
        "" => format!("`{before}` was removed"),
        after => format!("`{before}` is now `{after}`"),
    };
    let line = format!("{origin}: fixed {code}: {what}");
    let safe = |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
    line.chars().map(safe).collect()
}

fn plural(number: usize, word: &str) -> String {
    match number {
        1 => format!("1 {word}"),
        _ => format!("{number} {word}s"),
    }
}

/// Corrects what can be corrected and writes the files that changed. Files reached through symbolic links
/// are left alone, and so are those that changed on disk meanwhile.
///
/// # Errors
/// When the inventory can't be read or a file can't be written; files written before stay.
pub fn repair(job: &Job) -> Result<Repair, String> {
    let root = job.root;
    let snapshot = source::directory::read(root).map_err(|error| error.to_string())?;
    let files = snapshot.inline();
    let linked = |name: &str| is_manifest(name) && !is_own(root, name);
    let environment = job.environment(&files)?;
    let check = |files: &Files| {
        let checked = job.load(snapshot.revision.clone(), files, environment.as_ref(), Depth::OneFirmware);
        let Loaded { documents, mut problems, desired: _, environments: _ } = checked;
        for problem in &mut problems {
            let out_of_reach = |file: u32| linked(documents.sources.inside(file));
            if problem.fix.iter().any(|edit| out_of_reach(edit.mark.file)) {
                problem.fix.clear();
            }
        }
        (Arc::unwrap_or_clone(documents), problems)
    };
    let mended = mend(files.clone(), check);
    let mut written = Vec::new();
    for (name, bytes) in &mended.files {
        if files.get(name) == Some(bytes) {
            continue;
        }
        let path = root.join(&**name);
        let unchanged =
            std::fs::read(&path).is_ok_and(|now| Some(&now[..]) == files.get(name).map(|old| &old[..]));
        if !unchanged || !is_own(root, name) {
            return Err(format!(
                "{} was changed by another program meanwhile: it was left as it is",
                path.display()
            ));
        }
        replace(&path, bytes).map_err(|error| format!("can't write {}: {error}", path.display()))?;
        written.push(name.to_string());
    }
    Ok(Repair { fixed: mended.fixed, written })
}
