const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/**
 * The bytes of a text in base64. By the language alone: `atob` belongs to hosts, and an AudioWorklet, a shell of an
 * engine or an isolate without globals has none.
 */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const { fromBase64: native } = Uint8Array as { fromBase64?: (text: string) => Uint8Array<ArrayBuffer> };
  if (native) return native(text);
  const values = new Uint8Array(128);
  for (let n = 0; n < 64; n++) values[ALPHABET.charCodeAt(n)] = n;
  // Four characters of six bits are three bytes; padding is none.
  const bytes = new Uint8Array((text.replace(/=+$/, "").length * 3) >> 2);
  let bits = 0;
  for (let n = 0, at = 0; at < bytes.length; n++) {
    bits = (bits << 6) | values[text.charCodeAt(n)]!;
    if (n & 3) bytes[at++] = bits >> (6 - 2 * (n & 3));
  }
  return bytes;
}
