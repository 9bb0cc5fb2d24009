"""Operations of a record that are run again: they compute, and their results are about as large as their operands."""

from parity.trace.values import VIEWS

# fmt: off
HARMLESS = VIEWS | {
    "add", "sub", "rsub", "mul", "div", "addmm", "mm", "bmm", "baddbmm", "matmul", "addcmul", "lerp", "neg",
    "reciprocal", "abs", "sign", "exp", "log", "log1p", "sqrt", "rsqrt", "pow", "square", "sin", "cos", "tan",
    "tanh", "erf", "sigmoid", "relu", "gelu", "silu", "elu", "celu", "selu", "softplus", "mish", "hardswish",
    "hardsigmoid", "hardtanh", "leaky_relu", "log_sigmoid_forward", "prelu", "glu", "clamp", "clamp_min",
    "clamp_max", "minimum", "maximum", "_softmax", "_log_softmax", "mean", "sum", "prod", "amax", "amin",
    "max", "min", "var", "std", "var_mean", "cumsum", "argmax", "argmin", "norm", "linalg_vector_norm",
    "native_layer_norm", "native_group_norm", "native_batch_norm", "_native_batch_norm_legit_no_training",
    "cudnn_batch_norm", "_fused_rms_norm", "_weight_norm_interface", "convolution", "avg_pool1d",
    "avg_pool2d", "max_pool2d_with_indices", "_adaptive_avg_pool2d", "embedding", "index", "index_select",
    "gather", "where", "masked_fill", "eq", "ne", "lt", "le", "gt", "ge", "logical_not", "logical_and",
    "logical_or", "bitwise_not", "bitwise_and", "bitwise_or", "expand", "slice", "select", "split",
    "split_with_sizes", "unbind", "chunk", "unsafe_chunk", "unsafe_split", "cat", "stack", "flip", "roll",
    "tril", "triu", "view_as_complex", "view_as_real",
}
# fmt: on
