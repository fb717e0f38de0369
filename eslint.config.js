import js from "@eslint/js";
import { defineConfig, globalIgnores } from "eslint/config";
import tseslint from "typescript-eslint";

export default defineConfig(
  // eslint cannot parse the decorators of AssemblyScript; asc and tsc check that code.
  globalIgnores(["assembly/", "test/kernels/", "test/package/module/", "**/build/", "dist/", "**/node_modules/"]),
  js.configs.recommended,
  tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true, allowBoolean: true }],
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
      "@typescript-eslint/no-non-null-assertion": "off",
      // tsc knows the globals of Node, in JavaScript too.
      "no-undef": "off",
    },
  },
  // The types of the peers are only there once bench/ is installed, and `npm --prefix bench run typecheck` checks them then.
  {
    files: ["bench/peers/*.ts", "bench/chart.ts", "bench/harness/wat.ts", "bench/cases/async.ts"],
    extends: [tseslint.configs.disableTypeChecked],
  },
  // Likewise what tools/ installs, which `npm run lint` checks with `tsc -p tools`.
  { files: ["tools/**/*.js"], extends: [tseslint.configs.disableTypeChecked] },
  // Likewise the generators of docs/, which `npm run docs` checks.
  { files: ["docs/**/*.{ts,js}"], extends: [tseslint.configs.disableTypeChecked] },
  // Likewise the hosts of test/runtimes/, what drives the browsers of test/browser/, and their own typechecks.
  {
    files: [
      "test/browser/*.ts",
      "test/runtimes/*/*.{ts,js}",
      "test/runtimes/bundlers.ts",
      "test/runtimes/measure-cold.ts",
    ],
    extends: [tseslint.configs.disableTypeChecked],
  },
);
