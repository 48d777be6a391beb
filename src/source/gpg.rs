//! Signatures of OpenPGP, which `gpgv` judges.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// What is wrong with a signature, as the end of a sentence; `None` if it was made by a key in `keyring`.
/// `arguments` are those of gpgv: the signature and what was signed (`-` for `input`), or one signed text.
/// Errors say why nothing could be judged.
///
/// gpgv exits successfully for keys that have expired or were revoked: its status output decides.
pub fn fault(keyring: &Path, arguments: &[&Path], input: &[u8]) -> Result<Option<String>, String> {
    // Without a slash gpgv looks in the home of GnuPG.
    let keyring = std::path::absolute(keyring).map_err(|error| error.to_string())?;
    let mut command = Command::new("gpgv");
    command.args(["--status-fd", "1", "--homedir", "/nonexistent", "--keyring"]).arg(&keyring);
    command.arg("--").args(arguments);
    let checked = run(command, input)?;
    let report = String::from_utf8_lossy(&checked.stdout);
    let words: Vec<&str> =
        report.lines().filter_map(|line| line.strip_prefix("[GNUPG:] ")?.split(' ').next()).collect();
    let has = |word: &str| words.contains(&word);
    Ok(Some(if has("EXPKEYSIG") || has("KEYEXPIRED") {
        "is signed by a key that has expired".to_owned()
    } else if has("REVKEYSIG") {
        "is signed by a key that was revoked".to_owned()
    } else if has("EXPSIG") {
        "has a signature that has expired".to_owned()
    } else if checked.status.success() && has("GOODSIG") && has("VALIDSIG") {
        return Ok(None);
    } else if has("NO_PUBKEY") {
        format!("is not signed by a key in {}", keyring.display())
    } else {
        format!("has a wrong signature ({})", complaint(&checked))
    }))
}

/// Runs a program that judges signatures.
pub(super) fn run(mut command: Command, input: &[u8]) -> Result<Output, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let fail = |error: std::io::Error| format!("{program} can't be used: {error}");
    command.env("LC_ALL", "C").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(fail)?;
    let mut stdin = child.stdin.take().expect("it was asked for");
    // Tools that have seen enough close their end: what they then say counts.
    std::thread::scope(|scope| {
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output()
    })
    .map_err(fail)
}

/// What a program complained of, in one short line.
pub(super) fn complaint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ").chars().take(500).collect()
}
