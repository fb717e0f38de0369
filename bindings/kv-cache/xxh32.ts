/**
 * XXH32 with seed 0 (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md) of `words`, a multiple of four
 * little-endian words. A change of one word always changes it.
 */
export function xxh32(words: Int32Array): number {
  // V8 takes constants of a module for variables: half as fast.
  const [p1, p2, p3] = [0x9e3779b1 | 0, 0x85ebca77 | 0, 0xc2b2ae3d | 0];
  let a = (p1 + p2) | 0;
  let b = p2;
  let c = 0;
  let d = -p1 | 0;
  // Written out: four lanes that do not wait for each other.
  for (let i = 0; i < words.length; i += 4) {
    a = (a + Math.imul(words[i]!, p2)) | 0;
    b = (b + Math.imul(words[i + 1]!, p2)) | 0;
    c = (c + Math.imul(words[i + 2]!, p2)) | 0;
    d = (d + Math.imul(words[i + 3]!, p2)) | 0;
    a = Math.imul((a << 13) | (a >>> 19), p1);
    b = Math.imul((b << 13) | (b >>> 19), p1);
    c = Math.imul((c << 13) | (c >>> 19), p1);
    d = Math.imul((d << 13) | (d >>> 19), p1);
  }
  let hash = ((a << 1) | (a >>> 31)) + ((b << 7) | (b >>> 25)) + ((c << 12) | (c >>> 20)) + ((d << 18) | (d >>> 14));
  hash = (hash + words.length * 4) | 0;
  hash = Math.imul(hash ^ (hash >>> 15), p2);
  hash = Math.imul(hash ^ (hash >>> 13), p3);
  return hash ^ (hash >>> 16);
}
