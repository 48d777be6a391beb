//! Kickstart files: sections closed, commands known, and what Anaconda would ask for given.

use super::super::RenderError;
use super::wrong;
use crate::render::near;

const SECTIONS: [&str; 9] = [
    "%pre",
    "%pre-install",
    "%post",
    "%packages",
    "%addon",
    "%anaconda",
    "%onerror",
    "%traceback",
    "%certificate",
];

/// Commands of any release since RHEL 7.
const COMMANDS: [&str; 84] = [
    "auth",
    "authconfig",
    "authselect",
    "autopart",
    "autostep",
    "bootc",
    "bootloader",
    "btrfs",
    "cdrom",
    "clearpart",
    "cmdline",
    "device",
    "deviceprobe",
    "dmraid",
    "driverdisk",
    "eula",
    "fcoe",
    "firewall",
    "firstboot",
    "graphical",
    "group",
    "halt",
    "harddrive",
    "hmc",
    "ignoredisk",
    "install",
    "interactive",
    "iscsi",
    "iscsiname",
    "keyboard",
    "lang",
    "langsupport",
    "lilo",
    "lilocheck",
    "liveimg",
    "logging",
    "logvol",
    "mediacheck",
    "method",
    "module",
    "monitor",
    "mount",
    "mouse",
    "multipath",
    "network",
    "nfs",
    "nvdimm",
    "ostreecontainer",
    "ostreesetup",
    "part",
    "partition",
    "poweroff",
    "raid",
    "rdp",
    "realm",
    "reboot",
    "repo",
    "reqpart",
    "rescue",
    "rhsm",
    "rootpw",
    "selinux",
    "services",
    "shutdown",
    "skipx",
    "snapshot",
    "sshkey",
    "sshpw",
    "stage2",
    "syspurpose",
    "text",
    "timesource",
    "timezone",
    "unsupported_hardware",
    "updates",
    "upgrade",
    "url",
    "user",
    "vnc",
    "volgroup",
    "xconfig",
    "zerombr",
    "zfcp",
    "zipl",
];

/// Without one of each the installation stops and asks.
const NEEDED: [(&[&str], &str); 5] = [
    (&["lang"], "`lang`"),
    (&["keyboard"], "`keyboard`"),
    (&["timezone"], "`timezone`"),
    (&["rootpw", "user", "sshkey"], "`rootpw` or `user`"),
    (
        &["autopart", "part", "partition", "mount", "ostreecontainer", "btrfs", "reqpart", "raid", "logvol"],
        "`autopart` or `part`",
    ),
];

pub(super) fn check(text: &str) -> Vec<RenderError> {
    let mut errors = Vec::new();
    let mut open: Option<(usize, &str)> = None;
    let mut seen = Vec::new();
    let mut includes = false;
    for (at, line) in text.lines().enumerate() {
        let word = line.split_whitespace().next().unwrap_or_default();
        match open {
            Some(_) if word == "%end" => open = None,
            Some((start, section)) if SECTIONS.contains(&word) => {
                errors.push(wrong(
                    start,
                    1,
                    format!("`{section}` is not closed with `%end` before line {}", at + 1),
                ));
                open = Some((at + 1, word));
            }
            Some(_) => {}
            None if word.is_empty() || word.starts_with('#') => {}
            None if SECTIONS.contains(&word) => open = Some((at + 1, word)),
            None if matches!(word, "%include" | "%ksappend") => includes = true,
            None if word == "%end" => errors.push(wrong(at + 1, 1, "there is no section this `%end` closes")),
            None => {
                errors.extend(unknown(word).map(|message| wrong(at + 1, column(line), message)));
                seen.push(word);
            }
        }
    }
    if let Some((start, section)) = open {
        errors.push(wrong(start, 1, format!("`{section}` is not closed with `%end`")));
    }
    // What a file that is included during the installation says can't be known.
    let missing = NEEDED.iter().filter(|(any, _)| !includes && !any.iter().any(|one| seen.contains(one)));
    errors.extend(
        missing.map(|(_, name)| wrong(1, 1, format!("the installation stops and asks: {name} is missing"))),
    );
    errors.sort_by_key(|error| (error.line, error.column));
    errors
}

fn column(line: &str) -> usize {
    line.chars().take_while(|c| c.is_whitespace()).count() + 1
}

fn unknown(word: &str) -> Option<String> {
    if word.starts_with('%') {
        return Some(format!("unknown section `{word}`{}", near::hint(word, SECTIONS.into_iter())));
    }
    if COMMANDS.contains(&word) {
        return None;
    }
    let near = near::nearest(word, COMMANDS.into_iter()).map(|near| format!("; did you mean `{near}`?"));
    Some(format!("unknown command `{word}`{}", near.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "lang en_US\nkeyboard us\ntimezone UTC\nrootpw --lock\nautopart\n%packages\n@core\n%end\n";

    #[test]
    fn accepts_a_whole_file() {
        assert_eq!(check(GOOD), []);
        assert_eq!(check("%include /tmp/all\n"), []);
    }

    #[test]
    fn says_what_is_wrong() {
        let text = format!("{GOOD}  rootpwd x\n%post\necho\n%pre\n%end\n%end\n%pots\n%packages\n");
        let found: Vec<String> = check(&text).into_iter().map(|error| error.to_string()).collect();
        assert_eq!(
            found,
            [
                "9:3: unknown command `rootpwd`; did you mean `rootpw`?",
                "10:1: `%post` is not closed with `%end` before line 12",
                "14:1: there is no section this `%end` closes",
                "15:1: unknown section `%pots`; did you mean `%post`?",
                "16:1: `%packages` is not closed with `%end`",
            ]
        );
        let missing = check("lang en_US\n");
        assert_eq!(missing.len(), 4);
        assert!(missing[3].message.contains("`autopart` or `part`"));
    }
}
