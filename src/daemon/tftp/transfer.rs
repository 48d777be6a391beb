//! One transfer, from the request to the last acknowledgement.

use std::io::{self, IoSliceMut};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::registry::Slot;
use super::wire::Wire;
use crate::daemon::body::{Body, Disk, REMOTE};
use crate::daemon::request_handler::{Method, Opened, RequestHandler, Transfer};
use crate::daemon::{Files, now};
use crate::proto::path::tftp_name;
use crate::proto::tftp::{
    ErrorCode, Grant, Mode, Outcome, Packet, Request, Run, Sender, Transmit, error_code, netascii,
};
use crate::proto::tree::{Asker, Transport};

/// Longest wait for a name to get its meaning.
const MAX_OPENING: Duration = Duration::from_secs(20);
/// Longest text translated to netascii, in bytes.
const MAX_NETASCII: u64 = 4 << 20;
/// Longest packet a client sends once a transfer runs, in bytes.
const MAX_PACKET: usize = 512;
/// Read at a time, in bytes, of a local file that goes block by block: a call for each block would cost an eighth of
/// what a block costs.
const AHEAD: usize = 16 << 10;
/// A timer that is late by less is not set anew.
const SLACK: Duration = Duration::from_millis(20);

pub(super) struct Transferring<O: RequestHandler> {
    pub handler: Arc<O>,
    pub files: Files,
    pub wire: Wire,
    pub slot: Slot,
}

/// Why a transfer does not begin.
struct Refused(ErrorCode, String);

impl<O: RequestHandler> Transferring<O> {
    /// `datagram` is a read request.
    pub(super) async fn run(mut self, datagram: Vec<u8>) {
        let Ok(Packet::Read(request)) = Packet::parse(&datagram) else { return };
        let started = now();
        match self.serve(&request).await {
            Ok(transfer) => {
                // The slot is freed first: a client that gets the end of this transfer may request the next
                // at once.
                drop(self.slot);
                drop(transfer);
            }
            Err(Refused(code, text)) => {
                debug!(peer = %self.wire.peer(), name = %request.name.escape_ascii(), text, "TFTP: refused");
                self.wire.refuse(code, &text);
            }
        }
        let took = now().since(started);
        debug!(peer = %self.wire.peer(), name = %request.name.escape_ascii(), duration_ms = took.0, "TFTP: over");
    }

    async fn serve(&mut self, request: &Request<'_>) -> Result<Transfer<O>, Refused> {
        let mut transfer = self.open(request).await?;
        let (body, size) = match self.body(request, &transfer).await {
            Ok(body) => body,
            Err(error) => {
                warn!(peer = %self.wire.peer(), %error, "TFTP: a file is not served");
                transfer.failed = Some(error.to_string());
                return Err(Refused(ErrorCode::Undefined, error.to_string()));
            }
        };
        let told = (request.mode == Mode::Octet).then_some(size);
        let grant = Grant::negotiate(request, told, self.wire.mtu());
        if grant.window > 1 {
            self.wire.expect_windows();
        }
        let mut pacing = Pacing {
            block: grant.block,
            in_turn: grant.window == 1,
            prepared: 0,
            fetched: None,
            started: Instant::now(),
        };
        let mut sender = Sender::new(size, grant, Duration::ZERO);
        // A client that makes room before it has answered once may never have asked.
        transfer.counts = false;
        let ended = self.pace(&body, &mut sender, &mut pacing, &mut transfer.counts).await;
        transfer.counts = true;
        if let Err(error) = ended {
            if error.kind() != io::ErrorKind::ConnectionRefused {
                transfer.sent = sender.delivered();
                return Err(Refused(ErrorCode::Undefined, error.to_string()));
            }
            sender.handle_gone();
        }
        settle(&mut transfer, &sender, size);
        debug!(peer = %self.wire.peer(), outcome = ?sender.outcome(), "TFTP: transfer ended");
        Ok(transfer)
    }

    async fn open(&self, request: &Request<'_>) -> Result<Transfer<O>, Refused> {
        let path =
            tftp_name(request.name).map_err(|error| Refused(ErrorCode::NotFound, error.to_string()))?;
        let mut asker = Asker::connected(self.wire.peer(), Some(self.wire.local()), Transport::Tftp);
        let opening = self.handler.open(&mut asker, Method::Get, &path, "");
        match tokio::time::timeout(MAX_OPENING, opening).await {
            Ok(Opened::Serve(artifact)) => Ok(Transfer::new(Arc::clone(&self.handler), asker, artifact)),
            Ok(Opened::Refuse(refusal)) => Err(Refused(error_code(refusal.reason), refusal.text)),
            Ok(Opened::Accepted) => {
                Err(Refused(ErrorCode::Access, "reports are accepted by HTTP only".to_owned()))
            }
            Err(_) => Err(Refused(ErrorCode::Undefined, "the server is busy: try again".to_owned())),
        }
    }

