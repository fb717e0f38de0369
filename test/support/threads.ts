import { type Heed, type LoadOptions, load } from "heed";

/**
 * An instance with threads, or with one and the reason. A machine that is busy with other tests may take longer than the
 * second in which workers must answer: then it is asked again, unless that is the `reason` to see.
 */
export async function loadThreads(options: LoadOptions, reason?: RegExp): Promise<Heed> {
  for (let left = 10; ; left--) {
    const heed = await load(options);
    const said = heed.threadsReason ?? "";
    if (!said.includes("no answer") || reason?.test(said) || left === 0) return heed;
    heed.dispose();
  }
}
