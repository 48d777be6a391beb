//! Which modules of a kernel the agent gets: what a machine needs to reach its network and its disks.

use std::collections::{BTreeMap, BTreeSet};

use super::module::{Module, plain};

/// Beginnings of paths below `RELEASE/kernel/`. Whatever these modules depend on comes with them. Left out are
/// wireless cards, sound, graphics, media and file systems.
const CHOSEN: [&str; 62] = [
    "arch/arm64/crypto/crc",
    "arch/x86/crypto/crc",
    "crypto/crc",
    "crypto/xxhash",
    "drivers/ata/",
    "drivers/block/",
    "drivers/bus/",
    "drivers/char/hw_random/virtio",
    "drivers/char/ipmi/",
    "drivers/char/tpm/",
    "drivers/char/virtio",
    "drivers/clk/",
    "drivers/dca/",
    "drivers/dma/",
    "drivers/firmware/",
    "drivers/gpio/",
    "drivers/hid/hid-generic",
    "drivers/hid/hid-hyperv",
    "drivers/hid/hid.ko",
    "drivers/hid/usbhid/",
    "drivers/hv/",
    "drivers/i2c/busses/",
    "drivers/input/keyboard/atkbd",
    "drivers/input/serio/",
    "drivers/iommu/",
    "drivers/mailbox/",
    "drivers/md/",
    "drivers/message/",
    "drivers/mfd/",
    "drivers/mmc/",
    "drivers/net/bonding/",
    "drivers/net/ethernet/",
    "drivers/net/fjes/",
    "drivers/net/hyperv/",
    "drivers/net/mdio",
    "drivers/net/mii",
    "drivers/net/net_failover",
    "drivers/net/pcs/",
    "drivers/net/phy/",
    "drivers/net/sungem_phy",
    "drivers/net/usb/",
    "drivers/net/virtio_net",
    "drivers/net/vmxnet3/",
    "drivers/net/xen-netfront",
    "drivers/nvme/",
    "drivers/pci/",
    "drivers/phy/",
    "drivers/pinctrl/",
    "drivers/ptp/",
    "drivers/regulator/",
    "drivers/reset/",
    "drivers/scsi/",
    "drivers/soc/",
    "drivers/spi/",
    "drivers/ufs/",
    "drivers/usb/",
    "drivers/virtio/",
    "drivers/xen/",
    "fs/efivarfs/",
    "net/8021q/",
    "net/core/",
    "net/packet/",
];

/// Beginnings that are left out nevertheless: they serve other machines, and large ones come with them.
const LEFT_OUT: [&str; 8] = [
    "drivers/block/drbd/",
    "drivers/block/rbd",
    "drivers/block/rnbd/",
    "drivers/nvme/target/",
    "drivers/usb/atm/",
    "drivers/usb/gadget/",
    "drivers/usb/misc/",
    "drivers/usb/typec/",
];

/// The modules of a kernel by name, as its packages hold them.
pub(super) type Modules = BTreeMap<String, Module>;

/// The names of the modules that the agent gets: the chosen ones with all that they depend on.
///
/// # Errors
/// A module that another depends on and that no package holds.
pub(super) fn choose(modules: &Modules) -> Result<BTreeSet<&str>, String> {
    let aliases = by_alias(modules);
    let mut chosen = BTreeSet::new();
    let mut open: Vec<&Module> = modules.values().filter(|module| is_chosen(module)).collect();
    let mut missing: BTreeMap<&str, &str> = BTreeMap::new();
    while let Some(module) = open.pop() {
        if !chosen.insert(module.name.as_str()) {
            continue;
        }
        for name in &module.depends {
            match modules.get(name) {
                Some(other) => open.push(other),
                None => drop(missing.insert(name.as_str(), module.name.as_str())),
            }
        }
        open.extend(soft(module, modules, &aliases));
    }
    match missing.first_key_value() {
        None => Ok(chosen),
        Some((name, wanted_by)) => {
            let more = match missing.len() - 1 {
                0 => String::new(),
                more => format!(", and {more} more are missing"),
            };
            Err(format!("its module {wanted_by} needs {name}, which none of the packages holds{more}"))
        }
    }
}

/// The index of the modules, a line for each: `NAME<TAB>PATH<TAB>dep,dep<TAB>alias alias …`. Paths begin below
/// `/lib/modules`.
pub(super) fn index(modules: &Modules, chosen: &BTreeSet<&str>) -> String {
    let aliases = by_alias(modules);
    let mut index = String::new();
    for module in chosen.iter().filter_map(|name| modules.get(*name)) {
        let mut before: Vec<&str> = module.depends.iter().map(String::as_str).collect();
        before.extend(soft(module, modules, &aliases).map(|other| other.name.as_str()));
        let mut seen = BTreeSet::from([module.name.as_str()]);
        before.retain(|name| seen.insert(name));
        let Module { name, path, .. } = module;
        let line = format!("{name}\t{path}\t{}\t{}\n", before.join(","), module.aliases.join(" "));
        index.push_str(&line);
    }
    index
}

