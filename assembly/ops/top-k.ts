// The largest of a row, by a heap whose root is the last of those kept.
//
//     order      a before b:  a > b, or a = b and a stands further left; NaN counts as larger than all
//     heap       node i before none of its children 2i + 1, 2i + 2

/** Whether element i of the heap comes before element j. Weights are ≥ 0, so that their bits order them, NaN last. */
// @ts-ignore: decorator
@inline function isBefore(weights: usize, indices: usize, i: i32, j: i32): bool {
  const a = magnitude(weights, i);
  const b = magnitude(weights, j);
  return a > b || (a == b && get(indices, i) < get(indices, j));
}

// @ts-ignore: decorator
@inline function get(array: usize, i: i32): i32 {
  return load<i32>(array + ((<usize>i) << 2));
}

// @ts-ignore: decorator
@inline function magnitude(weights: usize, i: i32): i32 {
  return get(weights, i) & i32.MAX_VALUE;
}

// @ts-ignore: decorator
@inline function set(array: usize, i: i32, x: i32): void {
  store<i32>(array + ((<usize>i) << 2), x);
}

function swap(array: usize, i: i32, j: i32): void {
  const x = get(array, i);
  set(array, i, get(array, j));
  set(array, j, x);
}

/** Moves element i down a heap of `count` until none of its children is after it. */
function siftDown(weights: usize, indices: usize, i: i32, count: i32): void {
  for (let child = 2 * i + 1; child < count; child = 2 * i + 1) {
    if (child + 1 < count && isBefore(weights, indices, child, child + 1)) child++;
    if (isBefore(weights, indices, child, i)) return;
    swap(weights, i, child);
    swap(indices, i, child);
    i = child;
  }
}

/**
 * The `count` largest of a row and where they stand, largest first; of equal ones the first first.
 *
 *   weights  [count] floats, overwritten
 *   indices  [count] integers, overwritten
 *   row      [length] floats, ≥ 0 or NaN; count ≤ length
 */
export function topOfRow(weights: usize, indices: usize, row: usize, length: i32, count: i32): void {
  assert(count <= length, "count must be at most length");
  if (count == 0) return;
  for (let i = 0; i < count; i++) {
    set(weights, i, get(row, i));
    set(indices, i, i);
  }
  for (let i = (count >> 1) - 1; i >= 0; i--) siftDown(weights, indices, i, count);

  // Of those further right, which lose every tie, what is larger than the root takes its place.
  const bits = i32x4.splat(i32.MAX_VALUE);
  for (let i = count; i < length;) {
    const root = i32x4.splat(magnitude(weights, 0));
    while (i + 4 <= length && !v128.any_true(i32x4.gt_s(v128.and(v128.load(row + ((<usize>i) << 2)), bits), root)))
      i += 4;
    for (const end = min(i + 4, length); i < end; i++) {
      if (magnitude(row, i) <= magnitude(weights, 0)) continue;
      set(weights, 0, get(row, i));
      set(indices, 0, i);
      siftDown(weights, indices, 0, count);
    }
  }

  for (let last = count - 1; last > 0; last--) {
    swap(weights, 0, last);
    swap(indices, 0, last);
    siftDown(weights, indices, 0, last);
  }
}
