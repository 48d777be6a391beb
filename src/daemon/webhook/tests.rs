//! Webhooks against a server of the test's own.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::signature::Secrets;
use super::*;
use crate::daemon::service::{Part, StatusBoard};
use crate::model::ServiceState;
use crate::state::{Command, Server, Stage, Verb};
use crate::store::Store;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A request that came.
#[derive(Clone, Debug)]
struct Came {
    id: String,
    seconds: u64,
    signature: String,
    body: serde_json::Value,
    raw: Bytes,
}

/// A server that answers as it is asked to, and with 200 when it was asked for nothing.
#[derive(Clone, Default)]
struct Receiver {
    came: Arc<Mutex<Vec<Came>>>,
    answers: Arc<Mutex<VecDeque<u16>>>,
    connections: Arc<AtomicUsize>,
}

impl Receiver {
    async fn start(self, tls: Option<TlsAcceptor>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                self.connections.fetch_add(1, SeqCst);
                let (receiver, tls) = (self.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => receiver.serve(stream).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                receiver.serve(stream).await;
                            }
                        }
                    }
                });
            }
        });
        port
    }

    async fn serve(self, stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static) {
        let service = service_fn(move |request| self.clone().answer(request));
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        let (id, seconds) = (header("webhook-id"), header("webhook-timestamp").parse().unwrap());
        let signature = header("webhook-signature");
        assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/hook"));
        let raw = request.into_body().collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&raw).unwrap();
        let status = self.answers.lock().unwrap().pop_front().unwrap_or(200);
        self.came.lock().unwrap().push(Came { id, seconds, signature, body, raw });
        let answer = Response::builder().status(status).header("location", "http://127.0.0.1:1/elsewhere");
        Ok(answer.body(Full::from("thanks")).unwrap())
    }

    fn came(&self) -> Vec<Came> {
        self.came.lock().unwrap().clone()
    }

    fn texts(&self) -> Vec<String> {
        self.came().iter().map(|one| one.body["data"]["text"].as_str().unwrap().to_owned()).collect()
    }

    async fn until(&self, count: usize) -> Vec<Came> {
        eventually("requests", || self.came().len() >= count).await;
        self.came()
    }
}

async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A keeper on a state directory, and a webhook.
struct House {
    keeper: Keeper,
    thread: std::thread::JoinHandle<()>,
    webhooks: Webhooks,
    board: StatusBoard,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl House {
    fn open(folder: &Path, url: &str, more: impl FnOnce(&mut config::Webhook)) -> House {
        let secret = folder.join("secret");
        if !secret.exists() {
            std::fs::write(&secret, SECRET).unwrap();
        }
        let (store, saved) = Store::open(&folder.join("state"), || [7; 48]).unwrap();
        let (name, url) = ("chat".parse().unwrap(), url.parse().unwrap());
        let mut settings = config::Webhook { name, url, secret, ca: None, wanted: Default::default() };
        more(&mut settings);
        let webhooks = Webhooks::open(&[settings], &saved.notes).unwrap();
        let (keeper, thread) = Keeper::spawn(store, saved, Server::stand_in([10, 0, 0, 1].into()));
        let noting = keeper.clone();
        let board = StatusBoard::new(move |event| noting.note(event));
        let row: Arc<[Row]> = [board.row("webhook chat", Part::Auxiliary)].into();
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(webhooks.0[0].clone().run(keeper.clone(), row, stopping));
        House { keeper, thread, webhooks, board, stop, task }
    }

    /// It begins with what happens next.
    async fn begun(&self) {
        let serves = || self.board.conditions().values().any(|row| row.state == ServiceState::Serving);
        eventually("it serves", serves).await;
    }

    async fn note(&self, stage: Stage, text: &str) {
        let event = Event::new(now(), stage, text.to_owned());
        self.keeper.ask_surely(Command::daemon(Verb::Observe(vec![event]))).await.unwrap();
    }

    fn shown(&self) -> Shown {
        self.webhooks.shown(&self.keeper).remove(0)
    }

    async fn close(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
        self.keeper.close().await;
        self.thread.join().unwrap();
    }
}

#[tokio::test]
async fn events_come_signed_in_order_and_again_after_failures_and_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::default();
    let port = receiver.clone().start(None).await;
    let url = format!("http://127.0.0.1:{port}/hook?key=PASSWORD");
    let house = House::open(folder.path(), &url, |_| {});
    house.begun().await;
    receiver.answers.lock().unwrap().extend([500, 302, 404, 200]);
    house.note(Stage::Completed, "one").await;
    house.note(Stage::Failed, "two").await;
    let came = receiver.until(5).await;
    assert_eq!(receiver.texts(), ["one", "one", "one", "one", "two"]);
    let secrets = Secrets::read(&folder.path().join("secret")).unwrap();
    for one in &came {
        assert_eq!(one.signature, secrets.sign(&one.id, one.seconds, &one.raw));
        assert!(now().0 / 1000 - one.seconds < 60);
    }
    let lineage = house.keeper.state().lineage().to_string();
    assert!(
        came[..4].iter().all(|one| one.id == came[0].id) && came[0].id.starts_with(&format!("{lineage}."))
    );
    let body = &came[4].body;
    assert_eq!((&body["type"], &body["data"]["stage"]), (&"failed".into(), &"failed".into()));
    assert_eq!(came[4].id, format!("{lineage}.{}", body["data"]["seq"]));
    eventually("all is sent", || house.shown().pending == 0).await;
    let shown = house.shown();
    assert_eq!((shown.delivered, shown.failures, shown.lost, shown.lag_seconds), (2, 3, 0, 0));
    assert_eq!(shown.last_error.as_deref(), Some("it answers 404 Not Found"));
    assert!(shown.failing_since.is_none() && shown.last_success.is_some());
    assert!(!format!("{shown:?}").contains("PASSWORD"));
    house.note(Stage::Daemon, "the last words").await;
    house.close().await;
    assert_eq!(receiver.texts().last().unwrap(), "the last words", "it is sent before the end");
    // What it was sent is not sent again, and what happened meanwhile is.
    let count = receiver.came().len();
    let house = House::open(folder.path(), &url, |_| {});
    house.note(Stage::Daemon, "again").await;
    receiver.until(count + 1).await;
    assert_eq!(receiver.texts()[count..], ["again"]);
    house.close().await;
}

