//! GRUB configurations.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::LazyLock;

use super::CmdlineError;

/// A boot to write down.
#[derive(Clone, Debug)]
pub struct Script {
    /// The TFTP server that GRUB loads the files from: Debian 12's signed network GRUB has no http module.
    pub server: IpAddr,
    /// Path at the server, with or without a slash before it.
    pub kernel: String,
    pub initrds: Vec<String>,
    /// Words of the kernel command line.
    pub cmdline: Vec<String>,
    /// For people who read the configuration or the console.
    pub comment: String,
    /// One of the files is still being made, and asked for until it is there.
    pub unfinished: bool,
}

/// How often each file is asked for: a daemon that is started anew is waited for.
const TRIES: u8 = 8;
/// How often where a file is still being made: five minutes.
const PATIENT_TRIES: u8 = 100;

/// Loads kernel and initrds and starts them.
pub fn install(script: &Script) -> Result<String, CmdlineError> {
    let comment = shown_text(&script.comment);
    let mut kernel = file(script.server, &script.kernel)?;
    for word in kernel_words(&script.cmdline.join(" "))? {
        // Writing to a String can't fail.
        let _ = write!(kernel, " {}", quoted(&word));
    }
    let initrds = script.initrds.iter().map(|path| file(script.server, path));
    let initrds = initrds.collect::<Result<Vec<_>, _>>()?.join(" ");
    let start = match initrds.is_empty() {
        true => "    boot\n".to_owned(),
        false => format!("    if initrd {initrds}; then\n      boot\n    fi\n"),
    };
    // GRUB's scripts can't count.
    let tries = 1..=if script.unfinished { PATIENT_TRIES } else { TRIES };
    let tries = tries.map(|number| number.to_string()).collect::<Vec<_>>().join(" ");
    Ok(format!(
        "echo 'voldemort: {comment}'\n\
         for try in {tries}; do\n  \
         if linux {kernel}; then\n{start}  fi\n  \
         echo 'voldemort: not fetched, the reason is above'\n  \
         sleep 3\n\
         done\n\
         echo 'voldemort: this boot failed, the reason is above: {comment}'\n\
         sleep 30\n\
         exit\n"
    ))
}

/// Continues with the local disk. GRUB's `exit` reports success, after which some firmware shows its set-up
/// screen instead of its next boot entry; so a loader on the disk is looked for first, and the removable
/// path last, because shim's fallback may restart the machine there.
pub fn local_boot(reason: &str) -> String {
    static SEARCH: LazyLock<String> = LazyLock::new(search);
    format!("echo 'voldemort: booting the local disk: {}'\n{}", shown_text(reason), *SEARCH)
}

fn search() -> String {
    const VENDORS: [&str; 11] = [
        "debian",
        "ubuntu",
        "redhat",
        "rocky",
        "almalinux",
        "centos",
        "fedora",
        "oracle",
        "opensuse",
        "sles",
        "BOOT",
    ];
    let mut out = String::from("if [ \"$grub_platform\" = efi ]; then\n");
    for (test, shim, boot, own) in [
        ("\"$grub_cpu\" = x86_64", "shimx64.efi", "BOOTX64.EFI", "grubx64.efi"),
        ("\"$grub_cpu\" = arm64", "shimaa64.efi", "BOOTAA64.EFI", "grubaa64.efi"),
    ] {
        let _ = writeln!(out, "  if [ {test} ]; then");
        for vendor in VENDORS {
            let loaders: &[&str] = if vendor == "BOOT" { &[boot] } else { &[shim, own] };
            for loader in loaders {
                let path = format!("/EFI/{vendor}/{loader}");
                let _ = writeln!(
                    out,
                    "    if search --no-floppy --file --set=disk {path}; then\n      \
                     if chainloader (\"$disk\"){path}; then boot; fi\n    fi"
                );
            }
        }
        out.push_str("  fi\n");
    }
    out.push_str("else\n  if chainloader (hd0)+1; then boot; fi\nfi\nexit\n");
    out
}

fn unfit(word: &str, reason: &'static str) -> CmdlineError {
    CmdlineError::Unfit { word: word.to_owned(), loader: "GRUB", reason }
}

