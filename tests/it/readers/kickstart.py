# Prints FILE, a tab, and why pykickstart refuses it by the rules of every release; nothing where one
# of them takes it.
import contextlib
import io
import re
import sys
import warnings

try:
    from pykickstart.parser import KickstartParser
    from pykickstart.version import makeVersion
except ImportError:
    sys.exit(3)

warnings.simplefilter("ignore")


def mistakes(text, version):
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            parser = KickstartParser(
                makeVersion(version), followIncludes=False, errorsAreFatal=False, missingIncludeIsFatal=False
            )
            parser.readKickstartFromString(text)
            count = parser.errorsCount
        except BaseException as error:
            print(error, type(error).__name__, file=said)
            count = 1
    return said.getvalue() if count else ""


for path in sys.argv[1:]:
    with open(path, newline="") as file:
        text = file.read()
    # Before RHEL 6 sections had no end; no file of today is meant for those releases.
    old = re.search(r"^install\b", text, re.M) and not re.search(r"^%end", text, re.M)
    for version in ["RHEL5"] * bool(old) + ["RHEL9", "RHEL10", "F40", "RHEL8", "RHEL7", "RHEL6", "F20", "F30"]:
        why = mistakes(text, version)
        if not why:
            break
    print(path, " ".join(why.split()), sep="\t")
