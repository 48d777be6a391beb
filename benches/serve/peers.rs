//! The servers that people use, started beside the daemon.

use std::fs;
use std::net::{SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use async_tftp::server::TftpServerBuilder;

use super::lab::{Lab, PEERS, Server};
use super::tftp;

/// A server and where it listens.
pub(crate) struct Peer {
    pub name: &'static str,
    pub server: Server,
    pub at: SocketAddrV4,
}

/// Whether the command line names no peer, or this one: the others may take minutes.
fn is_wanted(name: &str) -> bool {
    let named: Vec<String> = std::env::args().filter(|word| TFTP.contains(&word.as_str())).collect();
    named.is_empty() || named.iter().any(|word| word == name)
}

const TFTP: [&str; 4] = ["tftpd-hpa", "atftpd", "dnsmasq", ASYNC_TFTP];
/// The crate has no program of its own: this one plays it when it is started with this word.
pub(crate) const ASYNC_TFTP: &str = "async-tftp";

/// Serves `root` at `address` with the crate async-tftp until it is killed, with the limits that its documents
/// advise: no block or window is larger than what the benchmark asks for.
pub(crate) fn serve_async_tftp(address: &str, root: &str) {
    let address = address.parse().expect("an address and a port");
    let server = TftpServerBuilder::with_dir_ro(root).expect("the folder is there").bind(address);
    let served = async { server.block_size_limit(1468).window_size_limit(64).build().await?.serve().await };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let ended = runtime.expect("a runtime").block_on(served);
    ended.expect("the crate serves for ever");
}

/// Every TFTP server that is installed and wanted.
pub(crate) fn tftp(lab: &Lab) -> Vec<Peer> {
    let root = lab.path("files");
    let root = root.to_str().expect("temporary folders have plain names");
    let at = |port| SocketAddrV4::new(PEERS, port);
    let hpa = at(6901).to_string();
    let atftpd = lab.atftpd.as_ref().and_then(|path| path.to_str());
    let dnsmasq_root = format!("--tftp-root={root}");
    let listen = format!("--listen-address={PEERS}");
    let bind = PEERS.to_string();
    let own = std::env::current_exe().expect("this program has a path");
    let own = own.to_str().expect("cargo's folders have plain names");
    let crate_at = at(6903).to_string();
    [
        (
            "tftpd-hpa",
            6901,
            Some(vec!["in.tftpd", "--foreground", "--user", "root", "--address", &hpa, "--secure", root]),
        ),
        (
            "atftpd",
            6902,
            atftpd.map(|program| {
                vec![
                    program,
                    "--daemon",
                    "--no-fork",
                    "--user",
                    "root",
                    "--group",
                    "root",
                    "--port",
                    "6902",
                    "--bind-address",
                    &bind,
                    "--maxthread",
                    "2000",
                    "--no-multicast",
                    "--verbose=0",
                    "--logfile",
                    "/dev/null",
                    root,
                ]
            }),
        ),
        (ASYNC_TFTP, 6903, Some(vec![own, ASYNC_TFTP, &crate_at, root])),
        (
            "dnsmasq",
            69,
            Some(vec![
                "dnsmasq",
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--pid-file=",
                "--port=0",
                "--user=root",
                "--enable-tftp",
                &dnsmasq_root,
                "--tftp-max=2000",
                &listen,
                "--bind-interfaces",
                "--quiet-tftp",
            ]),
        ),
    ]
    .into_iter()
    .filter(|(name, ..)| is_wanted(name))
    .filter_map(|(name, port, words)| {
        let peer = words
            .and_then(|words| lab.spawn(&words))
            .filter(|_| answered(|| !tftp::request(None, at(port), "nothing", 1).1.is_empty()))
            .map(|server| Peer { name, server, at: at(port) });
        if peer.is_none() {
            println!("{name} is NOT INSTALLED or does not start: left out");
        }
        peer
    })
    .collect()
}

/// The program, out of the package's archive if need be.
pub(crate) fn atftpd(folder: &Path) -> Option<PathBuf> {
    let installed = PathBuf::from("/usr/sbin/atftpd");
    if installed.exists() {
        return Some(installed);
    }
    let folder = folder.join("atftpd");
    fs::create_dir_all(&folder).ok()?;
    let fetch = "apt-get download -q atftpd && dpkg -x atftpd_*.deb .";
    let quiet = |command: &mut Command| command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet(Command::new("sh").args(["-c", fetch]).current_dir(&folder)).ok()?;
    Some(folder.join("usr/sbin/atftpd")).filter(|program| program.exists())
}

/// nginx with the same files, by HTTP at 8080 and by HTTPS at 8443.
pub(crate) fn nginx(lab: &Lab) -> Option<Peer> {
    let at = SocketAddrV4::new(PEERS, 8080);
    let root = lab.folder.path().display();
    let (key, certificate) = (lab.path("key.pem"), lab.path("certificate.pem"));
    let request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=bench";
    let made = Command::new("openssl")
        .args(request.split(' '))
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .stderr(Stdio::null())
        .status();
    made.ok().filter(std::process::ExitStatus::success)?;
    let settings = format!(
        "daemon off; worker_processes 2; worker_rlimit_nofile 20000; error_log stderr crit; pid {root}/pid; user root;\n\
         events {{ worker_connections 8192; }}\n\
         http {{ sendfile on; tcp_nopush on; access_log off; keepalive_requests 100000000;\n\
         open_file_cache max=2000; client_body_temp_path {root}/t1; proxy_temp_path {root}/t2;\n\
         fastcgi_temp_path {root}/t3; uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;\n\
         server {{ listen {at}; listen {PEERS}:8443 ssl; root {root}/files;\n\
         ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.2 TLSv1.3; }} }}\n",
        certificate.display(),
        key.display(),
    );
    let config = lab.path("nginx.conf");
    fs::write(&config, settings).ok()?;
    let server = lab.spawn(&["nginx", "-c", config.to_str()?])?;
    let peer = answered(|| TcpStream::connect(at).is_ok()).then_some(Peer { name: "nginx", server, at });
    if peer.is_none() {
        println!("nginx is NOT INSTALLED or does not start: left out");
    }
    peer
}

/// Waits until a peer has come up.
fn answered(mut asks: impl FnMut() -> bool) -> bool {
    (0..40).any(|_| {
        let up = asks();
        if !up {
            thread::sleep(Duration::from_millis(50));
        }
        up
    })
}
