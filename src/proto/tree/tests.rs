use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::desired::{Boot, Desired, boot};
use crate::media::{Entry, Index};
use crate::model::content::FileId;
use crate::model::{Cpu, Extent, Origin};
use crate::state::Server;

fn entry(length: u64) -> Entry {
    let id = FileId { device: 1, inode: 2, size: length, modified: 3 };
    Entry { path: Arc::from(Path::new("/image")), id, extents: Arc::new([Extent { offset: 0, length }]) }
}

/// One boot, whose image holds the files.
fn state(files: &[&str]) -> State {
    let files = files.iter().map(|path| ((*path).into(), entry(path.len() as u64)));
    let tree = Index { label: "disc".into(), files: files.collect(), ..Index::default() };
    let tree = Index { links: [("dists/stable".into(), "dists/bookworm".into())].into(), ..tree };
    let name: Name = "debian-12".parse().unwrap();
    let boot = Boot {
        name: name.clone(),
        prefix: "debian".into(),
        kernel: boot::File { path: "linux".into(), entry: Some(entry(5)) },
        initrd: vec![],
        modules: vec![],
        agent: None,
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
    State::new(server).with_desired(desired)
}

fn ask(state: &State, transport: Transport, path: &str) -> Result<Artifact, RefusalReason> {
    let asker = Asker::new(Ipv4Addr::new(10, 0, 0, 9), None, transport);
    match open(state, &asker, Method::Get, path, "") {
        Answer::Serve(artifact) => Ok(artifact),
        Answer::Refuse(refusal) => Err(refusal.reason),
        other => panic!("{other:?}"),
    }
}

fn page(state: &State, path: &str) -> String {
    match ask(state, Transport::Http, path).expect("a page").content {
        Content::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        Content::File { .. } => panic!("a file"),
    }
}

#[test]
fn a_folder_lists_its_names_with_or_without_the_slash() {
    let state = state(&[".treeinfo", "dists/bookworm/Release", "a b&<c>.deb", "repodata/repomd.xml"]);
    let root = page(&state, "debian");
    assert_eq!(root, page(&state, "/debian//"));
    for row in [
        "<a href=\"/debian/.treeinfo\">.treeinfo</a> 9\n",
        "<a href=\"/debian/a%20b%26%3Cc%3E.deb\">a b&amp;&lt;c&gt;.deb</a> 11\n",
        "<a href=\"/debian/dists/\">dists/</a>\n",
        "<a href=\"/debian/repodata/\">repodata/</a>\n",
    ] {
        assert!(root.contains(row), "{row} {root}");
    }
    assert!(!root.contains("../"), "{root}");
    let below = page(&state, "debian/dists/");
    assert!(below.contains("<a href=\"/debian/\">../</a>\n"), "{below}");
    assert!(below.contains("<a href=\"/debian/dists/stable/\">stable/</a>\n"), "{below}");
    assert!(page(&state, "debian/dists/stable").contains("/Release\">Release</a> 22"));
}

#[test]
fn only_folders_that_exist_are_listed_and_only_by_http() {
    let state = state(&["dists/x"]);
    assert_eq!(ask(&state, Transport::Tftp, "debian/dists").unwrap_err(), RefusalReason::NotFound);
    for path in ["", "nothing", "debian/none/", "debian/dists/../.."] {
        assert_eq!(ask(&state, Transport::Http, path).unwrap_err(), RefusalReason::NotFound, "{path}");
    }
}

#[test]
fn tftp_names_with_escapes_are_found_at_the_second_try() {
    let state = state(&["a b", "100%25", "%61"]);
    for (name, length) in [("debian/a%20b", 3), ("debian/100%25", 6), ("debian/%61", 3), ("%69pxe.efi", 9)] {
        assert_eq!(ask(&state, Transport::Tftp, name).expect(name).content.len(), length, "{name}");
    }
    for name in ["debian/%2e%2e/x", "debian/%00", "debian/%zz", "debian/c%20d"] {
        assert_eq!(ask(&state, Transport::Tftp, name).unwrap_err(), RefusalReason::NotFound, "{name}");
    }
    assert!(ask(&state, Transport::Http, "debian/a%20b").is_err(), "HTTP has decoded it before");
}

/// The deployment `web` of machine `web`, at 10.0.0.9, on the one boot.
fn with_a_machine(files: &[&str], loaders: &[&str]) -> State {
    with_a_machine_of(files, loaders, "for={{ name }}")
}

fn with_a_machine_of(files: &[&str], loaders: &[&str], cmdline: &str) -> State {
    let state = state(files);
    let name: Name = "web".parse().unwrap();
    let mac = Mac::new([0x52, 0x54, 0, 0, 0, 1]).unwrap();
    let origin = Origin { file: "x.toml".into(), line: 2, column: 1 };
    let mut desired = (**state.desired()).clone();
    let mut boot = (*desired.boots["debian-12"]).clone();
    boot.cmdline = vec![crate::render::Text::parse(cmdline).unwrap()];
    let boot = Arc::new(boot);
    desired.boots.insert(boot.name.clone(), boot.clone());
    let subnet = crate::desired::Subnet {
        name: "lab".parse().unwrap(),
        cidr: Some("10.0.0.0/24".parse().unwrap()),
        gateway: None,
        dns: vec![],
        domain: None,
        dynamic: vec![],
        lease: crate::model::Span::seconds(60),
        options: Default::default(),
        mode: Default::default(),
        unknown: Default::default(),
        idle: Default::default(),
        power: None,
        ipv6: None,
        segment: "lab".parse().unwrap(),
        origin: origin.clone(),
    };
    let machine = crate::desired::Machine {
        name: name.clone(),
        macs: vec![mac],
        ids: vec![],
        labels: Default::default(),
        protect: None,
        options: Default::default(),
        power: None,
        power_on: false,
        loader: vec![],
        origin: origin.clone(),
    };
    let deployment = crate::desired::Deployment {
        name: name.clone(),
        place: crate::desired::Place::Machine(name.clone()),
        address: Some(Ipv4Addr::new(10, 0, 0, 9)),
        address6: None,
        subnet: Arc::new(subnet),
        boot,
        template: None,
        profile: None,
        user_data: None,
        values: Default::default(),
        redeploy: 1,
        options: Default::default(),
        digest: "0".into(),
        origin,
    };
    desired.macs.insert(mac, name.clone());
    desired.machines.insert(name.clone(), Arc::new(machine));
    desired.deployments.insert(name.clone(), Arc::new(deployment));
    let mut server = (**state.server()).clone();
    server.loaders = loaders.iter().map(|name| ((*name).into(), entry(name.len() as u64))).collect();
    let tenants: imbl::OrdMap<Name, Name> = [(name.clone(), name)].into_iter().collect();
    let state = state.with_server(server).with_desired(desired).with_memo();
    state.with_lasting(|lasting| lasting.assignments = tenants)
}

fn text(state: &State, transport: Transport, path: &str) -> String {
    match ask(state, transport, path).unwrap_or_else(|why| panic!("{path}: {why:?}")).content {
        Content::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        Content::File { .. } => panic!("{path}: a file"),
    }
}

/// Protocol sheet 3.2, 4.1, 4.2 and 2.8: each name that a second stage looks for, by TFTP.
#[test]
fn every_name_that_a_loader_looks_for_is_the_machines_script() {
    let state = with_a_machine(&["EFI/BOOT/grub.cfg", "EFI/BOOT/BOOTX64.EFI"], &[]);
    for path in [
        "/grub/x86_64-efi/grub.cfg",
        "/grub/grub.cfg",
        "grub.cfg",
        "/debian-installer/amd64/grub/x86_64-efi/grub.cfg",
        "/debian-installer/arm64//grub/grub.cfg",
        "EFI/debian/grub.cfg",
        "x/grub.cfg-44332211-6655-8877-99aa-525400770001",
        "x/grub.cfg-01-52-54-00-00-00-01",
        "grub.cfg-0A000009",
        "grub.cfg-0A",
        "/grub/grub.cfg-52:54:00:00:00:01",
        "/grub/grub.cfg-default-amd64",
        "debian/EFI/BOOT/grub.cfg",
        "debian/efi/boot/grub.cfg-01-52-54-00-00-00-01",
    ] {
        let script = text(&state, Transport::Tftp, path);
        assert!(script.contains("linux ") && script.contains("for=web"), "{path}: {script}");
    }
    for file in [
        "44332211-6655-8877-99aa-525400770001",
        "01-52-54-00-00-00-01",
        "0A000009",
        "0A0",
        "default-arm-bcm283x-rpi",
        "default-arm",
        "default",
    ] {
        let script = text(&state, Transport::Tftp, &format!("pxelinux.cfg/{file}"));
        assert!(script.to_lowercase().contains("kernel ") && script.contains("for=web"), "{file}: {script}");
    }
    for path in ["autoexec.ipxe", "loader/autoexec.ipxe", "x/autoexec.ipxe", "boot.ipxe"] {
        for transport in [Transport::Tftp, Transport::Http] {
            let script = text(&state, transport, path);
            assert!(script.starts_with("#!ipxe\n"), "{path}");
            // iPXE runs this one before it has an address: to fetch a kernel would fail.
            let is_first = path.ends_with("autoexec.ipxe");
            assert_eq!(
                (script.contains("ifconf"), script.contains("kernel ")),
                (is_first, !is_first),
                "{path}:\n{script}"
            );
        }
    }
    assert!(ask(&state, Transport::Tftp, "grub.cfgx").is_err());
}

/// Scripts that differ in any of their inputs are kept apart, also when they were rendered before.
#[test]
fn a_script_that_is_remembered_is_the_one_that_would_be_written() {
    let mut state = with_a_machine_of(&[], &[], "ip={{ address }}");
    let root = |state: &State, transport| {
        let script = text(state, transport, "pxelinux.cfg/default");
        if script.contains("::") { "tftp" } else { "plain" }
    };
    for _ in 0..2 {
        assert!(text(&state, Transport::Http, "ipxe/52-54-00-00-00-01.ipxe").contains("ip=10.0.0.9"));
        assert!(text(&state, Transport::Tftp, "grub.cfg").contains("ip=10.0.0.9"));
        assert_eq!((root(&state, Transport::Tftp), root(&state, Transport::Http)), ("tftp", "plain"));
    }
    let mut server = (**state.server()).clone();
    server.http_port = 8080;
    state = state.with_server(server);
    assert!(text(&state, Transport::Http, "ipxe/52-54-00-00-00-01.ipxe").contains(":8080/"));
}

/// Protocol sheet 4.3 and 3.4: what shim asks for, with the folder and the spelling it makes up.
#[test]
fn shim_and_ipxe_find_what_they_look_for_beside_them() {
    let loaders = ["shimx64.efi", "grubx64.efi", "mmx64.efi", "ipxe.efi", "ipxe-shimx64.efi"];
    let state = with_a_machine(&["EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/grubx64.efi"], &loaders);
    for (path, length) in [
        ("//grubx64.efi", 11),
        ("boot\\EFI//grubx64.efi", 11),
        ("loader//mmx64.efi", 9),
        ("ipxe-shimx64.efi", 16),
        ("ipxe.efi", 8),
        ("GRUBX64.EFI", 11),
        ("oader/grubx64.efi", 11),
        ("rubx64.efi", 11),
        ("loader/\u{fffd}Onboard", 11),
        ("?USB", 11),
        ("debian/EFI/BOOT//grubx64.efi", 20),
    ] {
        let found = ask(&state, Transport::Tftp, path).unwrap_or_else(|why| panic!("{path}: {why:?}"));
        assert_eq!(found.content.len(), length, "{path}");
    }
    for path in
        ["revocations.efi", "loader//revocations_sku.efi", "shim_certificate_0.efi", "fbx64.efi", "efi"]
    {
        assert_eq!(ask(&state, Transport::Tftp, path).unwrap_err(), RefusalReason::NotFound, "{path}");
    }
}

/// Protocol sheet 2.7: OVMF looks at the type, else at the end of the name.
#[test]
fn boot_programs_have_the_type_that_firmware_wants() {
    let state = with_a_machine(&["boot.iso", "disk.img"], &["snponly.efi"]);
    for (path, kind) in [
        ("loader/snponly.efi", "application/efi"),
        ("debian/boot.iso", "application/vnd.efi-iso"),
        ("debian/disk.img", "application/vnd.efi-img"),
    ] {
        assert_eq!(ask(&state, Transport::Http, path).unwrap().media_type, kind, "{path}");
    }
}

/// Protocol sheet 2.8 and quirk 44: serial, hardware address or nothing before the name; nothing at
/// all once the machine is to boot its own disk.
#[test]
fn a_raspberry_pi_finds_its_files_by_its_own_names() {
    let files = ["config.txt", "start4.elf", "bootcode.bin", "overlays/x.dtbo", "cmdline.txt"];
    let state = with_a_machine(&files, &[]);
    for folder in ["", "0a1b2c3d/", "52-54-00-00-00-01/"] {
        for file in &files[..4] {
            let found = ask(&state, Transport::Tftp, &format!("{folder}{file}")).expect(file);
            assert_eq!(found.content.len(), file.len() as u64, "{folder}{file}");
        }
        assert_eq!(text(&state, Transport::Tftp, &format!("{folder}cmdline.txt")), "for=web\n");
        assert!(ask(&state, Transport::Tftp, &format!("{folder}recovery.elf")).is_err());
    }
    assert!(ask(&state, Transport::Tftp, "0a1b2c3/start4.elf").is_err(), "no serial number");
    let stranger = Asker::new(Ipv4Addr::new(10, 0, 0, 8), None, Transport::Tftp);
    assert!(matches!(open(&state, &stranger, Method::Get, "start4.elf", ""), Answer::Refuse(_)));
    assert!(ask(&with_a_machine(&["linux"], &[]), Transport::Tftp, "linux").is_err(), "no Pi's tree");
}

/// A machine that may boot from the network, or is not known by its address, is led to `pxelinux.cfg/`.
#[test]
fn u_boot_finds_its_script_unless_it_boots_its_own_disk() {
    let state = with_a_machine(&["linux"], &[]);
    for path in ["boot.scr.uimg", "/boot.scr.uimg", "boards/x/boot.scr.uimg"] {
        let found = ask(&state, Transport::Tftp, path).expect(path);
        assert_eq!((found.stage, found.content.len()), (Stage::Loader, 92), "{path}");
        assert_eq!(found.deployment, Some("web".parse().unwrap()));
    }
    let stranger = Asker::new(Ipv4Addr::new(10, 0, 0, 8), None, Transport::Tftp);
    assert!(matches!(open(&state, &stranger, Method::Get, "boot.scr.uimg", ""), Answer::Serve(_)));
    let installs = with_a_machine_of(&["linux"], &[], "done={{ completed_url }}");
    assert!(ask(&installs, Transport::Tftp, "boot.scr.uimg").is_ok());
    let report = Report {
        deployment: "web".parse().unwrap(),
        redeploy: 1,
        epoch: None,
        outcome: crate::state::Outcome::Completed,
        note: String::new(),
    };
    let now = crate::model::Time::default();
    let installed = installs.after(crate::state::Verb::Report(report), now).unwrap();
    assert_eq!(ask(&installed, Transport::Tftp, "boot.scr.uimg").unwrap_err(), RefusalReason::NotFound);
    // A person leads its next boot elsewhere.
    let installed = with_another_boot(installed, "rescue", None);
    let due = ordered(&installed, "rescue").unwrap();
    assert!(ask(&due, Transport::Tftp, "boot.scr.uimg").is_ok());
}

/// The same inventory with this boot too.
fn with_another_boot(state: State, boot: &str, tree: Option<&[&str]>) -> State {
    let mut desired = (**state.desired()).clone();
    let name: Name = boot.parse().unwrap();
    let files = |files: &[&str]| files.iter().map(|path| ((*path).into(), entry(2))).collect();
    let boot = Boot {
        name: name.clone(),
        prefix: boot.into(),
        cmdline: vec![crate::render::Text::parse("rescues={{ name }}").unwrap()],
        tree: tree
            .map(|tree| Arc::new(Index { label: "disc".into(), files: files(tree), ..Index::default() })),
        ..(*desired.boots["debian-12"]).clone()
    };
    desired.boots.insert(name, Arc::new(boot));
    state.with_desired(desired)
}

/// The state in which the next network boot of `web` leads to this boot.
fn ordered(state: &State, boot: &str) -> Result<State, String> {
    let until = crate::model::Time(3_600_000);
    let verb = crate::state::Verb::BootOnce("web".parse().unwrap(), boot.parse().unwrap(), until);
    let mut state = state.clone();
    match state.act(verb, crate::model::Time::default()) {
        crate::state::command::Outcome::Done => Ok(state),
        crate::state::command::Outcome::Refused(why) => Err(why),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_raspberry_pi_boots_another_tree_once() {
    let state = with_a_machine(&["config.txt", "start4.elf"], &[]);
    let state = with_another_boot(state, "rescue", Some(&["config.txt", "kernel8.img"]));
    let state = with_another_boot(state, "disc", Some(&["linux"]));
    let why = ordered(&state, "disc").unwrap_err();
    assert!(why.contains("starts from a Raspberry Pi's tree, and boot disc has none"), "{why}");
    let mut state = ordered(&state, "rescue").unwrap();
    assert_eq!(ask(&state, Transport::Tftp, "0a1b2c3d/config.txt").unwrap().content.len(), 2);
    assert!(ask(&state, Transport::Tftp, "start4.elf").is_err(), "not of the usual tree");
    let asker = Asker::new(Ipv4Addr::new(10, 0, 0, 9), None, Transport::Tftp);
    match open(&state, &asker, Method::Get, "0a1b2c3d/cmdline.txt", "") {
        Answer::Begin(machine) => {
            state.act(crate::state::Verb::BeginBoot(machine), crate::model::Time::default());
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(text(&state, Transport::Tftp, "0a1b2c3d/cmdline.txt"), "rescues=web\n");
    assert!(ask(&state, Transport::Tftp, "kernel8.img").is_ok());
    state.act(crate::state::Verb::Tick, crate::model::Time(3_600_000));
    assert_eq!(text(&state, Transport::Tftp, "cmdline.txt"), "for=web\n");
}

/// Protocol sheet 5.5. Where addresses identify the client, the folder does not.
#[test]
fn a_folder_named_like_a_card_is_that_machines() {
    let mut state = with_a_machine(&["config.txt"], &["snponly.efi"]);
    for path in
        ["52-54-00-00-00-01/snponly.efi", "01-52-54-00-00-00-01/snponly.efi", "52:54:00:00:00:01/snponly.efi"]
    {
        assert_eq!(ask(&state, Transport::Tftp, path).unwrap().content.len(), 11, "{path}");
    }
    let elsewhere = Asker::new(Ipv4Addr::new(10, 0, 0, 8), None, Transport::Tftp);
    let path = "52-54-00-00-00-01/config.txt";
    assert!(matches!(open(&state, &elsewhere, Method::Get, path, ""), Answer::Refuse(_)));
    let server = crate::state::Server { gives_addresses: false, ..(**state.server()).clone() };
    state = state.with_server(server);
    assert!(matches!(open(&state, &elsewhere, Method::Get, path, ""), Answer::Serve(_)));
}

/// A machine behind a relay reaches the daemon at one of several addresses: the URLs that it gets use that
/// one.
#[test]
fn urls_lead_where_the_machine_has_reached_us() {
    let mut state = with_a_machine_of(&["linux"], &["ipxe.efi"], "url={{ server_url }}");
    let mac = Mac::new([0x52, 0x54, 0, 0, 0, 1]).unwrap();
    let mut server = (**state.server()).clone();
    server.address = Ipv4Addr::new(10, 7, 0, 1);
    server.others = vec![("10.8.0.0/24".parse().unwrap(), Ipv4Addr::new(10, 8, 0, 1))];
    state = state.with_server(server);
    let deployment = state.deployment_of(mac).unwrap().clone();
    // Behind address translation a connection ends at an address that is none of the daemon's.
    for (reached, url) in
        [("10.7.0.1", "http://10.7.0.1"), ("10.8.0.1", "http://10.8.0.1"), ("172.17.0.2", "http://10.7.0.1")]
    {
        let reached: IpAddr = reached.parse().unwrap();
        for form in [Form::Ipxe, Form::Grub] {
            let asker = Asker::new(Ipv4Addr::new(10, 0, 0, 9), Some(reached), Transport::Http);
            let script = boot_script(&state, &asker, form, mac, &deployment).unwrap();
            assert!(script.contains(&format!("url={url}")), "{script}");
            let other = if url.contains("10.7") { "10.8.0.1" } else { "10.7.0.1" };
            assert!(!script.contains(other), "{script}");
        }
    }
}
