import Foundation
import Glibc

extension Data {
    /// So many zeros, for values to be written over.
    ///
    /// Where they are many their memory is the system's own and goes back when it is let go of. What is freed of a few
    /// megabytes the allocator would keep for others of its size, beside the memory of what has taken its place.
    init(room count: Int) {
        guard count >= 1 << 17,
            let memory = mmap(nil, count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            memory != MAP_FAILED
        else {
            self.init(count: count)
            return
        }
        self.init(bytesNoCopy: memory, count: count, deallocator: .unmap)
    }
}
