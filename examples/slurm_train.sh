#!/usr/bin/env bash
# Train one model on two machines of four GPUs each: sbatch examples/slurm_train.sh --data clips.csv --out runs/mine
# Options behind the script's name go to `msqnet train`. --resume is always given: a job that was stopped, or that
# SLURM starts again after a machine failed, goes on where the last whole checkpoint was written.
#SBATCH --job-name=msqnet
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
set -euo pipefail

first_machine=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export OMP_NUM_THREADS=$((SLURM_CPUS_PER_TASK / SLURM_GPUS_ON_NODE))
export HF_HUB_OFFLINE=1 # machines of a cluster often have no way to the Hub: fetch weights beforehand

srun torchrun \
  --nnodes "$SLURM_NNODES" \
  --nproc_per_node "$SLURM_GPUS_ON_NODE" \
  --rdzv_id "$SLURM_JOB_ID" \
  --rdzv_backend c10d \
  --rdzv_endpoint "$first_machine:29500" \
  -m msqnet train --resume "$@"
