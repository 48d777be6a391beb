//! Trees made to break their reader end in a clear error, soon, and in little memory.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Far above what any of these takes on a busy host, below what people wait for.
const SECONDS_MAX: u64 = 60;
const MEMORY_MAX_MIB: i64 = 300;

struct Ran {
    code: i32,
    out: String,
    err: String,
}

/// Runs `voldemort check` on a tree, and holds it to its bounds.
fn check(root: &Path) -> Ran {
    check_in(root, MEMORY_MAX_MIB)
}

fn check_in(root: &Path, mebibytes: i64) -> Ran {
    let (out, err) = (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_voldemort"));
    command.arg("check").current_dir(root).stdin(Stdio::null());
    command.stdout(out.reopen().unwrap()).stderr(err.reopen().unwrap());
    let started = Instant::now();
    let (code, memory) = wait(command.spawn().unwrap(), started);
    assert!(memory >> 10 < mebibytes, "{} MiB", memory >> 10);
    let text = |file: &tempfile::NamedTempFile| String::from_utf8(fs::read(file.path()).unwrap()).unwrap();
    let ran = Ran { code, out: text(&out), err: text(&err) };
    let wild = |c: char| c.is_control() && c != '\n';
    assert!(!ran.out.contains(wild) && !ran.err.contains(wild), "{:?}{:?}", ran.out, ran.err);
    ran
}

/// Exit code and peak of resident memory in KiB. The peak that wait4(2) reports begins with that of the
/// process that started it, which is all the tests here.
fn wait(mut child: Child, started: Instant) -> (i32, i64) {
    let mut peak = 0;
    loop {
        peak = peak.max(high_water(child.id()).unwrap_or_default());
        if let Some(status) = child.try_wait().unwrap() {
            return (status.code().unwrap_or_else(|| panic!("ended by a signal: {status}")), peak);
        }
        if started.elapsed() > Duration::from_secs(SECONDS_MAX) {
            let _ = child.kill().and_then(|()| child.wait());
            panic!("still running after {SECONDS_MAX} s");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The most memory that a process has had so far, in KiB (proc(5)); `None` once it has ended.
fn high_water(pid: u32) -> Option<i64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?.parse().ok()
}

fn tree() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("good.toml"), "[subnet.lab]\ncidr = \"10.0.10.0/24\"\n").unwrap();
    folder
}

#[track_caller]
fn refuses(root: &Path, why: &str) {
    let ran = check(root);
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains(why) || ran.err.contains(why), "{}{}", ran.out, ran.err);
}

#[test]
fn gigabytes() {
    let folder = tree();
    File::create(folder.path().join("huge.toml")).unwrap().set_len(1 << 30).unwrap();
    refuses(folder.path(), "larger than 16 MiB");
    fs::remove_file(folder.path().join("huge.toml")).unwrap();
    File::create(folder.path().join("huge.liquid")).unwrap().set_len(1 << 30).unwrap();
    fs::write(folder.path().join("t.toml"), "[template.t]\nkind = \"plain\"\nfile = \"huge.liquid\"\n")
        .unwrap();
    refuses(folder.path(), "huge.liquid");
}

#[test]
fn the_largest_strings_there_may_be() {
    let folder = tree();
    let string = "x".repeat(15 << 20);
    fs::write(folder.path().join("a.toml"), format!("[profile.a]\ndisk = \"{string}\"\n")).unwrap();
    assert_eq!(check(folder.path()).code, 0);
    for wrong in [
        "[deployment.a]\naddress = \"X\"\n",
        "[profile.X]\n",
        "X = 1\n",
        "[profile.a]\nX = 1\n",
        "[boot.a]\nkernel = \"X\"\n",
    ] {
        fs::write(folder.path().join("a.toml"), wrong.replace('X', &string)).unwrap();
        let ran = check(folder.path());
        assert!(ran.out.len() < 5000, "{} bytes for {wrong}", ran.out.len());
    }
}

#[test]
fn nested_tables() {
    let folder = tree();
    let deep = 100_000;
    for text in [
        format!("x = {}1{}\n", "{a=".repeat(deep), "}".repeat(deep)),
        format!("[{}]\n", vec!["a"; deep].join(".")),
        (0..deep).map(|n| format!("[deployment.a.b{n}]\n")).collect(),
        format!("[deployment.a]\n{} = 1\n", vec!["vars"; deep].join(".")),
    ] {
        fs::write(folder.path().join("a.toml"), &text).unwrap();
        let ran = check(folder.path());
        assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    }
}

#[test]
fn links_in_circles() {
    let folder = tree();
    let root = folder.path();
    symlink("round", root.join("round")).unwrap();
    symlink(".", root.join("here")).unwrap();
    fs::create_dir_all(root.join("a/b/c")).unwrap();
    for name in ["x", "y", "z"] {
        symlink("../..", root.join("a/b").join(name)).unwrap();
        symlink("../../../a", root.join("a/b/c").join(name)).unwrap();
    }
    let ran = check(root);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
}

