// Keeps the loop of a worker turning while the cases run there. In a worker of WebKitGTK (seen in 2.50.6, once in some
// thousand calls) the promise of WebAssembly.compile may stay pending until the worker's next event, for ever where none
// comes: WebCore's WorkerRunLoop looks for due timers, and only then asks to be told of new ones. The timer that settles
// the promise is set by the thread that compiles, and set in between it wakes nobody. With an interval something does.
setInterval(() => undefined, 100);
