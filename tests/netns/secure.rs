//! The control API at an address that other hosts reach: TLS with the daemon's own authority, and nothing without.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::callers::{House, err};
use super::net::{Net, has, within};

/// Where clients on the network reach the daemon.
pub(super) const FAR: &str = "10.0.10.1:12345";
const PATIENCE: Duration = Duration::from_secs(20);

/// A daemon that listens everywhere; the client's host has 10.0.10.2.
pub(super) fn far(settings: &str) -> Option<House> {
    if !has("curl") || !has("setpriv") {
        return None;
    }
    let house = House::at("0.0.0.0:12345", &[], settings)?;
    house.net.client_ip(&["address", "add", "10.0.10.2/24", "dev", "cli"]);
    Some(house)
}

fn authority(house: &House) -> PathBuf {
    house.folder.path().join("state/tls/authority.pem")
}

/// Status, text and exit code of curl on the client's host.
fn curl(net: &Net, words: &[&str]) -> (u16, String, i32) {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &net.client, "curl", "-sS", "-m", "20", "-w", "\\n%{http_code}"]);
    let output = command.args(words).stdin(Stdio::null()).output().unwrap();
    let text = format!("{}{}", err(&output), String::from_utf8_lossy(&output.stdout));
    let status = text.rsplit('\n').next().unwrap_or_default().parse().unwrap_or_default();
    (status, text, output.status.code().unwrap_or(-1))
}

/// Polls until it holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn beyond_loopback_there_is_tls_and_nothing_else() {
    let Some(house) = far("names = ['boot.example.org']") else { return };
    let ca = authority(&house).display().to_string();
    let bearer = format!("Authorization: Bearer {}", house.token);
    let with = |more: &[&str]| curl(&house.net, &[&["--cacert", &ca], more].concat());
    let url = format!("https://{FAR}/v1/status");
    let (status, text, code) = with(&["-H", &bearer, &url]);
    assert_eq!((status, code), (200, 0), "{text}");
    // What clients pin is in the status, and in the first lines.
    let said = text.split("\"api_ca\":\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(said.starts_with("SHA256:") && said.len() == 7 + 64, "{said}");
    let line = format!("API  0.0.0.0:12345 (TLS, CA {said}; token: ");
    assert!(house.daemon.said.iter().any(|one| one.starts_with(&line)), "{:?}", house.daemon.said);
    assert_eq!(with(&[&url]).0, 401, "a token is needed under TLS as well");
    assert_eq!(with(&["-H", "Authorization: Bearer vdm_00000000_stolen", &url]).0, 401);
    // By another name of the host, by one that only the settings know, and by one that is none of its own.
    let resolve = |host: &str| format!("{host}:12345:10.0.10.1");
    let named = "https://boot.example.org:12345/v1/status";
    let (status, text, _) = with(&["-H", &bearer, "--resolve", &resolve("boot.example.org"), named]);
    assert_eq!(status, 200, "{text}");
    let evil = "https://evil.example:12345/v1/status";
    let (_, text, code) = with(&["-H", &bearer, "--resolve", &resolve("evil.example"), evil]);
    assert_eq!(code, 60, "{text}");
    // A page of evil.example whose name leads here now: whatever certificate it accepts.
    let (status, text, _) = with(&["-k", "-H", &bearer, "--resolve", &resolve("evil.example"), evil]);
    assert_eq!(status, 421, "{text}");
    for header in ["Origin: https://10.0.10.1:12345", "Sec-Fetch-Site: cross-site"] {
        assert_eq!(with(&["-H", &bearer, "-H", header, &url]).0, 403, "{header}");
    }
    // Without the authority no client trusts it.
    assert_eq!(curl(&house.net, &[&url]).2, 60);
    // In clear text nobody is served from elsewhere, and whoever is on this host is.
    let (status, text, _) = curl(&house.net, &["-H", &bearer, &format!("http://{FAR}/v1/status")]);
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("HTTPS only") && text.contains("revoke it"), "{text}");
    let near = format!("GET /v1/status HTTP/1.1\r\nHost: localhost\r\n{bearer}");
    assert_eq!(house.ask(&near, "").0, 200);
    assert_eq!(house.daemon.stop(), Some(0));
}

