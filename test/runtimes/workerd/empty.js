// A Worker without heed, for the time that workerd itself takes.
export default {
  async fetch() {
    return new Response("0.5");
  },
};
