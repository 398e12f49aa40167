#!/usr/bin/env bash
# Made by nanochat slurm, for the login node before the job is submitted. Again, it does what is missing.

# shellcheck disable=SC1091,SC2016
set -eo pipefail
set -u

nanochat data pocket --size 12M

nanochat tokenizer train --vocab-size 4096 --max-chars 8M
