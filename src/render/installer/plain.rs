//! Any other text, fetched by whatever the boot runs.

use super::{Completion, Installer, Kind, kickstart, lines, main_file, preseed};

pub(super) static INSTALLER: Installer = Installer {
    kind: Kind::Plain,
    files: &[main_file("answers.txt")],
    takes_folder: false,
    by_dhcp: false,
    check: |_| Vec::new(),
    needs: &[],
    cmdline: &[],
    passwords: |text| lines(text, |line| [preseed::passwords(line), kickstart::passwords(line)].concat()),
    image: None,
    completion: Completion::Hook,
    template: None,
};