#[tokio::test]
async fn a_server_that_is_away_is_shown_and_then_gets_everything() {
    let folder = tempfile::tempdir().unwrap();
    let away = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = away.local_addr().unwrap().port();
    drop(away);
    let url = format!("http://127.0.0.1:{port}/hook");
    let house = House::open(folder.path(), &url, |settings| {
        settings.wanted.stage = Some("failed,stuck".into());
    });
    house.begun().await;
    for number in 0..250 {
        let stage = if number % 2 == 0 { Stage::Failed } else { Stage::Completed };
        house.note(stage, &number.to_string()).await;
    }
    eventually("it fails", || house.shown().failures > 1).await;
    let shown = house.shown();
    assert!((shown.pending, shown.delivered) == (125, 0) && shown.failing_since.is_some(), "{shown:?}");
    assert!(shown.last_error.unwrap().contains("refused"));
    let later = now() + STUCK;
    assert!(house.webhooks.sentences(later)[0].starts_with("the webhook chat has failed since "));
    assert!(house.webhooks.sentences(now()).is_empty(), "not at once");
    house.close().await;
    let receiver = Receiver::default();
    let port = receiver.clone().start(None).await;
    let url = format!("http://127.0.0.1:{port}/hook");
    let house = House::open(folder.path(), &url, |settings| {
        settings.wanted.stage = Some("failed,stuck".into());
    });
    receiver.until(125).await;
    let expected: Vec<String> = (0..250).step_by(2).map(|number| number.to_string()).collect();
    assert_eq!(receiver.texts(), expected);
    assert!(receiver.connections.load(SeqCst) < 10, "one connection for many events");
    house.close().await;
}

#[tokio::test]
async fn what_is_no_longer_kept_is_said_as_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::default();
    let port = receiver.clone().start(None).await;
    let url = format!("http://127.0.0.1:{port}/hook");
    {
        let (store, saved) = Store::open(&folder.path().join("state"), || [7; 48]).unwrap();
        let (keeper, thread) = Keeper::spawn(store, saved, Server::stand_in([10, 0, 0, 1].into()));
        keeper.remember("webhook/chat", 3u64.to_le_bytes().to_vec()).await.unwrap();
        for number in 1..=9 {
            let event = Event::new(now(), Stage::Daemon, number.to_string());
            keeper.ask_surely(Command::daemon(Verb::Observe(vec![event]))).await.unwrap();
        }
        keeper.close().await;
        thread.join().unwrap();
        // As a crash leaves it: the log knows that there were more events than the file has.
        crate::store::forget_events(&folder.path().join("state"), 4..=6);
    }
    let house = House::open(folder.path(), &url, |_| {});
    let came = receiver.until(4).await;
    let gap = &came[0].body;
    assert_eq!(
        (&gap["type"], &gap["data"]["first"], &gap["data"]["last"]),
        (&"gap".into(), &4.into(), &6.into())
    );
    assert!(came[0].id.ends_with(".gap-4-6"));
    assert_eq!(receiver.texts()[1..4], ["7", "8", "9"]);
    eventually("all is sent", || house.shown().pending == 0).await;
    assert_eq!(house.shown().lost, 3);
    house.close().await;
}

#[tokio::test]
async fn https_is_verified_with_the_given_authority_and_a_new_secret_counts() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let server = server.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let receiver = Receiver::default();
    let port = receiver.clone().start(Some(TlsAcceptor::from(Arc::new(server)))).await;
    let url = format!("https://localhost:{port}/hook");
    let ca = folder.path().join("ca.pem");
    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&ca, stranger.cert.pem()).unwrap();
    let house = House::open(folder.path(), &url, |settings| settings.ca = Some(ca.clone()));
    house.begun().await;
    house.note(Stage::Daemon, "one").await;
    eventually("it fails", || house.shown().failures > 0).await;
    assert!(house.shown().last_error.unwrap().contains("TLS: "), "{:?}", house.shown());
    assert_eq!(receiver.came().len(), 0);
    std::fs::write(&ca, made.cert.pem()).unwrap();
    std::fs::write(folder.path().join("secret"), format!("{SECRET}\nthe next one, of words")).unwrap();
    let came = receiver.until(1).await;
    assert_eq!(came[0].signature.matches("v1,").count(), 2);
    house.close().await;
}
