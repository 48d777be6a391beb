//! `voldemort media add`: files arrive whole, and vouched for, or not at all.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use crate::program::{Ran, voldemort};

/// A web server with what it is asked for, and how it treats it.
#[derive(Clone, Default)]
struct Server {
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    /// Answers break off after so many bytes of the body.
    most: Arc<Mutex<Option<usize>>>,
    /// Request lines and ranges.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Serves for as long as the test runs.
    fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = self.clone();
        std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| server.answer(stream)));
        format!("http://{address}")
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        self.files.lock().unwrap().insert(path.to_owned(), bytes.to_vec());
    }

    fn answer(&self, mut stream: TcpStream) {
        let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let Some(path) = head.first().and_then(|line| line.split(' ').nth(1)) else { return };
        let header = |name: &str| {
            head.iter().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned))
        };
        let range = header("range");
        self.asked.lock().unwrap().push(format!("{path} {}", range.clone().unwrap_or_default()));
        let files = self.files.lock().unwrap();
        // A client that goes away is part of some tests.
        let mut say = |text: String| drop(stream.write_all(text.as_bytes()));
        let Some(bytes) = files.get(path) else {
            if let Some(target) = path.strip_prefix("/moved") {
                return say(format!("HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n"));
            }
            return say("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned());
        };
        let tag = format!("\"{}-{}\"", bytes.len(), bytes.first().copied().unwrap_or_default());
        let same = header("if-range").is_none_or(|wanted| wanted == tag);
        let from = range
            .filter(|_| same)
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        if from.is_some_and(|from| from >= bytes.len()) {
            return say(format!(
                "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{}\r\nContent-Length: 5\r\n\
                 Connection: close\r\n\r\nsorry",
                bytes.len()
            ));
        }
        let rest = &bytes[from.unwrap_or(0)..];
        let length = rest.len();
        let status = match from {
            Some(from) => format!(
                "206 Partial Content\r\nContent-Range: bytes {from}-{}/{}",
                bytes.len() - 1,
                bytes.len()
            ),
            None => "200 OK".to_owned(),
        };
        say(format!(
            "HTTP/1.1 {status}\r\nETag: {tag}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        ));
        let most = self.most.lock().unwrap().unwrap_or(length);
        drop(stream.write_all(&rest[..length.min(most)]));
    }
}

fn add(folder: &Path, arguments: &[&str]) -> Ran {
    voldemort(folder, &[&["media", "add"], arguments].concat())
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_download_that_breaks_off_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let server = Server::default();
    let base = server.start();
    let content: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    server.put("/x.img", &content);
    let url = format!("{base}/moved/x.img");
    // Each answer brings a little; the command goes on by itself as long as something comes.
    *server.most.lock().unwrap() = Some(200_000);
    let ran = add(root, &[&url, "--sha256", &sha256(&content)]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(std::fs::read(root.join("x.img")).unwrap(), content);
    assert_eq!(names(root), ["x.img"]);
    let asked = server.asked.lock().unwrap().clone();
    assert!(asked.contains(&"/x.img bytes=200000-".to_owned()), "{asked:?}");

    // Nothing comes any more: what came is kept, and the next command fetches the rest only.
    server.put("/y.img", &content);
    let url = format!("{base}/y.img");
    std::fs::write(root.join("y.img.part"), &content[..150_000]).unwrap();
    std::fs::write(root.join("y.img.part.origin"), format!("{url}\n\"{}-0\"\n", content.len())).unwrap();
    *server.most.lock().unwrap() = Some(0);
    let ran = add(root, &[&url]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("150000 bytes are kept in ./y.img.part"), "{}", ran.err);
    assert_eq!(names(root), ["x.img", "y.img.part", "y.img.part.origin"]);
    *server.most.lock().unwrap() = None;
    let ran = add(root, &[&url]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("nobody vouches for it"), "{}", ran.out);
    assert_eq!(std::fs::read(root.join("y.img")).unwrap(), content);

    // Everything came, and the command was interrupted before the file got its name.
    server.put("/w.img", &content);
    let url = format!("{base}/w.img");
    std::fs::write(root.join("w.img.part"), &content).unwrap();
    std::fs::write(root.join("w.img.part.origin"), format!("{url}\n\"{}-0\"\n", content.len())).unwrap();
    let ran = add(root, &[&url]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(std::fs::read(root.join("w.img")).unwrap(), content);
    let asked = server.asked.lock().unwrap().last().cloned();
    assert_eq!(asked, Some(format!("/w.img bytes={}-", content.len())));

    // Another file at the same address: the old beginning is not put before the new end.
    let other = vec![7; 400_000];
    server.put("/z.img", &other);
    let url = format!("{base}/z.img");
    std::fs::write(root.join("z.img.part"), &content[..150_000]).unwrap();
    std::fs::write(root.join("z.img.part.origin"), format!("{url}\n\"{}-0\"\n", content.len())).unwrap();
    let ran = add(root, &[&url]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(std::fs::read(root.join("z.img")).unwrap(), other);
}

#[test]
fn what_is_not_the_right_file_gets_no_name() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let server = Server::default();
    let base = server.start();
    server.put("/x.iso", b"some bytes");
    server.put("/page.iso", b"<!DocType HTML><p>Choose a mirror");
    let wrong = "00".repeat(32);
    for (arguments, word) in [
        (vec![format!("{base}/x.iso"), "--sha256".into(), wrong.clone()], "its sha256 is"),
        (vec![format!("{base}/page.iso")], "a web page"),
        (vec![format!("{base}/none.iso")], "404"),
        (vec![format!("{base}/moved/moved/moved/moved/moved/moved/moved/moved/moved/x.iso")], "redirects"),
        (vec![base.clone()], "names no file"),
        (vec!["ftp://127.0.0.1/x.iso".to_owned()], "ftp:// is not known"),
        (vec!["http://127.0.0.1:1/x.iso".to_owned()], "127.0.0.1:1"),
        (vec![format!("{base}/x.iso"), "--into".into(), "nowhere".into()], "is no folder"),
        (vec![format!("{base}/x.iso"), "--signed-by".into(), "nowhere".into()], "--signed-by nowhere"),
        (vec!["missing.iso".to_owned(), "--into".into(), "..".into()], "missing.iso"),
    ] {
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ran = add(root, &words);
        assert_eq!(ran.code, 1, "{arguments:?}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains(word), "{arguments:?}: {}", ran.err);
        assert_eq!(names(root), Vec::<String>::new(), "{arguments:?}");
    }
    assert_eq!(add(root, &["x.iso", "--sha256", "ab"]).code, 64);
    // A file that is there already is never written over.
    std::fs::write(root.join("x.iso"), "mine").unwrap();
    for arguments in [&[][..], &["--sha256", &wrong]] {
        let ran = add(root, &[&[format!("{base}/x.iso").as_str()], arguments].concat());
        assert_eq!(ran.code, 1);
        assert!(ran.err.contains("is there already"), "{}", ran.err);
        assert_eq!(std::fs::read(root.join("x.iso")).unwrap(), b"mine");
    }
    let ran = add(root, &[&format!("{base}/x.iso"), "--sha256", &sha256(b"mine")]);
    assert_eq!(ran.code, 0, "{}", ran.err);
}

#[test]
fn signatures_beside_a_file_vouch_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let gpg = |arguments: &[&str]| {
        let run = Command::new("gpg")
            .env("GNUPGHOME", root.join("home"))
            .args(["--batch", "-q", "--yes", "--pinentry-mode", "loopback", "--passphrase", ""])
            .args(arguments)
            .current_dir(root)
            .output()
            .expect("gnupg is installed by tests/run");
        assert!(run.status.success(), "gpg {arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
    };
    for folder in ["home", "site", "into"] {
        std::fs::create_dir(root.join(folder)).unwrap();
    }
    Command::new("chmod").args(["700", "home"]).current_dir(root).status().unwrap();
    gpg(&["--quick-gen-key", "maker@example.org", "ed25519", "sign", "never"]);
    gpg(&["--quick-gen-key", "other@example.org", "ed25519", "sign", "never"]);
    gpg(&["-o", "maker.gpg", "--export", "maker@example.org"]);
    gpg(&["-o", "other.gpg", "--export", "other@example.org"]);
    let bytes = b"an image";
    let list = format!("{}  b.iso\n{} *a.iso\n", "11".repeat(32), sha256(bytes));
    std::fs::write(root.join("site/a.iso"), bytes).unwrap();
    std::fs::write(root.join("list"), &list).unwrap();
    std::fs::write(root.join("wrong"), list.replace(&sha256(bytes), &"22".repeat(32))).unwrap();
    let clean = || {
        for name in names(&root.join("site")).iter().filter(|name| *name != "a.iso") {
            std::fs::remove_file(root.join("site").join(name)).unwrap();
        }
        drop(std::fs::remove_file(root.join("into/a.iso")));
    };
    let sign = |how: &[&str], of: &str, to: &str| {
        gpg(&[&["-u", "maker@example.org", "-o", to], how, &[of]].concat());
    };
    let detached = |list: &str, name: &str, end: &str| {
        clean();
        std::fs::copy(root.join(list), root.join("site").join(name)).unwrap();
        sign(&["--detach-sign"], list, &format!("site/{name}{end}"));
    };
    let judge = |keyring: &str, word: &str| {
        for source in ["site/a.iso".to_owned(), serve(&root.join("site")) + "/a.iso"] {
            drop(std::fs::remove_file(root.join("into/a.iso")));
            let ran = add(root, &[&source, "--into", "into", "--signed-by", keyring]);
            let text = format!("{}{}", ran.out, ran.err);
            assert_eq!(ran.code, i32::from(!word.is_empty()), "{source} {word}: {text}");
            assert!(text.contains(word), "{source}: {text}");
            let expected: &[&str] = if word.is_empty() { &["a.iso"] } else { &[] };
            assert_eq!(names(&root.join("into")), expected, "{source} {word}");
        }
    };
    judge("maker.gpg", "lies no signed list");
    for (name, end) in
        [("SHA256SUMS", ".sign"), ("SHA256SUMS", ".gpg"), ("CHECKSUM", ".asc"), ("a.iso.sha256", ".sig")]
    {
        detached("list", name, end);
        judge("maker.gpg", "");
        judge("other.gpg", "is not signed by a key in");
        // The list that was signed is another one.
        std::fs::copy(root.join("wrong"), root.join("site").join(name)).unwrap();
        judge("maker.gpg", "has a wrong signature");
        detached("wrong", name, end);
        judge("maker.gpg", "its sha256 is");
    }
    clean();
    sign(&["--clear-sign"], "list", "site/CHECKSUM");
    judge("maker.gpg", "");
    judge("other.gpg", "is not signed by a key in");
    // Text before and behind the signed part counts for nothing.
    clean();
    sign(&["--clear-sign"], "wrong", "site/CHECKSUM");
    let signed = std::fs::read_to_string(root.join("site/CHECKSUM")).unwrap();
    std::fs::write(root.join("site/CHECKSUM"), format!("{signed}{list}")).unwrap();
    judge("maker.gpg", "its sha256 is");
    clean();
    sign(&["--detach-sign"], "site/a.iso", "site/a.iso.sig");
    judge("maker.gpg", "");
    std::fs::write(root.join("site/a.iso"), "another image").unwrap();
    judge("maker.gpg", "has a wrong signature");
    gpg_ends(root);
}

fn gpg_ends(root: &Path) {
    let ended = Command::new("gpgconf").env("GNUPGHOME", root.join("home")).args(["--kill", "all"]).status();
    assert!(ended.unwrap().success());
}

/// The address of a server with the files of a folder.
fn serve(folder: &Path) -> String {
    let server = Server::default();
    for name in names(folder) {
        server.put(&format!("/{name}"), &std::fs::read(folder.join(&name)).unwrap());
    }
    server.start()
}
