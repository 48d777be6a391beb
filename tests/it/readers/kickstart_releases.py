# Prints FILE, a tab, and why pykickstart refuses it by the rules of a release that we name; nothing where
# all of them take it.
import contextlib
import io
import sys
import warnings

try:
    from pykickstart.parser import KickstartParser
    from pykickstart.version import makeVersion
except ImportError:
    sys.exit(3)

warnings.simplefilter("ignore")
RELEASES = ["RHEL8", "RHEL9", "RHEL10", "F40", "F42"]


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
    return "%s: %s" % (version, said.getvalue()) if count else ""


for path in sys.argv[1:]:
    with open(path, newline="") as file:
        text = file.read()
    why = " ".join(mistakes(text, version) for version in RELEASES)
    print(path, " ".join(why.split()), sep="\t")
