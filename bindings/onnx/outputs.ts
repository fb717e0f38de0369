/** An object whose properties are made when they are first read, so that an output nobody reads costs nothing. */
export function outputsOf<Outputs extends object>(makers: { [Name in keyof Outputs]: () => Outputs[Name] }): Outputs {
  const outputs = {};
  for (const name of Object.keys(makers) as (keyof Outputs & string)[]) {
    Object.defineProperty(outputs, name, {
      enumerable: true,
      configurable: true,
      get() {
        const value = makers[name]();
        Object.defineProperty(outputs, name, { enumerable: true, value });
        return value;
      },
    });
  }
  return outputs as Outputs;
}
