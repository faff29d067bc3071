// Open MPI: the cluster.
#pragma once
#if !__has_include(<mpi.h>)
#error "Graft needs mpi.h. Install it with: sudo apt-get install libopenmpi-dev openmpi-bin"
#endif
#include <mpi.h>
