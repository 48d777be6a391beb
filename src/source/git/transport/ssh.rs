//! Git over the system's `ssh`: agents, jump hosts and hardware keys work as people know them.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, Stdio};

use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream};

use crate::model::Access;
use crate::source::git::address::Ssh;

/// How much of what ssh complains is repeated, in bytes.
const COMPLAINT: u64 = 2000;

/// The subtransport.
#[derive(Clone)]
pub(super) struct Client {
    pub place: Ssh,
    pub access: Access,
}

impl Client {
    /// Options on the command line win over ssh's own files.
    fn command(&self, program: &str) -> Command {
        let Ssh { user, host, port, path } = &self.place;
        let mut command = Command::new("ssh");
        for option in [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            "ConnectTimeout=15",
            "ServerAliveInterval=15",
            "ForwardAgent=no",
            "ClearAllForwardings=yes",
            "PermitLocalCommand=no",
            "ControlMaster=no",
            "ControlPath=none",
        ] {
            command.args(["-o", option]);
        }
        if let Some(file) = &self.access.known_hosts {
            command.arg("-o").arg(format!("UserKnownHostsFile={}", quoted(&file.display().to_string())));
            command.args(["-o", "GlobalKnownHostsFile=/dev/null"]);
        }
        if let Some(key) = &self.access.key {
            command.args(["-o", "IdentitiesOnly=yes", "-i"]).arg(key);
        }
        if let Some(port) = port {
            command.args(["-p", &port.to_string()]);
        }
        if let Some(user) = user {
            command.args(["-l", user]);
        }
        // For the shell on the other side.
        let path = path.replace('\'', r"'\''");
        command.args(["-T", "--", host, &format!("{program} '{path}'")]);
        command
    }
}

/// A value of ssh's settings that may hold spaces and percent signs.
fn quoted(path: &str) -> String {
    format!("\"{}\"", path.replace('%', "%%"))
}

impl SmartSubtransport for Client {
    fn action(&self, _: &str, service: Service) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let program = match service {
            Service::UploadPackLs | Service::UploadPack => "git-upload-pack",
            Service::ReceivePackLs | Service::ReceivePack => "git-receive-pack",
        };
        let mut command = self.command(program);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: prctl is async-signal-safe and touches no memory of this process.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            });
        }
        let mut child = command.spawn().map_err(|error| {
            git2::Error::from_str(&format!("ssh can't be started ({error}): install openssh-client"))
        })?;
        let complaints = child.stderr.take();
        Ok(Box::new(Stream { child, complaints, answered: false }))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// A running ssh.
struct Stream {
    child: Child,
    complaints: Option<ChildStderr>,
    /// Whether the other side has sent anything.
    answered: bool,
}

impl Stream {
    /// What ssh said about an end without any answer.
    fn complaint(&mut self) -> io::Error {
        let mut text = String::new();
        if let Some(complaints) = self.complaints.take() {
            let _ = complaints.take(COMPLAINT).read_to_string(&mut text);
        }
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        match lines.is_empty() {
            true => io::Error::other("ssh: the connection ended without an answer"),
            false => io::Error::other(format!("ssh: {}", lines.join("; "))),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(stdout) = &mut self.child.stdout else { return Ok(0) };
        match stdout.read(buffer)? {
            0 if !self.answered && !buffer.is_empty() => Err(self.complaint()),
            length => {
                self.answered = true;
                Ok(length)
            }
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.child.stdin {
            Some(stdin) => stdin.write(bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.child.stdin.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_one_word_and_keys_are_the_named_ones() {
        let place =
            Ssh { user: Some("git".into()), host: "h".into(), port: Some(22), path: "a'b; rm -rf /".into() };
        let access =
            Access { key: Some("/k".into()), known_hosts: Some("/a b%c".into()), ..Access::default() };
        let command = Client { place, access }.command("git-upload-pack");
        let words: Vec<&str> = command.get_args().map(|word| word.to_str().unwrap()).collect();
        assert_eq!(words[words.len() - 2..], ["h", r"git-upload-pack 'a'\''b; rm -rf /'"]);
        assert!(words.contains(&"UserKnownHostsFile=\"/a b%%c\""), "{words:?}");
        assert!(words.windows(2).any(|pair| pair == ["-i", "/k"]));
    }
}
