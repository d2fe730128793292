"""The block mirror: one process for each mirror on each of its two servers.

A program writes to a file system on a loop device; the loop device's file is served by this process
(`fuse`), which writes each block locally and sends it to its peer over one ordered stream. What may
be answered when is decided by `primary` and `secondary`, which do no I/O but through ports;
`decide` holds the rules without any state. Standard library only.
"""
