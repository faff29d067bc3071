import Foundation
import Models

/// A weight file seen as a network: its tensors under canonical paths, and what they are weights of.
struct RecognisedWeights {
    let architecture: Architecture
    /// By canonical path.
    let tensors: [String: MappedTensor]
    /// Names in the file that no known network has.
    let unmapped: [String]
    /// Whether Keras's names were translated.
    let isKeras: Bool

    /// - Parameters:
    ///   - name: the architecture, where the user says it; else what the file says, else what names and
    ///     shapes tell.
    ///   - variant: likewise.
    /// - Throws: `LoadError.unrecognised`, or `ModelError` for a name that is not known.
    init(_ file: WeightFile, path: String, architecture name: String? = nil, variant: String? = nil) throws {
        let said = try Self.said(by: file, architecture: name, variant: variant)
        let canonical = CanonicalTensors(file, as: said)
        (tensors, unmapped, isKeras) = (canonical.tensors, canonical.unmapped, canonical.isKeras)
        let guess = canonical.recognition
        guard let chosen = said?.name ?? guess?.name else {
            throw LoadError.unrecognised(path: path, names: Array(file.tensors.map(\.name).prefix(3)))
        }
        // What names and shapes tell of variant and sizes counts for the architecture that they tell, no other.
        let told = guess?.name == chosen ? guess : nil
        let isVariantOfFile =
            name == nil && said != nil && (file.metadata.variant != nil || file.metadata.architecture == nil)
        let isVariantSaid = isVariantOfFile || name?.contains("-") == true
        let known = try Architecture(
            named: chosen, variant: variant ?? (isVariantSaid ? said?.variant : told?.variant ?? said?.variant),
            sizes: said.flatMap { $0.sizes.isEmpty ? nil : $0.sizes } ?? told?.sizes ?? [:], dropout: said?.dropout,
            rates: said?.rates ?? [:])
        architecture = try Self.fit(known, to: tensors)
    }

    /// The tensors as those of a network that is known.
    init(_ file: WeightFile, as architecture: Architecture) {
        let canonical = CanonicalTensors(file, as: architecture)
        (tensors, unmapped, isKeras) = (canonical.tensors, canonical.unmapped, canonical.isKeras)
        self.architecture = architecture
    }

    /// What the user says, else what the file says; nil where neither does.
    private static func said(by file: WeightFile, architecture name: String?, variant: String?) throws -> Architecture?
    {
        if let name { return try Architecture(named: name, variant: variant) }
        let metadata = file.metadata
        if let chosen = metadata.architecture {
            return try Architecture(
                named: chosen, variant: variant ?? metadata.variant, sizes: metadata.sizes ?? [:],
                dropout: metadata.dropout, rates: metadata.rates ?? [:])
        }
        guard let config = metadata.huggingFaceConfiguration.map({ Data($0.utf8) }),
            Architecture.isKnown(huggingFace: config)
        else { return nil }
        return try Architecture(huggingFace: config, variant: variant)
    }

    /// The most classes and input channels that a shape is believed to have: layers multiply them.
    private static let most = 1 << 24

    /// The architecture with the number of classes and input channels that the tensors have.
    private static func fit(_ architecture: Architecture, to tensors: [String: MappedTensor]) throws -> Architecture {
        let network = architecture.network()
        let classes = tensors[network.headPrefix + ".weight"]?.shape.first
        let first = network.store.parameters.first.flatMap { tensors[$0.path]?.shape }
        let channels = first.flatMap { $0.count == 4 && (1...Self.most).contains($0[1]) ? $0[1] : nil }
        return try Architecture(
            named: architecture.name, variant: architecture.variant, sizes: architecture.sizes,
            classes: classes.map { min(max(1, $0), Self.most) }, inputChannels: channels, dropout: architecture.dropout,
            rates: architecture.rates)
    }
}
