#!/bin/bash
# Study @NAME@: the tables, when the shards have ended, however they ended. Exit status 3:
# runs are missing; submit.sh again does them and only them.
@OPTIONS@
set -euo pipefail
exec @PROGRAM@ study collect @STUDY@ \
    --out @OUT@
