import wabt from "wabt";

/** The bytes of a module that is written as text. */
export async function assemble(name: string, text: string): Promise<Uint8Array<ArrayBuffer>> {
  const { parseWat } = await wabt();
  const features = { simd: true, relaxed_simd: true, bulk_memory: true };
  return new Uint8Array(parseWat(`${name}.wat`, text, features).toBinary({}).buffer);
}
