//! Which Debian package a boot program came with, by the lists that dpkg keeps (dpkg-query(1), "listfile").

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Lists that name boot programs have one of these in their names.
const ABOUT: [&str; 6] = ["ipxe", "shim", "grub", "syslinux", "pxelinux", "voldemort"];

/// Packages and versions by the paths of their files.
#[derive(Debug, Default)]
pub(super) struct Packages {
    files: BTreeMap<PathBuf, String>,
}

impl Packages {
    /// Empty where dpkg is not used.
    pub(super) fn read() -> Packages {
        let folder = Path::new("/var/lib/dpkg");
        let status = fs::read_to_string(folder.join("status")).unwrap_or_default();
        let versions = versions(&status);
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder.join("info")).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(package) =
                name.strip_suffix(".list").filter(|name| ABOUT.iter().any(|part| name.contains(part)))
            else {
                continue;
            };
            let package = package.split(':').next().unwrap_or(package);
            let version = versions.get(package).copied().unwrap_or("");
            let shown = format!("{package} {version}").trim().to_owned();
            let list = fs::read_to_string(entry.path()).unwrap_or_default();
            files.extend(list.lines().map(|line| (PathBuf::from(line), shown.clone())));
        }
        Packages { files }
    }

    /// Name and version of the package with this file.
    pub(super) fn of(&self, path: &Path) -> Option<String> {
        self.files.get(path).cloned()
    }
}

/// Versions by package, of the form of `/var/lib/dpkg/status`.
fn versions(status: &str) -> BTreeMap<&str, &str> {
    status
        .split("\n\n")
        .filter_map(|paragraph| Some((field(paragraph, "Package:")?, field(paragraph, "Version:")?)))
        .collect()
}

fn field<'p>(paragraph: &'p str, name: &str) -> Option<&'p str> {
    paragraph.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_the_status_file() {
        let status = "Package: ipxe\nStatus: install ok installed\nVersion: 1.21-1\n\nPackage: broken\n\n\
                      Package: shim-signed\nDescription: x\n Version: no\nVersion: 16\n";
        let found = versions(status);
        assert_eq!(found.get("ipxe"), Some(&"1.21-1"));
        assert_eq!((found.get("shim-signed"), found.len()), (Some(&"16"), 2));
    }
}
