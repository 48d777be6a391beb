use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::desired::{Boot, Desired, boot};
use crate::media::{Entry, Index};
use crate::model::content::FileId;
use crate::model::{Cpu, Extent, Origin};
use crate::table::Server;

fn entry(length: u64) -> Entry {
    let id = FileId { device: 1, inode: 2, size: length, modified: 3 };
    Entry { path: Arc::from(Path::new("/image")), id, extents: Arc::new([Extent { offset: 0, length }]) }
}

/// One boot, whose image holds the files.
fn table(files: &[&str]) -> Table {
    let files = files.iter().map(|path| ((*path).into(), entry(path.len() as u64)));
    let tree = Index { label: "disc".into(), files: files.collect(), ..Index::default() };
    let tree = Index { links: [("dists/stable".into(), "dists/bookworm".into())].into(), ..tree };
    let name: Name = "debian-12".parse().unwrap();
    let boot = Boot {
        name: name.clone(),
        prefix: "debian".into(),
        kernel: boot::File { path: "linux".into(), entry: Some(entry(5)) },
        initrd: vec![],
        cmdline: vec![],
        cpu: Cpu::X86_64,
        loader: vec![],
        tree: Some(Arc::new(tree)),
        origin: Origin { file: "x.toml".into(), line: 1, column: 1 },
    };
    let mut desired = Desired::default();
    desired.boots.insert(name.clone(), Arc::new(boot));
    let server = Server {
        address: Ipv4Addr::LOCALHOST,
        others: vec![],
        http_port: 80,
        gives_addresses: true,
        loaders: [("ipxe.efi".into(), entry(9))].into(),
    };
    let prefixes = Arc::new([("debian".into(), name)].into());
    Table { desired: Arc::new(desired), prefixes, ..Table::new(server) }
}

fn ask(table: &Table, transport: Transport, path: &str) -> Result<Artifact, RefusalReason> {
    let asker = Asker::new(Ipv4Addr::new(10, 0, 0, 9), None, transport);
    match open(table, &asker, Method::Get, path, "") {
        Answer::Serve(artifact) => Ok(artifact),
        Answer::Refuse(refusal) => Err(refusal.reason),
        other => panic!("{other:?}"),
    }
}

fn page(table: &Table, path: &str) -> String {
    match ask(table, Transport::Http, path).expect("a page").content {
        Content::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        Content::File { .. } => panic!("a file"),
    }
}

#[test]
fn a_folder_lists_its_names_with_or_without_the_slash() {
    let table = table(&[".treeinfo", "dists/bookworm/Release", "a b&<c>.deb", "repodata/repomd.xml"]);
    let root = page(&table, "debian");
    assert_eq!(root, page(&table, "/debian//"));
    for row in [
        "<a href=\"/debian/.treeinfo\">.treeinfo</a> 9\n",
        "<a href=\"/debian/a%20b%26%3Cc%3E.deb\">a b&amp;&lt;c&gt;.deb</a> 11\n",
        "<a href=\"/debian/dists/\">dists/</a>\n",
        "<a href=\"/debian/repodata/\">repodata/</a>\n",
    ] {
        assert!(root.contains(row), "{row} {root}");
    }
    assert!(!root.contains("../"), "{root}");
    let below = page(&table, "debian/dists/");
    assert!(below.contains("<a href=\"/debian/\">../</a>\n"), "{below}");
    assert!(below.contains("<a href=\"/debian/dists/stable/\">stable/</a>\n"), "{below}");
    assert!(page(&table, "debian/dists/stable").contains("/Release\">Release</a> 22"));
}

#[test]
fn only_folders_that_exist_are_listed_and_only_by_http() {
    let table = table(&["dists/x"]);
    assert_eq!(ask(&table, Transport::Tftp, "debian/dists").unwrap_err(), RefusalReason::NotFound);
    for path in ["", "nothing", "debian/none/", "debian/dists/../.."] {
        assert_eq!(ask(&table, Transport::Http, path).unwrap_err(), RefusalReason::NotFound, "{path}");
    }
}

#[test]
fn tftp_names_with_escapes_are_found_at_the_second_try() {
    let table = table(&["a b", "100%25", "%61"]);
    for (name, length) in [("debian/a%20b", 3), ("debian/100%25", 6), ("debian/%61", 3), ("%69pxe.efi", 9)] {
        assert_eq!(ask(&table, Transport::Tftp, name).expect(name).content.len(), length, "{name}");
    }
    for name in ["debian/%2e%2e/x", "debian/%00", "debian/%zz", "debian/c%20d"] {
        assert_eq!(ask(&table, Transport::Tftp, name).unwrap_err(), RefusalReason::NotFound, "{name}");
    }
    assert!(ask(&table, Transport::Http, "debian/a%20b").is_err(), "HTTP has decoded it before");
}
