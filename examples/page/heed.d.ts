// The types of heed.js, for editors: see README.md.
export * from "heed";
