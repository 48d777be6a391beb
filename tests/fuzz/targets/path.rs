//! Names as clients write them, up to the file that is served: nothing outside the tree.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use voldemort::media::{Entry, Index};
use voldemort::model::Content;
use voldemort::proto::path::{clean_path, percent_decode, tftp_name};
use voldemort::proto::tree::{self, Answer, Asker, Method, Transport};
use voldemort::state::State;

use super::Target;
use super::lab::{Lab, subnet};

pub(crate) const TARGET: Target = Target {
    name: "path",
    pace: 500,
    seeds,
    run,
    words: &[
        "../",
        "..\\",
        "%2e%2e%2f",
        "%00",
        "tftp://10.0.10.1/",
        "ipxe/",
        "answers/web/",
        "hooks/web/",
        "/completed",
        "loader/",
        "debian/",
        "pxelinux.cfg/01-52-54-00-00-00-01",
        "grub.cfg-01-52-54-00-00-00-01",
        "52:54:00:00:00:01.ipxe",
        "dists/stable",
        "\u{ff}",
    ],
};

/// What a name may lead to.
const TREE: [&str; 3] = ["install.amd/linux", "install.amd/initrd.gz", "dists/bookworm/Release"];

fn seeds() -> Vec<Vec<u8>> {
    [
        "\\EFI\\BOOT\\grubx64.efi",
        "tftp://10.0.10.1//undionly.kpxe\u{ff}",
        "debian/DISTS/stable/./Release",
        "debian/../../../etc/passwd",
        "debian/%2e%2e/%2e%2e/etc/passwd",
        "answers/web/0123456789abcdef/preseed.cfg",
        "hooks/web/0123456789abcdef/completed",
        "ipxe/52-54-00-00-00-01.ipxe",
        "/debian-installer/amd64/grub/x86_64-efi/grub.cfg",
        "pxelinux.cfg/0A000A15",
        "autoexec.ipxe",
    ]
    .map(|name| name.as_bytes().to_vec())
    .to_vec()
}

fn state() -> State {
    let lab = Lab::new(vec![subnet("lab", "10.0.10.0/24", &["10.0.10.20-10.0.10.24"])]);
    let lab = lab.machine("web", &["52:54:00:00:00:01"]).deployment("web", "lab", Some("10.0.10.21"));
    let state = lab.state("10.0.10.1");
    let mut desired = (**state.desired()).clone();
    let entry = |name: &str| Entry {
        path: Path::new("/tree").join(name).into(),
        id: Default::default(),
        extents: [].into(),
    };
    let files = TREE.map(|name| (name.into(), entry(name))).into();
    let links = [("dists/stable".into(), "dists/bookworm".into()), ("self".into(), "".into())].into();
    let tree = Index { files, links, ..Index::default() };
    let deployment = desired.deployments.values().next().expect("a deployment").clone();
    let mut boot = (*deployment.boot).clone();
    boot.tree = Some(Arc::new(tree));
    desired.boots.insert(boot.name.clone(), Arc::new(boot));
    state.with_desired(desired)
}

fn inside(path: &Path) -> bool {
    let loader = path == Path::new("/x");
    loader || TREE.iter().any(|name| path == Path::new("/tree").join(name))
}

fn run(bytes: &[u8]) {
    thread_local!(static TABLE: State = state());
    let text = String::from_utf8_lossy(bytes);
    let names = [percent_decode(&text).and_then(|name| clean_path(&name)), tftp_name(bytes)];
    for name in names.into_iter().flatten() {
        assert!(!name.starts_with(['/', '\\']) && !name.contains('\0'), "{name:?}");
        assert!(!name.split(['/', '\\']).any(|part| part == ".." || part == "."), "{name:?}");
        assert_eq!(clean_path(&name).as_ref(), Ok(&name), "cleaning it again changes nothing");
        for transport in [Transport::Tftp, Transport::Http] {
            let asker = Asker::new(Ipv4Addr::new(10, 0, 10, 21), None, transport);
            for method in [Method::Get, Method::Head, Method::Post] {
                let answer = TABLE.with(|state| tree::open(state, &asker, method, &name, &text));
                let Answer::Serve(artifact) = answer else { continue };
                if let Content::File { path, .. } = &artifact.content {
                    assert!(inside(path), "{name:?} leads to {}", path.display());
                }
            }
        }
    }
}
