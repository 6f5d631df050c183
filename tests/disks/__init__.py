"""Journals on real disks: power cuts, full disks, copy-on-write, network file systems and disks that fail.

These tests mount file systems, so they need Linux and root; `mounts.py` says which other programs. Each runs in a
process with mounts of its own, which go with the process. `fuse.py` speaks the protocol of FUSE without a library:
`logged_disk.py` is a disk that remembers each write and each flush, and `mirror.py` a folder as a network file system
gives it, both with faults on demand. `promises.py` has what a run must satisfy afterwards, whatever happened to it.
"""
