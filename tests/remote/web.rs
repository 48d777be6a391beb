//! A small web server in front of `git http-backend`, with and without TLS, and bad ones.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use voldemort::model::{Access, Git, Inventory, Reference, SourceCondition, Span};
use voldemort::source::SourceConfig;
use voldemort::source::git::Fetcher;
use voldemort::source::write::{Draft, DraftFile, WriteError};

use super::{Lab, at, text};

/// What a server does, and what it saw.
#[derive(Default)]
struct Manner {
    /// Value of the Authorization header without which it answers 401.
    wants: Option<String>,
    challenge: &'static str,
    /// Every first request is sent there, with its path and query behind it.
    redirect: Option<String>,
    /// Knows nothing of shallow copies.
    plain: bool,
    /// Accepts, reads and says nothing.
    hangs: bool,
    /// Breaks off after so many bytes of an answer, or stops there and says no more.
    breaks: Mutex<Option<(usize, bool)>>,
    /// Authorization headers, in order; empty for none.
    seen: Mutex<Vec<String>>,
}

struct Web {
    address: SocketAddr,
    manner: Arc<Manner>,
}

impl Web {
    async fn start(lab: &Lab, tls: bool, manner: Manner) -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let manner = Arc::new(manner);
        let acceptor = tls.then(|| acceptor(lab));
        let root = lab.path("repos").display().to_string();
        let shared = manner.clone();
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, manner, root) = (acceptor.clone(), shared.clone(), root.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(tcp, &manner, &root).await,
                        Some(acceptor) => match acceptor.accept(tcp).await {
                            Ok(stream) => serve(stream, &manner, &root).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Web { address, manner }
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.manner.seen.lock().unwrap())
    }
}

/// A certificate for `localhost`, signed by `ca.pem`.
fn acceptor(lab: &Lab) -> TlsAcceptor {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    lab.write("ca.pem", &authority.self_signed(&authority_key).unwrap().pem());
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let names = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = names.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = tokio_rustls::rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, manner: &Manner, root: &str) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let header = |name: &str| {
        let mut lines = lines.iter().skip(1).filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let mut first = lines.first()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let mut body = vec![0; header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    let authorization = header("authorization").unwrap_or_default();
    manner.seen.lock().unwrap().push(authorization.clone());
    let answer = if manner.hangs {
        std::future::pending::<Vec<u8>>().await
    } else if let (Some(to), "GET") = (&manner.redirect, method.as_str()) {
        format!("HTTP/1.1 302 Found\r\nLocation: {to}{target}\r\nContent-Length: 0\r\n\r\n").into_bytes()
    } else if manner.wants.as_ref().is_some_and(|wants| *wants != authorization) {
        let challenge = manner.challenge;
        format!("HTTP/1.1 401 No\r\nWWW-Authenticate: {challenge}\r\nContent-Length: 0\r\n\r\n").into_bytes()
    } else {
        let mut answer = backend(root, &method, &target, header("content-type"), &body).await;
        if manner.plain {
            let place = answer.windows(9).position(|window| window == b" shallow ");
            if let Some(place) = place {
                answer[place + 1..][..7].copy_from_slice(b"unknown");
            }
        }
        answer
    };
    let (cut, stalls) = manner.breaks.lock().unwrap().unwrap_or((answer.len(), false));
    stream.write_all(&answer[..cut.min(answer.len())]).await.ok()?;
    stream.flush().await.ok()?;
    if stalls {
        std::future::pending::<()>().await;
    }
    stream.shutdown().await.ok()
}

/// The answer of `git http-backend` (CGI) as one of HTTP, chunked as proxies do it.
async fn backend(root: &str, method: &str, target: &str, kind: Option<String>, body: &[u8]) -> Vec<u8> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut child = tokio::process::Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", method)
        .env("CONTENT_TYPE", kind.unwrap_or_default())
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(body).await.unwrap();
    let output = child.wait_with_output().await.unwrap().stdout;
    let split = output.windows(4).position(|window| window == b"\r\n\r\n").expect("CGI headers") + 4;
    let head = String::from_utf8_lossy(&output[..split]);
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
    let mut answer = format!("HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n{head}").into_bytes();
    for chunk in output[split..].chunks(1000) {
        answer.extend(format!("{:x}\r\n", chunk.len()).bytes());
        answer.extend_from_slice(chunk);
        answer.extend(b"\r\n");
    }
    answer.extend(b"0\r\n\r\n");
    answer
}

