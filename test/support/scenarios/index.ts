// Every public function that works on memory, made ready to be called: for failing allocations, for the end of memory,
// for memory that is poisoned, guarded or checked.
import { blocks } from "./blocks.ts";
import { caches } from "./caches.ts";
import { calls } from "./calls.ts";
import { layers } from "./layers.ts";
import { operators } from "./operators.ts";
import type { Scenarios } from "./scenario.ts";

export type { Numbers, Scenario } from "./scenario.ts";

export const scenarios: Scenarios = { ...calls, ...caches, ...layers, ...operators, ...blocks };
