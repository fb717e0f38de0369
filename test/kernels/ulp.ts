/** The distance of `got` from `exact` in units of the last place that an f32 near `exact` has. */
export function ulps(got: f32, exact: f64): f64 {
  const exponent = <i32>((reinterpret<u64>(exact) >> 52) & 0x7ff) - 1023;
  // Below 2⁻¹²⁶ floats stand 2⁻¹⁴⁹ apart.
  const ulp = NativeMath.pow(2, <f64>max(exponent, -126) - 23);
  return NativeMath.abs(<f64>got - exact) / ulp;
}