fn with_token(lab: &Lab, token: &str) -> Access {
    let ca = Some(lab.path("ca.pem"));
    Access { token: Some(lab.write("token", &format!("{token}\n"))), ca, ..Access::default() }
}

/// `x-access-token:secret`.
const BASIC: &str = "Basic eC1hY2Nlc3MtdG9rZW46c2VjcmV0";

#[tokio::test]
async fn https_with_a_token_and_an_authority_of_ones_own() {
    let lab = Lab::new();
    for number in 0..5 {
        lab.commit("b.toml", &number.to_string());
    }
    let manner = Manner { wants: Some(BASIC.into()), challenge: "Basic realm=x", ..Manner::default() };
    let web = Web::start(&lab, true, manner).await;
    let url = format!("https://localhost:{}/x.git", web.address.port());
    let mut source = lab.follow(at(url.clone(), with_token(&lab, "secret")));
    assert_eq!(text(&source.snapshot().await, "a.toml"), "1");
    assert!(lab.mirror().join("shallow").exists(), "one commit is enough");
    // Later commits, and a history that was rewritten, over a shallow mirror.
    for content in ["2", "3"] {
        lab.commit("a.toml", content);
        source.handle.poke();
        assert_eq!(text(&source.snapshot().await, "a.toml"), content);
    }
    // Many packs become one, and the next fetch continues from there.
    let packs = lab.mirror().join("objects/pack");
    let count = || {
        std::fs::read_dir(&packs)
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|ending| ending == "pack"))
            .count()
    };
    let fill = "for n in $(seq 60); do echo $n | git hash-object -w --stdin | git pack-objects -q objects/pack/pack; done";
    let folder = lab.mirror().display().to_string();
    lab.run("sh", &["-c", &format!("cd {folder} && {fill}")]);
    assert!(count() > 60, "{}", count());
    for content in ["packed", "and on"] {
        lab.commit("a.toml", content);
        source.handle.poke();
        assert_eq!(text(&source.snapshot().await, "a.toml"), content);
        assert!(count() <= 2, "{}", count());
    }
    lab.git(&["reset", "-q", "--hard", "HEAD~3"]);
    lab.commit("a.toml", "rewritten");
    source.handle.poke();
    assert_eq!(text(&source.snapshot().await, "a.toml"), "rewritten");
    assert!(source.handle.next().is_some(), "the next poll is known");
    // A commit by its name, whether or not it is the newest.
    let commit = lab.git(&["rev-parse", "HEAD~1"]);
    lab.run("git", &["-C", "repos/x.git", "config", "uploadpack.allowAnySHA1InWant", "true"]);
    let mut pinned = lab.follow(Git {
        reference: Reference::Commit(commit.clone()),
        ..at(url.clone(), with_token(&lab, "secret"))
    });
    assert_eq!(*pinned.snapshot().await.revision, format!("commit@sha1:{commit}"));

    let refused = lab.refusal(at(url.clone(), with_token(&lab, "wrong"))).await;
    assert!(refused.contains("refuses the token in") && refused.contains("(401)"), "{refused}");
    assert!(!refused.contains("wrong"), "{refused}");
    let nobody = Access { token: None, ..with_token(&lab, "") };
    let refused = lab.refusal(at(url.clone(), nobody)).await;
    assert!(refused.contains("name a file with a token"), "{refused}");
    let stranger = Access { ca: None, ..with_token(&lab, "secret") };
    let refused = lab.refusal(at(url.clone(), stranger)).await;
    assert!(refused.contains("TLS") && refused.contains("certificate"), "{refused}");
    let other_name = url.replace("localhost", "127.0.0.1");
    let refused = lab.refusal(at(other_name, with_token(&lab, "secret"))).await;
    assert!(refused.contains("certificate"), "{refused}");
    let absent = url.replace("x.git", "y.git");
    let refused = lab.refusal(at(absent, with_token(&lab, "secret"))).await;
    assert!(refused.contains("no such repository"), "{refused}");
}

