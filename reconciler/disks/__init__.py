"""What touches a shared block device: looks, reservations, SCSI commands.

It runs in processes of its own (`python -S -m reconciler.disks`), because a process that waits for
a dead disk can be neither ended nor asked. Standard library only. The agent calls it through
`adapters.linux.disks`, probes of monitors through `reconciler.probe`.
"""
