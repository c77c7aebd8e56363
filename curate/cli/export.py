"""Pack the kept samples of a data set into new shards for a consumer."""

from __future__ import annotations

import argparse
import os

from curate.cli._output import add_format, show

__all__ = ["add_arguments", "run"]

OPTIONS = (
    "captions",
    "sources",
    "prompt",
    "max_images",
    "form",
    "max_dynamic_patch",
    "captions_only",
    "missing",
    "pictures",
    "placement",
    "min_similarity",
    "min_image_bytes",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", help="folder or fsspec URL of a data set")
    parser.add_argument(
        "--to",
        metavar="FORMAT",
        help="of pairs and hand-overs energon, internvl, lavis, llama_factory, llava, mds, nanovlm, open_clip, qwen or "
        "trl; of hand-overs card; of pairs webdataset; of documents energon, m4, mmc4, obelics, omnicorpus or "
        "openflamingo",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="DIR is a hand-over: hash every file of its manifest again and tell what is missing, changed or extra",
    )
    parser.add_argument(
        "--describe",
        action="append",
        metavar="KEY=VALUE",
        help="--to card, a dataset card and Croissant of a hand-over: its name, creator, url, published or version",
    )
    parser.add_argument("--out", metavar="DIR", help="where to write (default: DIR-FORMAT; of a card DIR itself)")
    parser.add_argument("--shard-samples", type=int, default=10_000, help="samples per shard (10000)")
    parser.add_argument("--in-order", action="store_true", help="keep the order of the source instead of shuffling")
    parser.add_argument("--seed", type=int, default=0, help="seed of the shuffle (0)")
    parser.add_argument(
        "--captions",
        metavar="VIEW",
        help="pairs: the texts that a view of the config keeps, instead of the web's caption",
    )
    _talk_arguments(parser.add_argument_group("for pairs and hand-overs; each format takes some of them"))
    _document_arguments(parser.add_argument_group("for documents; each format takes some of them"))
    gone = "instead of an export: samples that have to go from data that is there already"
    _tombstone_arguments(parser.add_argument_group(gone))
    parser.add_argument("--on", choices=("local", "ray", "inline"), default="local", help="where work runs")
    add_format(parser)


def _talk_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--sources", metavar="NAMES", help="of a hand-over, these alone, with commas between (all)")
    group.add_argument(
        "--prompt",
        metavar="TEXT",
        help="what is asked where an answer is a caption: describe (one of eight ways, by the pair), plain (nothing: "
        "the picture alone) or a text of your own (describe)",
    )
    group.add_argument("--max-images", type=int, metavar="N", help="leave out conversations with more pictures")
    group.add_argument("--form", metavar="FORM", help="qwen: qwen3-vl (or 2, 2.5) or qwen-vl; lavis: json or wds")
    group.add_argument(
        "--max-dynamic-patch", type=int, metavar="N", help="internvl: tiles of a picture, into its meta file too (12)"
    )
    group.add_argument(
        "--captions-only",
        action="store_true",
        default=None,
        help="energon: texts alone, beside the pictures where they lie in DIR",
    )


def _document_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--missing", metavar="POLICY", help="pictures that failed: slot, drop_slot or drop_document")
    group.add_argument("--pictures", metavar="KIND", help="obelics: urls (as published) or bytes")
    group.add_argument("--placement", metavar="RULE", help="mmc4, openflamingo: similarity or document")
    group.add_argument("--min-similarity", type=float, metavar="COSINE", help="drop pictures like no sentence (0.15)")
    group.add_argument("--min-image-bytes", type=int, metavar="N", help="openflamingo: drop smaller ones (11000)")


def _tombstone_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--apply-tombstones",
        action="append",
        metavar="FILE",
        help="a list of URLs, hosts, keys, uids and hashes; DIR's tars are written without what it names",
    )
    group.add_argument(
        "--tombstones-only",
        action="store_true",
        help="leave the tars, write DIR/tombstones, which exports honour; for what `curate run` wrote",
    )
    group.add_argument("--tombstones-report", metavar="FILE", help="keys and counts of what went, as JSON")


def run(options: argparse.Namespace) -> int:
    from curate.errors import ConfigError

    if options.verify:
        return _verify(options)
    if options.to == "card":
        from curate.cli._card import card

        return card(options)
    if options.describe:
        raise ConfigError("--describe goes with --to card")
    if options.apply_tombstones:
        return _apply_tombstones(options)
    if options.tombstones_only or options.tombstones_report:
        raise ConfigError("--tombstones-only and --tombstones-report go with --apply-tombstones FILE")
    if not options.to:
        raise ConfigError("say --to FORMAT, or --apply-tombstones FILE, or --verify; see `curate export --help`")
    return _export(options)


def _verify(options: argparse.Namespace) -> int:
    from curate.cli._verify import verify_handover
    from curate.errors import ConfigError

    if options.to or options.out or options.apply_tombstones:
        raise ConfigError("--verify reads DIR and changes nothing; leave --to, --out and --apply-tombstones out")
    return verify_handover(options.folder, options.format)


def _apply_tombstones(options: argparse.Namespace) -> int:
    """What lists name goes, or is marked as dead; counts alone are shown."""
    from pathlib import Path

    from curate.decontamination.lists import read_lists
    from curate.decontamination.removal import remove_listed
    from curate.errors import ConfigError
    from curate.report.shard import write
    from curate.storage import Storage

    if options.to or options.out:
        raise ConfigError("--apply-tombstones changes DIR itself and exports nothing; leave --to and --out out")
    listed = read_lists(options.apply_tombstones, "--apply-tombstones")
    target, threads = Storage(options.folder.rstrip("/")), os.cpu_count() or 1
    done = remove_listed(target, listed, "index" if options.tombstones_only else "rewrite", threads)
    if options.tombstones_report:
        write(Path(options.tombstones_report), done.report(), "--tombstones-report")
    if options.tombstones_only:
        target.delete("subset.npy")  # has uids of dead rows; the next run writes it anew
    failed = [{"shard": shard, "error": error} for shard, error in done.failed.items()]
    show({**done.counts(), **({"failed": failed} if failed else {})}, options.format)
    return 1 if failed else 0


def _export(options: argparse.Namespace) -> int:
    from curate.cli._progress import progress
    from curate.errors import ConfigError
    from curate.export import check_options, exporter
    from curate.run import make_engine, runtime
    from curate.run.scheduler import RunSettings, run_job
    from curate.storage import Storage

    if options.captions == "":
        raise ConfigError("--captions is empty; name a view of the data set, or leave it out for the web's captions")
    source = Storage(options.folder.rstrip("/"))
    target = Storage(options.out or f"{source.root}-{options.to}")
    given = {name: value for name in OPTIONS if (value := getattr(options, name)) is not None}
    check_options(options.to, given)
    run_settings = RunSettings()
    engine = make_engine(
        options.on, run_settings, os.environ.get("RAY_ADDRESS"), os.environ.get("CUDA_VISIBLE_DEVICES")
    )
    try:
        export = exporter(options.to)
        job, finish = export(source, options.shard_samples, not options.in_order, options.seed, **given)
        with progress(job) as watch:
            outcome = run_job(job, target, engine, run_settings, runtime(run_settings, {}), watch)
            result = finish(target)
    finally:
        engine.close()
    show({**result, "written_to": target.root}, options.format)
    return 1 if outcome.failed or result.get("shards_without_selection") else 0
