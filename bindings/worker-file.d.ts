// The file of a worker, see `load({ worker })`: it is started, not imported.
export {};
