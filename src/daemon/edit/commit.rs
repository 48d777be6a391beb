//! What edits are written as: the files, the message, the author, and the branch if it is a new one.

use super::{Changes, EditRequest, Reading, Sent};
use crate::daemon::now;
use crate::source::write::{Draft, DraftFile};

/// The line of a commit that was made for a request with this key.
pub(super) fn key_line(key: &str) -> String {
    format!("Idempotency-Key: {key}")
}

/// The commit of these edits.
pub(super) fn draft(request: &EditRequest, sent: &Sent, changes: &Changes) -> Draft {
    let key = sent.key.as_deref().map(|key| format!("{}\n", key_line(key))).unwrap_or_default();
    let file = |file: &crate::edit::NewText| DraftFile {
        path: file.path.to_string(),
        before: file.before.clone(),
        after: file.after.clone(),
    };
    Draft {
        files: changes.files.iter().map(file).collect(),
        message: format!("{}\nRequested-by: {}\n{key}", message(request, changes), sent.by),
        author: author(request.author.as_deref().unwrap_or_default()),
    }
}

/// The summary, why, and of several edits a line for each.
pub(super) fn message(request: &EditRequest, changes: &Changes) -> String {
    // Only the daemon says who asked for it, and with which key.
    let claims = ["requested-by:", "idempotency-key:"];
    let is_claim = |line: &&str| {
        let line = line.trim().to_ascii_lowercase();
        claims.iter().any(|claim| line.starts_with(claim))
    };
    let reason = request.reason.as_deref().unwrap_or_default().lines().filter(|line| !is_claim(line));
    let reason = reason.collect::<Vec<_>>().join("\n");
    let all: Vec<String> = changes.changed().map(|one| format!("- {}", one.summary())).collect();
    let all = if all.len() > 1 { all.join("\n") } else { String::new() };
    let summary = changes.summary();
    let parts = [summary.as_str(), reason.trim(), all.as_str()];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{}\n", parts.join("\n\n"))
}

/// `Name <address>` in its two parts.
fn author(text: &str) -> (String, String) {
    let clean =
        |text: &str| text.chars().filter(|c| !c.is_control() && !"<>".contains(*c)).collect::<String>();
    let (name, address) = text.split_once('<').unwrap_or((text, ""));
    let (name, address) = (clean(name).trim().to_owned(), clean(address).trim().to_owned());
    let name = if name.is_empty() { "voldemortctl".to_owned() } else { name };
    (name, if address.is_empty() { "voldemortctl@localhost".to_owned() } else { address })
}

/// `voldemort/update-deployment-web-1-4f2a`, or of several resources `voldemort/edit-40-resources-4f2a`: the digits
/// distinguish edits of the same.
pub(super) fn branch(changes: &Changes, reading: &Reading) -> String {
    use sha2::{Digest, Sha256};
    let mut salt = Sha256::new();
    salt.update(format!("{}\0{}", reading.commit().unwrap_or_default(), now().0));
    changes.files.iter().for_each(|file| salt.update(format!("\0{}\0{}", file.path, file.after)));
    let digest: String = salt.finalize().iter().take(3).map(|byte| format!("{byte:02x}")).collect();
    let resources: Vec<_> = changes.changed().collect();
    let what = match resources.as_slice() {
        [only] => format!("{}-{}-{}", only.done.word().to_lowercase(), only.kind.name(), only.name),
        several => format!("edit-{}-resources", several.len()),
    };
    format!("voldemort/{what}-{digest}")
}
