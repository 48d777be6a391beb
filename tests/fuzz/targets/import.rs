//! Configurations of other DHCP servers.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use voldemort::desired::{Media, Options};
use voldemort::import::{Files, Imported, dnsmasq, isc, kea, manifest};
use voldemort::inventory::{Depth, survey};
use voldemort::manifest::Level;
use voldemort::media::Shelf;

use super::{Target, seed};

pub(crate) const TARGET: Target = Target {
    name: "import",
    pace: 30,
    seeds,
    run,
    words: &[
        "dhcp-host=",
        "dhcp-range=",
        "52:54:00:aa:00:01",
        "10.0.10.21",
        "id:",
        "set:",
        ",",
        "host x {",
        "subnet 10.0.0.0 netmask 255.255.255.0 {",
        "hardware ethernet ",
        "fixed-address ",
        "include \"a\";",
        ";",
        "}",
        "\"",
        "\\",
        "\"subnet4\": [",
        "\"reservations\": [",
        "{",
        "]",
        "<?include \"a\"?>",
        "/*",
        "conf-file=a\n",
        "\n",
    ],
};

/// Longest input that is looked at.
const LONGEST: usize = 4096;

fn seeds() -> Vec<Vec<u8>> {
    let all = seed::files(&super::root().join("tests/golden/import")).into_iter();
    all.filter(|(path, _)| path.components().any(|part| part.as_os_str() == "in"))
        .map(|(_, bytes)| bytes)
        .collect()
}

/// Every file is the input itself.
struct Same<'a>(&'a str);

impl Files for Same<'_> {
    fn read(&self, _: &str) -> Result<String, String> {
        Ok(self.0.chars().take(200).collect())
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, String> {
        Ok(vec![format!("{folder}/a"), format!("{folder}/b.bak")])
    }
}

fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST)]);
    for read in [dnsmasq::read, isc::read, kea::read] {
        whole(read("in.conf", &text, &Same(&text)));
    }
}

/// What is written is a manifest without errors, and every line of what is said can be printed.
fn whole(found: Imported) {
    let written = manifest::write(found, "test", None);
    let files = BTreeMap::from([(Arc::from("a.toml"), Bytes::from(written.text.clone()))]);
    let options = Options { media: Media::IfPresent, fallback: Vec::new() };
    let checked = survey("test".into(), &files, &Shelf::new(Vec::new(), None), &options, Depth::OneFirmware);
    let errors: Vec<_> = checked.problems.iter().filter(|one| one.level == Level::Error).collect();
    assert!(errors.is_empty(), "{errors:?}\n{}", written.text);
    for remark in &written.remarks {
        assert!(remark.line.number > 0 && !remark.to_string().contains('\n'), "{remark}");
    }
}
