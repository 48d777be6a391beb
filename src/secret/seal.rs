//! Encrypting and decrypting.

use std::io::{Read, Write};

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::{DecryptError, Decryptor, Encryptor};

use super::{Keys, Recipients, header};

/// Longest secret, in bytes.
pub const TEXT_MAX: usize = 64 << 10;

/// Why a text was not encrypted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("there are no recipients to encrypt it to")]
    Nobody,
    #[error("it is longer than {} KiB", TEXT_MAX >> 10)]
    Long,
    #[error("it can't be encrypted: {0}")]
    Failed(String),
}

/// Why a file was not decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Header(#[from] super::HeaderError),
    #[error("it is encrypted with a passphrase, not to a key")]
    Passphrase,
    #[error("it is not encrypted to this host's key")]
    NotForUs,
    #[error("this age file is damaged: its text was changed or cut off")]
    Damaged,
    #[error("its text is not UTF-8")]
    NotText,
    #[error("its text is longer than {} KiB", TEXT_MAX >> 10)]
    Long,
}

/// Encrypts a text to everybody in `recipients`, as an armoured file.
pub fn seal(recipients: &Recipients, text: &str) -> Result<Vec<u8>, SealError> {
    if text.len() > TEXT_MAX {
        return Err(SealError::Long);
    }
    let failed = |error: std::io::Error| SealError::Failed(error.to_string());
    let keys = recipients.0.iter().map(|key| key as &dyn age::Recipient);
    let encryptor = Encryptor::with_recipients(keys).map_err(|_| SealError::Nobody)?;
    let armour = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor).map_err(failed)?;
    let mut writer = encryptor.wrap_output(armour).map_err(failed)?;
    writer.write_all(text.as_bytes()).map_err(failed)?;
    writer.finish().and_then(ArmoredWriter::finish).map_err(failed)
}

/// The text of an age file, armoured or binary. One line break at its end is left away: editors
/// and `echo` add it, and passwords have none.
pub fn open(keys: &Keys, file: &[u8]) -> Result<String, OpenError> {
    if header(file)?.wants_passphrase() {
        return Err(OpenError::Passphrase);
    }
    let decryptor = Decryptor::new_buffered(ArmoredReader::new(file)).map_err(|_| OpenError::Damaged)?;
    let keys = keys.0.iter().map(|key| key as &dyn age::Identity);
    let reader = decryptor.decrypt(keys).map_err(|error| match error {
        DecryptError::NoMatchingKeys => OpenError::NotForUs,
        _ => OpenError::Damaged,
    })?;
    let mut bytes = Vec::new();
    reader.take(TEXT_MAX as u64 + 3).read_to_end(&mut bytes).map_err(|_| OpenError::Damaged)?;
    let mut text = String::from_utf8(bytes).map_err(|_| OpenError::NotText)?;
    if text.ends_with('\n') {
        text.pop();
        text.truncate(text.strip_suffix('\r').map_or(text.len(), str::len));
    }
    if text.len() > TEXT_MAX { Err(OpenError::Long) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Key;

    fn pair() -> (Keys, Recipients) {
        let key = Key::generate();
        (Keys::parse(&key.file()).unwrap(), Recipients::parse(&key.public()).0)
    }

    #[test]
    fn who_has_a_key_reads_it_and_nobody_else() {
        let ((ours, mine), (other, _)) = (pair(), pair());
        let file = seal(&mine, "$6$salt$hash\n").unwrap();
        assert!(file.starts_with(b"-----BEGIN AGE") && !file.windows(4).any(|part| part == b"salt"));
        assert_eq!(header(&file).unwrap().keys(), 1);
        assert_eq!(open(&ours, &file).unwrap(), "$6$salt$hash");
        assert_eq!(open(&other, &file), Err(OpenError::NotForUs));
        assert_eq!(seal(&Recipients::default(), "x"), Err(SealError::Nobody));
    }

    #[test]
    fn binary_files_are_read_too() {
        let (ours, mine) = pair();
        let file = age::encrypt(&mine.0[0], b"two\nlines\r\n").unwrap();
        assert_eq!(open(&ours, &file).unwrap(), "two\nlines");
        assert_eq!(open(&ours, &age::encrypt(&mine.0[0], b"\xff").unwrap()), Err(OpenError::NotText));
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_noticed() {
        let (ours, mine) = pair();
        let file = age::encrypt(&mine.0[0], b"hunter2").unwrap();
        for at in 0..file.len() {
            assert!(open(&ours, &file[..at]).is_err(), "cut at {at}");
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(open(&ours, &changed).is_err(), "changed at {at}");
        }
    }

    #[test]
    fn passphrases_are_no_keys() {
        let passphrase = age::secrecy::SecretString::from("x".to_owned());
        let mut recipient = age::scrypt::Recipient::new(passphrase);
        recipient.set_work_factor(2);
        let file = age::encrypt(&recipient, b"hunter2").unwrap();
        assert_eq!(open(&pair().0, &file), Err(OpenError::Passphrase));
    }
}
