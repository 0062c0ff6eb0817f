#!/bin/sh
# run.sh PROGRAM CORPUS: fuzzes for $RAIN_FUZZ_SECONDS (60), from the committed corpus, which stays
# as it is. Inputs that are new go into, and failing ones beside, found-NAME in the build folder.
set -eu
program=$1
corpus=$2
cd "$(dirname "$program")"
found=found-$(basename "$corpus")
mkdir -p "$found"
exec "$program" -max_total_time="${RAIN_FUZZ_SECONDS:-60}" -max_len=4096 -len_control=0 -timeout=20 \
  -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$PWD/failed-" "$found" "$corpus"
