import Archives
import Foundation
import Tensors
import XCTest

/// The commands on published weights and real images.
final class RealFileTests: CommandTestCase {
    private let weights = "weights/cifar10-resnet-pytorch/resnet20-12fca82f.th"

    /// Architecture, as inspect recognises it, of every given weight file; nil for networks of later issues.
    private let files: [(path: String, architecture: String?, tensors: Int)] = [
        ("cifar10-resnet-pytorch/resnet20-12fca82f.th", "resnet20 option-a", 97),
        ("cifar10-resnet-pytorch/resnet32-d509ac18.th", "resnet32 option-a", 157),
        ("cifar10-resnet8-keras/pretrainedResnet.h5", "resnet8 keras", 48),
        ("cityscapes-espnet-pytorch/espnet_decoder_p_2_q_3.pth", nil, 134),
        ("cityscapes-espnet-pytorch/espnet_encoder_p_2_q_3.pth", nil, 99),
        ("fastestdet-pytorch/fastestdet_coco_ap05_0.253207.pth", nil, 420),
        ("fastestdet-pytorch/shufflenetv2.pth", nil, 330),
        ("imagenet-mobilenetv1-0.25-keras/mobilenet_2_5_224_tf_no_top.h5", "mobilenet_v1_0.25 keras", 135),
        ("imagenet-mobilenetv1-0.25-keras/mobilenet_v1_0.25_224.h5", "mobilenet_v1_0.25 keras", 137),
        ("imagenet-mobilenetv1-0.25-pytorch/mobilenetV1X0.25_pretrain.tar", "mobilenet_v1_0.25 pytorch", 164),
        ("silero-vad-safetensors/silero_vad_16k.safetensors", nil, 15),
        ("speech-commands-res8-pytorch/res8.pt", nil, 30),
    ]

    // MARK: evaluate

    func testPublishedAccuracies() throws {
        let expected: [(path: String, correct: Int)] = [
            (weights, 483), ("weights/cifar10-resnet-pytorch/resnet32-d509ac18.th", 492),
            ("weights/cifar10-resnet8-keras/pretrainedResnet.h5", 447),
        ]
        for (path, correct) in expected {
            let answer = try object(
                graft("evaluate", "--weights", data(path), "--data", data("cifar10"), "--split", "test", "--json"))
            XCTAssertEqual(answer["samples"] as? Int, 600)
            let top1 = try XCTUnwrap(answer["top1"] as? Double)
            XCTAssertEqual(top1 * 600, Double(correct), accuracy: 1.001, path)
            XCTAssertGreaterThan(try XCTUnwrap(answer["top5"] as? Double), 0.97)
        }
    }

    func testEvaluatingSomeClasses() throws {
        let answer = try object(
            graft(
                "evaluate", "--weights", data(weights), "--data", data("cifar10/test"), "--first-per-class", "5",
                "--confusion", "--json"))
        XCTAssertEqual(answer["samples"] as? Int, 50)
        let confusion = try XCTUnwrap(answer["confusion"] as? [[Int]])
        XCTAssertEqual(confusion.map { $0.reduce(0, +) }, [Int](repeating: 5, count: 10))
        let right = confusion.indices.reduce(0) { $0 + confusion[$1][$1] }
        XCTAssertEqual(try XCTUnwrap(answer["top1"] as? Double) * 50, Double(right), accuracy: 1e-9)
        XCTAssertEqual((answer["class_names"] as? [String])?.first, "airplane")
    }

