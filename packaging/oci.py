"""Packs a directory as an OCI image (image-spec 1.1) in one tar that podman, skopeo and docker load.

Usage: oci.py DIRECTORY VERSION ARCH OUTPUT. Needs no daemon and no privileges, and gives the same bytes for the same
files: times come from SOURCE_DATE_EPOCH. The binary carries its three capabilities as a file capability, so that the
container's user needs no root; the runtime has to allow them (--cap-add NET_ADMIN; NET_RAW and NET_BIND_SERVICE are
in most runtimes' own set).
"""

import gzip
import hashlib
import io
import json
import os
import struct
import sys
import tarfile
import time

EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
USER = 990
# struct vfs_ns_cap_data of linux/capability.h, revision 2, effective: CAP_NET_BIND_SERVICE (10), CAP_NET_ADMIN (12),
# CAP_NET_RAW (13). All bytes are ASCII, as an extended header of tar wants it.
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10 | 1 << 12 | 1 << 13, 0, 0, 0).decode("ascii")
ETC = {
    "etc/passwd": f"root:x:0:0:root:/root:/sbin/nologin\nvoldemort:x:{USER}:{USER}::/var/lib/voldemort:/sbin/nologin\n",
    "etc/group": f"root:x:0:\nvoldemort:x:{USER}:\n",
}


def layer(root):
    """The files under `root`, and what a container needs besides, as an uncompressed tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:

        def add(name, kind, mode, content=b"", owner=0, pax=None):
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.size, info.mtime = kind, mode, len(content), EPOCH
            info.uid = info.gid = owner
            info.pax_headers = pax or {}
            tar.addfile(info, io.BytesIO(content))

        for path, folders, files in os.walk(root):
            folders.sort()
            inside = os.path.relpath(path, root)
            if inside != ".":
                owner = 0
                add(inside, tarfile.DIRTYPE, 0o755, owner=owner)
            for name in sorted(files):
                whole = os.path.join(path, name)
                member = os.path.normpath(os.path.join(inside, name))
                if os.path.islink(whole):
                    info = tarfile.TarInfo(member)
                    info.type, info.linkname, info.mtime, info.mode = tarfile.SYMTYPE, os.readlink(whole), EPOCH, 0o777
                    tar.addfile(info)
                    continue
                with open(whole, "rb") as file:
                    content = file.read()
                is_daemon = member == "usr/bin/voldemort"
                pax = {"SCHILY.xattr.security.capability": CAPABILITY} if is_daemon else None
                mode = 0o755 if os.access(whole, os.X_OK) else 0o644
                add(member, tarfile.REGTYPE, mode, content, pax=pax)
        for name, text in ETC.items():
            add(name, tarfile.REGTYPE, 0o644, text.encode())
        for name, mode, owner in [
            ("tmp", 0o1777, 0),
            ("run", 0o755, 0),
            ("run/voldemort", 0o755, USER),
            ("var", 0o755, 0),
            ("var/lib", 0o755, 0),
            ("var/lib/voldemort", 0o700, USER),
            ("srv", 0o755, 0),
            ("srv/inventory", 0o755, USER),
        ]:
            add(name, tarfile.DIRTYPE, mode, owner=owner)
    return out.getvalue()


def main():
    root, version, arch, output = sys.argv[1:]
    tar = layer(root)
    packed = gzip.compress(tar, 1 if os.environ.get("QUICK") else 9, mtime=0)
    blobs = {}

    def blob(content, kind):
        digest = hashlib.sha256(content).hexdigest()
        blobs[digest] = content
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}

    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(EPOCH))
    labels = {
        "org.opencontainers.image.title": "voldemort",
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
    }
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(arch, arch)
    config = {
        "created": created,
        "architecture": architecture,
        "os": "linux",
        "config": {
            "User": f"{USER}:{USER}",
            "Entrypoint": ["/usr/bin/voldemort"],
            "Cmd": ["start", "services", "--config", "/etc/voldemort/voldemort.toml"],
            "Env": ["PATH=/usr/bin"],
            "Volumes": {"/var/lib/voldemort": {}},
            "WorkingDir": "/",
            "Labels": labels,
            # A field of Docker's image format, which the others ignore.
            "Healthcheck": {
                "Test": ["CMD", "/usr/bin/voldemortctl", "get", "status", "-o", "json"],
                "Interval": 30_000_000_000,
                "Timeout": 10_000_000_000,
                "StartPeriod": 30_000_000_000,
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]},
        "history": [{"created": created, "created_by": "packaging/build image"}],
    }
    kind = "application/vnd.oci.image"
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.manifest.v1+json",
        "config": blob(json.dumps(config, sort_keys=True).encode(), f"{kind}.config.v1+json"),
        "layers": [blob(packed, f"{kind}.layer.v1.tar+gzip")],
        "annotations": labels,
    }
    reference = blob(json.dumps(manifest, sort_keys=True).encode(), f"{kind}.manifest.v1+json")
    reference["annotations"] = {"org.opencontainers.image.ref.name": version}
    reference["platform"] = {"architecture": architecture, "os": "linux"}
    index = {"schemaVersion": 2, "mediaType": f"{kind}.index.v1+json", "manifests": [reference]}
    with tarfile.open(output, "w", format=tarfile.PAX_FORMAT) as image:

        def put(name, content):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(content), EPOCH, 0o644
            image.addfile(info, io.BytesIO(content))

        put("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        put("index.json", json.dumps(index, sort_keys=True).encode())
        for digest, content in sorted(blobs.items()):
            put(f"blobs/sha256/{digest}", content)


main()
