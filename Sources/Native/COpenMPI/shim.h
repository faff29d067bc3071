// Open MPI: the cluster.
#pragma once
#if !__has_include(<mpi.h>)
#error "Graft needs mpi.h. Install it with: sudo apt-get install libopenmpi-dev openmpi-bin"
#endif
#include <mpi.h>

// Macros that expand to casts of addresses; Swift imports only those that are plain numbers.

static inline MPI_Comm graft_MPI_COMM_WORLD(void) { return MPI_COMM_WORLD; }
static inline MPI_Comm graft_MPI_COMM_NULL(void) { return MPI_COMM_NULL; }

static inline MPI_Datatype graft_MPI_FLOAT(void) { return MPI_FLOAT; }
static inline MPI_Datatype graft_MPI_DOUBLE(void) { return MPI_DOUBLE; }
static inline MPI_Datatype graft_MPI_BYTE(void) { return MPI_BYTE; }
static inline MPI_Datatype graft_MPI_INT64(void) { return MPI_INT64_T; }

static inline MPI_Op graft_MPI_SUM(void) { return MPI_SUM; }
static inline MPI_Op graft_MPI_MIN(void) { return MPI_MIN; }

static inline void *graft_MPI_IN_PLACE(void) { return MPI_IN_PLACE; }

static inline MPI_Request graft_MPI_REQUEST_NULL(void) { return MPI_REQUEST_NULL; }
static inline MPI_Status *graft_MPI_STATUS_IGNORE(void) { return MPI_STATUS_IGNORE; }
static inline MPI_Status *graft_MPI_STATUSES_IGNORE(void) { return MPI_STATUSES_IGNORE; }

static inline MPI_Errhandler graft_MPI_ERRORS_RETURN(void) { return MPI_ERRORS_RETURN; }
