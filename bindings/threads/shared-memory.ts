/** What the import of the memory ends with: its kind, no flags, at least one page. */
const MEMORY = [2, 0, 1];
/** The same memory shared, of at most 65 536 pages. */
const SHARED = [2, 3, 1, 128, 128, 4];

/** The section of imports. */
const IMPORTS = 2;

/**
 * The bytes of a build whose memory is shared: three bytes more. Undefined where the bytes are not laid out as
 * those of a build: one import, the memory, within the first 128 bytes of a section.
 */
export function shareMemory(bytes: Uint8Array): Uint8Array<ArrayBuffer> | undefined {
  for (let at = 8; at + 2 < bytes.length;) {
    const [id, size, next] = sectionAt(bytes, at);
    if (id !== IMPORTS) {
      at = next;
      continue;
    }
    const tail = next - MEMORY.length;
    if (size > 124 || MEMORY.some((byte, i) => bytes[tail + i] !== byte)) return undefined;
    const grown = SHARED.length - MEMORY.length;
    const shared = new Uint8Array(bytes.length + grown);
    shared.set(bytes.subarray(0, tail));
    shared[at + 1] = size + grown;
    shared.set(SHARED, tail);
    shared.set(bytes.subarray(next), next + grown);
    return shared;
  }
  return undefined;
}

/** The number of a section, its bytes, and where the next one begins. */
function sectionAt(bytes: Uint8Array, at: number): [id: number, size: number, next: number] {
  let size = 0;
  let shift = 0;
  let start = at + 1;
  for (; bytes[start]! >= 128; start++, shift += 7) size |= (bytes[start]! & 127) << shift;
  size |= bytes[start]! << shift;
  return [bytes[at]!, size, start + 1 + size];
}
