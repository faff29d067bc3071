import Tensors
import XCTest

final class LargeBlocksTests: XCTestCase {
    private let page = LargeBlocks.page

    /// Thousands of blocks of many sizes, taken and given back in any order: none overlaps another, each keeps what was
    /// written to it, and in the end all of it is one piece again.
    func testBlocksNeverOverlap() {
        var blocks = LargeBlocks()
        var live: [(pointer: UnsafeMutableRawPointer, size: Int, mark: UInt64)] = []
        var state: UInt64 = 88_172_645_463_325_252
        func random(_ bound: Int) -> Int {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return Int(state % UInt64(bound))
        }
        func check(_ block: (pointer: UnsafeMutableRawPointer, size: Int, mark: UInt64)) {
            XCTAssertEqual(block.pointer.load(as: UInt64.self), block.mark)
            XCTAssertEqual(block.pointer.load(fromByteOffset: block.size - 8, as: UInt64.self), block.mark)
        }
        for round in 0..<5_000 {
            if live.isEmpty || (live.count < 60 && random(2) == 0) {
                let size = (1 + random(64)) * page
                let pointer = blocks.take(size)
                for other in live {
                    XCTAssertFalse(pointer < other.pointer + other.size && other.pointer < pointer + size)
                }
                let mark = UInt64(round)
                pointer.storeBytes(of: mark, as: UInt64.self)
                pointer.storeBytes(of: mark, toByteOffset: size - 8, as: UInt64.self)
                live.append((pointer, size, mark))
            } else {
                let block = live.remove(at: random(live.count))
                check(block)
                blocks.giveBack(block.pointer, block.size)
            }
            if round == 2_500 { blocks.trim() }
        }
        for block in live {
            check(block)
            blocks.giveBack(block.pointer, block.size)
        }
        let (held, growths) = (blocks.bytesHeld, blocks.growths)
        _ = blocks.take(held)
        XCTAssertEqual(blocks.growths, growths, "free neighbours were not joined")
        XCTAssertEqual(blocks.bytesHeld, held)
    }

    func testTrimmedMemoryIsNotHeld() {
        var blocks = LargeBlocks()
        let (a, b) = (blocks.take(3 * page), blocks.take(5 * page))
        XCTAssertEqual(blocks.bytesHeld, 8 * page)
        blocks.giveBack(a, 3 * page)
        blocks.trim()
        XCTAssertEqual(blocks.bytesHeld, 5 * page)
        XCTAssertEqual(blocks.take(2 * page), a, "the smallest block that is large enough")
        XCTAssertEqual(blocks.bytesHeld, 7 * page)
        blocks.giveBack(b, 5 * page)
        // Joined with the page that is left of the first.
        XCTAssertEqual(blocks.take(6 * page), a + 2 * page)
        XCTAssertEqual(blocks.growths, 2)
    }
}
