# How to build GPAW from the package registry with Debian's or Ubuntu's libraries:
#   apt-get install g++ libxc-dev libopenblas-dev libfftw3-dev libopenmpi-dev openmpi-bin libscalapack-openmpi-dev
#   GPAW_CONFIG=docs/gpaw-siteconfig.py pip install --no-binary gpaw 'anodeflow[gpaw]'
mpi = True
compiler = "mpic++"
libraries = ["xc", "openblas", "fftw3", "scalapack-openmpi"]
fftw = True
scalapack = True
