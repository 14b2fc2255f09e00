# Read (". environment.sh") by every job before it starts, and by you before lpad or qlaunch.
# The password of the database is not here: see database.yaml.
export ANODEFLOW_CLUSTER=@folder@
export ANODEFLOW_SETTINGS=@folder@/settings.yaml
export FW_CONFIG_FILE=@folder@/FW_config.yaml
export JOBFLOW_CONFIG_FILE=@folder@/jobflow.yaml
@modules@
# The Python that anodeflow is installed in
export PATH=@bin@:"$PATH"
# One thread a process; the parallel programs use processes.
export OMP_NUM_THREADS=@threads@
export MKL_NUM_THREADS=@threads@
