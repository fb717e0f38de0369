// The weights of other libraries as options of `heed.createMultiHeadAttention`. Every importer is a pure function of
// tensors { data, shape }: it checks their shapes, and names the tensor in every error. A layer that computes what heed
// does not is refused.

import { fromHuggingFace } from "./huggingface.ts";
import { fromKeras } from "./keras.ts";
import { fromOnnx } from "./onnx.ts";
import { fromTorch } from "./torch.ts";

export type { HuggingFaceOptions } from "./huggingface.ts";
export type { ImportOptions, ImportedLayer } from "./imported.ts";
export type { OnnxAttributes } from "./onnx.ts";
export type { RelativePositionOptions } from "./relative-position-bias.ts";
export { relativePositionBias } from "./relative-position-bias.ts";
export type { StateDict, StateTensor } from "./state-dict.ts";
export type { TorchOptions } from "./torch.ts";

/**
 * Options for `heed.createMultiHeadAttention` from the weights of other libraries. Published as the value
 * `MultiHeadAttention`.
 */
export const importers = { fromTorch, fromHuggingFace, fromKeras, fromOnnx };
