//! What becomes of boots.

use std::sync::Arc;

use super::{note, plain};
use crate::desired::boot::File;
use crate::desired::{Boot, Desired};
use crate::plan::{Action, Change};
use crate::render::Text;

pub(super) fn boots(before: &Desired, after: &Desired, changes: &mut Vec<Change>) {
    for (name, boot) in &after.boots {
        match before.boots.get(name) {
            None => changes.push(plain(
                "boot",
                name,
                Action::Create,
                &boot.origin,
                "is served from now on",
                vec![],
            )),
            Some(former) => {
                let details = boot_details(former, boot);
                if !details.is_empty() {
                    let reason = "what machines fetch changes now";
                    changes.push(plain("boot", name, Action::Update, &boot.origin, reason, details));
                }
            }
        }
    }
    for (name, boot) in before.boots.iter().filter(|(name, _)| !after.boots.contains_key(*name)) {
        changes.push(plain("boot", name, Action::Remove, &boot.origin, "is no longer served", vec![]));
    }
}

fn boot_details(before: &Boot, after: &Boot) -> Vec<String> {
    let Boot { name: _, prefix, kernel, initrd, modules, agent: _, cmdline, cpu, loader, tree, origin: _ } =
        after;
    let mut details = Vec::new();
    let words = |boot: &[Text]| boot.iter().map(|word| word.source()).collect::<Vec<_>>().join(" ");
    note(&mut details, "prefix", &before.prefix, prefix);
    note(&mut details, "kernel", &before.kernel.path, &kernel.path);
    let names = |files: &[File]| files.iter().map(|file| file.path.to_string()).collect::<Vec<_>>().join(" ");
    note(&mut details, "initrd", &names(&before.initrd), &names(initrd));
    note(&mut details, "modules", &names(&before.modules), &names(modules));
    note(&mut details, "cmdline", &words(&before.cmdline), &words(cmdline));
    note(&mut details, "arch", &before.cpu.to_string(), &cpu.to_string());
    note(&mut details, "loader", &before.loader.join(" "), &loader.join(" "));
    let same_tree = match (&before.tree, tree) {
        (Some(before), Some(after)) => Arc::ptr_eq(before, after) || before.files == after.files,
        (None, None) => true,
        _ => false,
    };
    // Under the same names; those with another name are among the lines above.
    let is_other = |file: &&File| before.files().any(|was| was.path == file.path && was.entry != file.entry);
    let replaced: Vec<&str> = after.files().filter(is_other).map(|file| &*file.path).collect();
    if !same_tree {
        details.push("the files themselves are others".into());
    } else if !replaced.is_empty() {
        details.push(format!("the files themselves are others: {}", replaced.join(" ")));
    }
    details
}