    func testRanksAgreeWithOneProcess() throws {
        let arguments = ["evaluate", "--weights", try data(weights), "--data", try data("cifar10/test"), "--json"]
        let alone = try object(graft(arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], "--json"))
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/bash")
        let launcher = Self.packageRoot.appendingPathComponent("launch/mpirun").path
        let line = "timeout 120 \"$@\" > '\(folder)/ranks.json'"
        process.arguments = ["-c", line, "-", launcher, "-np", "3", Self.command] + arguments
        try process.run()
        process.waitUntilExit()
        XCTAssertEqual(process.terminationStatus, 0)
        let text = try Data(contentsOf: URL(fileURLWithPath: "\(folder)/ranks.json"))
        let together = try XCTUnwrap(JSONSerialization.jsonObject(with: text) as? [String: Any])
        for key in ["top1", "top5", "samples"] {
            XCTAssertEqual(together[key] as? Double, alone[key] as? Double, key)
        }
        let losses = try [together, alone].map { try XCTUnwrap($0["loss"] as? Double) }
        XCTAssertEqual(losses[0], losses[1], accuracy: 1e-5)
    }

    // MARK: inspect and convert

    func testInspectRecognisesEveryFile() throws {
        for file in files {
            let answer = try object(graft("inspect", data("weights/" + file.path), "--json"))
            let recognised = answer["recognised"] as? [String: Any]
            let name = recognised.map { "\($0["architecture"] ?? "") \($0["variant"] ?? "")" }
            XCTAssertEqual(name, file.architecture, file.path)
            XCTAssertEqual((answer["tensors"] as? [Any])?.count, file.tensors, file.path)
        }
        let headless = try object(graft("inspect", data("weights/" + files[7].path), "--json"))
        let missing = (headless["recognised"] as? [String: Any])?["missing"] as? [String]
        XCTAssertEqual(missing, ["conv_preds.weight", "conv_preds.bias"])
    }

    func testConvertingBackAndForthChangesNothing() throws {
        for file in files {
            let original = try data("weights/" + file.path)
            let steps = [(original, "a.h5"), ("a.h5", "b.safetensors"), ("b.safetensors", "c.h5")]
            for (from, to) in steps {
                let outcome = try graft("convert", from, to)
                XCTAssertEqual(outcome.code, 0, outcome.errors)
            }
            let answers = try ["a.h5", "c.h5"].map { try object(graft("inspect", $0, "--json")) }
            for key in ["recognised", "digest"] {
                XCTAssertEqual(answers[0][key] as? NSObject, answers[1][key] as? NSObject, "\(key) of \(file.path)")
            }
            // Safetensors lie in an order of their own.
            let tensors = try answers.map { answer in
                try XCTUnwrap(answer["tensors"] as? [[String: Any]])
                    .sorted { "\($0["name"] ?? "")" < "\($1["name"] ?? "")" } as NSArray
            }
            XCTAssertEqual(tensors[0], tensors[1], file.path)
        }
    }

    func testConvertedWeightsGiveTheSameAnswers() throws {
        XCTAssertEqual(try graft("convert", data(weights), "w.h5").code, 0)
        XCTAssertEqual(try graft("convert", "w.h5", "w.safetensors").code, 0)
        let answers = try [data(weights), "w.h5", "w.safetensors"].map {
            try object(graft("evaluate", "--weights", $0, "--data", data("cifar10/test"), "--json"))
        }
        for answer in answers.dropFirst() { XCTAssertEqual(answer as NSDictionary, answers[0] as NSDictionary) }
    }

    func testClassifierThatIsMissingStaysMissing() throws {
        let outcome = try graft("convert", data("weights/" + files[7].path), "trunk.h5")
        XCTAssertEqual(outcome.code, 0)
        XCTAssertTrue(outcome.errors.hasSuffix("has no classifier; neither has trunk.h5\n"), outcome.errors)
        let answer = try object(graft("inspect", "trunk.h5", "--json"))
        XCTAssertEqual((answer["tensors"] as? [Any])?.count, 135)
    }

    // MARK: pack and predict

    func testPackedFolderGivesTheSameNumbers() throws {
        let folder = try data("cifar10/test")
        let packed = try object(graft("pack", folder, "images.h5", "--size", "32", "--json"))
        XCTAssertEqual(packed["shape"] as? [Int], [600, 3, 32, 32])
        let answers = try [folder, "images.h5"].map {
            try object(graft("evaluate", "--weights", data(weights), "--data", $0, "--json"))
        }
        XCTAssertEqual(answers[0] as NSDictionary, answers[1] as NSDictionary)
    }

    func testPredictingAnImage() throws {
        let image = try data("cifar10/test/airplane/0000.jpg")
        let outcome = try graft("predict", "--weights", data(weights), image, "--top", "2", "--json")
        XCTAssertEqual(outcome.code, 0, outcome.errors)
        let value = try JSONSerialization.jsonObject(with: Data(outcome.output.utf8))
        let answer = try XCTUnwrap((value as? [[String: Any]])?.first)
        XCTAssertEqual(answer["input"] as? String, image)
        let predictions = try XCTUnwrap(answer["predictions"] as? [[String: Any]])
        XCTAssertEqual(predictions.count, 2)
        let probabilities = predictions.compactMap { $0["probability"] as? Double }
        XCTAssertGreaterThan(probabilities[0], probabilities[1])
    }

    func testLogitsOfAnHDF5DataSet() throws {
        // Any float32 N×3×H×W will do: the first kernel of a network is 16×3×3×3.
        XCTAssertEqual(try graft("convert", data(weights), "w.h5").code, 0)
        let outcome = try graft(
            "predict", "--weights", "w.h5", "w.h5:/parameters/conv1.weight", "--logits", "logits.h5", "--json")
        XCTAssertEqual(outcome.code, 0, outcome.errors)
        XCTAssertEqual(outcome.errors, "graft: logits.h5: /logits 16×10\n")
        let inspected = try object(graft("inspect", "logits.h5", "--json"))
        let tensors = try XCTUnwrap(inspected["tensors"] as? [[String: Any]])
        XCTAssertEqual(tensors.map { $0["name"] as? String }, ["logits"])
        XCTAssertEqual(tensors.first?["shape"] as? [Int], [16, 10])
        XCTAssertEqual(tensors.first?["element_type"] as? String, "float32")

        let file = try WeightFile.read("\(folder)/w.h5")
        let network = try WeightLoader.network(from: file, path: "w.h5").network
        let images = try XCTUnwrap(file.tensors.first { $0.name == "conv1.weight" })
        let expected = try network(Tensor(images.scalars, shape: images.shape)).scalars
        let logits = try HDF5File(reading: "\(folder)/logits.h5").root.dataset("logits").read(as: .float32)
        let written = logits.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
        XCTAssertEqual(written.count, expected.count)
        let largest = expected.map(abs).max() ?? 0
        for (a, b) in zip(written, expected) { XCTAssertEqual(a, b, accuracy: 1e-5 * largest) }
    }

    // MARK: bench

    func testBenchStep() throws {
        for mode in ["train", "infer"] {
            let answer = try object(
                graft(
                    "bench", "step", "--architecture", "resnet8", "--batch", "4", "--threads", "1", "--mode", mode,
                    "--steps", "2", "--json"))
            XCTAssertEqual(answer["threads"] as? Int, 1)
            for key in [
                "items_per_second", "step_seconds_min", "step_seconds_median", "peak_rss_mib",
                "matrix_product_gflops", "matrix_product_gflops_one_thread",
            ] {
                XCTAssertGreaterThan(try XCTUnwrap(answer[key] as? Double, key), 0, key)
            }
            XCTAssertNotEqual(answer["openblas_kernel"] as? String, "Prescott")
        }
    }
}
