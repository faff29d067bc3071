import CHDF5
import Tensors

/// How element types and strings are written in HDF5.
enum HDF5Types {
    /// The HDF5 type of an element, the same in files and in memory (little endian).
    ///
    /// `bool` is the enumeration that h5py writes; `float16` is IEEE half precision and `bfloat16` its
    /// own 16-bit float, which HDF5 and h5py convert to wider ones by themselves.
    static func type(of element: ElementType) throws -> HDF5Handle {
        switch element {
        case .float32: return try copy(graft_H5T_IEEE_F32LE())
        case .float64: return try copy(graft_H5T_IEEE_F64LE())
        case .int8: return try copy(graft_H5T_STD_I8LE())
        case .uint8: return try copy(graft_H5T_STD_U8LE())
        case .int32: return try copy(graft_H5T_STD_I32LE())
        case .int64: return try copy(graft_H5T_STD_I64LE())
        case .float16: return try smallFloat(exponentBits: 5, mantissaBits: 10)
        case .bfloat16: return try smallFloat(exponentBits: 8, mantissaBits: 7)
        case .bool: return try boolean()
        }
    }

    /// The element type that values of an HDF5 type are read as, or nil where there is none: integers without a type of
    /// their own go to the next wider one, and unsigned ones of 64 bits to signed ones, in which HDF5 makes those that
    /// do not fit the largest.
    static func element(of type: hid_t) -> ElementType? {
        let size = H5Tget_size(type)
        switch H5Tget_class(type) {
        case H5T_FLOAT:
            return floatElement(of: type, size: size)
        case H5T_INTEGER:
            let isSigned = H5Tget_sign(type) == H5T_SGN_2
            switch (size, isSigned) {
            case (1, true): return .int8
            case (1, false): return .uint8
            case (2, _), (4, true): return .int32
            case (4, false), (8, _): return .int64
            default: return nil
            }
        case H5T_ENUM:
            return size == 1 && H5Tget_nmembers(type) == 2 ? .bool : nil
        default:
            return nil
        }
    }

    /// A string type: of fixed `length` in bytes, or variable where nil.
    static func string(length: Int?) throws -> HDF5Handle {
        let type = try copy(graft_H5T_C_S1())
        try HDF5Library.locked {
            try HDF5Library.check("H5Tset_size", "", H5Tset_size(type.id, length ?? graft_H5T_VARIABLE()))
            try HDF5Library.check("H5Tset_cset", "", H5Tset_cset(type.id, H5T_CSET_UTF8))
            try HDF5Library.check("H5Tset_strpad", "", H5Tset_strpad(type.id, H5T_STR_NULLTERM))
        }
        return type
    }

    /// A string type of fixed `length` in bytes as h5py writes byte strings: shorter ones are filled up with zeros.
    static func byteString(length: Int) throws -> HDF5Handle {
        let type = try copy(graft_H5T_C_S1())
        try HDF5Library.locked {
            try HDF5Library.check("H5Tset_size", "", H5Tset_size(type.id, max(1, length)))
            try HDF5Library.check("H5Tset_strpad", "", H5Tset_strpad(type.id, H5T_STR_NULLPAD))
        }
        return type
    }

    private static func copy(_ type: hid_t) throws -> HDF5Handle {
        try HDF5Handle("H5Tcopy", "", closedBy: H5Tclose) { H5Tcopy(type) }
    }

    private static func smallFloat(exponentBits: Int, mantissaBits: Int) throws -> HDF5Handle {
        let type = try copy(graft_H5T_IEEE_F32LE())
        try HDF5Library.locked {
            try HDF5Library.check(
                "H5Tset_fields", "", H5Tset_fields(type.id, 15, mantissaBits, exponentBits, 0, mantissaBits))
            try HDF5Library.check("H5Tset_size", "", H5Tset_size(type.id, 2))
            try HDF5Library.check("H5Tset_ebias", "", H5Tset_ebias(type.id, 1 << (exponentBits - 1) - 1))
        }
        return type
    }

    private static func boolean() throws -> HDF5Handle {
        let type = try HDF5Handle("H5Tenum_create", "", closedBy: H5Tclose) {
            H5Tenum_create(graft_H5T_STD_I8LE())
        }
        try HDF5Library.locked {
            for (name, value) in [("FALSE", Int8(0)), ("TRUE", Int8(1))] {
                var member = value
                try HDF5Library.check("H5Tenum_insert", "", H5Tenum_insert(type.id, name, &member))
            }
        }
        return type
    }

    private static func floatElement(of type: hid_t, size: Int) -> ElementType? {
        switch size {
        case 4: return .float32
        case 8: return .float64
        case 2:
            var sign = 0, exponentAt = 0, exponentBits = 0, mantissaAt = 0, mantissaBits = 0
            guard H5Tget_fields(type, &sign, &exponentAt, &exponentBits, &mantissaAt, &mantissaBits) >= 0
            else { return nil }
            return (exponentBits, mantissaBits) == (5, 10)
                ? .float16 : (exponentBits, mantissaBits) == (8, 7) ? .bfloat16 : nil
        default: return nil
        }
    }
}
