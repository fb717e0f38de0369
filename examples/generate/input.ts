/** Something that the user gave is wrong: the message is all that they need. */
export class InputError extends Error {}
