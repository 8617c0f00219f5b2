#!/bin/bash
# Study @NAME@, @RUNS@ in one process here, then the tables. Made by
#   @COMMAND@
# for you to read and to edit. What is finished lies in attempts/ and is skipped.
set -euo pipefail
cd @DIRECTORY@
status=0
@PROGRAM@ study run @STUDY@ \
    --out @OUT@ @THREADS@|| status=$?
# Failed runs are for the collector to name; wrong input (2) or an interruption (75) ends it here.
case $status in 2 | 75 | 1[2-9][0-9]) exit "$status" ;; esac
exec @PROGRAM@ study collect @STUDY@ \
    --out @OUT@
