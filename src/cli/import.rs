//! `voldemort import`: the networks and hosts of another DHCP server, as manifests.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Exit;
use super::exit::{self, print, talk};
use crate::import::{self, Files, Imported, manifest};
use crate::model::{Name, printable};

/// Longest file that is read, in bytes.
const LONGEST: u64 = 64 << 20;

#[derive(Args, Debug)]
pub struct Arguments {
    /// The server whose configuration it is
    #[arg(value_enum)]
    kind: Kind,
    /// Its configuration: dnsmasq.conf, dhcpd.conf, kea-dhcp4.conf; files that these include are read too
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Write deployments of this profile too, which have the hosts' addresses. A daemon installs what is newly deployed,
    /// unless its state directory is new: see "Bringing an existing fleet in" in docs/discovery.md
    #[arg(long, value_name = "NAME")]
    profile: Option<Name>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Dnsmasq,
    Isc,
    Kea,
}

pub fn run(arguments: &Arguments) -> Exit {
    let mut all = Imported::default();
    for file in &arguments.files {
        let path = file.display().to_string();
        let found = match read(file) {
            Ok(text) => {
                let files = Beside(file.parent().map(Path::to_owned).unwrap_or_default());
                match arguments.kind {
                    Kind::Dnsmasq => import::dnsmasq::read(&path, &text, &files),
                    Kind::Isc => import::isc::read(&path, &text, &files),
                    Kind::Kea => import::kea::read(&path, &text, &files),
                }
            }
            Err(why) => {
                exit::failed(&format!("{path} can't be read: {why}"), false);
                return Exit::Failed;
            }
        };
        all.extend(found);
    }
    let source = match arguments.kind {
        Kind::Dnsmasq => "dnsmasq",
        Kind::Isc => "isc",
        Kind::Kea => "kea",
    };
    let written = manifest::write(all, source, arguments.profile.as_ref());
    for remark in &written.remarks {
        talk(&printable::line(&remark.to_string()));
    }
    let manifest::Written { subnets, machines, deployments, .. } = &written;
    talk(&format!("{subnets} subnets, {machines} machines, {deployments} deployments"));
    if written.subnets + written.machines == 0 {
        exit::failed("there is no network and no host that a manifest could have", false);
        return Exit::Failed;
    }
    print(&written.text)
}

fn read(path: &Path) -> Result<String, String> {
    let meta = fs::metadata(path).map_err(|error| error.to_string())?;
    if !meta.is_file() {
        return Err("it is no file".to_owned());
    }
    if meta.len() > LONGEST {
        return Err(format!("it is longer than {LONGEST} bytes"));
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The files that a configuration names; paths that are not absolute begin at its folder.
struct Beside(PathBuf);

impl Files for Beside {
    fn read(&self, path: &str) -> Result<String, String> {
        read(&self.0.join(path))
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, String> {
        let entries = fs::read_dir(self.0.join(folder)).map_err(|error| error.to_string())?;
        let files = entries.flatten().filter(|entry| entry.path().is_file());
        // As the configuration would name them: `read` puts its folder before them.
        let path = |entry: fs::DirEntry| Path::new(folder).join(entry.file_name()).display().to_string();
        let mut paths: Vec<String> = files.map(path).collect();
        paths.sort();
        Ok(paths)
    }
}
