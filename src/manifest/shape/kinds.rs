//! The tables themselves.

use super::Form::*;
use super::Shape::*;
use super::{Fields, Key, Kind, Shape};
use crate::model::{InstallerKind, PowerKind};

/// The settings of a kind of resource.
pub fn fields(kind: Kind) -> &'static Fields {
    match kind {
        Kind::Subnet => &SUBNET,
        Kind::Boot => &BOOT,
        Kind::Template => &TEMPLATE,
        Kind::Profile => &PROFILE,
        Kind::Machine => &MACHINE,
        Kind::Deployment => &DEPLOYMENT,
        Kind::Pool => &POOL,
    }
}

const fn must(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { name, shape, required: true, about }
}

const fn may(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { name, shape, required: false, about }
}

const fn table(plural: &'static str, about: &'static str, keys: &'static [Key]) -> Fields {
    Fields { plural, about, keys, either: &[] }
}

static SUBNET: Fields = Fields {
    plural: "subnets",
    about: "A network the daemon serves.",
    either: &["cidr", "ipv6"],
    keys: &[
        may("cidr", Text(Cidr), "The network, as in \"10.0.10.0/24\"; without it the subnet has IPv6 alone."),
        may("gateway", Text(Address), "Router that machines are told to use."),
        may("dns", Several(&Text(Address)), "Name servers that machines are told to use."),
        may("domain", Text(HostName), "Domain of the machines' host names."),
        may(
            "dynamic",
            Several(&Text(Range)),
            "Addresses for machines without a fixed one, as in \"10.0.10.100-10.0.10.199\". \
             Without it unknown machines get no answer.",
        ),
        may("lease", Text(Duration), "How long a dynamic address is lent, as in \"8h\"; one hour if absent."),
        may(
            "shares",
            Text(Name(Kind::Subnet)),
            "Another subnet that is on the same wire: machines there may get addresses of both.",
        ),
        may(
            "mode",
            Text(Choice(&["server", "proxy", "listen", "off"])),
            "What the daemon is there, where its own file allows more: \"proxy\" leaves addresses to another DHCP \
             server, \"listen\" answers nothing and tells what it would, \"off\" is silent.",
        ),
        may("ipv6", Table(&IPV6), "IPv6 on the same wire; without it nothing is said there."),
        OPTIONS,
        ROUTES,
    ],
};

static IPV6: Fields = table(
    "`ipv6` tables",
    "IPv6 on a subnet's wire: DHCPv6, network boots over IPv6 and, if wanted, router advertisements.",
    &[
        must("cidr", Text(Cidr6), "The network, as in \"fd00:10::/64\". This host needs an address in it."),
        may(
            "dynamic",
            Several(&Text(Range6)),
            "Addresses for machines without a fixed one, as in \"fd00:10::1000-fd00:10::1fff\". \
             Without it unknown machines get no answer.",
        ),
        may("dns", Several(&Text(Address6)), "Name servers that machines are told to use."),
        may(
            "ra",
            Text(Choice(&["off", "managed", "other", "slaac"])),
            "Router advertisements: \"managed\" sends machines to DHCPv6 for their address, \"slaac\" has them \
             make their own, \"other\" leaves addresses to another router; \"off\" (or absent) sends none.",
        ),
        may(
            "router",
            Boolean,
            "Whether the advertisements make this host the default router; false if absent.",
        ),
    ],
);

const LOADER: Key = may(
    "loader",
    Several(&Text(Segment)),
    "Boot programs to give instead of the usual one, best first, as in \"ipxe.efi\"; names that do not fit \
     the machine's firmware are passed over.",
);

static ROUTE: Fields = table(
    "routes",
    "A classless static route (DHCP options 121 and 249).",
    &[
        must("to", Text(Cidr), "The network it leads to, as in \"10.1.0.0/16\"."),
        must("via", Text(Address), "The router."),
    ],
);

static A_ROUTE: Shape = Table(&ROUTE);

const OPTIONS: Key = may(
    "options",
    Map(&Anything),
    "Further DHCP options, by name or number, as in { ntp-servers = [\"10.0.0.1\"], 43 = \"hex:0104\" }.",
);
const ROUTES: Key = may(
    "routes",
    List(&A_ROUTE),
    "Classless static routes that clients are given; the default route by `gateway` is added.",
);

