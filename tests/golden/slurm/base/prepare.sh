#!/usr/bin/env bash
# Made by nanochat slurm, for the login node before the job is submitted. Again, it does what is missing.

# shellcheck disable=SC1091,SC2016
set -eo pipefail
module purge
module load cuda/12.8
source '/home/ada/nano chat/bin/activate'
set -u
export NANOCHAT_BASE_DIR=/scratch/ada

nanochat data download --source climbmix -n 159

nanochat data show -n 0 mine >/dev/null

if ! nanochat tokenizer encode --tokenizer english x >/dev/null 2>&1; then
    nanochat tokenizer train --name english --data climbmix:0.9,mine:0.1
fi