#[test]
fn slow_handshakes_keep_nobody_out() {
    let Some(house) = far("") else { return };
    let ca = authority(&house).display().to_string();
    let bearer = format!("Authorization: Bearer {}", house.token);
    let is_served = || {
        let url = format!("https://{FAR}/v1/status");
        curl(&house.net, &["--cacert", &ca, "-H", &bearer, &url]).0 == 200
    };
    // One says nothing, one begins a handshake and goes on byte by byte, one never takes an answer.
    let mut slow: Vec<TcpStream> = within(&house.net.client, || {
        (0..700).filter_map(|_| TcpStream::connect_timeout(&FAR.parse().unwrap(), PATIENCE).ok()).collect()
    });
    assert!(slow.len() > 600, "{}", slow.len());
    for (at, stream) in slow.iter_mut().enumerate().filter(|(at, _)| at % 2 == 0) {
        let _ = stream.write_all(&[22, 3, 1, 2, 0, 1, 0][..1 + at % 7]);
    }
    let began = Instant::now();
    for _ in 0..5 {
        assert!(is_served());
    }
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    // Each of them is ended in a limited time.
    let mut last = slow.pop().unwrap();
    last.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = last.write_all(&[22]);
    let mut rest = Vec::new();
    let ended = last.read_to_end(&mut rest);
    let is_over = match &ended {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    };
    assert!(is_over, "{ended:?}");
    assert!(is_served());
    assert_eq!(house.daemon.stop(), Some(0));
}

#[test]
fn names_and_files_change_while_it_runs() {
    let Some(house) = far("") else { return };
    let ca = authority(&house).display().to_string();
    let bearer = format!("Authorization: Bearer {}", house.token);
    let status = |host: &str| {
        let url = format!("https://{host}:12345/v1/status");
        curl(&house.net, &["--cacert", &ca, "-H", &bearer, &url])
    };
    house.net.server_ip(&["address", "add", "10.0.10.9/24", "dev", "srv"]);
    until("the certificate is for a new address", || status("10.0.10.9").0 == 200);
    // The files of the authority are damaged: that is said, and everybody is served as before.
    let copy = house.folder.path().join("ca.pem");
    std::fs::copy(authority(&house), &copy).unwrap();
    let good = std::fs::read(authority(&house)).unwrap();
    std::fs::write(authority(&house), "nonsense").unwrap();
    let status = || {
        let copy = copy.display().to_string();
        curl(&house.net, &["--cacert", &copy, "-H", &bearer, &format!("https://{FAR}/v1/status")])
    };
    until("damage is said", || {
        let (status, text, _) = status();
        assert_eq!(status, 200, "{text}");
        text.contains("authority.pem: it is damaged") && text.contains("\"api certificate\"")
    });
    std::fs::write(authority(&house), good).unwrap();
    until("what is mended is said", || !status().1.contains("authority.pem"));
    assert_eq!(house.daemon.stop(), Some(0));
}