static BOOT: Fields = table(
    "boots",
    "Something a machine can boot: a kernel with what belongs to it.",
    &[
        may("iso", Table(&ISO), "Image that kernel and initrd are taken from and that is served as a tree."),
        must("kernel", Text(Path), "Path inside the image; without one, relative to the inventory."),
        may("initrd", Several(&Text(Path)), "Paths like `kernel`, loaded in this order."),
        may("cmdline", List(&Text(Any)), "Words of the kernel command line; each may use variables."),
        may("arch", Text(Choice(&ARCHITECTURES)), "Processor; x86_64 if absent."),
        LOADER,
        may(
            "memory",
            Text(Size),
            "What it needs at least, as in \"2 GiB\"; the size of its files decides if absent.",
        ),
    ],
);

const ARCHITECTURES: [&str; 6] = ["i386", "x86_64", "arm", "aarch64", "riscv64", "loongarch64"];

static ISO: Fields = table(
    "`iso` tables",
    "An installer's image.",
    &[
        must(
            "file",
            Text(File),
            "The image's file: below a folder of media, below the inventory, or with its full path.",
        ),
        may(
            "prefix",
            Text(Segment),
            "First part of the path the tree is served at; the boot's name if absent.",
        ),
        may("sha256", Text(Sha256), "Digest that the image must have."),
    ],
);

static TEMPLATE: Fields = table(
    "templates",
    "A template for answer files.",
    &[
        must("kind", Text(Choice(InstallerKind::NAMES)), "What reads the rendered file."),
        must("file", Text(Path), "The template's text, relative to the inventory."),
        may(
            "vars",
            Map(&Table(&VARIABLE)),
            "Every variable the text may use beside the generally known ones.",
        ),
    ],
);

static VARIABLE: Fields = table(
    "variables",
    "One variable of a template.",
    &[
        must("type", Text(Choice(&VARIABLE_TYPES)), "What it holds."),
        may("default", Anything, "Its value where nothing sets it; without one it must be set."),
    ],
);

const VARIABLE_TYPES: [&str; 6] = ["string", "integer", "boolean", "list", "table", "secret"];

static USER: Fields = table(
    "users",
    "An account on the installed machine.",
    &[
        must("name", Text(Any), "Login name."),
        may("password-hash", Anything, "Crypt hash of the password: a text, or { secret = \"…\" }."),
        may("ssh-keys", Several(&Text(Any)), "Public keys that may log in."),
        may("sudo", Boolean, "Whether the account may become root."),
    ],
);

macro_rules! settings {
    ($($own:expr,)*) => {
        &[
            $($own,)*
            may("subnet", Text(Name(Kind::Subnet)), "Network of the machine."),
            may("boot", Text(Name(Kind::Boot)), "What the machine boots."),
            may("template", Text(Name(Kind::Template)), "Answer file for the installer; without one the machine runs from the network."),
            may("vars", Map(&Anything), "Values for variables of templates and command lines."),
            may("labels", Map(&Text(Any)), "Words of your own, to select by."),
            may("packages", List(&Text(Any)), "Packages to install."),
            may("users", List(&Table(&USER)), "Accounts to create."),
            may("ssh-keys", Several(&Text(Any)), "Public keys that may log in as the first user."),
            may("disk", Text(Any), "Disk to install to, as in \"/dev/sda\"."),
            may("timezone", Text(Any), "As in \"Europe/Berlin\"."),
            may("hostname", Text(HostName), "The machine's host name; the deployment's name if absent."),
            may("domain", Text(HostName), "The machine's domain; the subnet's if absent."),
            OPTIONS,
            ROUTES,
        ]
    };
}

/// Settings that are template variables at the same time.
pub const KNOWN: [&str; 7] = ["packages", "users", "ssh-keys", "disk", "timezone", "hostname", "domain"];

static PROFILE: Fields = table(
    "profiles",
    "Settings that deployments share.",
    settings![may("extends", Several(&Text(Name(Kind::Profile))), "Profiles to start from; later ones win."),],
);

