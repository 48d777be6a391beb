//! QEMU's control socket (QMP): one JSON object a line. Only what a boot needs.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The name of the machine's disk in QEMU.
pub const DISK: &str = "disk";

/// A connection to one QEMU.
#[derive(Debug)]
pub struct Qmp {
    stream: UnixStream,
    unread: Vec<u8>,
    resets: u32,
}

/// How long QEMU may take for one answer; it is busy while a guest copies much.
const PATIENCE: Duration = Duration::from_secs(20);

impl Qmp {
    /// Connects; QEMU has the socket a moment after its start.
    pub fn connect(path: &Path) -> io::Result<Qmp> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(Duration::from_millis(200)))?;
        let mut qmp = Qmp { stream, unread: Vec::new(), resets: 0 };
        qmp.ask("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// How many times the guest was reset since the connection.
    pub fn resets(&self) -> u32 {
        self.resets
    }

    /// Bytes that the guest and its firmware read from the disk so far.
    pub fn bytes_read(&mut self) -> io::Result<u64> {
        let answer = self.ask("query-blockstats", json!({}))?;
        let devices = answer.as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(devices
            .iter()
            .filter(|device| device["device"] == DISK)
            .filter_map(|device| device["stats"]["rd_bytes"].as_u64())
            .sum())
    }

    /// `running`, `paused`, `internal-error` (the accelerator gave up), …
    pub fn status(&mut self) -> io::Result<String> {
        let answer = self.ask("query-status", json!({}))?;
        Ok(answer["status"].as_str().unwrap_or("unknown").to_owned())
    }

    /// The reset button.
    pub fn reset(&mut self) -> io::Result<()> {
        self.ask("system_reset", json!({})).map(drop)
    }

    pub fn quit(&mut self) -> io::Result<()> {
        self.ask("quit", json!({})).map(drop)
    }

    fn ask(&mut self, command: &str, arguments: Value) -> io::Result<Value> {
        let line = json!({ "execute": command, "arguments": arguments }).to_string();
        self.stream.write_all(format!("{line}\n").as_bytes())?;
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            while let Some(message) = self.next_line()? {
                if message["event"] == "RESET" {
                    self.resets += 1;
                } else if let Some(error) = message.get("error") {
                    return Err(io::Error::other(format!("QEMU refused {command}: {}", error["desc"])));
                } else if let Some(answer) = message.get("return") {
                    return Ok(answer.clone());
                }
            }
            self.receive()?;
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("QEMU did not answer {command}")))
    }

    fn next_line(&mut self) -> io::Result<Option<Value>> {
        let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let line: Vec<u8> = self.unread.drain(..=end).collect();
        Ok(Some(serde_json::from_slice(&line)?))
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => {
                self.unread.extend_from_slice(&buffer[..length]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};

    #[test]
    fn events_between_answers_are_counted() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let server = std::thread::spawn(move || {
            let mut reader = BufReader::new(theirs.try_clone().unwrap());
            let mut asked = String::new();
            reader.read_line(&mut asked).unwrap();
            let text = "{\"event\": \"RESET\", \"data\": {}}\n{\"return\": [{\"device\": \"disk\", \"stats\": \
                {\"rd_bytes\": 512}}, {\"device\": \"flash\", \"stats\": {\"rd_bytes\": 9}}]}\n";
            (&theirs).write_all(text.as_bytes()).unwrap();
            asked
        });
        let mut qmp = Qmp { stream: ours, unread: Vec::new(), resets: 0 };
        assert_eq!(qmp.bytes_read().unwrap(), 512);
        assert_eq!(qmp.resets(), 1);
        assert!(server.join().unwrap().contains("query-blockstats"));
    }

    #[test]
    fn a_refusal_is_an_error_with_its_reason() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        (&theirs)
            .write_all(b"{\"error\": {\"class\": \"GenericError\", \"desc\": \"no such device\"}}\n")
            .unwrap();
        let mut qmp = Qmp { stream: ours, unread: Vec::new(), resets: 0 };
        assert!(qmp.reset().unwrap_err().to_string().contains("no such device"));
    }
}
