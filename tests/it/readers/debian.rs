//! Debian's installer, unpacked from its own initrd: a root of its own with the script that reads
//! preseed files, and with all it calls.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::kit::has;

const INITRD: &str = "/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64/initrd.gz";
const SCRIPT: &str = "bin/debconf-set-selections";

pub(crate) struct Installer {
    root: tempfile::TempDir,
}

impl Installer {
    /// `None` where the package, a program or a privilege is missing.
    pub(crate) fn unpack() -> Option<Installer> {
        if !nix::unistd::geteuid().is_root() || !has("cpio") || !Path::new(INITRD).exists() {
            return None;
        }
        let root = tempfile::tempdir().unwrap();
        let unpack = format!("zcat {INITRD} | cpio -idm --quiet --no-absolute-filenames 2>/dev/null");
        // Some device nodes can't be made everywhere, and nothing here needs them.
        let _ = Command::new("sh").args(["-c", &unpack]).current_dir(root.path()).status().unwrap();
        let installer = Installer { root };
        installer.prepare();
        Some(installer)
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.root.path().join(inside)
    }

    /// The script twice, each with a mark of having come to its end: its exit code is lost in the
    /// program that runs it. One has the installer's questions behind it, one takes them all.
    fn prepare(&self) {
        let script = std::fs::read_to_string(self.path(SCRIPT)).unwrap();
        let whole = format!("{script}\necho THE-END >> $logfile\n");
        std::fs::write(self.path("bin/read-whole"), &whole).unwrap();
        let source = ". /usr/share/debconf/confmodule";
        assert!(whole.contains(source), "the script sources debconf's functions");
        let quick = whole
            .replace(source, "db_set() { :; }; db_fset() { :; }; db_register() { :; }; db_subst() { :; }");
        std::fs::write(self.path("bin/read-quick"), quick).unwrap();
        for folder in ["tmp/files", "var/lib/preseed"] {
            std::fs::create_dir_all(self.path(folder)).unwrap();
        }
        self.run("chmod +x /bin/read-whole /bin/read-quick; [ -e /dev/null ] || mknod /dev/null c 1 3");
        self.run(
            "debconf-loadtemplate debian-installer /var/lib/dpkg/info/*.templates >/dev/null 2>&1; \
                  cp -r /var/lib/cdebconf /tmp/questions",
        );
    }

    fn run(&self, script: &str) -> String {
        let mut command = Command::new("chroot");
        let output =
            command.arg(self.root.path()).args(["/bin/sh", "-c", script]).stdin(Stdio::null()).output();
        String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
    }

    /// What the installer says of each file; `whole` with its database of questions.
    pub(crate) fn read(&self, files: &[(PathBuf, String)], whole: bool) -> Vec<Result<(), String>> {
        for (number, (_, text)) in files.iter().enumerate() {
            std::fs::write(self.path(&format!("tmp/files/{number:04}")), text).unwrap();
        }
        let (program, fresh) = match whole {
            true => ("read-whole", "rm -rf /var/lib/cdebconf; cp -r /tmp/questions /var/lib/cdebconf;"),
            false => ("read-quick", ""),
        };
        let script = format!(
            "log=/var/lib/preseed/log; for file in /tmp/files/*; do {fresh} : > $log; {program} $file >/dev/null 2>&1; \
             line=$(tail -n 1 $log | tr '\\t' ' '); [ \"$line\" = THE-END ] && line=; \
             printf '%s\\t%s\\n' $file \"$line\"; done; rm -f /tmp/files/*"
        );
        super::said(&self.run(&script), files)
    }
}
