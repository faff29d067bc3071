// HDF5: weights, checkpoints, datasets.
//
// Swift imports neither macros that expand to casts or calls (H5T_*, H5F_ACC_*, H5P_*_CREATE) nor
// function names that are macros for a versioned name. What Graft needs of them stands here.
#pragma once
#if !__has_include(<hdf5.h>)
#error "Graft needs hdf5.h. Install it with: sudo apt-get install libhdf5-dev"
#endif
#include <hdf5.h>

// Access flags.
static inline unsigned graft_H5F_ACC_RDONLY(void) { return H5F_ACC_RDONLY; }
static inline unsigned graft_H5F_ACC_TRUNC(void) { return H5F_ACC_TRUNC; }

// Property list classes.
static inline hid_t graft_H5P_FILE_ACCESS(void) { return H5P_FILE_ACCESS; }
static inline hid_t graft_H5P_FILE_CREATE(void) { return H5P_FILE_CREATE; }
static inline hid_t graft_H5P_GROUP_CREATE(void) { return H5P_GROUP_CREATE; }
static inline hid_t graft_H5P_DATASET_CREATE(void) { return H5P_DATASET_CREATE; }
static inline unsigned graft_H5P_CRT_ORDER_TRACKED(void) { return H5P_CRT_ORDER_TRACKED; }
static inline unsigned graft_H5P_CRT_ORDER_INDEXED(void) { return H5P_CRT_ORDER_INDEXED; }

// Types as files hold them: little endian, fixed width. Memory is little endian too on the CPUs
// that Graft runs on, so the same types describe both sides.
static inline hid_t graft_H5T_IEEE_F32LE(void) { return H5T_IEEE_F32LE; }
static inline hid_t graft_H5T_IEEE_F64LE(void) { return H5T_IEEE_F64LE; }
static inline hid_t graft_H5T_STD_I8LE(void) { return H5T_STD_I8LE; }
static inline hid_t graft_H5T_STD_U8LE(void) { return H5T_STD_U8LE; }
static inline hid_t graft_H5T_STD_I32LE(void) { return H5T_STD_I32LE; }
static inline hid_t graft_H5T_STD_I64LE(void) { return H5T_STD_I64LE; }
static inline hid_t graft_H5T_C_S1(void) { return H5T_C_S1; }
static inline size_t graft_H5T_VARIABLE(void) { return H5T_VARIABLE; }

// Constants that are casts.
static inline hid_t graft_H5S_ALL(void) { return H5S_ALL; }
static inline hid_t graft_H5P_DEFAULT(void) { return H5P_DEFAULT; }

// The type of a link is a macro for a versioned function from 1.12 on; -1 where there is no link.
static inline int graft_H5Lget_type(hid_t location, const char *name) {
    H5L_info_t info;
    return H5Lget_info(location, name, &info, H5P_DEFAULT) < 0 ? -1 : (int)info.type;
}
