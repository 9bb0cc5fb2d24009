"""Fetch datasets: python -m data download mnist [--data-dir DIR]; list them: python -m data list.

`python -m data cache` lists the own folders that have been decoded, and what they take on the disk.
"""

import argparse

from data import DATASETS, data_folder
from data.cache_command import clear_cache, list_cache
from data.registry import lookup
from data.terminal import command


def main() -> None:
    """Run the command line."""
    command(_main)


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m data", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="name every dataset")
    download = commands.add_parser("download", help="fetch a dataset, checked by SHA-256")
    download.add_argument("name")
    download.add_argument("--data-dir", help="default: $JAXNETS_DATA, else ~/.cache/jaxnets")
    cache = commands.add_parser("cache", help="list the decoded own folders, or remove them")
    cache.add_argument("--clear", action="store_true", help="remove them; the next start decodes again")
    cache.add_argument("--cache-dir", help="default: $JAXNETS_CACHE, else jaxnets/decoded in the user's cache folder")
    args = parser.parse_args()
    if args.command == "cache":
        return clear_cache(args.cache_dir) if args.clear else list_cache(args.cache_dir)
    if args.command == "list":
        for name, source in DATASETS.items():
            print(f"{name:16}{source.about}")
        return 0
    source, folder = lookup("dataset", args.name, DATASETS), data_folder(args.data_dir)
    if source.download is None:
        print(f"{args.name} is embedded: there is nothing to download")
        return 0
    source.download(folder)
    source.load(folder)  # check that the files can be read
    print(f"{args.name} is in {folder}")
    return 0


if __name__ == "__main__":
    main()
