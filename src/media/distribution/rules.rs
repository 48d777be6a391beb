//! The distributions, one row each. Volume names are those of the published media (osinfo-db keeps the primary
//! volume descriptors of some four thousand); memory is what the distribution's documents ask for an
//! installation, in MiB.

/// How a system's media are recognised. The first rule that fits counts.
pub(super) struct Rule {
    pub system: &'static str,
    /// Patterns (see `pattern`) of volume names and of the texts on media.
    pub names: &'static [&'static str],
    /// A file that only these media have, for those whose names say nothing; may be empty.
    pub file: &'static str,
    /// MiB; 0 where no document says it.
    pub memory: u32,
    /// What the medium starts instead of Linux; empty for Linux.
    pub other: &'static str,
}

const fn linux(system: &'static str, names: &'static [&'static str], memory: u32) -> Rule {
    Rule { system, names, file: "", memory, other: "" }
}

const fn by_file(
    system: &'static str,
    names: &'static [&'static str],
    file: &'static str,
    memory: u32,
) -> Rule {
    Rule { system, names, file, memory, other: "" }
}

const fn other(
    system: &'static str,
    names: &'static [&'static str],
    file: &'static str,
    other: &'static str,
) -> Rule {
    Rule { system, names, file, memory: 0, other }
}

