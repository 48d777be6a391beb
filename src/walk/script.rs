//! Reads voldemort's scripts as iPXE, GRUB and PXELINUX do, as far as a boot needs it.

use crate::state::Stage;

/// What a script makes the machine do.
#[derive(Debug, PartialEq)]
pub enum Script {
    Network {
        /// Kernel and initrds: URLs, or paths on the TFTP server.
        files: Vec<String>,
        cmdline: String,
    },
    LocalDisk,
}

impl Script {
    /// Parses an iPXE script.
    pub fn ipxe(text: &str, stage: Stage) -> Script {
        let commands = text.lines().filter(|line| line.starts_with("kernel ") || line.starts_with("initrd "));
        let mut files = Vec::new();
        let mut cmdline = String::new();
        for line in commands {
            let words: Vec<&str> = line.split(" || ").next().unwrap_or(line).split(' ').collect();
            let Some(at) = words.iter().position(|word| word.contains("://")) else { continue };
            files.push(words[at].to_owned());
            if line.starts_with("kernel ") {
                cmdline = words[at + 1..].join(" ");
            }
        }
        Script::new(files, cmdline, stage)
    }

    /// Parses a GRUB configuration whose files lie on the TFTP server.
    pub fn grub(text: &str, stage: Stage) -> Script {
        let mut files = Vec::new();
        let mut cmdline = String::new();
        for line in text.lines().map(str::trim_start) {
            let Some(command) = line.strip_prefix("if ").and_then(|line| line.strip_suffix("; then")) else {
                continue;
            };
            if !command.starts_with("linux ") && !command.starts_with("initrd ") {
                continue;
            }
            let mut words = grub_words(command).into_iter();
            match words.next().as_deref() {
                Some("linux") => {
                    files.extend(words.next().map(|word| on_tftp(&word)));
                    cmdline = words.collect::<Vec<_>>().join(" ");
                }
                Some("initrd") => files.extend(words.map(|word| on_tftp(&word))),
                _ => {}
            }
        }
        Script::new(files, cmdline, stage)
    }

    /// Parses a PXELINUX configuration. The command line keeps the `initrd=` that PXELINUX takes its files
    /// from.
    pub fn pxelinux(text: &str, stage: Stage) -> Script {
        let setting = |name: &str| text.lines().find_map(|line| line.trim_start().strip_prefix(name));
        let cmdline = setting("APPEND ").filter(|words| *words != "-").unwrap_or_default();
        let initrds = cmdline.split(' ').find_map(|word| word.strip_prefix("initrd="));
        let files = setting("KERNEL ").into_iter().chain(initrds.into_iter().flat_map(|all| all.split(',')));
        // `::` is the root of the server.
        let files = files.map(|file| file.strip_prefix("::").unwrap_or(file).to_owned()).collect();
        Script::new(files, cmdline.to_owned(), stage)
    }

    fn new(files: Vec<String>, cmdline: String, stage: Stage) -> Script {
        match stage == Stage::LocalBoot || files.is_empty() {
            true => Script::LocalDisk,
            false => Script::Network { files, cmdline },
        }
    }
}

/// `(tftp,10.0.10.1)/debian/linux` requests `/debian/linux` from that server.
fn on_tftp(file: &str) -> String {
    match file.strip_prefix("(tftp,").and_then(|rest| rest.split_once(')')) {
        Some((_, path)) => path.to_owned(),
        None => file.to_owned(),
    }
}

/// Words of GRUB's language: single quotes keep everything, a backslash outside them the next
/// character.
fn grub_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut rest = line;
    let is_sign = |quoted: bool, byte: u8| byte == b'\'' || (!quoted && matches!(byte, b'\\' | b' '));
    while let Some(at) = rest.bytes().position(|byte| is_sign(quoted, byte)) {
        if at > 0 {
            word.get_or_insert_default().push_str(&rest[..at]);
        }
        let sign = rest.as_bytes()[at];
        rest = &rest[at + 1..];
        match sign {
            b'\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            b' ' => words.extend(word.take()),
            _ => {
                let escaped = rest.chars().next();
                word.get_or_insert_default().extend(escaped);
                rest = &rest[escaped.map_or(0, char::len_utf8)..];
            }
        }
    }
    if !rest.is_empty() {
        word.get_or_insert_default().push_str(rest);
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::render::{grub, ipxe, pxelinux};

    fn words() -> Vec<String> {
        vec![
            "auto=true".to_owned(),
            "url=http://10.0.0.1/answers/a/b/preseed.cfg".to_owned(),
            "ds=nocloud;s=x".to_owned(),
        ]
    }

    #[test]
    fn reads_what_ipxe_would_fetch() {
        let text = ipxe::install(&ipxe::Script {
            kernel_url: "http://10.0.0.1/debian/linux".into(),
            initrd_urls: vec!["http://10.0.0.1/debian/initrd.gz".into()],
            cmdline: words(),
            comment: "web-1".into(),
            unfinished: false,
        });
        let Script::Network { files, cmdline } = Script::ipxe(&text.unwrap(), Stage::Script) else {
            panic!()
        };
        assert_eq!(files, ["http://10.0.0.1/debian/linux", "http://10.0.0.1/debian/initrd.gz"]);
        assert!(
            cmdline.ends_with("auto=true url=http://10.0.0.1/answers/a/b/preseed.cfg ds=nocloud;s=x"),
            "{cmdline}"
        );
        assert_eq!(Script::ipxe(&ipxe::local_boot(None, "done"), Stage::LocalBoot), Script::LocalDisk);
    }

    #[test]
    fn reads_what_pxelinux_would_fetch() {
        let text = pxelinux::install(&pxelinux::Script {
            root: "::",
            kernel: "/debian/linux".into(),
            initrds: vec!["/debian/initrd.gz".into(), "/debian/more.gz".into()],
            cmdline: words(),
            comment: "web-1".into(),
        });
        let Script::Network { files, cmdline } = Script::pxelinux(&text.unwrap(), Stage::Script) else {
            panic!()
        };
        assert_eq!(files, ["debian/linux", "debian/initrd.gz", "debian/more.gz"]);
        assert!(cmdline.ends_with(&words().join(" ")), "{cmdline}");
        assert_eq!(Script::pxelinux(&pxelinux::local_boot("done"), Stage::LocalBoot), Script::LocalDisk);
    }

    #[test]
    fn reads_what_grub_would_fetch() {
        let text = grub::install(&grub::Script {
            server: Ipv4Addr::new(10, 0, 0, 1).into(),
            kernel: "/debian/linux".into(),
            initrds: vec!["/debian/initrd.gz".into(), "/debian/more~1.gz".into()],
            cmdline: words(),
            comment: "web-1".into(),
            unfinished: false,
        });
        let Script::Network { files, cmdline } = Script::grub(&text.unwrap(), Stage::Script) else {
            panic!()
        };
        assert_eq!(files, ["/debian/linux", "/debian/initrd.gz", "/debian/more~1.gz"]);
        assert_eq!(cmdline, words().join(" "));
        assert_eq!(Script::grub(&grub::local_boot("done"), Stage::LocalBoot), Script::LocalDisk);
    }
}