fn is_chosen(module: &Module) -> bool {
    // RELEASE/kernel/…; drivers of others lie in `updates` or `extra`, and somebody put them there on purpose.
    let Some((_, below)) = module.path.split_once('/') else { return false };
    match below.strip_prefix("kernel/") {
        Some(below) => {
            let begins = |begins: &&str| below.starts_with(*begins);
            CHOSEN.iter().any(&begins) && !LEFT_OUT.iter().any(&begins)
        }
        None => true,
    }
}

/// The modules of a module's soft dependencies; those that are built into the kernel are not among the packages.
fn soft<'m: 'a, 'a>(
    module: &'m Module,
    modules: &'m Modules,
    aliases: &'a BTreeMap<String, Vec<&'m Module>>,
) -> impl Iterator<Item = &'m Module> + use<'m, 'a> {
    module.soft.iter().flat_map(move |name| {
        let named = modules.get(name).into_iter();
        named.chain(aliases.get(name).into_iter().flatten().copied())
    })
}

/// Modules by those of their aliases that are names and not patterns of devices.
fn by_alias(modules: &Modules) -> BTreeMap<String, Vec<&Module>> {
    let mut found: BTreeMap<String, Vec<&Module>> = BTreeMap::new();
    for module in modules.values() {
        for alias in module.aliases.iter().filter(|alias| !alias.contains([':', '*'])) {
            found.entry(plain(alias)).or_default().push(module);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module: its name, folder, dependencies, soft dependencies, aliases.
    type Row<'a> = (&'a str, &'a str, &'a [&'a str], &'a [&'a str], &'a [&'a str]);

    fn modules(list: &[Row<'_>]) -> Modules {
        let strings = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let module = |(name, below, depends, soft, aliases): &Row<'_>| Module {
            name: (*name).to_owned(),
            path: format!("6.1/{below}/{name}.ko"),
            release: "6.1".to_owned(),
            depends: strings(depends),
            soft: strings(soft),
            aliases: strings(aliases),
        };
        list.iter().map(module).map(|module| (module.name.clone(), module)).collect()
    }

    #[test]
    fn what_is_chosen_comes_with_what_it_needs() {
        let modules = modules(&[
            ("e1000e", "kernel/drivers/net/ethernet/intel/e1000e", &["ptp"], &[], &["pci:v00008086d*"]),
            ("ptp", "kernel/elsewhere", &["pps_core"], &[], &[]),
            ("pps_core", "kernel/elsewhere", &[], &[], &[]),
            ("libcrc32c", "kernel/drivers/md", &[], &["crc32c", "is_built_in"], &[]),
            ("crc32c_generic", "kernel/elsewhere", &[], &[], &["crc32c", "crypto-crc32c"]),
            ("iwlwifi", "kernel/drivers/net/wireless", &["absent"], &[], &[]),
            ("nvmet", "kernel/drivers/nvme/target", &[], &[], &[]),
            ("vendor", "updates/dkms", &[], &[], &[]),
        ]);
        let chosen = choose(&modules).unwrap();
        let names = ["crc32c_generic", "e1000e", "libcrc32c", "pps_core", "ptp", "vendor"];
        assert_eq!(chosen, BTreeSet::from(names));
        let index = index(&modules, &chosen);
        assert!(
            index.contains(
                "e1000e\t6.1/kernel/drivers/net/ethernet/intel/e1000e/e1000e.ko\tptp\tpci:v00008086d*\n"
            ),
            "{index}"
        );
        assert!(
            index.contains("libcrc32c\t6.1/kernel/drivers/md/libcrc32c.ko\tcrc32c_generic\t\n"),
            "{index}"
        );
    }

    #[test]
    fn a_circle_ends_and_what_is_missing_is_named() {
        let circle = modules(&[
            ("a", "kernel/drivers/md", &["b"], &["a"], &[]),
            ("b", "kernel/lib", &["a"], &[], &[]),
        ]);
        assert_eq!(choose(&circle).unwrap().len(), 2);
        let missing = modules(&[("tg3", "kernel/drivers/net/ethernet", &["libphy", "ptp"], &[], &[])]);
        let why = choose(&missing).unwrap_err();
        assert_eq!(
            why,
            "its module tg3 needs libphy, which none of the packages holds, and 1 more are missing"
        );
    }
}
