# Prints FILE, a tab, and what cloud-init's schema minds in it; nothing where it is content. Of Ubuntu's answers
# the part for the installed system is looked at, and the network as cloud-init's own reader takes it.
import logging
import sys

try:
    import yaml
    from cloudinit.config.schema import get_schema, validate_cloudconfig_schema
    from cloudinit.net.network_state import parse_net_config_data
except ImportError:
    sys.exit(3)

logging.disable(logging.CRITICAL)
SCHEMA = get_schema()


def why(path):
    with open(path, newline="") as file:
        config = yaml.safe_load(file)
    try:
        if "autoinstall" in config:
            install = config["autoinstall"]
            parse_net_config_data(install["network"], skip_broken=False)
            config = install["user-data"]
        validate_cloudconfig_schema(config, SCHEMA, strict=True)
    except Exception as error:
        return "%s: %s" % (type(error).__name__, error)
    return ""


for path in sys.argv[1:]:
    print(path, " ".join(why(path).split()), sep="\t")
