#!/usr/bin/env bash
# Made by nanochat slurm, for the login node before the job is submitted. Again, it does what is missing.

# shellcheck disable=SC1091,SC2016
set -eo pipefail
set -u

nanochat data chat-check 'my talks.jsonl'

nanochat data chat-check val.jsonl