pub(super) const RULES: &[Rule] = &[
    // Debian and what is made of it.
    linux(
        "Debian",
        &[
            "Debian {release} {arch} *",
            "Debian testing {arch} *",
            "Debian {release} * {arch}*",
            "Debian GNU/Linux {release} *Official {arch} *",
            "Debian GNU/Linux testing *Official*{arch} *",
            "Debian GNU/Linux {release}*",
            "Debian {release} multi*",
        ],
        1024,
    ),
    linux(
        "Debian Live",
        &["d-live {release} * {arch}", "d-live testing * {arch}", "Debian GNU/Linux Live {release}*{arch}*"],
        1024,
    ),
    linux("Ubuntu Server", &["Ubuntu-Server {release}*{arch}*", "Ubuntu-Server {release}*"], 3072),
    linux(
        "Ubuntu",
        &[
            "Ubuntu {release}*{arch}*",
            "Ubuntu {release}*",
            "Kubuntu {release}*{arch}*",
            "Xubuntu {release}*{arch}*",
            "Lubuntu {release}*{arch}*",
            "Edubuntu {release}*{arch}*",
            "Ubuntu MATE {release}*{arch}*",
            "Ubuntu-MATE {release}*{arch}*",
            "Ubuntu Studio {release}*{arch}*",
            "Ubuntu-Budgie {release}*{arch}*",
            "UbuntuKylin {release}*{arch}*",
        ],
        4096,
    ),
    linux(
        "Linux Mint",
        &["Linux Mint {release} * {arch}", "Linux Mint {release}*", "LMDE {release} * {arch}"],
        2048,
    ),
    linux("Pop!_OS", &["Pop_OS {release} {arch}*"], 4096),
    linux("elementary OS", &["elementary OS {release}*"], 4096),
    linux("PureOS", &["PureOS {release}*"], 1024),
    linux("Trisquel", &["trisquel* {release} {arch}", "triskel {release} {arch}"], 2048),
    linux(
        "Kali Linux",
        &[
            "Kali Linux {release} {arch}*",
            "Kali Linux {arch} *",
            "Kali Live*",
            "Kali GNU/Linux {release}*{arch}*",
            "Kali GNU/Linux*",
        ],
        2048,
    ),
    linux("Univention Corporate Server", &["UCS {release} {arch}*"], 1024),
    linux(
        "Devuan",
        &["Devuan * {release} {arch}*", "Devuan {release}*{arch}*", "Devuan GNU/Linux {release}*"],
        512,
    ),
    linux("Tails", &["TAILS {release}*"], 2048),
    linux("Grml", &["grml*{release}*", "grml*"], 512),
    by_file("Proxmox VE", &["PVE", "Proxmox VE*"], "pve-installer.squashfs", 2048),
    linux("Proxmox Backup Server", &["PBS", "Proxmox Backup Server*"], 2048),
    linux("Proxmox Mail Gateway", &["PMG", "Proxmox Mail Gateway*"], 2048),
    linux("Clonezilla", &["clonezilla*{release}*", "{release}-*-clonezilla*"], 256),
    linux("GParted Live", &["gparted-live*{release}*", "GParted-live*"], 512),
    // The family of Red Hat.
    linux(
        "Red Hat Enterprise Linux",
        &[
            "RHEL-{release}-*{arch}*",
            "RHEL-{release} *.{arch}",
            "Red Hat Enterprise Linux {release} {arch}",
            "RHEL {release} {arch}*",
        ],
        1536,
    ),
    linux(
        "CentOS Stream",
        &[
            "CentOS-Stream-{release}-*{arch}*",
            "CentOS_Stream_{release}_{arch}_*",
            "CentOS Stream {release} {arch}",
            "CentOS-Stream-*-{arch}",
            "CentOS_Stream_*_{arch}",
        ],
        2048,
    ),
    linux(
        "CentOS",
        &[
            "CentOS-{release}-{arch}*",
            "CentOS {release} {arch}",
            "CentOS_{release}_Final",
            "CentOS Linux {release} {arch}",
            "CentOS-{release}-*{arch}*",
            "CentOS_{release}_*{arch}*",
        ],
        1024,
    ),
    linux(
        "Rocky Linux",
        &[
            "Rocky-{release}-{arch}*",
            "Rocky Linux {release} {arch}",
            "Rocky-{release}-*",
            "Rocky-*-{release}",
        ],
        1536,
    ),
    linux(
        "AlmaLinux",
        &[
            "AlmaLinux-{release}-{arch}*",
            "AlmaLinux {release} {arch}",
            "AlmaLinux-{release}-*",
            "AlmaLinux-{release}*{arch}*",
        ],
        1536,
    ),
    linux(
        "AlmaLinux Kitten",
        &["AlmaLinux-Kitten-{release}-{arch}*", "AlmaLinux Kitten {release} {arch}"],
        1536,
    ),
    linux(
        "Oracle Linux",
        &[
            "OL-{release}-*{arch}*",
            "OL-{release} Server.{arch}",
            "Oracle Linux {release} {arch}",
            "Oracle Linux Server {release} {arch}",
        ],
        1536,
    ),
    linux("Circle Linux", &["Circle-{release}-{arch}*"], 1536),
    linux("EuroLinux", &["EL-{release}-{arch}*"], 1536),
    linux(
        "MIRACLE LINUX",
        &["ML-{release}-{arch}*", "MIRACLE-LINUX-{release}-*{arch}*", "MIRACLELINUX-{release}*{arch}*"],
        1536,
    ),
    linux(
        "Anolis OS",
        &["anolis-{release}-{arch}*", "AnolisOS-{release}*{arch}*", "Anolis OS {release} {arch}"],
        2048,
    ),
    linux("openEuler", &["openEuler-{release}-*{arch}*", "openEuler {release} {arch}"], 2048),
    linux("Scientific Linux", &["SL-{release}*{arch}*", "SL {release} {arch}*"], 1024),
    linux("Fedora CoreOS", &["fedora-coreos-{release}"], 2048),
    linux("Red Hat CoreOS", &["rhcos-{release}"], 2048),
    linux(
        "Fedora",
        &[
            "Fedora-*-{arch}-{release}",
            "Fedora {release} {arch}*",
            "Fedora-*-{arch}-{release}*",
            "Fedora-*-{release}-*",
            "Fedora-*-{release}",
            "Fedora-*-{arch}-rawh*",
        ],
        2048,
    ),
    // SUSE.
    linux(
        "openSUSE Leap",
        &[
            "openSUSE-Leap-{release}-*-{arch}*",
            "Install-Leap-{release}-{arch}*",
            "openSUSE_Leap_{release}_*",
            "openSUSE-Leap-{release}*",
        ],
        1024,
    ),
    linux(
        "openSUSE Tumbleweed",
        &[
            "openSUSE-Tumbleweed-*-{arch}*",
            "openSUSE-Tumbleweed*",
            "openSUSE_Tumbleweed*",
            "openSUSE-Kubic-*-{arch}*",
        ],
        1024,
    ),
    linux("openSUSE MicroOS", &["openSUSE-MicroOS-*-{arch}*", "openSUSE-MicroOS*"], 1024),
    linux(
        "SUSE Linux Enterprise Micro",
        &["SUSE-MicroOS-{release}-*-{arch}*", "SLE-Micro-{release}-*-{arch}*", "SLE-Micro-{release}*"],
        1024,
    ),
    linux(
        "SUSE Linux Enterprise",
        &[
            "SLE-{release}-*-{arch}*",
            "SLE-{release}*",
            "Install-SUSE-SLE-{release}-{arch}*",
            "SLES-{release}*",
        ],
        1024,
    ),
    // Others.
    by_file(
        "Alpine Linux",
        &[
            "alpine-release alpine-*-{release}*",
            "alpine-release {release}*",
            "alpine-* {release}* {arch}",
            "alpine-* {release}*",
        ],
        ".alpine-release",
        256,
    ),
    by_file("Arch Linux", &["ARCH_{release}", "Arch Linux {release}"], "arch/version", 1024),
    linux("Manjaro", &["MANJARO_*_{release}*", "MANJARO*"], 2048),
    linux("EndeavourOS", &["EOS_*{release}*", "EndeavourOS*"], 2048),
    linux("SystemRescue", &["SYSRCD{release}", "RESCUE{release}", "SYSTEMRESCUE*"], 1024),
    linux(
        "NixOS",
        &["nixos-*-{release}-{arch}*", "nixos-*-{release}*{arch}*", "nixos-{release}*{arch}*"],
        1536,
    ),
    linux("Guix System", &["GUIX_{arch}*LINUX_{release}*", "GUIX_{arch}-LINUX_*", "GUIX_IMAGE"], 512),
    linux("Gentoo", &["Gentoo*{arch}*{release}*", "Gentoo*{arch}*"], 2048),
    linux("Void Linux", &["VOID_LIVE"], 256),
    linux("Mageia", &["Mageia-{release}-*{arch}*", "Mageia-{release}-{arch}*", "Mageia-{release}*"], 1024),
    linux(
        "ALT Linux",
        &[
            "ALT p{release} */{arch}",
            "ALT * {release} {arch}",
            "ALT * {release}*",
            "ALT p{release}*",
            "ALT regular*",
            "ALT {release} *{arch}*",
            "ALT * {release} {arch}*",
            "ALT Workstation*",
            "ALT Education*",
            "Simply Linux {release} {arch}*",
            "Simply Linux*",
        ],
        1024,
    ),
    linux("Asianux Server", &["Asianux Server {release} {arch}", "Asianux-Server-{release}-{arch}"], 1024),
    linux("Endless OS", &["Endless-OS-{release}-*"], 2048),
    linux("Solus", &["SolusLive*"], 4096),
    linux("Slackware", &["Slack{release}*", "SlackDVD*"], 512),
    linux("Clear Linux", &["CLR_ISO"], 1024),
    linux("Flatcar", &["flatcar*{release}*", "FLATCAR*"], 3072),
    linux("Talos", &["TALOS*{release}*", "TALOS*"], 2048),
    linux("Hyperbola", &["HYPER_{release}*"], 512),
    other("XCP-ng", &["XCP-ng {release}*", "XCP-ng*"], "", "the hypervisor Xen, by multiboot"),
    other("VMware ESXi", &["ESXI-{release}*", "ESXi-*"], "mboot.c32", "its own kernel, by mboot"),
    // Others than Linux.
    other(
        "FreeBSD",
        &["{release}_RELEASE_{arch}_*", "{release}_*_{arch}_*", "FreeBSD*"],
        "",
        "its own kernel, by its loader",
    ),
    other("OpenBSD", &["OpenBSD/{arch} *{release}*", "OpenBSD*"], "", "its own kernel, by its loader"),
    other("NetBSD", &["NETBSD_{release}*", "NetBSD*"], "", "its own kernel, by its loader"),
    other("DragonFly BSD", &["DragonFly*{release}*", "DFLY*"], "", "its own kernel, by its loader"),
    other("Windows", &["*_{arch}FRE*", "*_{arch}CHK*"], "sources/boot.wim", "boot.wim, by wimboot"),
    other("Haiku", &["Haiku*"], "", "its own kernel"),
];
