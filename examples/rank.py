"""Sort a folder from Python, and put several criteria side by side.

python examples/rank.py [FOLDER] [INSTRUCTION]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from imgrank import score, sort


def main(folder: str, instruction: str) -> None:
    ranking = sort(folder, instruction)
    column = ranking.columns[0]
    print(f"{column.instruction}: {column.method} {column.model}")
    for row in ranking:
        print(f"{row.rank:3}  {row.score:8.4g} {column.unit}  {row.path.name}")
    for skip in ranking.skips:
        print(f"skipped {skip.path.name}: {skip.reason}")

    side_by_side = score([row.path for row in ranking.rows[:3]], "brightness", "sharpness")
    print("\nthe first three, by brightness and sharpness")
    for path, cells in zip(side_by_side.paths, side_by_side.scores, strict=True):
        print("  ", path.name, *("-" if cell is None else f"{cell.value:.4g}" for cell in cells))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Sort a folder of pictures.")
    parser.add_argument("folder", nargs="?", default=str(Path(__file__).parent / "photos"))
    parser.add_argument("instruction", nargs="?", default="by image quality")
    main(**vars(parser.parse_args()))
