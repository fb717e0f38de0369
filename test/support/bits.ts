/** The bits of every array of a result, to be compared as text. */
export function bitsOf(result: object): Record<string, string> {
  return Object.fromEntries(
    Object.entries(result).map(([name, array]: [string, Float32Array]) => [
      name,
      Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString("base64"),
    ]),
  );
}
