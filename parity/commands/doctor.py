"""The command doctor: what an issue report should contain."""

from pathlib import Path
from typing import Any

from parity.report.console import check_folder, load_module, save_json, wide_console


def add(commands: Any) -> None:
    """Add the command."""
    doctor = commands.add_parser("doctor", help="print versions, devices, flags; run what XLA is known to get wrong")
    doctor.add_argument("--json", type=Path, metavar="FILE", help="write all of it to FILE, too")
    doctor.set_defaults(run=lambda args: run_doctor(args.json))


def run_doctor(json_file: Path | None) -> int:
    """Print what an issue report should contain; return 0 if everything is computed right, else 3."""
    check_folder(json_file)
    doctor = load_module("compiler.doctor")
    found = doctor.examine()
    doctor.print_findings(wide_console(), found)
    save_json(json_file, found.to_json())
    return 0 if found.ok else 3