fn file(server: IpAddr, path: &str) -> Result<String, CmdlineError> {
    if path.chars().any(|c| c.is_control() || c == ' ') {
        return Err(unfit(
            path,
            "it sends names as they are, and this one has a space or a control character",
        ));
    }
    let path = quoted(path.trim_start_matches('/'));
    Ok(match server {
        IpAddr::V4(server) => format!("(tftp,{server})/{path}"),
        IpAddr::V6(server) => format!("(tftp,[{server}])/{path}"),
    })
}

/// Splits as the kernel does: at spaces, but not between double quotes. GRUB puts the quotes
/// back around a word with spaces; any it finds inside would reach the kernel with a backslash.
fn kernel_words(line: &str) -> Result<Vec<String>, CmdlineError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut inside = false;
    for c in line.chars() {
        match c {
            '\\' | '\'' => return Err(unfit(line, "it puts a backslash before `'` and `\\`")),
            _ if c.is_control() => return Err(unfit(line, "it has a control character")),
            ' ' if !inside => words.extend(word.take()),
            '"' => {
                inside = !inside;
                word.get_or_insert_default();
            }
            _ => word.get_or_insert_default().push(c),
        }
    }
    if inside {
        return Err(unfit(line, "a quote is not closed"));
    }
    words.extend(word);
    Ok(words)
}

/// One word of GRUB's language, as it is if nothing in it means anything there.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "=:,./-_@%+".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Text for people, between single quotes.
fn shown_text(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || c == '\'' { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn script(cmdline: &[&str]) -> Script {
        Script {
            server: Ipv4Addr::new(10, 0, 10, 1).into(),
            kernel: "/debian/install.amd/vmlinuz".to_owned(),
            initrds: vec!["debian/install.amd/initrd.gz".to_owned()],
            cmdline: cmdline.iter().map(|word| (*word).to_owned()).collect(),
            comment: "installing web-1".to_owned(),
            unfinished: false,
        }
    }

    #[test]
    fn by_tftp() {
        let text = install(&script(&["ds=nocloud;s=http://10.0.10.1/a/", "a=\"b c\"", "$x", "---"])).unwrap();
        assert_eq!(
            text,
            "echo 'voldemort: installing web-1'\n\
             for try in 1 2 3 4 5 6 7 8; do\n  \
             if linux (tftp,10.0.10.1)/debian/install.amd/vmlinuz 'ds=nocloud;s=http://10.0.10.1/a/' 'a=b c' '$x' ---; then\n    \
             if initrd (tftp,10.0.10.1)/debian/install.amd/initrd.gz; then\n      boot\n    fi\n  fi\n  \
             echo 'voldemort: not fetched, the reason is above'\n  sleep 3\ndone\n\
             echo 'voldemort: this boot failed, the reason is above: installing web-1'\n\
             sleep 30\nexit\n"
        );
    }

    #[test]
    fn several_initrds_and_none() {
        let mut script = script(&[]);
        script.server = "fd00:10::1".parse().unwrap();
        script.initrds.push("more img".replace(' ', "+"));
        let text = install(&script).unwrap();
        assert!(text.contains(
            "initrd (tftp,[fd00:10::1])/debian/install.amd/initrd.gz (tftp,[fd00:10::1])/more+img;"
        ));
        script.initrds.clear();
        assert!(install(&script).unwrap().contains("vmlinuz; then\n    boot\n  fi\n"));
    }

    #[test]
    fn refuses_what_grub_distorts() {
        for bad in ["a='b'", "a\\b", "a=\"b", "a\nb"] {
            assert!(install(&script(&[bad])).is_err(), "{bad}");
        }
        let mut odd = script(&[]);
        odd.kernel = "a b".to_owned();
        assert!(install(&odd).is_err());
    }

    #[test]
    fn comments_can_not_act() {
        let mut odd = script(&[]);
        odd.comment = "it's\nreboot".to_owned();
        assert!(install(&odd).unwrap().starts_with("echo 'voldemort: it s reboot'\n"));
    }

    #[test]
    fn local_boot_tries_the_vendors_first() {
        let text = local_boot("web-1 is installed");
        let debian = text.find("/EFI/debian/shimx64.efi").unwrap();
        let fallback = text.find("/EFI/BOOT/BOOTX64.EFI").unwrap();
        assert!(debian < fallback);
        assert!(text.starts_with("echo 'voldemort: booting the local disk: web-1 is installed'\n"));
        assert!(text.ends_with("else\n  if chainloader (hd0)+1; then boot; fi\nfi\nexit\n"));
    }
}
