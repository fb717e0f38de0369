import type { Activation } from "../../layer/epilogue.ts";
import type { RotaryForm } from "../../rotary/options.ts";
import type { Fields } from "./fields.ts";

/** A model as the blocks compute it. */
export interface Spec {
  readonly type: string;
  readonly family: Family;
  readonly hiddenSize: number;
  readonly vocabSize: number;
  readonly numHeads: number;
  readonly numKvHeads: number;
  readonly headDim: number;
  readonly ffnSize: number;
  readonly activation: Activation;
  readonly eps: number;
  /** The factor of q·k. */
  readonly scale: number;
  /** Rows of the tables of positions and of types that are learned; 0 where there is none. */
  readonly positions: number;
  readonly types: number;
  /** The row of the first position. */
  readonly firstPosition: number;
  /** Tokens of the longest sequence. */
  readonly maxLength: number;
  readonly embedScale: number;
  /** Which biases the linear layers have. */
  readonly biases: Readonly<Record<"qkv" | "o" | "ffn" | "norm" | "head", boolean>>;
  /** Whether the head of a language model is the table of the words. */
  readonly tied: boolean;
  readonly pooling: "mean" | "cls" | "last";
  readonly layers: readonly LayerSpec[];
}

/** What differs from layer to layer. */
export interface LayerSpec {
  /** Keys that a query sees to its left, and to its right where it sees any. */
  readonly window: { readonly left: number; readonly right: number } | undefined;
  readonly rotary: RotaryForm | undefined;
}

/** Names of tensors without ".weight" and ".bias"; `{}` stands for the number of the layer. */
export interface TensorNames {
  readonly word: string;
  readonly position?: string;
  readonly type?: string;
  readonly embedNorm?: string;
  readonly finalNorm?: string;
  /** Back to the words. */
  readonly lmHead?: string;
  /** q, k and v, or the one in which they stand one behind the other. */
  readonly qkv: readonly [string] | readonly [string, string, string];
  readonly o: string;
  readonly qNorm?: string;
  readonly kNorm?: string;
  /** Of the feed-forward layer: with a gate the gate and what it weighs, or the one in which they stand so. */
  readonly up: readonly [string] | readonly [string, string];
  readonly down: string;
  /** The norms of attention and of the feed-forward layer: before each, behind the sum, or (two of each) around it. */
  readonly attentionNorm: readonly [string] | readonly [string, string];
  readonly ffnNorm: readonly [string] | readonly [string, string];
  /** The head that classifies. */
  readonly dense?: string;
  readonly denseNorm?: string;
  readonly classifier?: string;
}

/** What the models of a family have in common. */
export interface Family {
  readonly isCausal: boolean;
  /** Where the norms stand: "post" behind each sum, "pre" before each layer, "both" around each layer. */
  readonly order: "post" | "pre" | "both";
  readonly norm: "layer" | "rms";
  /** What is added to the weight of a norm. */
  readonly normOffset: 0 | 1;
  readonly isGated: boolean;
  /** Whether weights are [inFeatures, outFeatures]. */
  readonly transposed: boolean;
  /** What the head that classifies has between its two weights. */
  readonly denseActivation?: "tanh" | "relu" | "gelu";
  /** The first layer has no norm before attention. */
  readonly skipsFirstNorm?: true;
  /** What the names of the tensors may begin with. */
  readonly prefixes: readonly string[];
  readonly names: TensorNames;
  /** Tensors without influence on what is computed here: buffers, and heads of other tasks. */
  readonly ignored: RegExp;
  read(fields: Fields): Omit<Spec, "type" | "family">;
}
