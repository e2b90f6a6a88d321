"""Write the frames of the test vectors as seeds of the frame fuzzer: `python tools/frame_seeds.py VECTORS FOLDER`."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path


def main(vectors: Path, folder: Path) -> None:
    """Write each frame once, named by its hash."""
    cases = json.loads(vectors.read_text())["cases"]
    frames = {bytes.fromhex(frame) for case in cases for frame in case["frames"]}
    folder.mkdir(parents=True, exist_ok=True)
    for frame in frames:
        (folder / hashlib.sha256(frame).hexdigest()[:16]).write_bytes(frame)
    print(f"{len(frames)} frames of the vectors are seeds in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
