// The default theme without its fonts, in heed's colours, with a first page of its own and the lens.
import type { Theme } from "vitepress";
import DefaultTheme from "vitepress/theme-without-fonts";
import Home from "./Home.vue";
import Layout from "./Layout.vue";
import Lens from "./Lens.vue";
import "./style.css";

export default {
  extends: DefaultTheme,
  Layout,
  enhanceApp: ({ app }) => void app.component("Home", Home).component("Lens", Lens),
} satisfies Theme;
