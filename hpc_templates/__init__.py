"""Templates for SLURM, PBS and SGE."""
