//! The commands and sections of kickstart files with their options, of all releases from Fedora Core 3
//! and RHEL 3 on: which of them will read a file can't be known (pykickstart's documentation).

/// Names with their options, without hyphens before them. Options are not looked at where there are
/// none.
pub(super) type Table = &'static [(&'static str, &'static str)];

pub(super) const COMMANDS: Table = &[
    ("auth", ""),
    ("authconfig", ""),
    ("authselect", ""),
    (
        "autopart",
        "backuppassphrase cipher encrypted escrowcert fstype hibernation hw-passphrase luks-version \
         noboot nohome nolvm noswap passphrase pbkdf pbkdf-iterations pbkdf-memory pbkdf-time type",
    ),
    ("autostep", "autoscreenshot"),
    ("bootc", "bootloader composefs source-imgref stateroot target-imgref"),
    (
        "bootloader",
        "append boot-drive default disabled driveorder extlinux hvargs iscrypted lba32 leavebootorder \
         linear location md5pass nolinear nombr password sdboot timeout upgrade useLilo",
    ),
    ("btrfs", "data label metadata mkfsoptions name noformat parent subvol useexisting"),
    ("cdrom", ""),
    ("clearpart", "all cdl disklabel drives initlabel linux list none"),
    ("cmdline", "non-interactive"),
    ("device", "opts"),
    ("deviceprobe", ""),
    ("dmraid", "dev name"),
    ("driverdisk", "biospart source type"),
    ("eula", "accept accepted agree agreed"),
    ("fcoe", "autovlan dcb nic"),
    (
        "firewall",
        "disable disabled enable enabled ftp high http medium port remove-service service smtp ssh telnet \
         trust use-system-defaults",
    ),
    ("firstboot", "disable disabled enable enabled reconfig"),
    ("graphical", "non-interactive"),
    ("group", "gid name"),
    ("halt", "eject kexec"),
    ("harddrive", "biospart dir partition"),
    ("hmc", ""),
    ("ignoredisk", "drives interactive only-use"),
    ("install", "root-device"),
    ("interactive", ""),
    ("iscsi", "iface ipaddr password port reverse-password reverse-user target user"),
    ("iscsiname", ""),
    ("key", "skip"),
    ("keyboard", "switch vckeymap xlayouts"),
    ("lang", "addsupport"),
    ("langsupport", "default"),
    ("lilo", "append driveorder lba32 linear location md5pass nolinear password upgrade useLilo"),
    ("lilocheck", ""),
    ("liveimg", "checksum noverifyssl proxy url"),
    ("logging", "host level port"),
    (
        "logvol",
        "backuppassphrase bytes-per-inode cachemode cachepvs cachesize chunksize cipher encrypted \
         escrowcert fsoptions fsprofile fstype grow hibernation label luks-version maxsize metadatasize \
         mkfsoptions name noformat passphrase pbkdf pbkdf-iterations pbkdf-memory pbkdf-time percent \
         poolname profile recommended resize size thin thinpool useexisting vgname",
    ),
    ("mediacheck", ""),
    ("method", "metalink mirrorlist noverifyssl proxy sslcacert sslclientcert sslclientkey url"),
    ("module", "disable name stream"),
    ("monitor", "hsync monitor noprobe vsync"),
    ("mount", "mkfsoptions mountoptions reformat"),
    ("mouse", "device emulthree"),
    ("multipath", "device name rule"),
    (
        "network",
        "activate bindto bondopts bondslaves bootproto bridgeopts bridgeslaves device dhcpclass essid \
         ethtool gateway hostname interfacename ip ipv4-dns-search ipv4-ignore-auto-dns ipv6 ipv6-\
         dns-search ipv6-ignore-auto-dns ipv6gateway mtu nameserver netmask no-activate nodefroute nodns \
         noipv4 noipv6 notksdevice onboot teamconfig teamslaves vlanid wepkey wpakey",
    ),
    ("nfs", "dir opts server"),
    ("nvdimm", "blockdevs mode namespace sectorsize"),
    ("ostreecontainer", "no-signature-verification remote stateroot transport url"),
    ("ostreesetup", "nogpg osname ref remote url"),
    (
        "part",
        "active asprimary backuppassphrase bytes-per-inode cipher encrypted end escrowcert fsoptions \
         fsprofile fstype grow hibernation hw-passphrase label luks-version maxsize mkfsoptions noformat \
         onbiosdisk ondisk ondrive onpart passphrase pbkdf pbkdf-iterations pbkdf-memory pbkdf-time \
         recommended resize size start type usepart",
    ),
    (
        "partition",
        "active asprimary backuppassphrase bytes-per-inode cipher encrypted end escrowcert fsoptions \
         fsprofile fstype grow hibernation hw-passphrase label luks-version maxsize mkfsoptions noformat \
         onbiosdisk ondisk ondrive onpart passphrase pbkdf pbkdf-iterations pbkdf-memory pbkdf-time \
         recommended resize size start type usepart",
    ),
    ("poweroff", "eject kexec"),
    (
        "raid",
        "backuppassphrase bytes-per-inode chunksize cipher device encrypted escrowcert fsoptions \
         fsprofile fstype label level luks-version mkfsoptions noformat passphrase pbkdf pbkdf-iterations \
         pbkdf-memory pbkdf-time spares useexisting",
    ),
    ("rdp", "password username"),
    ("realm", ""),
    ("reboot", "eject kexec"),
    (
        "repo",
        "baseurl cost excludepkgs ignoregroups includepkgs install metalink mirrorlist name noverifyssl \
         proxy sslcacert sslclientcert sslclientkey",
    ),
    ("reqpart", "add-boot"),
    ("rescue", "nomount romount"),
    (
        "rhsm",
        "activation-key connect-to-insights flatpak-registry-url organization proxy rhsm-baseurl \
         server-hostname",
    ),
    ("rootpw", "allow-ssh iscrypted lock plaintext"),
    ("selinux", "disabled enforcing permissive"),
    ("services", "disabled enabled"),
    ("shutdown", "eject kexec"),
    ("skipx", ""),
    ("snapshot", "name when"),
    ("sshkey", "username"),
    ("sshpw", "iscrypted lock plaintext sshkey username"),
    ("stratisfs", "grow maxsize name poolname size useexisting"),
    ("stratispool", "encrypted overprovisioning passphrase useexisting"),
    ("syspurpose", "addon role sla usage"),
    ("text", "non-interactive"),
    ("timesource", "ntp-disable ntp-pool ntp-server nts"),
    ("timezone", "isUtc nontp ntpservers utc"),
    ("unsupported_hardware", ""),
    ("updates", ""),
    ("upgrade", "root-device"),
    ("url", "metalink mirrorlist noverifyssl proxy sslcacert sslclientcert sslclientkey url"),
    ("user", "gecos gid groups homedir iscrypted lock name password plaintext shell uid"),
    ("vnc", "connect host password port"),
    ("volgroup", "noformat pesize reserved-percent reserved-space useexisting"),
    (
        "xconfig",
        "card defaultdesktop depth driver hsync monitor noprobe resolution server startxonboot videoram \
         vsync",
    ),
    ("zerombr", ""),
    ("zfcp", "devnum fcplun scsiid scsilun wwpn"),
    ("zipl", "force-secure-boot no-secure-boot secure-boot"),
];

pub(super) const SECTIONS: Table = &[
    ("%addon", ""),
    ("%anaconda", ""),
    ("%certificate", "dir filename type"),
    ("%onerror", "erroronfail interpreter log logfile"),
    (
        "%packages",
        "default exclude-weakdeps excludeWeakdeps excludedocs ignorebroken ignoredeps ignoremissing \
         inst-langs instLangs multilib nobase nocore resolvedeps retries timeout",
    ),
    ("%post", "erroronfail interpreter log logfile nochroot"),
    ("%pre", "erroronfail interpreter log logfile"),
    ("%pre-install", "erroronfail interpreter log logfile"),
    ("%traceback", "erroronfail interpreter log logfile"),
];
