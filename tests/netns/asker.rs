//! Identifying clients on a real network: a machine installs while its neighbours try to read its answers,
//! to end its installation and to report in its name.

use super::daemon::{Daemon, VOLDEMORTCTL, detect, eventually};
use super::machine::inventory;
use super::net::{Net, has};

const WEB: &str = "52:54:00:00:00:21";
const OTHER: &str = "52:54:00:00:00:22";
const LAPTOP: &str = "52:54:00:00:00:66";
const SCRIPT: &str = "/ipxe/52-54-00-00-00-21.ipxe";

const MANIFEST: &str = r#"
[subnet.lab]
cidr    = "10.0.10.0/24"
gateway = "10.0.10.1"
dns     = ["10.0.10.1"]
dynamic = "10.0.10.100-10.0.10.199"
[subnet.lab.ipv6]
cidr = "fd00:10::/64"
[boot.debian-12]
kernel  = "files/vmlinuz"
initrd  = ["files/initrd.gz"]
cmdline = ["auto=true", "priority=critical", "url={{ answers_url }}"]
[deployment.web]
mac      = "52:54:00:00:00:21"
address  = "10.0.10.21"
boot     = "debian-12"
template = "preseed"
[deployment.other]
mac      = "52:54:00:00:00:22"
address  = "10.0.10.22"
boot     = "debian-12"
template = "preseed"
"#;

/// Cards on one wire: `web`, `other` and `laptop` are bridged to the server in the client's namespace,
/// each with an address that it gave itself (the machine's own is another than the manifest's).
struct Wire<'a>(&'a Net);

impl Wire<'_> {
    fn new(net: &Net) -> Wire<'_> {
        for (name, mac, host) in [("web", WEB, 121), ("other", OTHER, 22), ("laptop", LAPTOP, 166)] {
            net.client_ip(&[
                "link", "add", "link", "cli", name, "address", mac, "type", "macvlan", "mode", "bridge",
            ]);
            net.client_ip(&["link", "set", name, "up"]);
            net.client_ip(&["address", "add", &format!("10.0.10.{host}/24"), "dev", name]);
            net.client_ip(&["address", "add", &format!("fd00:10::{host}/64"), "dev", name, "nodad"]);
        }
        Wire(net)
    }

    /// Status and body of a request by one of the cards.
    fn ask(&self, card: &str, words: &[&str], url: &str) -> (String, String) {
        let fixed = ["curl", "-s", "-g", "--max-time", "10", "--interface", card, "-w", "\n%{http_code}"];
        let said = self.0.client_output(&[&fixed, words, &[url]].concat());
        let (body, status) = said.rsplit_once('\n').unwrap_or_else(|| panic!("{card} {url}: {said}"));
        (status.to_owned(), body.to_owned())
    }

    fn get(&self, card: &str, path: &str) -> (String, String) {
        self.ask(card, &[], &format!("http://10.0.10.1{path}"))
    }
}

fn path_in(text: &str, part: &str) -> String {
    let found = text.split_whitespace().find(|word| word.contains(part));
    let found = found.unwrap_or_else(|| panic!("{part}: {text}")).trim_end_matches([';', '"', '\'']);
    let url = &found[found.find("http://").unwrap()..];
    url[url.find(part).unwrap()..].to_owned()
}

fn phase(net: &Net) -> String {
    net.server_output(&[VOLDEMORTCTL, "get", "deployments", "-o", "json"])
}

fn events(net: &Net) -> String {
    net.server_output(&[VOLDEMORTCTL, "events", "-o", "jsonl"])
}

