import COneDNN

/// What a primitive of oneDNN does to its result before it writes it:
///
///     activationScale · activation(scale · result + residual)
///
/// And where its scratch memory comes from: from us, since the library would keep as much as the greediest primitive
/// wants for good.
final class PrimitiveAttributes {
    /// How a residual is added.
    enum Residual {
        /// It lies where the result is written.
        case inPlace
        /// It is an argument of its own, in this layout.
        case argument(OpaqueLayout)
    }

    let handle: dnnl_primitive_attr_t

    /// - Parameters:
    ///   - scales: one for each output channel.
    ///   - unit: what 1 stands for where the activation is applied.
    init(
        scales: [Float] = [], residual: Residual? = nil, activation: Activation = .identity, unit: Float = 1,
        activationScale: Float = 1
    ) {
        var handle: dnnl_primitive_attr_t?
        OneDNN.check(dnnl_primitive_attr_create(&handle), "dnnl_primitive_attr_create")
        self.handle = OneDNN.unwrap(handle, "dnnl_primitive_attr_create")
        OneDNN.check(
            dnnl_primitive_attr_set_scratchpad_mode(handle, dnnl_scratchpad_mode_user),
            "dnnl_primitive_attr_set_scratchpad_mode")
        var operations: dnnl_post_ops_t?
        OneDNN.check(dnnl_post_ops_create(&operations), "dnnl_post_ops_create")
        defer { dnnl_post_ops_destroy(operations) }
        if let residual { Self.append(residual, to: operations) }
        if let (kind, alpha, beta) = activation.operation(unit: unit, evenIdentity: activationScale != 1) {
            OneDNN.check(
                dnnl_post_ops_append_eltwise(operations, activationScale, kind, alpha, beta),
                "dnnl_post_ops_append_eltwise")
        }
        OneDNN.check(dnnl_primitive_attr_set_post_ops(handle, operations), "dnnl_primitive_attr_set_post_ops")
        guard !scales.isEmpty else { return }
        // The mask says that scales follow dimension 1.
        OneDNN.check(
            dnnl_primitive_attr_set_output_scales(handle, Int64(scales.count), 1 << 1, scales),
            "dnnl_primitive_attr_set_output_scales")
    }

    /// One scale for all of the result.
    init(scale: Float) {
        var handle: dnnl_primitive_attr_t?
        OneDNN.check(dnnl_primitive_attr_create(&handle), "dnnl_primitive_attr_create")
        self.handle = OneDNN.unwrap(handle, "dnnl_primitive_attr_create")
        OneDNN.check(
            dnnl_primitive_attr_set_output_scales(handle, 1, 0, [scale]), "dnnl_primitive_attr_set_output_scales")
    }

    deinit { dnnl_primitive_attr_destroy(handle) }

    private static func append(_ residual: Residual, to operations: dnnl_post_ops_t?) {
        switch residual {
        case .inPlace: OneDNN.check(dnnl_post_ops_append_sum(operations, 1), "dnnl_post_ops_append_sum")
        case .argument(let layout):
            OneDNN.check(
                dnnl_post_ops_append_binary(operations, dnnl_binary_add, &layout.descriptor),
                "dnnl_post_ops_append_binary")
        }
    }

    /// The argument that a residual is given as.
    static let residualArgument = DNNL_ARG_ATTR_MULTIPLE_POST_OP_BASE | DNNL_ARG_SRC_1
}

extension Activation {
    /// The activation in oneDNN's terms; nil for none.
    fileprivate func operation(unit: Float, evenIdentity: Bool) -> (dnnl_alg_kind_t, alpha: Float, beta: Float)? {
        switch self {
        case .identity: evenIdentity ? (dnnl_eltwise_linear, 1, 0) : nil
        case .relu: (dnnl_eltwise_relu, 0, 0)
        case .leakyRelu(let slope): (dnnl_eltwise_relu, slope, 0)
        case .relu6: (dnnl_eltwise_clip, 0, 6 / unit)
        }
    }
}
