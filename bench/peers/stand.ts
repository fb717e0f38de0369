// A process of its own for one of the onnxruntimes with a number of threads: node stand.js RUNTIME THREADS. remote.ts
// starts it and asks; each answer is sent when the threads of onnxruntime are quiet again.
import type { Contender } from "../harness/entrant.ts";
import { makeLinearProblem } from "../harness/layer-problems.ts";
import { runFor } from "../harness/measure.ts";
import { type Shape, makeProblem } from "../harness/problem.ts";
import { quiet } from "../harness/quiet.ts";
import { messageOf } from "../harness/report.ts";
import { linearForms } from "./linear-forms.ts";
import { formsOf } from "./onnx-forms.ts";
import { loadNodeRuntime, loadWebRuntime } from "./onnxruntime.ts";

/** What is computed: attention of a shape, or a linear layer. Its inputs are the same in every process. */
export type Work = { shape: Shape } | { product: readonly [rows: number, inFeatures: number, outFeatures: number] };

/** What is asked; contenders are named by their numbers in the answer to `open`. */
export type Question =
  | { ask: "open"; work: Work }
  | { ask: "result"; of: number }
  | { ask: "turn"; of: number; ms: number }
  | { ask: "close" };

export type Answer =
  | { version: string }
  | { forms: Pick<Contender, "name" | "form" | "kind">[] }
  | { out: Float32Array }
  | { samples: number[] }
  | { closed: true }
  | { error: string };

const [, , name, threads] = process.argv;
const runtime = await (name === "web" ? loadWebRuntime : loadNodeRuntime)(Number(threads));
let contenders: Contender[] = [];

async function open(work: Work): Promise<Answer> {
  const forms = "shape" in work ? formsOf(makeProblem(work.shape)) : linearForms(makeLinearProblem(work.product));
  for (const form of forms) contenders.push(await runtime.prepare(form));
  return { forms: contenders.map(({ name, form, kind }) => ({ name, form, kind })) };
}

async function close(): Promise<Answer> {
  for (const contender of contenders) await contender.dispose?.();
  contenders = [];
  return { closed: true };
}

async function answer(question: Question): Promise<Answer> {
  if (question.ask === "open") return open(question.work);
  if (question.ask === "close") return close();
  const contender = contenders[question.of]!;
  if (question.ask === "result") return { out: await contender.result() };
  return { samples: await runFor(contender, question.ms) };
}

const send = (message: Answer): void => void process.send!(message);

process.on("message", (question: Question) => {
  answer(question)
    .catch((error: unknown) => ({ error: messageOf(error) }))
    .then(async (message) => {
      await quiet();
      send(message);
    })
    .catch(() => process.exit(1));
});
// The threads of onnxruntime would keep this process alive.
process.on("disconnect", () => process.exit());
send({ version: runtime.version });
