//! Variables that every template and command line may use without declaring them.

/// Name and meaning. A text that is not known is empty, and so is a list.
pub const WELL_KNOWN: &[(&str, &str)] = &[
    ("name", "the deployment's name"),
    ("hostname", "the machine's host name, without domain"),
    ("domain", "the subnet's domain, or empty"),
    ("mac", "the hardware address that boots, in lower case with colons"),
    ("address", "the machine's IPv4 address"),
    ("address6", "the machine's IPv6 address, empty where it has none"),
    ("prefix_length6", "the IPv6 subnet's mask as a number of bits, 0 where there is none"),
    ("netmask", "the subnet's mask, as 255.255.255.0"),
    ("prefix_length", "the subnet's mask as a number of bits"),
    ("gateway", "the subnet's router, or empty"),
    ("dns", "list of name servers"),
    ("server_url", "root of this server's HTTP tree, without a slash at the end"),
    ("media_url", "root of the boot's ISO tree, without a slash at the end"),
    ("answers_url", "what the installer is given to find its answers: the main file, or their folder"),
    ("answers_base_url", "the folder the answer files lie in"),
    ("nocloud_url", "the folder that cloud-init of the running machine reads its metadata from"),
    ("completed_url", "GET or POST here ends the permission to install"),
    ("failed_url", "GET or POST here reports that the installation failed"),
    ("progress_url", "GET or POST here shows how far the installation is"),
    ("packages", "list of packages to install"),
    ("users", "list of tables: name, password_hash, ssh_keys, sudo, groups, shell"),
    ("ssh_keys", "list of public keys"),
    ("disk", "the disk to install to, or empty for the first one"),
    (
        "disk_hints",
        "table of what the disk is like where `disk` is a table, with sizes in bytes; `disk` is empty then. Where our \
         agent has seen the one disk that is meant, `disk` is its path below /dev/disk/by-id, and this is empty",
    ),
    ("timezone", "as Europe/Berlin, or empty for UTC"),
    ("user_data", "what a claim was made with for its machine, or empty; never on a command line"),
];

/// What the command line of a boot may use that our agent runs on: nothing else is known of any machine.
pub const AGENT: &[&str] = &["mac", "server_url", "media_url"];

/// The names that somebody may have meant who wrote another. `user_data` is no mistyped `user_hash`.
pub fn written<'a>() -> impl Iterator<Item = &'a str> {
    WELL_KNOWN.iter().map(|(name, _)| *name).filter(|name| *name != "user_data")
}

/// Whether a template may use this variable without declaring it.
pub fn is_well_known(name: &str) -> bool {
    WELL_KNOWN.iter().any(|(known, _)| *known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_listed_once() {
        let mut names: Vec<&str> = WELL_KNOWN.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), WELL_KNOWN.len());
        assert!(is_well_known("completed_url"));
        assert!(!is_well_known("root_hash"));
    }
}