    /// The bytes to send and how many they are.
    async fn body(&self, request: &Request<'_>, transfer: &Transfer<O>) -> io::Result<(Body, u64)> {
        let content = &transfer.artifact().content;
        let body = Body::held(&self.files, content).await?;
        let size = content.len();
        if request.mode == Mode::Octet {
            return Ok((body, size));
        }
        if size > MAX_NETASCII {
            return Err(io::Error::other("too long for netascii: ask in octet mode"));
        }
        let text = netascii::encode(&body.whole(size).await?);
        let size = text.len() as u64;
        Ok((Body::Memory(text.into()), size))
    }

    /// Until the transfer is over; `answered` turns true when the client does.
    async fn pace(
        &mut self,
        body: &Body,
        sender: &mut Sender,
        pacing: &mut Pacing,
        answered: &mut bool,
    ) -> io::Result<()> {
        let mut buffer = [0; MAX_PACKET];
        let mut timer = pin!(sleep_until(pacing.started + sender.deadline()));
        loop {
            while sender.is_due() {
                let Some(transmit) = sender.poll_transmit(pacing.now()) else { break };
                self.transmit(body, transmit, pacing).await?;
            }
            if sender.outcome().is_some() {
                return Ok(());
            }
            let deadline = pacing.started + sender.deadline();
            if deadline + SLACK < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            tokio::select! {
                biased;
                received = self.wire.receive(&mut buffer) => {
                    let now = pacing.now();
                    if let Ok(packet) = Packet::parse(&buffer[..received?]) {
                        sender.handle(now, &packet);
                    }
                    if sender.is_due() {
                        self.slot.progress((pacing.started + now).into());
                    }
                    // The transfer has sent: the client's packet is next, and there is nothing to look for.
                    if pacing.in_turn && sender.is_due() {
                        self.wire.wait();
                    }
                    if sender.answered() && !*answered {
                        *answered = true;
                        self.slot.answered();
                    }
                }
                () = timer.as_mut() => {
                    while let Some(length) = self.wire.missed(&mut buffer) {
                        if let Ok(packet) = Packet::parse(&buffer[..length]) {
                            sender.handle(pacing.now(), &packet);
                        }
                    }
                    sender.handle_timeout(pacing.now());
                    timer.as_mut().reset(pacing.started + sender.deadline());
                }
            }
        }
    }

    async fn transmit(&mut self, body: &Body, transmit: Transmit, pacing: &mut Pacing) -> io::Result<()> {
        match transmit {
            Transmit::Offer(packet) => self.wire.send(&packet).await,
            Transmit::Blocks(run) => match body {
                Body::Disk(disk) if !disk.is_local || (pacing.in_turn && run.length <= AHEAD / 2) => {
                    let (bytes, start) = pacing.fetch(body, disk, run).await?;
                    let run = Run { offset: run.offset - start, ..run };
                    self.wire.send_blocks(&Body::Memory(bytes), run, pacing.block).await
                }
                body => {
                    pacing.prepare(body, run).await?;
                    self.wire.send_blocks(body, run, pacing.block).await
                }
            },
        }
    }
}

struct Pacing {
    block: u16,
    /// One block, one acknowledgement.
    in_turn: bool,
    /// Up to here, the content lies in the page cache.
    prepared: u64,
    /// Bytes of a file, read for several blocks, and where in the content they begin.
    fetched: Option<(Bytes, u64)>,
    started: Instant,
}

impl Pacing {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Bytes of the content that hold the run, and where they begin.
    async fn fetch(&mut self, body: &Body, disk: &Disk, run: Run) -> io::Result<(Bytes, u64)> {
        let end = run.offset + run.length as u64;
        let holds = |(bytes, start): &(Bytes, u64)| *start <= run.offset && end <= start + bytes.len() as u64;
        if let Some(fetched) = self.fetched.as_ref().filter(|fetched| holds(fetched)) {
            return Ok(fetched.clone());
        }
        let bytes = match disk.is_local {
            true => {
                self.prepare(body, run).await?;
                let ready = usize::try_from(self.prepared.saturating_sub(run.offset)).unwrap_or(usize::MAX);
                let mut bytes = vec![0; AHEAD.min(ready).max(run.length)];
                body.read(run.offset, &mut [IoSliceMut::new(&mut bytes)])?;
                bytes
            }
            false => disk.fetch(run.offset, REMOTE.max(run.length as u64)).await?,
        };
        let bytes = Bytes::from(bytes);
        Ok(self.fetched.insert((bytes, run.offset)).clone())
    }

    async fn prepare(&mut self, body: &Body, run: Run) -> io::Result<()> {
        if let Body::Disk(disk) = body
            && run.offset + run.length as u64 > self.prepared
        {
            self.prepared = disk.prepare(run.offset).await?;
        }
        Ok(())
    }
}

fn settle<O: RequestHandler>(transfer: &mut Transfer<O>, sender: &Sender, size: u64) {
    let complete = matches!(sender.outcome(), Some(Outcome::Complete | Outcome::LastAckMissing));
    transfer.complete = complete;
    transfer.sent = if complete { size } else { sender.delivered() };
    transfer.counts = sender.outcome() != Some(&Outcome::Probed);
}
