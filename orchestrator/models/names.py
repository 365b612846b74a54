"""What a model name means, and the one copy of each model in the store."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from orchestrator.config.training import REVISION
from orchestrator.errors import ModelError
from orchestrator.models.folder import check_folder, complete
from orchestrator.models.hub import check_hub_access, save_hub_model
from orchestrator.models.known import accepted, suggestion
from orchestrator.models.object_store import check_bucket_access, is_bucket, save_bucket_model
from orchestrator.models.presets import PRESETS, save_random
from orchestrator.models.wheels import ALIASES, save_alias
from orchestrator.storage.artifacts import commit, key_digest, scratch_beside, sound
from orchestrator.storage.bucket import ADDRESS

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
PINNED = re.compile(rf"(?P<id>{HUB_ID.pattern})@(?P<revision>{REVISION})")


def resolve(name: str, store: Path) -> Path:
    """The absolute path of a local folder that holds the model.

    The path of a folder is used where it is. Anything else is fetched or made once, into
    `<store>/models/<slug>-<hash>/`, and is used from there without network afterwards, unless a
    byte of it has changed: every file is compared with its digest, a few seconds for 7B. Several
    processes may ask at once: each works in a folder of its own, and the first to rename it
    into place serves all.

    Args:
        name: an alias, `random:<preset>[:<seed>]`, the path of a folder, the address of one in a
            bucket, or a Hugging Face id, perhaps with `@` and a commit, branch or tag behind it.
        store: where shared artifacts are kept; created when missing.

    Raises:
        ModelError: there is no such model, it cannot be fetched, or it is not safe to load.
    """
    validate_name(name)
    # save(folder, scratch) writes the model and returns the revision to remember.
    save: Callable[[Path, Path], str]
    key: dict[str, object]  # all that determines the files
    if name in ALIASES:
        key, save = {"package": ALIASES[name].files}, partial(save_alias, name)
    elif name.startswith("random:"):
        preset, seed = _parse_random(name)
        name = f"random:{preset}:{seed}"
        key, save = {"random": PRESETS[preset], "seed": seed}, partial(save_random, preset, seed)
    elif is_bucket(name):
        key, save = {"bucket": name}, partial(save_bucket_model, name)
    elif is_path(name):
        return Path(name).expanduser().resolve()
    else:
        key, save = _hub_key(name), partial(save_hub_model, *_hub_parts(name))

    folder = _stored(name, key, store)
    if not sound(folder):
        with scratch_beside(folder) as scratch:
            made = scratch / "model"
            made.mkdir()
            revision = save(made, scratch)
            commit(made, folder, {"name": name, "source": key, "revision": revision})
    return folder


def check_access(name: str, store: Path) -> None:
    """Refuse, before anything slow starts, a model that `resolve` could not fetch.

    One or two small requests to the hub; none for a model that is in the store or needs no hub.

    Raises:
        ModelError: as `validate_name`; or no hub, no such model, or a gated one without the right
            to read it.
    """
    validate_name(name)
    if is_bucket(name):
        if not complete(_stored(name, {"bucket": name}, store)):
            check_bucket_access(name)
        return
    if name in ALIASES or name.startswith("random:") or is_path(name):
        return
    if not complete(_stored(name, _hub_key(name), store)):
        check_hub_access(*_hub_parts(name))


def validate_name(name: str) -> None:
    """Refuse, without network, a name that cannot be resolved.

    Raises:
        ModelError: an unknown preset, a malformed name, or a folder that lacks a file or asks
            for code of its own.
    """
    if name in ALIASES:
        return
    plain, _, revision = name.rpartition("@")
    if plain and not Path(name).expanduser().is_dir() and (made := unpinned(plain)):
        raise ModelError(
            f"{plain} has no revision {revision}, {made}: leave model.revision and what follows "
            "the @ out, or name a model of the Hugging Face hub, such as owner/model"
        )
    if name.startswith("random:"):
        _parse_random(name)
    elif is_bucket(name):
        if not ADDRESS.fullmatch(name):
            raise ModelError(
                f"{name!r} is no folder of a bucket: type s3://bucket/folder or gs://bucket/folder"
            )
    elif is_path(name):
        check_folder(Path(name).expanduser(), f"the model folder {name}")
    elif PINNED.fullmatch(name):
        return
    elif not HUB_ID.fullmatch(name) or ("/" not in name and suggestion(name)):
        # An id without an owner that looks like a name from here is a slip of the finger.
        raise ModelError(f"{name!r} is not a model name.{suggestion(name)}\n{accepted()}")


def is_path(name: str) -> bool:
    """Whether a model is named by the path of its folder."""
    # owner/model may be a folder or a Hugging Face id: it is a path where that folder exists.
    return not is_bucket(name) and (
        name.startswith(("/", "./", "../", "~"))
        or "\\" in name
        or (name.count("/") > 1 and not PINNED.fullmatch(name))
        or (name != "" and Path(name).is_dir())
    )


def _hub_parts(name: str) -> tuple[str, str | None]:
    """A Hugging Face id, and the revision that is named with it."""
    pinned = PINNED.fullmatch(name)
    return (pinned["id"], pinned["revision"]) if pinned else (name, None)


def _hub_key(name: str) -> dict[str, object]:
    """What a model of the hub is stored under: one fetched without a revision as ever."""
    plain, revision = _hub_parts(name)
    return {"hub": plain} if revision is None else {"hub": plain, "revision": revision}


def unpinned(name: str) -> str:
    """Why a model has no revisions; "" of one that the hub may have."""
    if name in ALIASES:
        return "its package is pinned"
    if name.startswith("random:"):
        return "it is drawn from its seed"
    if ADDRESS.fullmatch(name):
        return "it is a folder in a bucket"
    return "it is a local folder" if is_path(name) else ""


def _stored(name: str, key: dict[str, object], store: Path) -> Path:
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:48]
    return store.resolve() / "models" / f"{slug}-{key_digest(key)[:12]}"


def _parse_random(name: str) -> tuple[str, int]:
    _, preset, *rest = name.split(":")
    if preset not in PRESETS:
        raise ModelError(
            f"{name!r} names no preset of random weights.{suggestion(name)}\n"
            f"  Presets are {', '.join(PRESETS)}: type random:tiny-llama"
        )
    if not rest:
        return preset, 0
    if len(rest) > 1 or not re.fullmatch(r"[0-9]{1,9}", rest[0]):
        raise ModelError(f"the seed in {name!r} is not a whole number: type random:{preset}:1")
    return preset, int(rest[0])
