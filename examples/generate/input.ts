/** The user gave something wrong. The message alone is printed, without a stack. */
export class InputError extends Error {}
