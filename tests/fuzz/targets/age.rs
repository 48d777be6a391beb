//! The header of an age file, and opening it.

use std::cell::OnceCell;

use voldemort::secret::{self, Keys, Recipients, header};

use super::{Target, seed};

pub(crate) const TARGET: Target = Target {
    name: "age",
    pace: 200,
    seeds,
    run,
    words: &[
        "age-encryption.org/v1\n",
        "-----BEGIN AGE ENCRYPTED FILE-----\n",
        "-----END AGE ENCRYPTED FILE-----\n",
        "-> X25519 ",
        "-> scrypt ",
        "\n--- ",
        "=",
        "\r\n",
    ],
};

/// Of this test alone, and what `seeds/age` is sealed for; nothing that anybody keeps is.
const KEY: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";

fn seeds() -> Vec<Vec<u8>> {
    let folders = ["tests/golden/inventory/tree/secrets", "tests/fuzz/seeds/age"];
    let stored = folders.into_iter().flat_map(|folder| seed::files(&super::root().join(folder)));
    let plain = b"age-encryption.org/v1\n-> X25519 AAAA\nBBBB\n-> joint-grease x\n\n--- mac\n";
    let plain = [&plain[..], &[7; 40]].concat();
    stored.map(|(_, bytes)| bytes).chain([plain]).collect()
}

fn run(file: &[u8]) {
    thread_local!(static KEYS: OnceCell<Keys> = const { OnceCell::new() });
    let read = header(file);
    if let Ok(header) = &read {
        assert!(header.keys() <= header.kinds.len());
    }
    KEYS.with(|keys| {
        let keys = keys.get_or_init(|| Keys::parse(KEY).expect("a key"));
        if secret::open(keys, file).is_ok() {
            assert!(read.is_ok(), "it can be opened, and its header reads {read:?}");
        }
    });
    let text = String::from_utf8_lossy(file);
    let (recipients, wrong) = Recipients::parse(&text);
    assert!(recipients.len() + wrong.len() <= text.lines().count());
}
