"""Which file system a path is on, and whether other machines have it, too."""

from __future__ import annotations

import os
import re
from pathlib import Path

# Types as the kernel names them; those in user space are told apart behind "fuse.".
_SHARED = {
    "afs", "beegfs", "ceph", "cifs", "gfs2", "gpfs", "lustre", "nfs", "nfs4", "ocfs2", "orangefs",
    "panfs", "smb3", "smbfs", "wekafs",
}  # fmt: skip
_FUSE_ON_DISK = {"fuse.fuse-overlayfs"}  # of containers without root


def filesystem(path: str, root: str = "/") -> str:
    """Return the type of the file system at `path`, for instance "ext4"."""
    found, longest = "unknown", -1
    real = os.path.realpath(path)
    try:
        lines = Path(root, "proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return found
    for line in lines:
        before, _, after = line.partition(" - ")
        words = before.split()
        if len(words) < 5 or not after:
            continue
        mount = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), words[4])
        inside = real == mount or real.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= longest:
            found, longest = after.split()[0], len(mount)
    return found


def is_shared(path: str, root: str = "/") -> bool:
    """Whether `path` is on a file system of several machines, or one in user space."""
    kind = filesystem(path, root)
    return kind in _SHARED or (kind.startswith("fuse.") and kind not in _FUSE_ON_DISK)
