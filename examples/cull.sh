#!/usr/bin/env bash
# From a folder of photographs to the best fifty, copied: a walk through what is done with an order.
#
#   examples/cull.sh [FOLDER] [RESULT] [COUNT]
#
# FOLDER is only read; everything new goes into RESULT, a new folder (without it, a temporary one).
# Nothing is ever overwritten.
# No name of a picture passes through the shell, so any will do, even one with newlines in it.
set -euo pipefail
folder=${1:-$(dirname "$0")/photos}
result=${2:-$(mktemp -d)}
count=${3:-50}
mkdir -p "$result"

# What makes a picture one of the best: its quality, and half as much its looks. Each --by is one
# criterion; the scores of several are combined within this set of pictures.
best=(--by "by image quality=2" --by "by aesthetics=1")

echo "1. Look at what is there: all pictures on one page, the best ones first."
imgrank sort "$folder" "${best[@]}" --gallery "$result/all.html" --output "$result/all.tsv"

# The same order once more, now from kept scores: nothing is computed twice.
echo "2. Bursts, copies and crops of one picture: column 'burst' says which belong together."
imgrank sort "$folder" "${best[@]}" --near-duplicates group --output "$result/bursts.tsv" --quiet

# Of each burst only the best one, and of these the first COUNT.
cull=("$folder" "${best[@]}" --near-duplicates keep-best --top "$count")

echo "3. Try it: what would be copied, and as what. Nothing is changed."
imgrank sort "${cull[@]}" --copy-to "$result/best" --rename --dry-run --quiet

# --rename puts the rank before each name (001__NAME); sidecars and the RAW beside a JPEG come along.
# What is done is written down first, so that it can be taken back, even after a crash half way.
echo "4. Do it."
imgrank sort "${cull[@]}" --copy-to "$result/best" --rename --output "$result/best.json" --format json

echo "5. A page of the best, from what step 4 wrote."
imgrank gallery "$result/best.json" --output "$result/best.html" --title "The best"

echo "The pictures are in $result/best, the pages beside it."
echo "imgrank undo    takes the copies back; imgrank undo --list shows what else can be."
