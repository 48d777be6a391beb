# Prints FILE, a tab, and what Python's reader of TOML minds in it; nothing where it takes it.
import sys

try:
    import tomllib
except ImportError:
    sys.exit(3)

for path in sys.argv[1:]:
    why = ""
    try:
        with open(path, "rb") as file:
            tomllib.load(file)
    except ValueError as error:
        why = " ".join(str(error).split())
    print(path, why, sep="\t")
