/// The one thing of EXIF that changes pixels: which way up the camera was held.
///
/// Damaged EXIF data counts as none: the picture is still there.
enum Exif {
    /// The orientation (1-8) a JPEG's first EXIF segment states; 1 where there is none.
    static func orientation(ofJPEG bytes: [UInt8]) -> Int {
        var position = 2
        while position + 4 <= bytes.count, bytes[position] == 0xFF {
            let marker = bytes[position + 1]
            if marker == 0xFF {  // fill byte
                position += 1
                continue
            }
            if marker == 0xDA || marker == 0xD9 { return 1 }
            let length = Int(bytes[position + 2]) << 8 | Int(bytes[position + 3])
            let end = position + 2 + length
            guard length >= 2, end <= bytes.count else { return 1 }
            let body = bytes[(position + 4)..<end]
            if marker == 0xE1, body.starts(with: Array("Exif\0\0".utf8)) {
                return orientation(ofTIFF: body.dropFirst(6))
            }
            position = end
        }
        return 1
    }

    /// The orientation (1-8) a PNG's eXIf chunk states; 1 where there is none.
    static func orientation(ofPNG bytes: [UInt8]) -> Int {
        var position = 8
        while position + 12 <= bytes.count {
            let length = bytes[position..<(position + 4)].reduce(0) { $0 << 8 | Int($1) }
            let end = position + 12 + length
            guard end <= bytes.count else { return 1 }
            if bytes[(position + 4)..<(position + 8)].elementsEqual("eXIf".utf8) {
                return orientation(ofTIFF: bytes[(position + 8)..<(position + 8 + length)])
            }
            position = end
        }
        return 1
    }

    /// Tag 0x0112 of the first directory.
    private static func orientation(ofTIFF tiff: ArraySlice<UInt8>) -> Int {
        let isLittleEndian: Bool
        if tiff.starts(with: [0x49, 0x49, 0x2A, 0x00]) {
            isLittleEndian = true
        } else if tiff.starts(with: [0x4D, 0x4D, 0x00, 0x2A]) {
            isLittleEndian = false
        } else {
            return 1
        }
        func number(at offset: Int, bytes count: Int) -> Int? {
            let start = tiff.startIndex + offset
            guard offset >= 0, start + count <= tiff.endIndex else { return nil }
            let part = tiff[start..<(start + count)]
            return (isLittleEndian ? Array(part.reversed()) : Array(part)).reduce(0) { $0 << 8 | Int($1) }
        }
        guard let directory = number(at: 4, bytes: 4), let entries = number(at: directory, bytes: 2) else {
            return 1
        }
        for entry in 0..<entries {
            let offset = directory + 2 + 12 * entry
            guard let tag = number(at: offset, bytes: 2), let type = number(at: offset + 2, bytes: 2) else {
                return 1
            }
            if tag == 0x0112 {
                // SHORT as the standard asks, or LONG as some cameras write it.
                let value = number(at: offset + 8, bytes: type == 4 ? 4 : 2) ?? 1
                return (1...8).contains(value) ? value : 1
            }
        }
        return 1
    }
}
