// Types of hosts that the API names, for programs compiled with neither `lib: ["dom"]` nor "webworker", as those of
// Node often are. Where a lib declares them, these add nothing to what it says.
/* eslint-disable @typescript-eslint/no-empty-object-type, @typescript-eslint/no-namespace */
declare global {
  namespace WebAssembly {
    interface Module {}
    interface Memory {}
  }
  interface Response {}
  interface URL {}
}

/** The linear memory of an instance. */
export type LinearMemory = WebAssembly.Memory;