/// A certificate for the server's address that signs itself, and its key.
fn own_pair() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["10.0.10.1".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// HTTPS for machines with given files, which an ACME client renews in their place.
#[test]
fn machines_are_shown_a_renewed_certificate() {
    if !has("curl") {
        return;
    }
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (certificate, key) = (at("tls.pem"), at("tls.key"));
    let pairs = [own_pair(), own_pair()];
    let trusted = [at("first.pem"), at("second.pem")];
    for (file, (pem, _)) in trusted.iter().zip(&pairs) {
        std::fs::write(file, pem).unwrap();
    }
    let write = |(pem, private): &(String, String)| {
        std::fs::write(&certificate, pem).unwrap();
        std::fs::write(&key, private).unwrap();
    };
    write(&pairs[0]);
    std::fs::create_dir_all(at("inventory")).unwrap();
    std::fs::write(at("inventory/lab.toml"), "[subnet.lab]\ncidr = '10.0.10.0/24'\n").unwrap();
    let config = super::daemon::detect(&net, folder.path());
    let tls = format!(
        "[http]\ntls = {{ port = 8443, certificate = '{}', key = '{}' }}\n",
        certificate.display(),
        key.display()
    );
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("[http]\n", &tls)).unwrap();
    let daemon = super::daemon::Daemon::start(&net, &config, &at("inventory").display().to_string());
    net.client_ip(&["address", "add", "10.0.10.2/24", "dev", "cli"]);
    let exit =
        |root: &Path| curl(&net, &["--cacert", &root.display().to_string(), "https://10.0.10.1:8443/"]).2;
    let status = || net.server_output(&[super::daemon::VOLDEMORTCTL, "get", "status", "-o", "json"]);
    assert_eq!((exit(&trusted[0]), exit(&trusted[1])), (0, 60));
    write(&pairs[1]);
    until("the renewed certificate is shown", || exit(&trusted[1]) == 0);
    assert_eq!(exit(&trusted[0]), 60);
    // A change of which half is there is a condition, and changes nothing.
    std::fs::write(&certificate, &pairs[0].0).unwrap();
    until("half a change is said", || {
        let status = status();
        status.contains("\"https certificate\"") && status.contains("goes on with the certificate")
    });
    assert_eq!(exit(&trusted[1]), 0);
    write(&pairs[0]);
    until("the whole change is shown", || exit(&trusted[0]) == 0 && !status().contains("goes on with"));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn guesses_are_limited_by_address_and_lock_nobody_out() {
    let Some(house) = far("") else { return };
    let ca = authority(&house).display().to_string();
    // One connection each time is what a guesser has to do who is told to go away; many in one are faster.
    let url = format!("https://{FAR}/v1/status?[1-400]");
    let many = ["--cacert", &ca, "-o", "/dev/null", "-H", "Authorization: Bearer vdm_0_guess", &url];
    let (_, codes, _) = curl(&house.net, &many);
    let count = |code: &str| codes.lines().filter(|line| *line == code).count();
    assert!(count("401") >= 300 && count("429") >= 50, "{} {}", count("401"), count("429"));
    let (_, text, _) = curl(&house.net, &["-i", "--cacert", &ca, &format!("https://{FAR}/v1/status")]);
    assert!(text.contains("429") && text.to_lowercase().contains("retry-after: "), "{text}");
    // A good token of the same host, another address, and the socket are not meant.
    let bearer = format!("Authorization: Bearer {}", house.token);
    let metrics = format!("https://{FAR}/metrics");
    let (status, text, _) = curl(&house.net, &["--cacert", &ca, "-H", &bearer, &metrics]);
    assert_eq!(status, 200, "{text}");
    let refused =
        text.lines().find(|line| line.starts_with("voldemort_api_refused_total{limit=\"failures\"}"));
    assert!(refused.unwrap().rsplit(' ').next().unwrap().parse::<u64>().unwrap() >= 50, "{refused:?}");
    assert_eq!(house.ask("GET /v1/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x", "").0, 401);
    let socket = house.socket().display().to_string();
    let status = house.ctl_as(&["--reuid", "0"], &["--server", &socket, "get", "status"]);
    assert!(status.status.success(), "{}", err(&status));
    assert_eq!(house.daemon.stop(), Some(0));
}

/// `voldemortctl` on the client's host, whose contexts are in `home`.
fn ctl(house: &House, home: &Path, words: &[&str], input: &str) -> (i32, String) {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &house.net.client, super::daemon::VOLDEMORTCTL]).args(words);
    command.env("XDG_CONFIG_HOME", home).env_remove("VOLDEMORT_TOKEN").stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = format!("{}{}", err(&output), String::from_utf8_lossy(&output.stdout));
    (output.status.code().unwrap_or(-1), text)
}

