//! Gives refusals that hyper sends by itself (a head that can't be parsed, is too long, …) the form that
//! every error of the API has. Hyper writes such a refusal without calling a route, as a head without a
//! body; no route answers so.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::api::problem;

/// A connection that never says no without a reason.
pub(super) struct JsonErrors<S> {
    stream: S,
    /// The rest of an answer written here.
    own: Vec<u8>,
}

impl<S> JsonErrors<S> {
    pub(super) fn new(stream: S) -> JsonErrors<S> {
        JsonErrors { stream, own: Vec::new() }
    }
}

impl<S: AsyncWrite + Unpin> JsonErrors<S> {
    fn poll_own(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.own.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.own))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.own.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

/// The answer to send in place of a bare refusal.
fn instead(bytes: &[u8]) -> Option<Vec<u8>> {
    let head = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3))?;
    let status = StatusCode::from_bytes(status.as_bytes()).ok().filter(StatusCode::is_client_error)?;
    let bare = lines.clone().any(|line| line.eq_ignore_ascii_case("content-length: 0"));
    let one = lines.all(|line| !line.is_empty() && !line.to_ascii_lowercase().starts_with("content-type:"));
    if !bare || !one {
        return None;
    }
    let detail = match status {
        StatusCode::URI_TOO_LONG => "the request's target is too long",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            "the request's head is too long, or has too many lines"
        }
        _ => "this is no HTTP/1.1 request: its first line or a header can't be read",
    };
    let (body, kind) = (problem::text(status, detail), problem::TYPE);
    let line = format!("HTTP/1.1 {} {}", status.as_u16(), status.canonical_reason().unwrap_or("Error"));
    let length = body.len();
    let head =
        format!("{line}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    Some((head + &body).into_bytes())
}

impl<S: AsyncRead + Unpin> AsyncRead for JsonErrors<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for JsonErrors<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_own(context))?;
        let Some(own) = instead(bytes) else { return Pin::new(&mut this.stream).poll_write(context, bytes) };
        this.own = own;
        match this.poll_own(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // What is left goes with the flush.
            _ => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_own(context))?;
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_own(context))?;
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper::{Request, Response};
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// What hyper answers over a pipe that takes `room` bytes at a time.
    async fn answer(request: &str, room: usize) -> String {
        let (mut client, server) = tokio::io::duplex(room);
        let serve = async |_: Request<hyper::body::Incoming>| {
            Ok::<_, std::convert::Infallible>(Response::new(String::from("fine")))
        };
        let connection =
            http1::Builder::new().serve_connection(TokioIo::new(JsonErrors::new(server)), service_fn(serve));
        let task = tokio::spawn(connection);
        let request = request.to_owned();
        let (mut read, mut write) = tokio::io::split(&mut client);
        let send = async { write.write_all(request.as_bytes()).await };
        let mut text = String::new();
        let (_, read) = tokio::join!(send, read.read_to_string(&mut text));
        read.unwrap();
        let _ = task.await;
        text
    }

    #[tokio::test]
    async fn refusals_of_the_library_have_our_form() {
        let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(70_000));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
        for (request, status) in [
            ("nonsense\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
            ("GET / HTTP/7.1\r\n\r\n", 400),
            (&*long, 414),
            (&*many, 431),
        ] {
            for room in [7, 1 << 20] {
                let answer = answer(request, room).await;
                let (head, body) = answer.split_once("\r\n\r\n").unwrap();
                assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.40} {head}");
                assert!(head.contains("content-type: application/problem+json"), "{head}");
                assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
                let body: serde_json::Value = serde_json::from_str(body).unwrap();
                assert_eq!(body["status"], status);
                assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
            }
        }
        let fine = answer("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 9).await;
        assert!(fine.starts_with("HTTP/1.1 200 OK\r\n") && fine.ends_with("\r\n\r\nfine"), "{fine}");
    }

    #[test]
    fn answers_with_bodies_stay() {
        for answer in [
            "HTTP/1.1 404 Not Found\r\ncontent-type: application/problem+json\r\ncontent-length: 12\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-type: text/plain\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
            "x",
        ] {
            assert_eq!(instead(answer.as_bytes()), None, "{answer}");
        }
    }
}