static MACHINE: Fields = table(
    "machines",
    "A physical machine.",
    &[
        must("mac", Several(&Text(Mac)), "Hardware addresses of its network cards."),
        may(
            "client-id",
            Several(&Text(ClientId)),
            "DHCP client ids (option 61) that it is known by when it speaks with another card, as texts or as \
             in \"hex:01525400aa0001\".",
        ),
        may(
            "uuid",
            Text(Uuid),
            "UUID of its board (option 97, `dmidecode -s system-uuid`), by which it is known when neither card \
             nor client id are.",
        ),
        may("labels", Map(&Text(Any)), "Words of your own, to select by."),
        may("memory", Text(Size), "What it has, as in \"16 GiB\"; boots that need more are refused."),
        may("power", Table(&POWER), "Its management controller, which is asked whether it is on."),
        may("protect", Boolean, "Never wiped, released or pruned while true."),
        LOADER,
        OPTIONS,
        ROUTES,
    ],
);

static POWER: Fields = table(
    "`power` tables",
    "How to learn whether a machine is on. Nothing is switched yet.",
    &[
        must(
            "kind",
            Text(Choice(PowerKind::NAMES)),
            "What to talk to. ipmi and wol are accepted, not acted on yet.",
        ),
        may("url", Text(Url), "Address of the management controller; not for wol."),
        may("credentials", Secret, "Its user name and password, `{ secret = \"…\" }`; not for wol."),
        may(
            "fingerprint",
            Text(Sha256),
            "SHA-256 of its certificate, where no authority that the daemon's host trusts vouches for it.",
        ),
    ],
);

static DEPLOYMENT: Fields = table(
    "deployments",
    "What shall run where.",
    settings![
        may("profile", Text(Name(Kind::Profile)), "Profile to start from."),
        may("machine", Text(Name(Kind::Machine)), "The machine to use."),
        may("select", Selector, "Labels that a free machine must have, instead of `machine`."),
        may(
            "mac",
            Several(&Text(Mac)),
            "Hardware addresses of a machine that is defined by this line alone."
        ),
        may(
            "address",
            Text(AddressOrAuto),
            "Address of the machine; \"auto\" (or absent) takes a dynamic one."
        ),
        may("address6", Text(Address6), "IPv6 address of the machine; a dynamic one if absent."),
        may(
            "redeploy",
            Integer(0),
            "Raise it to install again; nothing else reinstalls an installed machine."
        ),
    ],
);

static POOL: Fields = table(
    "pools",
    "Machines that are given out on request: accepted, not acted on yet.",
    &[
        must("profile", Text(Name(Kind::Profile)), "What a machine of this pool runs."),
        must("select", Selector, "Labels that a machine must have."),
        may("max", Integer(0), "Most machines given out at a time."),
        may("ttl", Text(Duration), "After this a claim ends by itself, as in \"8h\"."),
        may("on-return", Text(Choice(&["wipe", "keep"])), "What happens to a machine given back."),
    ],
);

/// `voldemort.toml` at the inventory's root.
pub static INVENTORY: Fields = table(
    "`voldemort.toml` files",
    "Settings of the inventory itself.",
    &[
        must("format", Integer(0), "Version of the manifest language: 1."),
        may("safety", Table(&SAFETY), "When a revision is held back."),
        may(
            "check",
            Map(&Text(Choice(&["error", "warning", "note", "off"]))),
            "Levels of adjustable checks, by code.",
        ),
    ],
);

static SAFETY: Fields = table(
    "`safety` tables",
    "When a revision is held back until somebody agrees.",
    &[
        may(
            "max-remove",
            Text(Percent),
            "Largest part of the deployments one revision may remove; \"30%\" if absent.",
        ),
        may("min-existing", Integer(0), "The percentage applies from this many deployments on; 5 if absent."),
        may("allow-empty", Boolean, "Whether a revision without any deployment may replace one with some."),
        may(
            "max-reinstall",
            Integer(0),
            "How many installed machines one revision may reinstall; no limit if absent.",
        ),
        may(
            "max-in-flight",
            Integer(1),
            "How many installed machines may be in reinstallation at a time; no limit if absent.",
        ),
        may(
            "windows",
            Several(&Text(Window)),
            "When installed machines may be reinstalled, as in \"Mon-Fri 22:00-05:00 Europe/Berlin\"; at any \
             time if absent.",
        ),
        may(
            "asker",
            Text(Choice(&["machine", "token"])),
            "What proves that a request for an answer file comes from its machine: \"machine\" (as without the \
             key), the hardware or IP address beside the token of the URL; \"token\", the token alone, where another \
             DHCP server gives the addresses and routers or address translation are in between.",
        ),
    ],
);
