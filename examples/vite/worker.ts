// Measures attention at each length that is asked for, in a thread of its own.
import { type Heed, type Tensor, load } from "heed";

const [numHeads, headDim] = [12, 64];

export interface Measured {
  variant: string;
  seqLen: number;
  /** Milliseconds of the median call. */
  milliseconds: number;
  gflops: number;
}

const loading = load();

addEventListener("message", ({ data: seqLen }: MessageEvent<number>) => {
  void loading.then((heed) => postMessage(measure(heed, seqLen)));
});

/** With q, k, v and out in linear memory, as in a model. */
function measure(heed: Heed, seqLen: number): Measured {
  const tensors = Array.from({ length: 4 }, () => heed.tensor(seqLen * numHeads * headDim));
  const [q, k, v, out] = tensors as [Tensor, Tensor, Tensor, Tensor];
  for (const { data } of [q, k, v]) data.forEach((_, i) => (data[i] = Math.random() - 0.5));
  const times: number[] = [];
  const start = performance.now();
  for (let call = 0; call < 4 || performance.now() - start < 200; call++) {
    const before = performance.now();
    heed.attention(q, k, v, { numHeads, headDim, out });
    // The first call warms up.
    if (call > 0) times.push(performance.now() - before);
  }
  for (const tensor of tensors) tensor.dispose();
  times.sort((a, b) => a - b);
  const milliseconds = times[times.length >> 1]!;
  const gflops = (4 * numHeads * seqLen ** 2 * headDim) / milliseconds / 1e6;
  return { variant: heed.variant, seqLen, milliseconds, gflops };
}
