/** An event of a trace of Chromium; times in microseconds. */
export interface TraceEvent {
  name: string;
  ph: string;
  pid: number;
  tid: number;
  ts: number;
  dur?: number;
}

/** What records tasks whole. "ThreadControllerImpl::RunTask" of "toplevel" leaves out what a promise goes on with. */
export const TRACE_CATEGORIES = ["disabled-by-default-devtools.timeline", "blink.user_timing"];
const TASK = "RunTask";

/** Milliseconds of every task between two marks, on the thread that made them; the one that makes a mark counts too. */
export function tasksBetween(events: readonly TraceEvent[], from: string, to: string): number[] {
  const [start, end] = [from, to].map((mark) => events.find(({ name }) => name === mark));
  if (!start || !end) return [];
  return events
    .filter(({ name, ph, pid, tid }) => name === TASK && ph === "X" && pid === start.pid && tid === start.tid)
    .filter(({ ts, dur = 0 }) => ts + dur >= start.ts && ts <= end.ts)
    .map(({ dur = 0 }) => dur / 1000);
}
