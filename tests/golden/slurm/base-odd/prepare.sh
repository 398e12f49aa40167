#!/usr/bin/env bash
# Made by nanochat slurm, for the login node before the job is submitted. Again, it does what is missing.

# shellcheck disable=SC1091,SC2016
set -eo pipefail
set -u
export NANOCHAT_BASE_DIR='/a b/it'"'"'s
#SBATCH -x'

if ! nanochat data show -n 0 pocket >/dev/null 2>&1; then
    nanochat data pocket
fi

if ! nanochat tokenizer encode --tokenizer pocket x >/dev/null 2>&1; then
    nanochat tokenizer train --name pocket --data pocket
fi
