//! How a rule describes the name of a medium: `{release}` is a version, `{arch}` an architecture, `*` anything
//! (also nothing), `?` one character; all else stands for itself in any case of letters.

use crate::model::Cpu;

/// What a name tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub release: Option<String>,
    pub arch: Option<String>,
}

/// Architectures by all the words that media have for them, longer before shorter ones that they begin with.
/// `None`: no machine of that kind can be described in an inventory.
const ARCHES: [(&str, Option<Cpu>); 21] = [
    ("x86_64", Some(Cpu::X86_64)),
    ("amd64", Some(Cpu::X86_64)),
    ("64-bit", Some(Cpu::X86_64)),
    ("64bit", Some(Cpu::X86_64)),
    ("x64", Some(Cpu::X86_64)),
    ("aarch64", Some(Cpu::Aarch64)),
    ("arm64", Some(Cpu::Aarch64)),
    ("riscv64", Some(Cpu::Riscv64)),
    ("loongarch64", Some(Cpu::Loongarch64)),
    ("loong64", Some(Cpu::Loongarch64)),
    ("armhf", Some(Cpu::Arm)),
    ("armv7", Some(Cpu::Arm)),
    ("i386", Some(Cpu::I386)),
    ("i586", Some(Cpu::I386)),
    ("i686", Some(Cpu::I386)),
    ("x86", Some(Cpu::I386)),
    ("ppc64le", None),
    ("ppc64el", None),
    // Debian shortens it: a volume name has 32 characters.
    ("p64el", None),
    ("ppc64", None),
    ("s390x", None),
];

/// The processor that a medium's word for an architecture means.
pub(super) fn cpu(word: &str) -> Option<Cpu> {
    ARCHES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).and_then(|(_, cpu)| *cpu)
}

/// What `name` tells by `pattern`, which must fit as a whole.
pub(super) fn matches(pattern: &str, name: &str) -> Option<Found> {
    // A volume name has 32 characters, a line of `.disk/info` about a hundred.
    if name.len() > 256 {
        return None;
    }
    fit(pattern.as_bytes(), name)
}

fn fit(pattern: &[u8], name: &str) -> Option<Found> {
    let Some((first, rest)) = pattern.split_first() else {
        return name.is_empty().then(Found::default);
    };
    if let Some(rest) = pattern.strip_prefix(b"{release}") {
        // The longest version that leaves the rest a chance.
        return versions(name).find_map(|length| {
            let found = fit(rest, &name[length..])?;
            Some(Found { release: found.release.or_else(|| Some(dotted(&name[..length]))), ..found })
        });
    }
    if let Some(rest) = pattern.strip_prefix(b"{arch}") {
        return ARCHES.iter().find_map(|(word, _)| {
            let head = name.get(..word.len()).filter(|head| head.eq_ignore_ascii_case(word))?;
            let found = fit(rest, &name[word.len()..])?;
            Some(Found { arch: found.arch.or_else(|| Some(head.to_owned())), ..found })
        });
    }
    match first {
        b'*' => {
            name.char_indices().map(|(at, _)| at).chain([name.len()]).find_map(|at| fit(rest, &name[at..]))
        }
        b'?' => fit(rest, name.strip_prefix(|_: char| true)?),
        letter => {
            let head = *name.as_bytes().first()?;
            head.eq_ignore_ascii_case(letter).then(|| fit(rest, &name[1..])).flatten()
        }
    }
}

/// Lengths of the versions that a name begins with, the longest first: digits with dots, hyphens or low lines
/// between them, and SUSE's service pack behind (`15-SP6`).
fn versions(name: &str) -> impl Iterator<Item = usize> {
    let bytes = name.as_bytes();
    let part = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_');
    let longest = match bytes.first() {
        Some(first) if first.is_ascii_digit() => bytes.iter().take_while(|byte| part(byte)).count(),
        _ => 0,
    };
    let pack =
        name[longest..].strip_prefix("SP").map(|rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    let pack = pack
        .filter(|digits| *digits > 0 && name[..longest].ends_with(['-', ' ']))
        .map(|digits| longest + 2 + digits);
    let plain = (1..=longest).rev().filter(move |length| name.as_bytes()[length - 1].is_ascii_digit());
    pack.into_iter().chain(plain)
}

/// `9-4-0` of a volume name as the release is written elsewhere.
fn dotted(version: &str) -> String {
    version.replace("-SP", " SP").replace(['-', '_'], ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &str, name: &str) -> Option<(String, String)> {
        matches(pattern, name)
            .map(|found| (found.release.unwrap_or_default(), found.arch.unwrap_or_default()))
    }

    #[test]
    fn versions_and_architectures_are_cut_out_of_names() {
        let some = |release: &str, arch: &str| Some((release.to_owned(), arch.to_owned()));
        assert_eq!(
            found("RHEL-{release}-BaseOS-{arch}", "RHEL-9-4-0-BaseOS-x86_64"),
            some("9.4.0", "x86_64")
        );
        assert_eq!(found("Rocky-{release}-{arch}-*", "Rocky-9-4-x86_64-dvd"), some("9.4", "x86_64"));
        assert_eq!(found("debian {release} {arch} *", "Debian 12.7.0 amd64 n"), some("12.7.0", "amd64"));
        assert_eq!(found("*DVD-{arch}*", "openSUSE-Leap-15.6-DVD-aarch6471"), some("", "aarch64"));
        assert_eq!(
            found("SLE-{release}-*-{arch}*", "SLE-15-SP6-Full-x86_6492.11.001"),
            some("15 SP6", "x86_64")
        );
        assert_eq!(found("SLE-{release}*", "SLE-15-SPX"), some("15", ""));
        assert_eq!(found("{release}*", "3.13.0_rc2 x"), some("3.13.0", ""));
        assert_eq!(found("a{release}", "a"), None);
        assert_eq!(found("a{release}", "a-1"), None);
        assert_eq!(found("a?c*", "aäcb"), some("", ""));
        assert_eq!(found("a*", "ä"), None);
        assert_eq!(found("*b", "äöb"), some("", ""));
    }
}
