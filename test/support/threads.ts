import { type Heed, type LoadOptions, load } from "heed";

/**
 * An instance with that many threads. A machine that is busy with other tests may take longer than the second in which
 * workers must answer: then it is asked again.
 */
export async function loadThreads(options: LoadOptions & { threads: number }): Promise<Heed> {
  for (let left = 10; ; left--) {
    const heed = await load(options);
    if (heed.threads === options.threads || left === 0) return heed;
    heed.dispose();
  }
}
