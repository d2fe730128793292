"""What every store checks in a transaction before it is sent; used by the etcd and memory adapters.

Breaking a rule is a fault of the calling code, hence `ValueError` and never a `StoreError`.
"""

from collections.abc import Mapping

from reconciler.ports.store import Delete, KeyValue, Put, Transaction

MAX_OPERATIONS = 128  # etcd's --max-txn-ops
MAX_REQUEST_BYTES = 1_500_000  # etcd's --max-request-bytes is 1.5 MiB, framing included


def check_transaction(transaction: Transaction) -> None:
    """Raise `ValueError` for a transaction that etcd would refuse or that could not be repeated."""
    operations = transaction.operations
    if len(operations) > MAX_OPERATIONS or len(transaction.compares) > MAX_OPERATIONS:
        raise ValueError(f"more than {MAX_OPERATIONS} operations or compares in one transaction")
    puts = [operation for operation in operations if isinstance(operation, Put)]
    size = sum(len(put.key.encode()) + len(put.value) + 64 for put in puts)
    if size > MAX_REQUEST_BYTES:
        raise ValueError(f"transaction of {size} bytes; the store takes {MAX_REQUEST_BYTES}")
    written = {put.key for put in puts}
    if len(written) != len(puts):
        raise ValueError("one transaction puts a key twice")
    deletes = [operation for operation in operations if isinstance(operation, Delete)]
    for delete in deletes:
        if any(covers(delete, key) for key in written):
            raise ValueError(f"one transaction both puts and deletes under {delete.key}")
    if transaction.guard is not None:
        _check_guard(transaction, written | {d.key for d in deletes if not d.prefix})


def _check_guard(transaction: Transaction, written: set[str]) -> None:
    if guard_value(transaction) is None:
        raise ValueError(f"the guard {transaction.guard} is not put by its transaction")
    # Otherwise a late second attempt would pass its compares again and overwrite a newer value.
    if not any(compare.key in written for compare in transaction.compares):
        raise ValueError(f"guard {transaction.guard}: no compared key is written, so it can repeat")


def guard_value(transaction: Transaction) -> bytes | None:
    """The value that proves our own earlier attempt, or None without a guard."""
    for operation in transaction.operations:
        if isinstance(operation, Put) and operation.key == transaction.guard:
            return operation.value
    return None


def may_still_hold(transaction: Transaction, found: Mapping[str, KeyValue | None]) -> bool:
    """Whether another attempt, still under way, could succeed after this one failed its compares.

    A `mod_revision` never returns, but a key that must not exist may be deleted in between.
    """
    failed = []
    for compare in transaction.compares:
        current = found.get(compare.key)
        if (current.mod_revision if current else 0) != compare.mod_revision:
            failed.append(compare)
    return all(compare.mod_revision == 0 for compare in failed)


def covers(delete: Delete, key: str) -> bool:
    return key.startswith(delete.key) if delete.prefix else key == delete.key
