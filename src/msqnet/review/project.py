"""A project in a folder: an SQLite file in which every change is stored before it is confirmed.

Changes of a video are edits: what its items were before, and after. An edit can be undone and done
again, also after the server was restarted. One process at a time has the project open.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from msqnet.errors import ConfigError, DatasetError
from msqnet.intervals import END_TOLERANCE_SECONDS
from msqnet.labels import LabelSet, plain_text
from msqnet.review.items import ITEM, Mark, Segment, State

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from typing import Self

VERSION = 1
COMMAND_KEYS = frozenset("yn")
"""Letters that settle proposals; no label has them."""

_KEYS = "abcdefghijklmopqrstuvwxz0123456789"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS labels (
    place INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, key TEXT NOT NULL,
    is_point INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS videos (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, name TEXT NOT NULL, duration REAL,
    is_done INTEGER NOT NULL DEFAULT 0, result TEXT NOT NULL, fields TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS items (
    id INTEGER PRIMARY KEY AUTOINCREMENT, video INTEGER NOT NULL, body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS items_of_videos ON items (video);
CREATE TABLE IF NOT EXISTS edits (
    id INTEGER PRIMARY KEY AUTOINCREMENT, video INTEGER NOT NULL, is_undone INTEGER NOT NULL,
    before TEXT NOT NULL, after TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS edits_of_videos ON edits (video);
"""


@dataclass(frozen=True)
class Label:
    """A label, the key that annotates it (empty for none), and whether it has no length."""

    name: str
    key: str = ""
    is_point: bool = False


@dataclass(frozen=True)
class SourceVideo:
    """A video as a source names it.

    Attributes:
        path: absolute; the video may be missing.
        name: that is shown.
        items: what is known of it already, without ids.
        duration_seconds: None if unknown.
        result: the result of `msqnet predict` with its scores; empty where there is none.
        fields: columns of the table that hold for the whole video, such as ``split``.
    """

    path: Path
    name: str
    items: tuple[Segment | Mark, ...] = ()
    duration_seconds: float | None = None
    result: str = ""
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Video:
    """A video of a project; see `SourceVideo`. It was edited ``num_edits`` times."""

    id: int
    path: Path
    name: str
    duration_seconds: float | None
    is_done: bool
    result: str
    fields: dict[str, Any]
    num_edits: int

    @property
    def state(self) -> str:
        """``done``, ``in work`` once something was changed, or ``untouched``."""
        return "done" if self.is_done else "in work" if self.num_edits else "untouched"


@dataclass(frozen=True)
class Change:
    """Items that are there now, and ids of those that are gone; how many steps can be undone."""

    put: tuple[Segment | Mark, ...]
    removed: tuple[int, ...]
    num_undo: int
    num_redo: int


