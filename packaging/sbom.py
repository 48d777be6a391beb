"""Prints the bill of materials of the programs as CycloneDX 1.5 in JSON: every crate that is compiled into them.

Usage: sbom.py TARGET, in the root of the repository. What `cargo metadata` says of dependencies that are neither for
tests nor for build scripts, with licences, and with checksums from Cargo.lock. The same commit gives the same bytes:
the time is SOURCE_DATE_EPOCH, and the serial number follows from the components.
"""

import json
import os
import subprocess
import sys
import time
import tomllib
import uuid

# C sources that a crate carries along and compiles: scanners look for these names.
BUNDLED = {
    "libgit2-sys": ("libgit2", "GPL-2.0-only WITH GCC-exception-2.0"),
    "libmimalloc-sys": ("mimalloc", "MIT"),
    "libz-sys": ("zlib", "Zlib"),
}


def linked(metadata):
    """Identifiers of the packages that the programs are linked from, the crate itself among them."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    procedural = {
        package["id"]
        for package in metadata["packages"]
        if any("proc-macro" in target["kind"] for target in package["targets"])
    }
    found, waiting = set(), [metadata["resolve"]["root"]]
    edges = {}
    while waiting:
        one = waiting.pop()
        if one in found:
            continue
        found.add(one)
        needs = [
            dependency["pkg"]
            for dependency in nodes[one]["deps"]
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]) and dependency["pkg"] not in procedural
        ]
        edges[one] = needs
        waiting += needs
    return found, edges


def main():
    (target,) = sys.argv[1:]
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    with open("Cargo.lock", "rb") as file:
        lock = {(one["name"], one["version"]): one for one in tomllib.load(file)["package"]}
    found, edges = linked(metadata)
    packages = {one["id"]: one for one in metadata["packages"] if one["id"] in found}

    def purl(package):
        return f"pkg:cargo/{package['name']}@{package['version']}"

    def component(package):
        one = {
            "type": "library",
            "bom-ref": purl(package),
            "name": package["name"],
            "version": package["version"],
            "purl": purl(package),
        }
        if package.get("license"):
            # Some still write `MIT/Apache-2.0`, which is no SPDX expression.
            one["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        checksum = lock[package["name"], package["version"]].get("checksum")
        if checksum:
            one["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        if package["name"] in BUNDLED:
            name, licence = BUNDLED[package["name"]]
            inside = {"type": "library", "name": name, "licenses": [{"expression": licence}]}
            # libgit2-sys 0.18.2+1.9.1: what stands behind the plus is the version of the C library.
            if "+" in package["version"]:
                inside["version"] = package["version"].split("+")[1]
            one["components"] = [inside]
        return one

    root = packages.pop(metadata["resolve"]["root"])
    ordered = sorted(packages.values(), key=lambda one: (one["name"], one["version"]))
    components = [component(one) for one in ordered]
    dependencies = [
        {"ref": purl(one), "dependsOn": sorted({purl(packages[need]) for need in edges[one["id"]]})}
        for one in [root, *ordered]
    ]
    main_component = {**component(root), "type": "application"}
    seed = json.dumps([target, main_component, components], sort_keys=True)
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, seed).urn,
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch)),
            "component": main_component,
            "properties": [{"name": "target", "value": target}],
        },
        "components": components,
        "dependencies": dependencies,
    }
    json.dump(bom, sys.stdout, indent=1, sort_keys=True)
    print()


main()
