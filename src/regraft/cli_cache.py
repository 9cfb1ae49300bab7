"""The command line: ``regraft cache``, which tells of the store and empties it."""

from __future__ import annotations

import typer

from regraft.cli_options import Json, print_json

cache_app = typer.Typer(help="The store of computed features.", no_args_is_help=True)


@cache_app.command("info")
def cache_info(as_json: Json = False) -> None:
    """Say where the store is and how much it holds."""
    from regraft.frozen.files import cache_dir
    from regraft.frozen.store import FeatureStore
    from regraft.terminal import show_cache

    with FeatureStore(cache_dir()) as store:
        info = store.info()
    record = {
        "path": str(info.path),
        "bytes": info.bytes,
        "cap_bytes": info.cap_bytes,
        "pictures": info.pictures,
        "rows": info.rows,
        "networks": info.networks,
    }
    if as_json:
        print_json(record)
    else:
        show_cache(record)


@cache_app.command("clear")
def cache_clear(as_json: Json = False) -> None:
    """Delete everything in the store; what is needed again is computed again."""
    from regraft.frozen.files import cache_dir
    from regraft.frozen.store import FeatureStore

    with FeatureStore(cache_dir()) as store:
        freed = store.clear()
    if as_json:
        print_json({"freed_bytes": freed})
    else:
        typer.echo(f"{freed / 1e6:,.1f} MB freed")
