"""The plain way to run a CLIP model over a folder, which `speed.py` compares with.

One process, full Pillow decode one after the other in the main thread, OpenCLIP's own transform,
batches of 32, torch on two threads, the same model folder. Prints pictures and seconds, without
the time to import and load.

    python tests/bench/plain.py MODEL_FOLDER PICTURE...
"""

from __future__ import annotations

import sys
import time

import open_clip
import torch
from PIL import Image


def main() -> None:
    torch.set_num_threads(2)
    folder, *paths = sys.argv[1:]
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    model.eval()
    started = time.perf_counter()
    with torch.inference_mode():
        for start in range(0, len(paths), 32):
            batch = [transform(Image.open(p).convert("RGB")) for p in paths[start : start + 32]]
            model.encode_image(torch.stack(batch))
    print(len(paths), time.perf_counter() - started)


if __name__ == "__main__":
    main()
