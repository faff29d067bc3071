// HDF5: weights, checkpoints, datasets.
#pragma once
#if !__has_include(<hdf5.h>)
#error "Graft needs hdf5.h. Install it with: sudo apt-get install libhdf5-dev"
#endif
#include <hdf5.h>
