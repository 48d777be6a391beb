//! Boot programs: for which machines there are any, and those that are too old.

use super::finding::Finding;
use crate::cli::firmware::{self, Program};
use crate::config::Config;

/// shim before 15.8 is revoked on machines with current updates (CVE-2023-40547, SBAT level 4).
const SHIM: [u64; 2] = [15, 8];
/// iPXE before 1.21 has neither the drivers nor the IPv6 of current hosts.
const IPXE: [u64; 2] = [1, 21];

pub(super) fn look(config: Option<&Config>) -> Vec<Finding> {
    let paths = firmware::paths(config);
    let programs = firmware::programs(&paths);
    let mut findings = vec![];
    if programs.is_empty() {
        let shown: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        findings.push(Finding::about("firmware", "boot programs").error(
            format!("none is in {}", shown.join(", ")),
            "install voldemort-firmware, or the packages ipxe, shim-signed and grub-efi-amd64-signed",
        ));
        return findings;
    }
    let missing = firmware::kinds_without(&programs);
    for (kind, cure) in &missing {
        let finding = Finding::about("firmware", kind);
        // Many sites have machines of one processor.
        findings.push(match kind.starts_with("x86_64") {
            true => finding.warning("no boot program: such machines boot nothing", cure),
            false => finding.ok("no boot program, which only matters where there are such machines"),
        });
    }
    findings.extend(programs.iter().filter_map(old));
    if !findings.iter().any(|finding| finding.advice.is_some()) {
        let names = programs.len();
        findings.push(
            Finding::about("firmware", "boot programs").ok(format!("{names}, see `voldemort firmware ls`")),
        );
    }
    findings.extend(config.iter().flat_map(|config| agents(config)));
    findings
}

/// What is wrong with the age of a program, if anything.
fn old(program: &Program) -> Option<Finding> {
    let version = program.version.as_deref()?;
    let is_before = |least: [u64; 2]| numbers(version).is_some_and(|found| found < least);
    let finding = Finding::about("firmware", &program.name);
    if program.name.starts_with("shim") && is_before(SHIM) {
        return Some(finding.warning(
            format!("shim {version} is refused by machines with current revocations"),
            "install shim 15.8 or newer (voldemort-firmware has one)",
        ));
    }
    let is_ipxe = ["ipxe", "snponly", "undionly"].iter().any(|name| program.name.starts_with(name));
    (is_ipxe && is_before(IPXE)).then(|| {
        finding.warning(
            format!("iPXE {version} is older than 1.21: IPv6, HTTPS and newer network cards may fail"),
            "install voldemort-firmware, or a newer iPXE",
        )
    })
}

/// The first two numbers of a version.
fn numbers(version: &str) -> Option<[u64; 2]> {
    let mut parts = version.split(['.', '+', '-', '~']).map(|part| part.parse().ok());
    Some([parts.next()??, parts.next().flatten().unwrap_or(0)])
}

/// The programs for agents on machines with other processors.
fn agents(config: &Config) -> Vec<Finding> {
    let agents = config.firmware.agents.iter().filter(|(_, path)| !path.is_file());
    let finding = |(cpu, path): (&crate::model::Cpu, &std::path::PathBuf)| {
        Finding::about("firmware", format!("agent for {cpu}")).error(
            format!("{} is no file", path.display()),
            "put the static release for that processor there",
        )
    };
    agents.map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(
            numbers("15.8").unwrap() >= SHIM
                && numbers("16.1").unwrap() > SHIM
                && numbers("15.7").unwrap() < SHIM
        );
        assert!(numbers("1.21.1+git-2022.fbb").unwrap() >= IPXE && numbers("1.0.0+git").unwrap() < IPXE);
        assert_eq!((numbers("x"), numbers("2")), (None, Some([2, 0])));
    }
}
