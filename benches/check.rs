//! `voldemort check` of 10,000 deployments in 1,000 files: read, resolved, rendered and walked
//! with every firmware. `cargo bench --bench check`; the number of files may follow as `-- 100`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use voldemort::cli::check::check;
use voldemort::desired::{Media, Options};
use voldemort::manifest::{Level, report};
use voldemort::media::Shelf;

const PER_FILE: usize = 10;
const TARGET: Duration = Duration::from_secs(1);
const TARGET_MB: u64 = 200;

fn main() {
    let files = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(1_000);
    let root = tempfile::tempdir().expect("a directory for the inventory");
    generate(root.path(), files).expect("the inventory can be written");
    let before = peak_mb();
    let first = measure("check", root.path(), files);
    let peak = peak_mb();
    measure("re-check, nothing changed", root.path(), files);
    fs::write(root.path().join("d/0000.toml"), deployments(0) + "# edited\n").expect("a file can be edited");
    measure("re-check after one edit", root.path(), files);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let verdict = if first < TARGET && peak < TARGET_MB { "reached" } else { "NOT reached" };
    println!(
        "{cores} cores, peak memory {peak} MB ({before} MB before): target < {TARGET:?} and < {TARGET_MB} MB {verdict}"
    );
}

fn measure(what: &str, root: &Path, files: usize) -> Duration {
    let shelf = Shelf::new(Vec::new(), None).with_directory(root.into());
    let started = Instant::now();
    let checked = check(root, &shelf, &Options { media: Media::Required, fallback: Vec::new() })
        .expect("it can be read");
    let took = started.elapsed();
    if let Some(problem) = checked.problems.iter().find(|problem| problem.level == Level::Error) {
        panic!("{}", report::full(problem, &checked.documents.sources, false));
    }
    assert_eq!(checked.desired.deployments.len(), files * PER_FILE);
    println!("{what:<28} {took:>9.1?}");
    took
}

/// Ten deployments a file, half of them pinned to machines of their own tables.
fn generate(root: &Path, files: usize) -> std::io::Result<()> {
    for folder in ["d", "files", "secrets"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::write(root.join("files/vmlinuz"), vec![1; 4096])?;
    fs::write(root.join("files/initrd.gz"), vec![2; 4096])?;
    fs::write(
        root.join("secrets/root-password.age"),
        include_str!("../tests/golden/inventory/tree/secrets/root-password.age"),
    )?;
    fs::write(root.join("base.toml"), BASE)?;
    for file in 0..files {
        fs::write(root.join(format!("d/{file:04}.toml")), deployments(file))?;
    }
    Ok(())
}

fn deployments(file: usize) -> String {
    let mut text = String::new();
    for number in (file * PER_FILE..).take(PER_FILE) {
        let (high, low) = (number / 200, number % 200 + 10);
        let mac = format!("52:54:00:{:02x}:{:02x}:{:02x}", number >> 16, (number >> 8) & 255, number & 255);
        let place = if number % 2 == 0 {
            let rack = number / 40;
            let _ =
                write!(text, "[machine.m-{number}]\nmac = [\"{mac}\"]\nlabels = {{ rack = \"{rack}\" }}\n\n");
            format!("machine = \"m-{number}\"")
        } else {
            format!("mac = \"{mac}\"")
        };
        let profile = ["web", "db", "build"][number % 3];
        let _ = write!(
            text,
            "[deployment.d-{number}]\nprofile = \"{profile}\"\n{place}\naddress = \"10.1.{high}.{low}\"\n\n"
        );
    }
    text
}

const BASE: &str = r#"
[subnet.lab]
cidr    = "10.1.0.0/16"
gateway = "10.1.0.1"
dns     = ["10.1.0.1", "10.1.0.2"]
domain  = "lab.example"

[boot.debian]
kernel  = "files/vmlinuz"
initrd  = ["files/initrd.gz"]
cmdline = ["auto=true", "priority=critical", "url={{ answers_url }}", "hostname={{ hostname }}", "---", "console=ttyS0"]

[profile.base]
subnet   = "lab"
boot     = "debian"
template = "preseed"
vars     = { root-hash = { secret = "root-password" } }
disk     = "/dev/sda"
timezone = "Europe/Berlin"

[profile.web]
extends  = ["base"]
packages = ["openssh-server", "nginx"]

[profile.db]
extends  = ["base"]
packages = ["openssh-server", "postgresql"]

[profile.build]
extends  = ["base"]
packages = ["openssh-server", "build-essential", "git"]
"#;

/// Peak resident memory of this process so far.
fn peak_mb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}