class Project:
    """An open project; all methods are called by one thread. Use it as a context manager.

    Raises:
        ConfigError: another process has it open, its folder cannot be written, or it is of a newer
            msqnet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = FileLock(folder / "lock")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise ConfigError(
                f"{folder}: this project is open in another 'msqnet review'; go on there, or stop "
                "that one (Ctrl-C) first"
            ) from error
        except OSError as error:
            raise ConfigError(
                f"{folder}: the project cannot be kept there ({error.strerror or error}); name a "
                "table in another folder with --out"
            ) from error
        try:
            self._open(folder / "project.sqlite")
        except BaseException:
            self._lock.release()
            raise

    def _open(self, file: Path) -> None:
        try:
            self._database = sqlite3.connect(file, isolation_level=None)
            self._database.execute("PRAGMA journal_mode = WAL")
            # A change is on the disk before it is confirmed, not only in the system's memory.
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise ConfigError(
                f"{file}: not a project that can be opened ({error}); move it away, or name "
                "another table with --out"
            ) from error
        version = int(self.fact("version") or VERSION)
        if version > VERSION:
            raise ConfigError(
                f"{file}: found version {version}, but this msqnet reads up to {VERSION}; upgrade "
                "msqnet"
            )
        self.set_fact("version", str(VERSION))
        if self.fact("token") is None:
            self.set_fact("token", secrets.token_urlsafe(24))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and let others open it."""
        self._database.close()
        self._lock.release()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield self._database
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def fact(self, name: str) -> str | None:
        """A stored text; None where there is none."""
        row = self._database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_fact(self, name: str, value: str) -> None:
        """Store a text."""
        self._database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def labels(self) -> tuple[Label, ...]:
        """In order."""
        rows = self._database.execute("SELECT name, key, is_point FROM labels ORDER BY place")
        return tuple(Label(name, key, bool(is_point)) for name, key, is_point in rows)

    def set_labels(self, labels: Sequence[Label]) -> None:
        """Replace all labels; `ConfigError` if one is in use and left out, or a key is not free."""
        names = LabelSet(tuple(plain_text(label.name) for label in labels))
        keys = [label.key for label in labels if label.key]
        for key in keys:
            if key not in _KEYS or keys.count(key) > 1:
                raise ConfigError(
                    f"key {key!r}: expected a lower-case letter or a digit for one label alone, "
                    f"and not {' or '.join(sorted(COMMAND_KEYS))}, which settle proposals"
                )
        gone = sorted(self._used_labels() - set(names))
        if gone:
            raise ConfigError(f"label {gone[0]!r} is used in this project and cannot be left out")
        with self._transaction() as database:
            database.execute("DELETE FROM labels")
            database.executemany(
                "INSERT INTO labels (name, key, is_point) VALUES (?, ?, ?)",
                [(name, item.key, item.is_point) for name, item in zip(names, labels, strict=True)],
            )

    def _used_labels(self) -> set[str]:
        rows = self._database.execute(
            "SELECT json_extract(body, '$.label') FROM items WHERE json_extract(body, '$.label') "
            "IS NOT NULL UNION SELECT value FROM items, json_each(body, '$.labels')"
        )
        return {str(name) for (name,) in rows}

    def add(self, videos: Iterable[SourceVideo], labels: Iterable[Label]) -> tuple[str, ...]:
        """Take in videos and labels of a source; notes say which videos keep what they had.

        A video that nobody has worked on gets what the source says now, any other one stays as it
        is. A source that holds proposals alone, as results do, replaces proposals alone.
        """
        kept = []
        known = {video.path: video for video in self.videos()}
        with self._transaction():
            for video in videos:
                old = known.get(video.path)
                if old is None:
                    self._add_video(video)
                elif old.num_edits or old.is_done:
                    kept.append(old.name)
                else:
                    self._refresh(old, video)
        mine = {label.name: label for label in self.labels()}
        new = {label.name: label for label in labels if label.name not in mine}
        if new:
            used = self._used_labels()
            self.set_labels(with_keys((*mine.values(), *new.values()), first=used))
        listed = ", ".join(kept[:5]) + (" and others" if len(kept) > 5 else "")
        return (f"{len(kept)} video(s) keep your work on them: {listed}",) if kept else ()

    def _add_video(self, video: SourceVideo) -> None:
        cursor = self._database.execute(
            "INSERT INTO videos (path, name, duration, result, fields) VALUES (?, ?, ?, ?, ?)",
            (
                str(video.path),
                video.name,
                video.duration_seconds,
                video.result,
                json.dumps(video.fields),
            ),
        )
        for item in video.items:
            self._insert(int(cursor.lastrowid or 0), item)

    def _refresh(self, old: Video, video: SourceVideo) -> None:
        """Replace what a source speaks of: proposals, or annotations, or both."""
        spoken_of = {_is_proposal(item) for item in video.items}
        spoken_of |= {True} if video.result else set()
        for item in self.items(old.id):
            if _is_proposal(item) in spoken_of:
                self._database.execute("DELETE FROM items WHERE id = ?", (item.id,))
        for item in video.items:
            self._insert(old.id, item)
        self._database.execute(
            "UPDATE videos SET name = ?, duration = ?, result = ?, fields = ? WHERE id = ?",
            (
                video.name,
                old.duration_seconds if video.duration_seconds is None else video.duration_seconds,
                video.result or old.result,
                json.dumps(video.fields or old.fields),
                old.id,
            ),
        )

    def replace_proposals(
        self, number: int, label: str, proposals: Iterable[Segment], result: str
    ) -> None:
        """Put other open proposals of a label into a video, and the result that they are of."""
        with self._transaction() as database:
            for item in self.items(number):
                if isinstance(item, Segment) and _is_proposal(item) and item.label == label:
                    database.execute("DELETE FROM items WHERE id = ?", (item.id,))
            for item in proposals:
                self._insert(number, item)
            database.execute("UPDATE videos SET result = ? WHERE id = ?", (result, number))

    def videos(self) -> tuple[Video, ...]:
        """In the order in which they came."""
        rows = self._database.execute(
            "SELECT id, path, name, duration, is_done, result, fields, (SELECT COUNT(*) FROM edits "
            "WHERE edits.video = videos.id AND NOT is_undone) FROM videos ORDER BY id"
        )
        return tuple(
            Video(
                number, Path(path), name, length, bool(is_done), result, json.loads(fields), count
            )
            for number, path, name, length, is_done, result, fields, count in rows
        )

    def video(self, number: int) -> Video:
        """The video of an id; `KeyError` if there is none."""
        return {video.id: video for video in self.videos()}[number]

    def num_open(self, number: int) -> int:
        """Segments of a video that a person has still to settle."""
        row = self._database.execute(
            "SELECT COUNT(*) FROM items WHERE video = ? "
            "AND json_extract(body, '$.state') IN (?, ?)",
            (number, State.PROPOSED, State.UNTIMED),
        ).fetchone()
        return int(row[0])

    def set_duration(self, number: int, seconds: float) -> None:
        """Store the length of a video, once its file was read."""
        self._database.execute("UPDATE videos SET duration = ? WHERE id = ?", (seconds, number))

    def set_fields(self, number: int, fields: dict[str, Any]) -> None:
        """Replace the columns of the table that hold for a whole video."""
        row = json.dumps(fields), number
        self._database.execute("UPDATE videos SET fields = ? WHERE id = ?", row)

    def set_done(self, number: int, is_done: bool) -> None:
        """Say whether the work on a video is finished."""
        self._database.execute("UPDATE videos SET is_done = ? WHERE id = ?", (is_done, number))

    def items(self, number: int) -> tuple[Segment | Mark, ...]:
        """All items of a video, by start."""
        rows = self._database.execute("SELECT id, body FROM items WHERE video = ?", (number,))
        found = [_item(item, body) for item, body in rows]
        return tuple(sorted(found, key=lambda item: (item.start, item.id)))

    def change(self, number: int, put: Sequence[Segment | Mark], removed: Sequence[int]) -> Change:
        """Store items of a video, those with the id 0 as new ones, and remove others: one edit.

        `DatasetError` for an id of no item of the video, an unknown label, or a time behind its
        end.
        """
        video = self.video(number)
        self._check(video, put)
        changed = [item.id for item in put if item.id] + list(removed)
        with self._transaction() as database:
            before = self._bodies(number, changed)
            missing = set(changed) - set(before)
            if missing or len(set(changed)) < len(changed):
                raise DatasetError(
                    f"{video.name}: item {min(missing or changed)} is not there or is named twice; "
                    "load the page again"
                )
            after: dict[int, str] = {}
            for item in put:
                place = item.id or self._insert(number, item)
                after[place] = _body(item)
            for place in removed:
                database.execute("DELETE FROM items WHERE id = ?", (place,))
            self._put(number, {place: after[place] for place in after if place in before})
            database.execute("DELETE FROM edits WHERE video = ? AND is_undone", (number,))
            database.execute(
                "INSERT INTO edits (video, is_undone, before, after) VALUES (?, 0, ?, ?)",
                (number, json.dumps(before), json.dumps(after)),
            )
        return self._as_change(number, before, after)

    def undo(self, number: int) -> Change:
        """Take back the last edit of a video; nothing if there is none."""
        return self._step(number, is_undone=False)

    def redo(self, number: int) -> Change:
        """Do again the edit that was taken back last; nothing if there is none."""
        return self._step(number, is_undone=True)

    def _step(self, number: int, *, is_undone: bool) -> Change:
        order = "ASC" if is_undone else "DESC"
        with self._transaction() as database:
            row = database.execute(
                "SELECT id, before, after FROM edits WHERE video = ? AND is_undone = ? "
                f"ORDER BY id {order} LIMIT 1",
                (number, is_undone),
            ).fetchone()
            if row is None:
                return self._as_change(number, {}, {})
            edit, *texts = row
            before, after = ({int(key): body for key, body in json.loads(t).items()} for t in texts)
            now, then = (before, after) if is_undone else (after, before)
            for place in set(now) - set(then):
                database.execute("DELETE FROM items WHERE id = ?", (place,))
            self._put(number, then)
            database.execute("UPDATE edits SET is_undone = ? WHERE id = ?", (not is_undone, edit))
        return self._as_change(number, now, then)

    def counts(self, number: int) -> tuple[int, int]:
        """How many edits of a video can be undone, and done again."""
        row = self._database.execute(
            "SELECT COUNT(*) FILTER (WHERE NOT is_undone), COUNT(*) FILTER (WHERE is_undone) "
            "FROM edits WHERE video = ?",
            (number,),
        ).fetchone()
        return int(row[0]), int(row[1])

    def _as_change(self, number: int, before: dict[int, str], after: dict[int, str]) -> Change:
        put = tuple(_item(place, body) for place, body in after.items())
        return Change(put, tuple(set(before) - set(after)), *self.counts(number))

    def _check(self, video: Video, put: Iterable[Segment | Mark]) -> None:
        labels = {label.name for label in self.labels()}
        limit = video.duration_seconds
        for item in put:
            names = (item.label,) if isinstance(item, Segment) else item.labels
            if unknown := [name for name in names if name not in labels]:
                raise DatasetError(f"{video.name}: the project has no label {unknown[0]!r}")
            last = item.start if item.end is None else item.end
            if limit is not None and last > limit + END_TOLERANCE_SECONDS:
                raise DatasetError(
                    f"{video.name}: found {last:.2f} s, but the video ends at {limit:.2f} s"
                )

    def _bodies(self, video: int, places: Iterable[int]) -> dict[int, str]:
        found = {}
        for place in places:
            row = self._database.execute(
                "SELECT body FROM items WHERE id = ? AND video = ?", (place, video)
            ).fetchone()
            if row is not None:
                found[place] = str(row[0])
        return found

    def _insert(self, video: int, item: Segment | Mark) -> int:
        cursor = self._database.execute(
            "INSERT INTO items (video, body) VALUES (?, ?)", (video, _body(item))
        )
        return int(cursor.lastrowid or 0)

    def _put(self, video: int, bodies: dict[int, str]) -> None:
        self._database.executemany(
            "INSERT OR REPLACE INTO items (id, video, body) VALUES (?, ?, ?)",
            [(place, video, body) for place, body in bodies.items()],
        )


def _is_proposal(item: Segment | Mark) -> bool:
    return isinstance(item, Segment) and item.state is State.PROPOSED


def _body(item: Segment | Mark) -> str:
    return item.model_dump_json(exclude={"id"}, exclude_defaults=False)


def _item(place: int, body: str) -> Segment | Mark:
    return ITEM.validate_json(body).model_copy(update={"id": place})


def with_keys(labels: Iterable[Label], first: Collection[str] = ()) -> tuple[Label, ...]:
    """Labels with keys for those that have none, as far as there are free ones.

    The first free letter of the name, or else the first free key of all; ``first`` are names whose
    labels choose before the others.
    """
    found = list(labels)
    taken = {label.key for label in found}
    for place in sorted(range(len(found)), key=lambda place: found[place].name not in first):
        label = found[place]
        if label.key:
            continue
        wanted = [*label.name.lower(), *_KEYS]
        key = next((key for key in wanted if key in _KEYS and key not in taken), "")
        taken.add(key)
        found[place] = Label(label.name, key, label.is_point)
    return tuple(found)
