"""A serving side that ended in disorder knows what it wrote down, or nothing: what it has in memory
may be ahead of its disk."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.mirror.engine import Engine, EngineError
from reconciler.mirror.settings import Settings


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    key = tmp_path / "key"
    key.write_text("ab\n")
    engine = Engine(
        Settings(
            resource="data",
            server="a",
            peer="b",
            data=str(tmp_path / "data"),
            metadata=str(tmp_path / "metadata"),
            size=16 << 20,
            directory=str(tmp_path),
            boot="boot-1",
            port=7788,
            listen=(),
            peers=(),
            key_file=str(key),
        )
    )
    yield engine
    engine._close()


def end_in_disorder(engine: Engine) -> list[dict[str, Any]]:
    """Its answers to the wish that ended it."""
    answers: list[dict[str, Any]] = []
    engine.primary = SimpleNamespace(over="failed", handed_over=False)  # type: ignore[assignment]
    engine._stop = (0.0, answers.append)
    engine._stopped()
    return answers


def test_it_goes_on_with_what_is_on_its_disk(engine: Engine) -> None:
    on_disk = engine.disk.metadata.header.current
    engine.disk.metadata.header = engine.disk.metadata.header.with_generation("g2")
    assert end_in_disorder(engine) == [{"ok": True, "clean": False, "handed_over": False}]
    assert engine.disk.metadata.header.current == on_disk
    assert not engine.failure


def test_it_follows_nobody_when_that_cannot_be_read(engine: Engine, tmp_path: Path) -> None:
    metadata = tmp_path / "metadata"
    metadata.write_bytes(bytes(metadata.stat().st_size))
    assert len(end_in_disorder(engine)) == 1
    assert "cannot be read" in engine.failure
    with pytest.raises(EngineError, match="its disk failed"):
        engine.prepare("")
