//! `/lib/modules/index`: a line a module, `NAME TAB PATH TAB dependency,dependency TAB alias alias …`. The daemon
//! writes it from the modules' own `.modinfo` when it builds the initrd.

use std::collections::{BTreeMap, BTreeSet};

use super::alias::fits;

/// Where it lies in the initrd.
pub const PLACE: &str = "/lib/modules/index";

/// One module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// With underscores, as the kernel lists it.
    pub name: String,
    /// Below `/lib/modules`.
    pub path: String,
    /// Modules to be loaded before it.
    pub needs: Vec<String>,
    /// Patterns of devices, and names by which the kernel asks for it.
    aliases: Vec<String>,
}

/// All modules of the initrd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    modules: BTreeMap<String, Module>,
}

/// A module's name with underscores: modprobe takes `-` for the same.
pub fn folded(name: &str) -> String {
    name.replace('-', "_")
}

impl Index {
    /// Reads the file. A line without a path is left out.
    pub fn read(text: &str) -> Index {
        let modules = text.lines().filter_map(module).map(|module| (module.name.clone(), module));
        Index { modules: modules.collect() }
    }

    /// How many modules there are.
    pub fn len(&self) -> usize {
        self.modules.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.modules.is_empty()
    }

    /// The modules for a device with this `modalias`.
    pub fn for_device<'a>(&'a self, modalias: &'a str) -> impl Iterator<Item = &'a str> {
        let kind = kind(modalias);
        let fits = move |pattern: &String| kind == self::kind(pattern) && fits(pattern, modalias);
        let found = move |module: &&Module| module.aliases.iter().any(fits);
        self.modules.values().filter(found).map(|module| module.name.as_str())
    }

    /// The modules that somebody asks for by this name or alias: the name comes first (modprobe(8)).
    pub fn asked(&self, name: &str) -> Vec<&str> {
        if let Some(module) = self.modules.get(&folded(name)) {
            return vec![&module.name];
        }
        let wanted = |pattern: &String| fits(pattern, name) || fits(&folded(pattern), &folded(name));
        let found = self.modules.values().filter(|module| module.aliases.iter().any(wanted));
        found.map(|module| module.name.as_str()).collect()
    }

    /// The module and what it needs, each once, in the order of loading. What is not in the index is in the
    /// kernel itself, or its absence is for the kernel to say. A circle is cut where it closes.
    pub fn order(&self, name: &str) -> Vec<&Module> {
        let mut seen = BTreeSet::new();
        let mut order = Vec::new();
        // Not by calls: a hostile chain could be longer than the stack.
        let mut open = vec![(name, false)];
        while let Some((name, ready)) = open.pop() {
            let Some(module) = self.modules.get(name) else { continue };
            if ready {
                order.push(module);
            } else if seen.insert(name) {
                open.push((name, true));
                open.extend(module.needs.iter().rev().map(|need| (need.as_str(), false)));
            }
        }
        order
    }
}

/// The bus of a pattern: `pci:`. Most patterns are ruled out by it.
fn kind(pattern: &str) -> &str {
    pattern.split(':').next().unwrap_or_default()
}

fn module(line: &str) -> Option<Module> {
    let mut columns = line.split('\t');
    let mut column = || columns.next().unwrap_or_default();
    let (name, path, needs, aliases) = (column(), column(), column(), column());
    let words = |text: &str, by: char| -> Vec<String> {
        text.split(by).filter(|word| !word.is_empty()).map(String::from).collect()
    };
    (!name.is_empty() && !path.is_empty()).then(|| Module {
        name: folded(name),
        path: path.to_owned(),
        needs: words(needs, ',').iter().map(|name| folded(name)).collect(),
        aliases: words(aliases, ' '),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "virtio\tkernel/virtio.ko\t\t\n\
        virtio-ring\tkernel/virtio_ring.ko\tvirtio\t\n\
        virtio_pci\tkernel/virtio_pci.ko\tvirtio,virtio-ring,builtin\tpci:v00001AF4d*sv*sd*bc*sc*i*\n\
        virtio_net\tkernel/virtio_net.ko\tnet_failover,virtio\tvirtio:d00000001v*\n\
        net_failover\tkernel/net_failover.ko\tfailover\t\n\
        failover\tkernel/failover.ko\tnet_failover\t\n\
        crc32c_generic\tkernel/crc32c.ko\t\tcrypto-crc32c crypto-crc32c-generic crc32c\n\
        damaged line\n\
        efivarfs\tkernel/efivarfs.ko\t\tfs-efivarfs\n";

    fn names(modules: Vec<&Module>) -> Vec<&str> {
        modules.into_iter().map(|module| module.name.as_str()).collect()
    }

    #[test]
    fn devices_find_their_modules() {
        let index = Index::read(TEXT);
        assert_eq!(index.len(), 8);
        let card = "pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00";
        assert_eq!(index.for_device(card).collect::<Vec<_>>(), ["virtio_pci"]);
        assert_eq!(index.for_device("virtio:d00000001v00001AF4").collect::<Vec<_>>(), ["virtio_net"]);
        assert_eq!(index.for_device("acpi:PNP0501:").count(), 0);
    }

    #[test]
    fn what_a_module_needs_comes_first() {
        let index = Index::read(TEXT);
        assert_eq!(names(index.order("virtio_pci")), ["virtio", "virtio_ring", "virtio_pci"]);
        // Both want each other: neither is left out.
        assert_eq!(names(index.order("virtio_net")), ["failover", "net_failover", "virtio", "virtio_net"]);
        assert_eq!(names(index.order("absent")), Vec::<&str>::new());
        let chain: String = (0..100_000).map(|at| format!("m{at}\tp\tm{}\t\n", at + 1)).collect();
        assert_eq!(Index::read(&chain).order("m0").len(), 100_000);
    }

    #[test]
    fn the_kernel_asks_by_name_or_alias() {
        let index = Index::read(TEXT);
        assert_eq!(index.asked("virtio-ring"), ["virtio_ring"]);
        assert_eq!(index.asked("crypto-crc32c"), ["crc32c_generic"]);
        assert_eq!(index.asked("fs-efivarfs"), ["efivarfs"]);
        assert!(index.asked("net-pf-10").is_empty());
    }
}
