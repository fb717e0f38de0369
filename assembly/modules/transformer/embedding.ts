// Rows of tables by their numbers.

import { storeFloats } from "./rows";

/**
 * out[row] = scale·table[ids[row]] + positions[positionIds[row]] + types[typeIds[row]]
 *
 *   out        [rows, dim], overwritten
 *   table      [n, dim]; so are positions and types, either of which may be 0
 *   ids        [rows] numbers of rows; so are positionIds and typeIds
 */
export function embedRows(
  out: usize,
  table: usize,
  ids: usize,
  positions: usize,
  positionIds: usize,
  types: usize,
  typeIds: usize,
  rows: i32,
  dim: i32,
  scale: f32,
): void {
  const rowBytes = (<usize>dim) << 2;
  for (; rows > 0; rows--) {
    const token = rowAt(table, ids, rowBytes);
    const position = positions ? rowAt(positions, positionIds, rowBytes) : 0;
    const type = types ? rowAt(types, typeIds, rowBytes) : 0;
    for (let left = dim, at: usize = 0; left > 0; left -= 4) {
      let y = f32x4.mul(v128.load(token + at), f32x4.splat(scale));
      if (position) y = f32x4.add(y, v128.load(position + at));
      if (type) y = f32x4.add(y, v128.load(type + at));
      storeFloats(out + at, y, left);
      at += 16;
    }
    out += rowBytes;
    ids += 4;
    positionIds += 4;
    typeIds += 4;
  }
}

// @ts-ignore: decorator
@inline function rowAt(table: usize, id: usize, rowBytes: usize): usize {
  return table + <usize>load<i32>(id) * rowBytes;
}
