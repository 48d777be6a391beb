# Prints FILE, a tab, and why cloud-init does not take all of it as configuration; nothing where it does.
import logging
import sys

try:
    from cloudinit import handlers, user_data, util
except ImportError:
    sys.exit(3)

logging.disable(logging.CRITICAL)
util.fetch_ssl_details = lambda paths: {}
# Nothing is fetched.
user_data.UserDataProcessor._do_include = lambda self, content, message: None
KNOWN = set(handlers.INCLUSION_TYPES_MAP.values())


def why(content):
    # What stands in the parts of an archive is its author's matter.
    mime = "mime-version:" in content[:4096].lower()
    if not mime and handlers.type_from_starts_with(content) == "text/cloud-config-archive":
        return "" if isinstance(util.load_yaml(content, default=None, allowed=(list,)), list) else "not a list"
    try:
        message = user_data.UserDataProcessor(None).process(content)
    except Exception as error:
        return "can't be taken apart: %s" % error
    parts = message.get_payload()
    if not parts and "#include" not in content:
        return "no parts"
    for part in parts:
        payload = util.fully_decoded_payload(part)
        kind = part.get_content_type()
        if kind == "text/jinja2":
            rest = payload.lstrip().split("\n", 1)[-1]
            if any(begin in rest for begin in ("{{", "{%", "{#")):
                if handlers.type_from_starts_with(rest) is None and not rest.lstrip().startswith("{"):
                    return "a template of nothing known"
                continue
            payload, kind = rest, handlers.type_from_starts_with(rest)
            if kind is None:
                return "a template of nothing known"
        if kind in ("text/cloud-config",) and util.load_yaml(payload, default=None) is None:
            return "not YAML with a mapping"
        if kind in ("text/plain", "text/x-not-multipart") and handlers.type_from_starts_with(payload) is None:
            return "unknown beginning"
    return ""


for path in sys.argv[1:]:
    with open(path, newline="") as file:
        print(path, " ".join(why(file.read()).split()), sep="\t")
