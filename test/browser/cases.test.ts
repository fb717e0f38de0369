// What every host must do (test/runtimes/cases.ts), as it was bundled for the project where the packed package is
// installed.
import { cases } from "heed-cases";
import { expect, it } from "vitest";

it.each(Object.keys(cases))("%s", async (name) => {
  expect(await cases[name]!()).toBeUndefined();
});
