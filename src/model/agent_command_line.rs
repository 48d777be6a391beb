//! The words of a kernel command line that our agent reads.

use std::fmt;
use std::str::FromStr;

use super::{Mac, base64, from_base64};

/// What the kernel command line says to the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// `voldemort.agent=`: where the daemon's HTTP service is, without a slash at the end.
    pub url: String,
    /// `voldemort.token=`: opens the session of this boot, and nothing else.
    pub token: String,
    /// `voldemort.key=`: the daemon's Ed25519 public key.
    pub key: [u8; 32],
    /// `BOOTIF=01-…`: the card that the machine booted by.
    pub card: Option<Mac>,
}

/// Why a kernel command line is none for the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandLineError {
    #[error("the kernel command line has no {0}=")]
    Missing(&'static str),
    #[error("voldemort.key= on the kernel command line is not 32 bytes in base64")]
    Key,
    #[error("voldemort.agent= on the kernel command line does not begin with http://")]
    Url,
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CommandLine { url, token, key, card } = self;
        write!(f, "voldemort.agent={url} voldemort.token={token} voldemort.key={}", base64(key))?;
        card.map_or(Ok(()), |card| write!(f, " BOOTIF=01-{}", card.dashed()))
    }
}

impl FromStr for CommandLine {
    type Err = CommandLineError;

    /// Of a whole kernel command line: other words are skipped, and the last one of a name counts.
    fn from_str(text: &str) -> Result<CommandLine, CommandLineError> {
        let find = |name: &str| {
            let value = |word: &'_ str| Some(word.strip_prefix(name)?.strip_prefix('=')?.to_owned());
            text.split_ascii_whitespace().filter_map(value).next_back()
        };
        let need = |name: &'static str| find(name).ok_or(CommandLineError::Missing(name));
        let url = need("voldemort.agent")?.trim_end_matches('/').to_owned();
        if !url.starts_with("http://") {
            return Err(CommandLineError::Url);
        }
        let token = need("voldemort.token")?;
        let key = from_base64(&need("voldemort.key")?).and_then(|key| key.try_into().ok());
        let card = find("BOOTIF").and_then(|text| text.strip_prefix("01-")?.parse().ok());
        Ok(CommandLine { url, token, key: key.ok_or(CommandLineError::Key)?, card })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_command_line_is_read_and_written() {
        let line = CommandLine {
            url: "http://192.0.2.1:8080".into(),
            token: "525400aa0001.7.abc".into(),
            key: [9; 32],
            card: Some("52:54:00:aa:00:01".parse().unwrap()),
        };
        let whole = format!("BOOT_IMAGE=/vmlinuz console=ttyS0 {line} quiet");
        assert_eq!(whole.parse(), Ok(line.clone()));
        let parse = |text: &str| text.parse::<CommandLine>().unwrap_err();
        assert_eq!(parse("console=ttyS0"), CommandLineError::Missing("voldemort.agent"));
        assert_eq!(parse(&whole.replace("http:", "ftp:")), CommandLineError::Url);
        assert_eq!(parse(&whole.replace("voldemort.key=", "voldemort.key=A")), CommandLineError::Key);
        let without = CommandLine { card: None, ..line };
        assert_eq!(without.to_string().parse(), Ok(without));
    }
}
