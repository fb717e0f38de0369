/** One way of computing a problem, ready to run. */
export interface Entrant {
  /** The row of the table; entrants of one name are forms of one peer, of which the fastest counts. */
  name: string;
  /** Which operator or call it is, where the peer has several. */
  form: string;
  kind: "heed" | "wasm" | "native" | "js" | "limit";
  /** One call, inputs in place; what it returns is thrown away. */
  run(): unknown;
  /** Milliseconds of each call of a turn, where the calls are made in another process. */
  turn?(duration: number): Promise<number[]>;
  /** Milliseconds of a first, cold call, where one was made. */
  firstCall?: number;
}

/** An entrant whose result can be looked at. */
export interface Contender extends Entrant {
  /** Runs once: [batch, seqLenQ, numHeads, headDim], or what the case says. */
  result(): Promise<Float32Array> | Float32Array;
  /** Gives back what belongs to this problem. */
  dispose?(): unknown;
}

/** "heed simd, copied" or, with a form, "onnxruntime-web (MultiHeadAttention)". */
export function labelOf({ name, form }: Entrant): string {
  return form ? `${name} (${form})` : name;
}
