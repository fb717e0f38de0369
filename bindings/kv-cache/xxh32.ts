const P1 = 0x9e3779b1 | 0;
const P2 = 0x85ebca77 | 0;
const P3 = 0xc2b2ae3d | 0;

/**
 * XXH32 with seed 0 (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md) of `words`, a multiple of four
 * little-endian words. A change of one word always changes it.
 */
export function xxh32(words: Int32Array): number {
  let a = (P1 + P2) | 0;
  let b = P2;
  let c = 0;
  let d = -P1 | 0;
  // Written out: four lanes that do not wait for each other.
  for (let i = 0; i < words.length; i += 4) {
    a = (a + Math.imul(words[i]!, P2)) | 0;
    b = (b + Math.imul(words[i + 1]!, P2)) | 0;
    c = (c + Math.imul(words[i + 2]!, P2)) | 0;
    d = (d + Math.imul(words[i + 3]!, P2)) | 0;
    a = Math.imul((a << 13) | (a >>> 19), P1);
    b = Math.imul((b << 13) | (b >>> 19), P1);
    c = Math.imul((c << 13) | (c >>> 19), P1);
    d = Math.imul((d << 13) | (d >>> 19), P1);
  }
  let hash = ((a << 1) | (a >>> 31)) + ((b << 7) | (b >>> 25)) + ((c << 12) | (c >>> 20)) + ((d << 18) | (d >>> 14));
  hash = (hash + words.length * 4) | 0;
  hash = Math.imul(hash ^ (hash >>> 15), P2);
  hash = Math.imul(hash ^ (hash >>> 13), P3);
  return hash ^ (hash >>> 16);
}
