/**
 * A wasm module with a custom section that says of which version of heed it is, and for a further module its name
 * behind that. bindings/engine/source.ts refuses a module with another stamp.
 * @param {Uint8Array} bytes
 * @param {string} version
 * @param {string} [name]
 */
export function stamp(bytes, version, name) {
  const content = Buffer.from(name === undefined ? version : `${version} ${name}`);
  // A custom section: id, bytes, length of its name, name, content.
  return Buffer.concat([bytes, Buffer.from([0, 5 + content.length, 4]), Buffer.from("heed"), content]);
}