/// Old servers and small ones give out whole histories only.
#[tokio::test]
async fn a_server_without_shallow_copies_is_followed() {
    let lab = Lab::new();
    lab.commit("b.toml", "more");
    let web = Web::start(&lab, false, Manner { plain: true, ..Manner::default() }).await;
    let url = format!("http://{}/x.git", web.address);
    let mut source = lab.follow(at(url.clone(), Access { insecure: true, ..Access::default() }));
    assert_eq!(text(&source.snapshot().await, "a.toml"), "1");
    assert!(!lab.mirror().join("shallow").exists());
    lab.commit("a.toml", "2");
    source.handle.poke();
    assert_eq!(text(&source.snapshot().await, "a.toml"), "2");
}

#[tokio::test]
async fn tokens_stay_with_their_host() {
    let lab = Lab::new();
    let target = Web::start(&lab, false, Manner::default()).await;
    let redirect = Some(format!("http://{}", target.address));
    let first = Web::start(&lab, false, Manner { redirect, ..Manner::default() }).await;
    let url = format!("http://{}/x.git", first.address);
    let mut source = lab.follow(at(url, with_token(&lab, "secret")));
    assert_eq!(text(&source.snapshot().await, "a.toml"), "1");
    let (asked, followed) = (first.seen(), target.seen());
    assert!(!asked.is_empty() && asked.iter().all(|value| value == BASIC), "{asked:?}");
    assert!(followed.len() >= 2 && followed.iter().all(String::is_empty), "{followed:?}");
    // Round and round.
    let circle = Web::start(&lab, false, Manner { redirect: Some(String::new()), ..Manner::default() }).await;
    let url = format!("http://{}/x.git", circle.address);
    let error = lab.refusal(at(url, Access::default())).await;
    assert!(error.contains("more than 5 redirects"), "{error}");
}

#[tokio::test]
async fn a_server_that_wants_the_bare_token_gets_it() {
    let lab = Lab::new();
    let wants = Some("Bearer secret".into());
    let manner = Manner { wants, challenge: "Bearer realm=x", ..Manner::default() };
    let web = Web::start(&lab, false, manner).await;
    let url = format!("http://{}/x.git", web.address);
    assert_eq!(text(&lab.follow(at(url, with_token(&lab, "secret"))).snapshot().await, "a.toml"), "1");
}

#[tokio::test]
async fn a_server_that_hangs_or_breaks_off_does_no_harm() {
    let lab = Lab::new();
    let web = Web::start(&lab, false, Manner { hangs: true, ..Manner::default() }).await;
    let url = format!("http://{}/x.git", web.address);
    let start = Instant::now();
    let git = Git { limit: Span::seconds(1), ..at(url, Access::default()) };
    let error = lab.follow(git).failure().await;
    assert!(error.to_string().contains("no end within 1s"), "{error}");
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());

    // A hundred fetches of a new commit, each cut off or stalled a little later: whatever comes of
    // it is a failure, and what was fetched before is whole.
    let web = Web::start(&lab, false, Manner::default()).await;
    let git = at(format!("http://{}/x.git", web.address), Access::default());
    assert_eq!(text(&lab.follow(git.clone()).snapshot().await, "a.toml"), "1");
    lab.commit("a.toml", &format!("2 {}", "x".repeat(300)));
    let mut whole = 0;
    for number in 0..100 {
        let stalls = number % 10 == 0;
        *web.manner.breaks.lock().unwrap() = Some((number * 9, stalls));
        let limit = if stalls { Span(500) } else { git.limit };
        let mut source = lab.follow(Git { limit, ..git.clone() });
        let snapshot = source.snapshot().await;
        assert_eq!(snapshot.files.len(), 1);
        if text(&snapshot, "a.toml") == "1" {
            assert_eq!(source.failure().await.condition(), SourceCondition::Unreachable);
        } else {
            whole += 1;
        }
    }
    assert!(whole < 50, "{whole} of the answers were shorter than the cut");
    *web.manner.breaks.lock().unwrap() = None;
    assert!(text(&lab.follow(git).snapshot().await, "a.toml").starts_with("2 "));
}