#[test]
fn only_the_machine_itself_moves_its_state_whoever_gives_the_addresses() {
    if !has("curl") {
        return;
    }
    for mode in ["server", "proxy"] {
        let Some(net) = Net::new() else { return };
        net.server_ip(&["address", "add", "fd00:10::1/64", "dev", "srv", "nodad"]);
        let folder = tempfile::tempdir().unwrap();
        let (config, root) = (detect(&net, folder.path()), inventory(folder.path(), MANIFEST));
        let settings = std::fs::read_to_string(&config).unwrap();
        let changed = settings.replace("mode = \"server\"", &format!("mode = \"{mode}\""));
        assert!(changed.contains(&format!("mode = \"{mode}\"")), "{settings}");
        std::fs::write(&config, changed).unwrap();
        let _daemon = Daemon::start(&net, &config, &root);
        let wire = Wire::new(&net);

        // No other machine starts it.
        for card in ["laptop", "other"] {
            assert_eq!(wire.get(card, SCRIPT).0, "403", "{mode} {card}");
        }
        assert!(!phase(&net).contains("started"), "{mode}: {}", phase(&net));
        let (status, script) = wire.get("web", SCRIPT);
        assert_eq!(status, "200", "{mode}");
        let answers = path_in(&script, "/answers/");
        for card in ["laptop", "other"] {
            assert_eq!(wire.get(card, &answers).0, "403", "{mode} {card}");
            assert_eq!(wire.get(card, SCRIPT).0, "403", "{mode} {card}");
        }
        let (status, file) = wire.get("web", &answers);
        assert_eq!(status, "200", "{mode}");

        // In mid-installation others read the script, by all ways.
        for card in ["laptop", "other"] {
            assert_eq!(wire.get(card, SCRIPT).0, "200", "{mode} {card}");
            wire.ask(card, &[], "tftp://10.0.10.1/pxelinux.cfg/01-52-54-00-00-00-21");
            wire.ask(card, &[], "tftp://10.0.10.1/grub.cfg-01-52-54-00-00-00-21");
            assert_eq!(
                wire.ask(card, &[], &format!("http://[fd00:10::1]{SCRIPT}")).0,
                "200",
                "{mode} {card}"
            );
            assert_eq!(
                wire.ask(card, &[], &format!("http://[fd00:10::1]{answers}")).0,
                "403",
                "{mode} {card}"
            );
        }
        assert!(!phase(&net).contains("unreported"), "{mode}: {}", phase(&net));
        assert_eq!(wire.get("web", &answers), ("200".to_owned(), file.clone()), "{mode}: once more");
        let by_ipv6 = wire.ask("web", &[], &format!("http://[fd00:10::1]{answers}"));
        assert_eq!(by_ipv6.0, "200", "{mode}: by an address that it made up");

        // Looking at a report is none; nor is one of another machine.
        let hook = path_in(&file, "/hooks/");
        let completed = format!("{}/completed", hook.rsplit_once('/').unwrap().0);
        assert_eq!(wire.ask("web", &["--head"], &format!("http://10.0.10.1{completed}")).0, "200");
        assert_eq!(wire.ask("web", &["-r", "0-0"], &format!("http://10.0.10.1{completed}")).0, "200");
        wire.ask("web", &[], &format!("tftp://10.0.10.1{completed}"));
        assert_eq!(wire.get("other", &completed).0, "403", "{mode}");
        assert!(!phase(&net).contains("installed"), "{mode}: {}", phase(&net));
        assert_eq!(wire.ask("web", &["-d", "done"], &format!("http://10.0.10.1{completed}")).0, "200");
        eventually("the phase", || phase(&net), |text| text.contains("\"installed\""));
        assert_eq!(wire.get("web", &answers).0, "410", "{mode}");
        // Names that would forge a line, drive a terminal, or look like another.
        wire.get("laptop", "/x%0aERROR%20forged%0d%1b%5b2J%e2%80%ae%e2%80%8b%c2%a0");
        let ask = "exec 3<>/dev/udp/10.0.10.1/69; printf '\\000\\001y\\nERROR forged\\342\\200\\256\\000octet\\000' >&3; \
                   timeout 20 dd bs=2000 count=1 status=none <&3";
        net.client_output(&["bash", "-c", ask]);
        let shown = || net.server_output(&[VOLDEMORTCTL, "events"]);
        let shown = eventually("both names", shown, |text| text.matches("ERROR forged").count() >= 2);
        let printable = |c: char| c == '\n' || voldemort::model::printable::is_printable(c);
        assert!(shown.chars().all(printable) && !shown.contains("\nERROR"), "{shown:?}");
        let message = events(&net);
        assert!(message.chars().all(printable), "{message:?}");
        assert!(message.contains("which is not its machine"), "{message}");
        assert!(message.contains("which is another machine"), "{message}");
    }
}
