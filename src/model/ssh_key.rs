//! Public ssh keys as people paste them.

/// How the names of the kinds of keys begin.
const KINDS: [&str; 4] = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"];

/// Whether it is a line as `ssh-keygen` writes it: the kind, the key in base64, a comment.
pub fn is_public_key(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let kind = words.next().is_some_and(is_kind);
    kind && words.next().is_some_and(|key| key.starts_with("AAAA"))
}

/// The same with options in front, as sshd's `authorized_keys` takes them.
pub fn is_authorized_key(line: &str) -> bool {
    let is_one_line = !line.trim().contains('\n');
    let words: Vec<&str> = line.split_whitespace().collect();
    is_one_line && words.windows(2).any(|pair| is_kind(pair[0]) && pair[1].starts_with("AAAA"))
}

fn is_kind(word: &str) -> bool {
    KINDS.iter().any(|start| word.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_kind_in_front() {
        for key in [
            "ssh-ed25519 AAAAC3Nz you@desk",
            "sk-ssh-ed25519@openssh.com AAAAGnNr",
            "ecdsa-sha2-nistp256 AAAAE2 x",
        ] {
            assert!(is_public_key(key) && is_authorized_key(key), "{key}");
        }
        let limited = "command=\"/bin/backup now\",no-pty ssh-rsa AAAAB3 backup";
        assert!(!is_public_key(limited) && is_authorized_key(limited));
        for text in [
            "",
            "AAAAC3Nz you@desk",
            "ssh-ed25519",
            "ssh-ed25519 you@desk",
            "~/.ssh/id_ed25519.pub",
            "-----BEGIN OPENSSH PRIVATE KEY-----",
        ] {
            assert!(!is_public_key(text) && !is_authorized_key(text), "{text}");
        }
        assert!(!is_authorized_key("ssh-rsa AAAAB3 a\nssh-rsa AAAAB3 b"));
    }
}