/// Each folder has two links to the next: followed, they would make 2^40 folders.
#[test]
fn links_that_multiply() {
    let folder = tree();
    let root = folder.path();
    for n in 0..40 {
        fs::create_dir(root.join(format!("d{n}"))).unwrap();
        for name in ["x", "y"] {
            if n < 39 {
                symlink(format!("../d{}", n + 1), root.join(format!("d{n}/{name}"))).unwrap();
            }
        }
    }
    refuses(root, "links lead to this folder");
}

#[test]
fn pipes_sockets_and_devices() {
    let folder = tree();
    let root = folder.path();
    let fifo = std::ffi::CString::new(root.join("pipe.toml").to_str().unwrap()).unwrap();
    // SAFETY: the path is a string that ends in a zero byte.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket.toml")).unwrap();
    let ran = check(root);
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("neither a file nor a folder"), "{}", ran.err);
    fs::remove_file(root.join("pipe.toml")).unwrap();
    fs::remove_file(root.join("socket.toml")).unwrap();
    symlink("/dev/zero", root.join("zero.toml")).unwrap();
    refuses(root, "leads out of the inventory");
}

#[test]
fn names_nobody_should_have() {
    let folder = tree();
    let wild = "a\u{1b}[31mred\u{7}\n\u{202e}b.toml";
    fs::write(folder.path().join(wild), "[deployment.x]\nprofil = 1\n").unwrap();
    let ran = check(folder.path());
    assert_eq!(ran.code, 1);
    fs::write(
        folder.path().join("c.toml"),
        "[\"pro\\u001b[31mfile\".x]\n[profile.\"a\\u0007\"]\n\"\\u001bx\" = 1\n",
    )
    .unwrap();
    assert_eq!(check(folder.path()).code, 1);
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9.toml");
    fs::write(folder.path().join(name), "").unwrap();
    refuses(folder.path(), "the name is not UTF-8");
}

#[test]
fn template_bombs() {
    let folder = tree();
    let root = folder.path();
    fs::write(
        root.join("a.toml"),
        "[boot.b]\nkernel = \"k\"\ncmdline = [\"url={{ answers_url }}\"]\n[template.t]\nkind = \"plain\"\nfile = \"t\"\n\
         [deployment.d]\nboot = \"b\"\ntemplate = \"t\"\nmac = \"52:54:00:aa:00:01\"\naddress = \"10.0.10.2\"\n",
    )
    .unwrap();
    let loops = "{% for i in (1..9999) %}".repeat(20) + "x" + &"{% endfor %}".repeat(20);
    let double =
        "{% assign a = 'xxxxxxxx' %}".to_owned() + &"{% assign a = a | append: a %}".repeat(60) + "{{ a }}";
    let replace = "{% assign a = 'aaaaaaaaaaaaaaaa' %}".to_owned()
        + &"{% assign a = a | replace: 'a', a %}".repeat(9)
        + "{{ a }}";
    let capture = "{% capture a %}xxxxxxxx{% endcapture %}".to_owned()
        + &"{% capture a %}{{ a }}{{ a }}{% endcapture %}".repeat(60);
    let split = "{% assign a = 'a,' %}".to_owned()
        + &"{% assign a = a | append: a %}".repeat(24)
        + "{% assign b = a | split: ',' %}{{ b | join: 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' }}";
    for bomb in [loops, double, replace, capture, split] {
        fs::write(root.join("t"), &bomb).unwrap();
        let ran = check(root);
        assert_eq!(ran.code, 1, "{}\n{}{}", &bomb[..60], ran.out, ran.err);
    }
}

#[test]
fn a_hundred_thousand_files() {
    let folder = tree();
    for n in 0..100_000 {
        let path = folder.path().join(format!("d{}", n / 1000));
        if n % 1000 == 0 {
            fs::create_dir(&path).unwrap();
        }
        fs::write(path.join(format!("{n}.toml")), format!("[profile.p{n}]\ndisk = \"/dev/sda\"\n")).unwrap();
    }
    let ran = check_in(folder.path(), 340);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
}

#[test]
fn many_environments() {
    let folder = tree();
    fs::create_dir(folder.path().join("environments")).unwrap();
    for n in 0..500 {
        let path = folder.path().join(format!("environments/e{n}.toml"));
        fs::write(path, "[subnet.lab]\ncidr = \"10.0.11.0/24\"\ngateway = \"10.0.10.1\"\n").unwrap();
    }
    let ran = check(folder.path());
    assert_eq!(ran.code, 1, "{}", ran.err);
}
