// Embeds words by their letters, computes self-attention over them, and draws the weights as a heat map at each
// keystroke.
import { load } from "./heed.js";

const DIM = 64;
const MOST_WORDS = 64;

/** @param {string} id */
const element = (id) => document.getElementById(id);
const text = /** @type {HTMLTextAreaElement} */ (element("text"));
const temperature = /** @type {HTMLInputElement} */ (element("temperature"));
const causal = /** @type {HTMLInputElement} */ (element("causal"));
const canvas = /** @type {HTMLCanvasElement} */ (element("map"));
const status = /** @type {HTMLElement} */ (element("status"));
const temperatureValue = /** @type {HTMLElement} */ (element("temperature-value"));

/**
 * A unit vector: words that share pairs of letters get similar ones.
 * @param {string} word
 */
function embed(word) {
  const vector = new Float32Array(DIM);
  const letters = `^${word.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "")}$`;
  for (let i = 0; i + 1 < letters.length; i++) {
    const at = (letters.charCodeAt(i) * 31 + letters.charCodeAt(i + 1) * 17) % DIM;
    vector[at] = (vector[at] ?? 0) + 1;
  }
  const norm = Math.hypot(...vector);
  return vector.map((x) => x / norm);
}

/**
 * [words, words]: how much each attends to each.
 * @param {Awaited<ReturnType<typeof load>>} heed
 * @param {string[]} words
 */
function weightsOf(heed, words) {
  const x = new Float32Array(words.length * DIM);
  words.forEach((word, i) => x.set(embed(word), i * DIM));
  const scale = 4 / Number(temperature.value);
  return heed.attentionWeights(x, x, { numHeads: 1, headDim: DIM, scale, causal: causal.checked }).weights;
}

/**
 * @param {string[]} words
 * @param {Float32Array} weights
 */
function draw(words, weights) {
  const cell = Math.max(12, Math.min(28, Math.floor(560 / words.length)));
  const [left, top] = [110, 90];
  const ratio = devicePixelRatio;
  const [width, height] = [left + cell * words.length + 40, top + cell * words.length + 4];
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  canvas.style.maxWidth = `${width}px`;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.scale(ratio, ratio);
  const ink = getComputedStyle(document.body).color;
  context.font = `${Math.min(14, cell - 1)}px system-ui, sans-serif`;
  context.fillStyle = ink;
  words.forEach((word, i) => {
    const middle = (i + 0.5) * cell;
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.fillText(word, left - 6, top + middle, left - 8);
    context.save();
    context.translate(left + middle, top - 6);
    context.rotate(-Math.PI / 3);
    context.textAlign = "left";
    context.fillText(word, 0, 0, top - 8);
    context.restore();
  });
  for (let i = 0; i < words.length; i++) {
    for (let j = 0; j < words.length; j++) {
      const weight = weights[i * words.length + j] ?? 0;
      context.fillStyle = `hsl(12 85% 52% / ${Math.sqrt(weight)})`;
      context.fillRect(left + j * cell, top + i * cell, cell - 1, cell - 1);
    }
  }
}

/** @param {Awaited<ReturnType<typeof load>>} heed */
function update(heed) {
  temperatureValue.textContent = temperature.value;
  const words = text.value.split(/\s+/).filter(Boolean).slice(0, MOST_WORDS);
  if (words.length === 0) {
    canvas.width = canvas.height = 0;
    status.textContent = "Nothing to attend to: type a few words.";
    return;
  }
  const start = performance.now();
  const weights = weightsOf(heed, words);
  const milliseconds = performance.now() - start;
  draw(words, weights);
  status.textContent = `${words.length} words in ${milliseconds.toFixed(2)} ms, build “${heed.variant}”`;
}

try {
  const heed = await load();
  for (const input of [text, temperature, causal]) input.addEventListener("input", () => update(heed));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => update(heed));
  update(heed);
} catch (error) {
  status.textContent = String(error);
}
