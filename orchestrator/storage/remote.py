"""The artifacts of a study: in a folder and, where one is named, in object storage as well.

Clusters come and go, and their file systems often with them; a bucket stays. What the folder
lacks is fetched from the remote store before it would be built, and what the folder holds is
copied there:

    <address>/<kind>/<digest>/<sha256>        a file, under the digest of its own bytes
    <address>/<kind>/<digest>/manifest.json   the artifact's manifest, written last

Two clusters may write one artifact at once, and not with the same bytes (a timing is enough). No
reader mixes them: a file never changes under its name, and the manifest that was written last
names those of one writer. Files that no manifest names any more stay behind.

Only the process that drives a study goes there, so that no other node needs a right to it. Not for
what trials measure, the losses of the untouched model among it, nor for the vectors of single
texts, of which the embeddings are made; models have addresses of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from rich.markup import escape

from orchestrator.errors import ConfigError
from orchestrator.screen import Screen
from orchestrator.storage.artifacts import (
    MANIFEST,
    Artifact,
    build,
    key_digest,
    read_manifest,
    sound,
)
from orchestrator.storage.bucket import BucketFolder, reason
from orchestrator.storage.disk import disk_error

MEANWHILE = {
    "read": "the run goes on and builds what its store lacks",
    "written": "the run goes on, and the same command copies there later what is missing",
}


class AbsentError(LookupError):
    """The remote store has no sound artifact of this kind and digest."""


class RemoteStore:
    """Artifacts in object storage, as long as it can be reached.

    What fails does not fail the run: it is told, and the remote store is not read from, or not
    written to, until the run ends. A storage that has gone would cost seconds with every artifact.

    Args:
        address: the folder in object storage.
        screen: where it is told, once for reading and once for writing.
    """

    def __init__(self, address: str, screen: Screen) -> None:
        self._address = address
        self._screen = screen
        self._given_up: set[str] = set()

    @cached_property
    def _bucket(self) -> BucketFolder:
        return BucketFolder(self._address)

    def fetch(self, kind: str, digest: str, folder: Path) -> Mapping[str, Any]:
        """Copy an artifact's files into an empty folder; returns what it remembers.

        Raises:
            AbsentError: there is none, or one that lacks a file or has a damaged one; the folder
                may hold a part of it.
        """
        info = None
        if "read" not in self._given_up:
            try:
                info = self._download(kind, digest, folder)
            except (FileNotFoundError, AttributeError, KeyError, TypeError):
                pass  # no manifest, none of ours, or not every file that it names
            except OSError as error:
                if disk_error(error, folder):
                    raise  # not the bucket's fault: nothing could be built here either
                self._give_up("read", error)
        if info is None:
            raise AbsentError(f"{kind} {digest}")
        return info

    def keep(self, artifact: Artifact) -> None:
        """Copy an artifact to the remote store.

        One that was not just built is copied only where there is none yet.
        """
        if "written" in self._given_up:
            return
        place = _place(artifact.path.parent.name, artifact.digest)
        try:
            if not (artifact.reused and self._names(place)):
                self._upload(artifact.path, place)
        except OSError as error:
            self._give_up("written", error)

    def _download(self, kind: str, digest: str, folder: Path) -> Mapping[str, Any] | None:
        place = _place(kind, digest)
        (folder / MANIFEST).write_bytes(self._bucket.read(f"{place}/{MANIFEST}"))
        manifest = read_manifest(folder)
        if manifest is None or manifest.get("digest") != digest:
            return None
        for name, entry in manifest["files"].items():
            # Whoever may write to the bucket has no right to other folders of this machine.
            if not (folder / name).resolve().is_relative_to(folder.resolve()):
                return None
            self._bucket.download(f"{place}/{entry['sha256']}", folder / name)
        if not sound(folder):
            return None
        (folder / MANIFEST).unlink()  # no file of the artifact: `build` writes it last
        info: Mapping[str, Any] = manifest["info"]
        return info

    def _names(self, place: str) -> bool:
        """Says whether the bucket has a manifest at a place."""
        try:
            self._bucket.read(f"{place}/{MANIFEST}")
        except FileNotFoundError:
            return False
        return True

    def _upload(self, folder: Path, place: str) -> None:
        manifest = read_manifest(folder)
        assert manifest is not None, "an artifact has a manifest"
        for name, entry in manifest["files"].items():
            self._bucket.upload(folder / name, f"{place}/{entry['sha256']}")
        self._bucket.write(f"{place}/{MANIFEST}", (folder / MANIFEST).read_bytes())

    def _give_up(self, done: Literal["read", "written"], error: OSError) -> None:
        self._given_up.add(done)
        sentence = f"{self._address} cannot be {done} ({reason(error)}): {MEANWHILE[done]}"
        self._screen.print(f"[yellow]warning[/] {escape(sentence)}")


@dataclass(frozen=True)
class ArtifactStore:
    """The folder, and the object storage, that hold the artifacts of a study.

    Attributes:
        path: folder of artifacts, vectors and models; made when it is missing.
        remote: what is shared with other clusters; None where nothing is.
    """

    path: Path
    remote: RemoteStore | None = None

    def build(
        self, kind: str, key: Any, make: Callable[[Path], Mapping[str, Any] | None]
    ) -> Artifact:
        """Returns an artifact: from the folder, else from the remote store, else built.

        The arguments are those of `artifacts.build`.
        """
        remote = self.remote
        if remote is None:
            return build(self.path, kind, key, make)
        digest = key_digest(key)
        try:
            there = build(self.path, kind, key, lambda to: remote.fetch(kind, digest, to))
        except AbsentError:
            there = None
        artifact = replace(there, reused=True) if there else build(self.path, kind, key, make)
        remote.keep(artifact)
        return artifact


def check_remote_store(address: str) -> None:
    """Refuse, before anything starts, a remote store that this user cannot list.

    Raises:
        ConfigError: naming the address.
    """
    try:
        BucketFolder(address).check()
    except OSError as error:
        raise ConfigError(
            [
                f"remote_store: {address} cannot be read ({reason(error)}): give a folder of a "
                "bucket that is there and that you may use, such as s3://bucket/folder, or leave "
                "remote_store out"
            ]
        ) from None


def _place(kind: str, digest: str) -> str:
    """An artifact's folder, in the bucket as in the store."""
    return f"{kind}/{digest[:16]}"
