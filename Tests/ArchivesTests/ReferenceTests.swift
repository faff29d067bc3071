import Archives
import Crypto
import Foundation
import Tensors
import XCTest

/// Every tensor of the given weight files against what PyTorch, h5py and safetensors read
/// (`Reference/make_reference.py`).
final class ReferenceTests: ArchiveTestCase {
    /// One tensor as the script described it.
    private struct Expected: Decodable, Equatable {
        let name: String
        let shape: [Int]
        let type: String
        let digest: String
        let first: Float

        init(_ tensor: StoredTensor) {
            name = tensor.name
            shape = tensor.shape
            type = tensor.elementType.rawValue
            digest = String(SHA256.hash(data: tensor.bytes).flatMap { String(format: "%02x", $0) }.prefix(16))
            first = tensor.scalars.first ?? .nan
        }

        init(from decoder: Decoder) throws {
            var fields = try decoder.unkeyedContainer()
            name = try fields.decode(String.self)
            shape = try fields.decode([Int].self)
            type = try fields.decode(String.self)
            digest = try fields.decode(String.self)
            first = try fields.decode(Float.self)
        }
    }

    private func check(_ name: String, _ format: WeightFormat, count: Int, sorted: Bool = false) throws {
        let data = try Data(contentsOf: URL(fileURLWithPath: fixture("weights.json")))
        let expected = try XCTUnwrap(try JSONDecoder().decode([String: [Expected]].self, from: data)[name])
        let file = try WeightFile.read(try weights(name))
        XCTAssertEqual(file.format, format)
        XCTAssertEqual(file.tensors.count, count)
        let tensors = sorted ? file.tensors.sorted { $0.name < $1.name } : file.tensors
        XCTAssertEqual(tensors.map(Expected.init), expected)
    }

    func testResNet20() throws {
        try check("cifar10-resnet-pytorch/resnet20-12fca82f.th", .pytorchLegacy, count: 97)
        let file = try WeightFile.read(try weights("cifar10-resnet-pytorch/resnet20-12fca82f.th"))
        XCTAssertEqual(file.tensors.first?.name, "module.conv1.weight")
        XCTAssertEqual(file["module.bn1.running_mean"]?.role, .buffer)
        XCTAssertEqual(file["module.bn1.weight"]?.role, .parameter)
    }

    func testResNet32() throws {
        try check("cifar10-resnet-pytorch/resnet32-d509ac18.th", .pytorchLegacy, count: 157)
    }

    func testMobileNetPyTorch() throws {
        let name = "imagenet-mobilenetv1-0.25-pytorch/mobilenetV1X0.25_pretrain.tar"
        try check(name, .pytorchLegacy, count: 164)
        let notes = try WeightFile.read(try weights(name)).metadata.notes
        XCTAssertEqual(notes["epoch"], "18")
        XCTAssertEqual(notes["arch"], "resnet18")
        XCTAssertEqual(notes["optimizer"], "not read")
    }

    func testESPNet() throws {
        try check("cityscapes-espnet-pytorch/espnet_decoder_p_2_q_3.pth", .pytorchLegacy, count: 134)
        try check("cityscapes-espnet-pytorch/espnet_encoder_p_2_q_3.pth", .pytorchLegacy, count: 99)
    }

    func testFastestDet() throws {
        try check("fastestdet-pytorch/fastestdet_coco_ap05_0.253207.pth", .pytorchZip, count: 420)
        try check("fastestdet-pytorch/shufflenetv2.pth", .pytorchZip, count: 330)
    }

    func testRes8() throws {
        try check("speech-commands-res8-pytorch/res8.pt", .pytorchLegacy, count: 30)
    }

    func testKerasFullModels() throws {
        try check("cifar10-resnet8-keras/pretrainedResnet.h5", .kerasHDF5, count: 48)
        try check("imagenet-mobilenetv1-0.25-keras/mobilenet_v1_0.25_224.h5", .kerasHDF5, count: 137)
        let notes = try WeightFile.read(try weights("cifar10-resnet8-keras/pretrainedResnet.h5")).metadata
            .notes
        XCTAssertEqual(notes["optimizer_weights"], "not read")
        XCTAssertEqual(notes["backend"], "tensorflow")
    }

    func testKerasWeightsOnly() throws {
        try check("imagenet-mobilenetv1-0.25-keras/mobilenet_2_5_224_tf_no_top.h5", .kerasHDF5, count: 135)
    }

    func testSafetensors() throws {
        try check("silero-vad-safetensors/silero_vad_16k.safetensors", .safetensors, count: 15, sorted: true)
    }
}