/// Two gigabytes of nothing travel as two megabytes.
#[tokio::test]
async fn a_huge_file_is_left_out_without_memory() {
    let lab = Lab::new();
    let web = Web::start(&lab, false, Manner::default()).await;
    let git = at(format!("http://{}/x.git", web.address), Access::default());
    let mut source = lab.follow(Git { limit: Span::seconds(600), ..git });
    source.snapshot().await;
    let make = "cd repos/x.git && \
        blob=$(head -c 2147483648 /dev/zero | git -c core.bigFileThreshold=1m hash-object -w --stdin) && \
        tree=$(printf '100644 blob %s\\thuge.img\\n' $blob | git mktree) && \
        git update-ref refs/heads/main $(git -c user.name=t -c user.email=t@l commit-tree $tree -m huge)";
    lab.run("sh", &["-c", make]);
    let before = peak_memory();
    source.handle.poke();
    let snapshot = source.snapshot().await;
    let why = &snapshot.left_out["huge.img"].why;
    assert!(why.contains("2048 MiB are more than"), "{why}");
    let more = peak_memory() - before;
    assert!(more < 64 << 10, "{more} KiB more");
}

/// Most memory that this process ever used, in KiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn what_is_written_travels_with_the_same_token() {
    let lab = Lab::new();
    lab.commit("a.toml", "2");
    lab.run("git", &["-C", "repos/x.git", "config", "http.receivepack", "true"]);
    let manner = Manner { wants: Some(BASIC.into()), challenge: "Basic realm=x", ..Manner::default() };
    let web = Web::start(&lab, true, manner).await;
    let url = format!("https://localhost:{}/x.git", web.address.port());
    let place = |token: &str| SourceConfig {
        inventory: Inventory::Git(at(url.clone(), with_token(&lab, token))),
        poll: None,
        state: lab.path("state"),
        fetcher: Fetcher { program: env!("CARGO_BIN_EXE_voldemort").into() },
    };
    let draft = |before: &str, after: &str| Draft {
        files: vec![DraftFile { path: "a.toml".into(), before: Some(before.into()), after: after.into() }],
        message: "Change it\n".into(),
        author: ("t".into(), "t@localhost".into()),
    };
    let source = place("secret");
    let reading = source.read(()).await.unwrap();
    let commit = source.write(&reading, &draft("2", "3"), None, ()).await.unwrap().unwrap();
    assert_eq!(lab.run("git", &["-C", "repos/x.git", "rev-parse", "main"]), commit);
    assert_eq!(lab.run("git", &["-C", "repos/x.git", "show", "main:a.toml"]), "3");
    // Another commit came first.
    let late = source.write(&reading, &draft("2", "4"), None, ()).await;
    assert!(matches!(late, Err(WriteError::Moved(_))), "{late:?}");
    let reading = source.read(()).await.unwrap();
    let refused = place("wrong").write(&reading, &draft("3", "4"), None, ()).await;
    assert!(matches!(&refused, Err(WriteError::Failed(why)) if why.contains("(401)")), "{refused:?}");
    assert_eq!(lab.run("git", &["-C", "repos/x.git", "show", "main:a.toml"]), "3");
}
