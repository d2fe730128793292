"""The store port on real etcd; the only package that imports gRPC and aetcd."""

from reconciler.adapters.etcd.endpoints import TlsFiles
from reconciler.adapters.etcd.store import EtcdStore, StoreTiming
from reconciler.adapters.etcd.watch import WatchTiming

__all__ = ["EtcdStore", "StoreTiming", "TlsFiles", "WatchTiming"]
