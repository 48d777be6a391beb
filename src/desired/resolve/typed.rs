//! Passwords as they are typed, in the text of answer files. What a template fills in is judged where
//! it comes from, and what is locked or a hash is no such password.

use std::ops::Range;

use crate::model::credential;
use crate::render::Kind;

/// Where a file of this kind spells out a password.
pub(super) fn passwords(kind: Kind, text: &str) -> Vec<Range<usize>> {
    let found = (kind.installer().passwords)(text);
    let at = |part: &str| part.as_ptr() as usize - text.as_ptr() as usize;
    let typed = found.into_iter().filter(|password| is_typed(password));
    typed.map(|password| at(password)..at(password) + password.len()).collect()
}

fn is_typed(password: &str) -> bool {
    let locked = matches!(password, "" | "!" | "*" | "!!");
    !locked && !password.contains('{') && credential::looks(password).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(kind: Kind, text: &str) -> Vec<&str> {
        passwords(kind, text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn preseed_answers_of_type_password() {
        let text = "d-i passwd/root-password password hunter2\nd-i  partman-crypto/passphrase \t password  hunter3\n\
                    mysql-server mysql-server/root_password password hunter4\n";
        assert_eq!(found(Kind::Preseed, text), ["hunter2", "hunter3", "hunter4"]);
        for harmless in [
            "#d-i passwd/root-password password r00tme",
            "# d-i passwd/root-password password r00tme",
            "d-i passwd/root-password password {{ root }}",
            "d-i passwd/root-password-crypted password $6$salt$abcdef",
            "d-i passwd/root-password-crypted password [crypt(3) hash]",
            "d-i passwd/root-password seen true",
            "a password is asked for",
        ] {
            assert_eq!(found(Kind::Preseed, harmless), [""; 0], "{harmless}");
        }
    }

    #[test]
    fn kickstart_commands() {
        let text = "rootpw --plaintext hunter3\nuser --name=a --password=hunter4\nsshpw --username=x \"hunter5\"\n\
                    part / --encrypted --passphrase='hunter6'\n";
        assert_eq!(found(Kind::Kickstart, text), ["hunter3", "hunter4", "hunter5", "hunter6"]);
        for harmless in [
            "rootpw --iscrypted $6$salt$abcdef",
            "rootpw --lock",
            "rootpw {{ root }}",
            "rootpw $6$salt$abcdef",
            "user --name=a --iscrypted --password=abc",
            "# rootpw old",
        ] {
            assert_eq!(found(Kind::Kickstart, harmless), [""; 0], "{harmless}");
        }
    }

    #[test]
    fn cloud_config_keys() {
        let text = "#cloud-config\npassword: hunter1\nusers:\n  - {name: a, plain_text_passwd: 'hunter2', lock: no}\n\
                    chpasswd:\n  expire: false\n  list: |\n    root:hunter3\n    # a comment:x\n    b:RANDOM\n    c:$6$a$b\n\
                    ssh_pwauth: true\nchpasswd: \n  users:\n    - name: d\n      \"password\": hunter4 # four\n  list:\n    - e:hunter5\n";
        assert_eq!(found(Kind::CloudInit, text), ["hunter1", "hunter2", "hunter3", "hunter4", "hunter5"]);
        for harmless in [
            "# password: old",
            "password: {{ hash | yaml }}",
            "  password: \"$6$salt$abcdef\"",
            "ssh_pwauth: true\nlock_passwd: false\nno_password: x",
            "hashed_passwd: $6$salt$abcdef",
            "  identity:\n    password: abc",
            "autoinstall: {identity: {username: b, password: c}}",
            "runcmd:\n  - echo password:x",
        ] {
            assert_eq!(found(Kind::Autoinstall, harmless), [""; 0], "{harmless}");
        }
    }

    #[test]
    fn autoyast_users() {
        let user = |encrypted: &str| {
            format!(
                "<user><encrypted config:type=\"boolean\">{encrypted}</encrypted><user_password>hunter2</user_password></user>"
            )
        };
        assert_eq!(found(Kind::Autoyast, &user("false")), ["hunter2"]);
        assert_eq!(found(Kind::Autoyast, &user("true")), [""; 0]);
        assert_eq!(found(Kind::Autoyast, "<user><user_password>!</user_password></user>"), [""; 0]);
    }
}
