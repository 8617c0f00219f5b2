# /// script
# requires-python = ">=3.10"
# dependencies = ["safetensors>=0.4", "torch>=2.4", "numpy", "gguf>=0.10"]
# ///
"""Compare two folders of reference files number by number.

    python compare.py COMMITTED ANEW

Both must hold the same .safetensors and .gguf files with the same tensors. Numbers may differ by
1e-4 of max(1, |committed|): builds of torch sum in different orders. Tensors of GGUF files must
have the same type and bytes. config.json isn't compared: its fields differ between releases.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from gguf import GGUFReader
from safetensors.torch import load_file

LARGEST = 1e-4  # of max(1, |committed|)


def files(folder: Path) -> list[str]:
    found = [*folder.rglob("*.safetensors"), *folder.rglob("*.gguf")]
    return sorted(str(path.relative_to(folder)) for path in found)


def tensors(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a file, under names that hold their type too: bytes for GGUF, numbers otherwise."""
    if path.suffix == ".gguf":
        stored = GGUFReader(path).tensors
        return {f"{t.name} ({t.tensor_type.name})": np.frombuffer(t.data.tobytes(), np.uint8) for t in stored}
    return {f"{name} ({t.dtype})": t.double().numpy() for name, t in load_file(path).items()}


def largest_difference(committed: Path, anew: Path) -> float:
    """Relative to max(1, |committed|); infinite for a GGUF file if a byte differs."""
    a, b = tensors(committed), tensors(anew)
    if {name: t.shape for name, t in a.items()} != {name: t.shape for name, t in b.items()}:
        sys.exit(f"error: {committed} and {anew} don't have the same tensors")
    if committed.suffix == ".gguf":
        return 0.0 if all(np.array_equal(a[name], b[name]) for name in a) else float("inf")
    differences = (np.abs(a[name] - b[name]) / np.maximum(1.0, np.abs(a[name])) for name in a)
    # A NaN must not pass: it is larger than nothing.
    return max(float(np.max(np.nan_to_num(difference, nan=np.inf))) for difference in differences)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("committed", type=Path, help="folder of the committed files")
    parser.add_argument("anew", type=Path, help="folder of files made anew")
    args = parser.parse_args()
    names = files(args.committed)
    if not names or names != files(args.anew):
        sys.exit(f"error: {args.committed} and {args.anew} don't hold the same .safetensors and .gguf files")
    worst = 0.0
    for name in names:
        difference = largest_difference(args.committed / name, args.anew / name)
        print(f"{difference:.1e}  {name}")
        worst = max(worst, difference)
    if not worst <= LARGEST:
        sys.exit(f"error: more than {LARGEST}: the committed numbers are not what these scripts compute")


if __name__ == "__main__":
    main()