#[test]
fn a_login_pins_the_authority_and_keeps_a_token_that_works() {
    let Some(house) = far("") else { return };
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("voldemort/contexts.toml");
    let login = |more: &[&str], input: &str| {
        ctl(&house, home.path(), &[&["login", "10.0.10.1", "--name", "lab"], more].concat(), input)
    };
    let socket = house.socket().display().to_string();
    let create = |name: &str, more: &[&str]| {
        let words = [&["--server", &socket, "token", "create", name, "--role", "viewer"], more].concat();
        let output = house.ctl_as(&["--reuid", "0"], &words);
        assert!(output.status.success(), "{}", err(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let token = create("far", &[]);
    // Whoever can't be asked has to give the fingerprint, and gets to know it.
    let (code, said) = login(&[], &token);
    assert_eq!(code, 6, "{said}");
    let shown = said.split("SHA256:").nth(1).unwrap()[..64].to_owned();
    assert!(
        said.contains("--fingerprint") && house.daemon.said.iter().any(|line| line.contains(&shown)),
        "{said}"
    );
    let wrong = "SHA256:".to_owned() + &"0".repeat(64);
    let (code, said) = login(&["--fingerprint", &wrong], &token);
    assert!(code == 6 && said.contains("another machine answers"), "{said}");
    for (input, part) in [
        ("vdm_00000000_0\n", "refused the token: the token is not one of this daemon"),
        ("", "there is no token"),
        (&create("short", &["--expires", "1s"]), ""),
    ] {
        if part.is_empty() {
            until("a token expires", || {
                let (code, said) = login(&["--fingerprint", &shown], input);
                code == 6 && said.contains("refused the token: the token short expired at ")
            });
            continue;
        }
        let (code, said) = login(&["--fingerprint", &shown], input);
        assert!(code == 6 && said.contains(part), "{said}");
        assert!(!file.exists(), "nothing is kept that does not work");
    }
    let (code, said) = login(&["--fingerprint", &shown], &token);
    assert_eq!(code, 0, "{said}");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("BEGIN CERTIFICATE") && text.contains(token.trim()), "{text}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // From now on every command finds the daemon, and only this one.
    let (code, said) = ctl(&house, home.path(), &["get", "status"], "");
    assert!(code == 0 && said.contains(&format!("API CA       SHA256:{shown}")), "{said}");
    let (code, said) = login(&[], &token);
    assert_eq!(code, 0, "it is pinned already: {said}");
    // Other ways to fail, each with its side.
    let (code, said) = ctl(&house, home.path(), &["login", "10.0.10.1:1"], "");
    assert!(code == 5 && said.contains("[api] listen") && said.contains("firewall"), "{said}");
    let (code, said) = ctl(&house, home.path(), &["login", "10.0.10.1:80"], "");
    assert!(code == 5 && said.contains("TLS"), "{said}");
    let (code, said) = ctl(&house, home.path(), &["--server", FAR, "get", "status"], "");
    assert!(code == 6 && !said.contains("200"), "{said}");
    // Another authority in its place: nothing is sent, nothing is asked.
    assert_eq!(house.daemon.stop(), Some(0));
    std::fs::remove_dir_all(house.folder.path().join("state/tls")).unwrap();
    let config = house.folder.path().join("voldemort.toml");
    let inventory = house.folder.path().join("inventory").display().to_string();
    let daemon = super::daemon::Daemon::with(&house.net, &config, &["--inventory", &inventory]);
    let output = |words: &[&str]| {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &house.net.client, super::daemon::VOLDEMORTCTL]).args(words);
        let output = command.env("XDG_CONFIG_HOME", home.path()).stdin(Stdio::null()).output().unwrap();
        (output.status.code(), err(&output))
    };
    for words in [&["get", "status"][..], &["login", "10.0.10.1", "--name", "lab"]] {
        let (code, said) = output(words);
        assert!(code == Some(6) && said.contains("another authority") && said.contains(&shown), "{said}");
    }
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn without_a_certificate_it_does_not_start() {
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let start = |api: &str, prepare: &dyn Fn(&Path)| {
        let state = folder.path().join("state");
        let _ = std::fs::remove_dir_all(&state);
        std::fs::create_dir_all(state.join("tls")).unwrap();
        prepare(&state);
        let config = folder.path().join("voldemort.toml");
        let text = format!(
            "[network]\ninterface = \"srv\"\naddress = \"10.0.10.1\"\n[dhcp]\nmode = \"off\"\n[state]\ndirectory = \
             \"{}\"\n[api]\nlisten = \"10.0.10.1:12345\"\n{api}",
            state.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("ip");
        command.args([
            "netns",
            "exec",
            &net.server,
            super::daemon::VOLDEMORT,
            "start",
            "services",
            "--config",
        ]);
        command.arg(&config).stdin(Stdio::null());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", err(&output));
        err(&output)
    };
    let said = start("", &|state| std::fs::write(state.join("tls/authority.key"), "nonsense").unwrap());
    assert!(said.contains("does not listen beyond loopback without a certificate"), "{said}");
    assert!(said.contains("can't be made"), "{said}");
    let said = start("certificate = 'c.pem'\nkey = 'k.pem'", &|_| {});
    assert!(said.contains("does not listen beyond loopback") && said.contains("c.pem: "), "{said}");
    let said = start("certificate = 'c.pem'", &|_| {});
    assert!(said.contains("`certificate` and `key` go together"), "{said}");
}
