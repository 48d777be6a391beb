//! `voldemortctl wipe MACHINE`: erases the disks of a machine that nobody has.

use clap::Args;

use super::several::Asking;
use crate::api::client::escaped;
use crate::api::resource::wipe::{Disk, WipeWanted};
use crate::api::resource::{Listed, Machine};
use crate::cli::exit::talk;
use crate::cli::live::{Names, names};
use crate::cli::remote::{self, Remote};
use crate::cli::{Exit, exit};
use crate::model::WipeLevel;

/// Erase all disks of a machine that nobody has
///
/// The disks are shown by their serial numbers and sizes, and the machine's name has to be typed. Our agent erases them
/// at the machine's next network boot, and only if they are the ones that were shown.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The machine
    #[arg(value_name = "MACHINE", add = names(Names::Of(Listed::Machines)))]
    machine: String,
    /// quick: signatures, then discarded, which is no sanitising; clear: overwritten and read back; purge: by the disk's
    /// own sanitize command
    #[arg(long, value_parser = WipeLevel::NAMES.to_vec(), default_value = "clear")]
    level: String,
    #[command(flatten)]
    asking: Asking,
    #[arg(short, long, value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

pub(super) fn run(arguments: &Arguments, remote: &Remote) -> Exit {
    let json = arguments.output == "json";
    let name = &arguments.machine;
    let path = format!("/v1/machines/{}", escaped(name));
    let machine: Machine = match remote.block_on(async |client| client.get(&path).await) {
        Ok(machine) => machine,
        Err(error) => return remote::failed(&error, json),
    };
    if machine.disks.is_empty() {
        let why = format!(
            "the disks of machine {name} are not known, or it has none: our agent has to look at it before they can be \
             erased"
        );
        exit::failed(&why, json);
        return Exit::Failed;
    }
    let rows: String = machine.disks.iter().map(row).collect();
    let what = format!("WIPES ({}) the disks of machine {name}:\n{}", arguments.level, rows.trim_end());
    if let Err(no) = arguments.asking.agree(&what, name, json) {
        return no;
    }
    let disks = machine.disks.into_iter().map(|disk| disk.id).collect();
    let wanted = WipeWanted { disks, level: Some(arguments.level.clone()) };
    let ordered =
        remote.block_on(async |client| client.post::<Machine>(&format!("{path}/wipe"), &wanted).await);
    match ordered {
        Ok(machine) if json => exit::print_json(&machine),
        Ok(machine) => {
            let next = machine.order.map(|order| order.next).unwrap_or_default();
            talk(&format!("machine {name} is to be wiped: {next}"));
            Exit::Done
        }
        Err(error) => remote::failed(&error, json),
    }
}

fn row(disk: &Disk) -> String {
    format!("  {}  {}  {}\n", disk.id, size(disk.bytes), disk.state)
}

/// As disks are sold, in powers of ten, to three digits.
fn size(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1000.0 && unit + 1 < units.len() {
        (value, unit) = (value / 1000.0, unit + 1);
    }
    let digits = if value >= 100.0 || unit == 0 { 0 } else { 1 };
    format!("{value:.digits$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_on_the_label() {
        let found = [0, 999, 1_000, 240_057_409_536, 1_920_383_410_176].map(size);
        assert_eq!(found, ["0 B", "999 B", "1.0 kB", "240 GB", "1.9 TB"]);
    }
}
