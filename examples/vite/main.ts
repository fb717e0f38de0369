import type { Measured } from "./worker.ts";

const LENGTHS = [64, 128, 256, 512, 1024];

const rows = document.getElementById("rows")!;
const status = document.getElementById("status")!;
const again = document.getElementById("again") as HTMLButtonElement;
const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });

function measure(seqLen: number): Promise<Measured> {
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }: MessageEvent<Measured>) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(message));
    worker.postMessage(seqLen);
  });
}

function show({ seqLen, milliseconds, gflops }: Measured): void {
  const row = document.createElement("tr");
  for (const text of [seqLen, milliseconds.toFixed(2), gflops.toFixed(1)]) row.insertCell().textContent = String(text);
  const meter = document.createElement("meter");
  meter.max = 60;
  meter.value = gflops;
  row.insertCell().append(meter);
  rows.append(row);
}

async function measureAll(): Promise<void> {
  again.disabled = true;
  rows.replaceChildren();
  status.textContent = "Measuring …";
  try {
    let variant = "";
    for (const seqLen of LENGTHS) {
      const measured = await measure(seqLen);
      ({ variant } = measured);
      show(measured);
    }
    status.textContent = `Done, build “${variant}”.`;
  } catch (error) {
    status.textContent = String(error);
  } finally {
    again.disabled = false;
  }
}

again.addEventListener("click", () => void measureAll());
void measureAll();
