"""Templates of a cluster folder for SLURM, PBS and SGE; ``@name@`` is filled in by ``anodeflow hpc init``."""
