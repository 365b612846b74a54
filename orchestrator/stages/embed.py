"""Stage 2: the vectors of pool, query set and held-out set, in the order of their rows.

Vectors are kept by the content of their text: a second study over the same texts, a grown pool
and a run that was killed embed only what is missing, and exact duplicates share one vector,
which the rule for ties relies on.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.embedding import Embedding
from orchestrator.data.dataset import embedding_text, load_messages
from orchestrator.data.digests import DIGEST_BYTES, Digests, text_digests
from orchestrator.screen import Line
from orchestrator.stages.encoder import Encoder, Texts
from orchestrator.stages.mapped import blocks, scratch_array
from orchestrator.stages.numbered import digests_in_file, sort_entries, starts_anew
from orchestrator.stages.spec import Spec
from orchestrator.stages.vector_cache import Readings, Vectors, vectors_key
from orchestrator.storage.artifacts import Artifact

EMBED_VERSION = 3
EMBEDDED = ("pool", "query", "held_out")  # the first splits of a dataset, as its rows go on
ALIKE_SHARE = 0.01  # of different texts: above it those that share a vector are warned of
CUT_SHARE = 0.25  # of all texts: the same of those of which not all is read
READ_TEXT = np.dtype([("read", f"S{DIGEST_BYTES}"), ("text", f"S{DIGEST_BYTES}")])
SAMPLE = 512  # pool texts, and queries, that are embedded in float32 as well


def embeddings_spec(
    instances: Artifact, embedding: Embedding, model_path: Path, model_digest: str, store: Path
) -> Spec:
    """`vectors.npy`: (pool + query + held-out, d) float32 unit vectors, in row order.

    The artifact remembers the number of `texts`, how many of them were `cached` and how many
    `embedded`, the `rate` of that in texts per second (null where there were none), the
    `dimensions` and the rows of each of the `splits`; and how well they tell texts apart (see
    `resolution`). Vectors in bfloat16 are compared with float32 on a sample: `top1_agreement` and
    `lowest_cosine` (see `agreement`).

    Args:
        instances: the dataset.
        model_path: folder of the model that embeds; `model_digest` tells its bytes.
        store: folder that holds the vectors of single texts as well.
    """
    splits = embedded_rows(instances)
    count = sum(splits.values())

    def make(folder: Path, line: Line) -> dict[str, Any]:
        encoder = Encoder(model_path, model_digest, embedding, store)
        return _write_vectors(instances, encoder, splits, folder, line)

    key = {
        "version": EMBED_VERSION,
        "dataset": instances.digest,
        "vectors": vectors_key(model_digest, embedding),
    }
    if embedding.text != "both":
        key["text"] = embedding.text
    return Spec(
        kind="embeddings",
        key=key,
        make=make,
        name="embeddings",
        describe=describe_embeddings,
        total=count,
        remarks=lambda info: resolution_remarks(info, embedding),
    )


def _write_vectors(
    instances: Artifact, encoder: Encoder, splits: dict[str, int], folder: Path, line: Line
) -> dict[str, Any]:
    """Write `vectors.npy`; returns what the artifact remembers."""
    count = sum(splits.values())

    def texts() -> Iterator[str]:
        rows = itertools.islice(load_messages(instances.path), count)
        return (embedding_text(messages, encoder.embedding.text) for messages in rows)

    def report(missing: int, rate: float) -> None:
        line.update(count - missing, f"{rate:,.0f} texts/s" if rate else "")

    digests = digests_in_file(texts(), count, folder)
    cache, info = encoder.fill(texts, digests, folder, report, line.tell)
    vectors = cache.gather(digests, folder / "vectors.npy")
    info |= {"texts": count, "dimensions": vectors.shape[1], "splits": splits}
    info |= resolution(digests, cache.readings(digests), folder)
    if encoder.embedding.dtype != "float32":
        line.update(count, "comparing with float32")
        pool, queries = _spread(splits["pool"]), splits["pool"] + _spread(splits["query"])
        exact = _in_float32(encoder, texts, [*pool, *queries], folder, line)
        rounded = vectors[[*pool, *queries]]
        info |= agreement(exact, rounded, len(pool))
    return info


def embedded_rows(instances: Artifact) -> dict[str, int]:
    """Rows of each split that is embedded, in row order."""
    splits = instances.info["splits"]
    return {name: splits[name]["instances"] for name in EMBEDDED if name in splits}


def describe_embeddings(info: Mapping[str, Any]) -> str:
    """What an embeddings artifact remembers, in a few words."""
    words = [f"{info['texts']:,} texts"]
    if info["cached"]:
        words[0] += f" ({info['cached']:,} from the cache)"
    words.append(f"{info['dimensions']} dimensions")
    if info["rate"]:
        words.append(f"{info['rate']:,.0f} texts/s")
    if info["cut"]:
        words.append(f"{info['cut']:,} cut")
    if info["shared"] > info["alike"]:
        words.append(f"{info['distinct']:,} distinct vectors for {info['texts']:,} instances")
    elif info["alike"]:
        words.append(f"{info['distinct']:,} distinct vectors of {info['different']:,} texts")
    if info["unknown"]:
        words.append(f"whether {info['unknown']:,} from an older cache were cut is not known")
    if "top1_agreement" in info:
        words.append(f"nearest as in float32 for {info['top1_agreement']:.1%} of queries")
    return ", ".join(words)


def resolution(
    digests: Digests,
    readings: Iterable[tuple[slice, Readings, NDArray[np.bool_]]],
    folder: Path,
) -> dict[str, int]:
    """How well vectors tell texts apart.

    Args:
        digests: (n,) of the texts.
        readings: what the model read of each, block by block, as `VectorCache.readings` says.
        folder: on whose disk 32 bytes a text lie meanwhile.

    Returns:
        Counts: texts that were `cut`; `different` texts and `distinct` vectors; the different
        texts that are `alike`, which share their vector with another one; the rows that are
        `shared`, the same of all texts, equal ones too; texts of which all this is `unknown`, from
        a cache of before it was kept.
    """
    cut = unknown = 0
    pairs = scratch_array(folder, READ_TEXT, digests.shape)
    for block, given, known in readings:
        read = np.ascontiguousarray(given["read"]).view(READ_TEXT["read"])[:, 0]
        pairs["read"][block], pairs["text"][block] = read, digests[block]
        cut, unknown = cut + int(given["cut"].sum()), unknown + int((~known).sum())
    sort_entries(pairs)
    rows = blocks(len(pairs))
    # A vector is that of what was read: rows by vector, and those of one vector by text.
    vector = np.concatenate([starts_anew(pairs["read"], block) for block in rows])
    text = np.concatenate([starts_anew(pairs, block) for block in rows])
    return {
        "cut": cut,
        "different": int(text.sum()),
        "distinct": int(vector.sum()),
        "alike": _not_alone(vector[text]),
        "shared": _not_alone(vector),
        "unknown": unknown,
    }


def _not_alone(starts: NDArray[np.bool_]) -> int:
    """How many members have another one in their group; (n,) which of them begins a group."""
    return int((~(starts & np.append(starts[1:], True))).sum())


def resolution_remarks(info: Mapping[str, Any], embedding: Embedding) -> Iterator[tuple[str, str]]:
    """A warning where vectors tell too many texts not apart, or leave too many of them out."""
    window = f"of a text at most {embedding.max_length} tokens are read"
    other = "start" if embedding.keep == "end" else "end"
    mend = (
        f"embed another part, with embedding.keep: {other} or embedding.text: prompt or answer, "
        "or raise embedding.max_length for a model that reads more"
    )
    if info["alike"] > ALIKE_SHARE * info["different"]:
        yield (
            "warning",
            f"embeddings: {info['alike']:,} of {info['different']:,} different texts share their "
            f"vector with another one, so that their order by distance is that of the file; "
            f"{window}: {mend}",
        )
    # Instances that are equal as a whole may stand in any order.
    elif embedding.text != "both" and info["shared"] > ALIKE_SHARE * info["texts"]:
        yield (
            "warning",
            f"embeddings: {info['distinct']:,} distinct vectors for {info['texts']:,} instances: "
            f"{info['shared']:,} share theirs with another one, so that their order by distance is "
            f"that of the file; many have an equal {embedding.text}: set embedding.text: both",
        )
    elif info["cut"] > CUT_SHARE * info["texts"]:
        yield (
            "warning",
            f"embeddings: {info['cut']:,} of {info['texts']:,} texts are longer than what is read "
            f"of them; {window}: {mend}",
        )


def agreement(exact: Vectors, rounded: Vectors, pool: int) -> dict[str, float]:
    """How far rounding changes who is whose nearest neighbour.

    Args:
        exact: (n, d) unit vectors of texts: `pool` of the pool, the rest queries.
        rounded: (n, d) unit vectors of the same texts in fewer bits.
        pool: how many come from the pool.

    Returns:
        `top1_agreement`, the share of queries with the same nearest pool text in both, and
        `lowest_cosine` between the two vectors of a text.
    """
    nearest, changed = ((side[pool:] @ side[:pool].T).argmax(axis=1) for side in (exact, rounded))
    return {
        "top1_agreement": float((nearest == changed).mean()),
        "lowest_cosine": float((exact * rounded).sum(axis=1).min()),
    }


def _in_float32(
    encoder: Encoder, texts: Texts, rows: list[int], folder: Path, line: Line
) -> Vectors:
    """Vectors of some texts in float32, whatever the encoder's dtype; rows ascend."""
    wanted = set(rows)
    sample = [text for row, text in enumerate(texts()) if row in wanted]
    exact = replace(encoder, embedding=encoder.embedding.model_copy(update={"dtype": "float32"}))
    digests = text_digests(sample)
    cache, _ = exact.fill(lambda: sample, digests, folder, lambda missing, rate: None, line.tell)
    path = folder / "sample.npy"
    vectors = np.array(cache.gather(digests, path))
    path.unlink()
    return vectors


def _spread(count: int) -> NDArray[np.int64]:
    """At most `SAMPLE` distinct numbers below `count`, evenly spread, ascending."""
    return np.arange(min(SAMPLE, count)) * count // min(SAMPLE, count)
