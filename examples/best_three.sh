#!/usr/bin/env bash
# Copies the best three pictures of a folder into a new one. Any file name will do, even one with
# newlines in it: names travel NUL-separated.
#
#   examples/best_three.sh [FOLDER] [TARGET]
set -euo pipefail
folder=${1:-$(dirname "$0")/photos}
target=${2:-$(mktemp -d)}
mkdir -p "$target"
find "$folder" -type f -name '*.jpg' -print0 |
    imgrank sort - "by image quality" -0 --quiet --top 3 --format paths |
    xargs -0 cp -n -t "$target" --
ls -1 "$target"
