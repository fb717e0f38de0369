// node scripts/abi.js: writes bindings/engine/abi.ts, what TypeScript must know of assembly/: the fields of structs,
// constants and the signatures of the exported kernels, read from the sources themselves. node scripts/abi.js --check:
// fails where the file is not what the sources say.
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import process from "node:process";
import { format, resolveConfig } from "prettier";
import ts from "typescript";

const OUTPUT = "bindings/engine/abi.ts";

/** Constants for TypeScript, by the file that declares them. */
const CONSTANTS = {
  "assembly/kv/rows.ts": ["F32", "F16", "INT8", "HALF", "BF16", "PAGE_KEYS"],
  "assembly/args.ts": ["MAX_OFFSET", "UNLIMITED"],
  "assembly/prefill/passes.ts": ["MAX_PIECE_ROWS"],
  "assembly/decode/products.ts": ["MAX_DECODE_ROWS"],
  "assembly/ops/linear.ts": ["PANEL_FEATURES", "BLOCK_ROWS"],
  "assembly/modules/transformer/norms.ts": ["NORM_RMS", "NORM_LAYER", "NORM_L2"],
  "assembly/simd/activations.ts": ["ACT_RELU", "ACT_SILU", "ACT_GELU_TANH", "ACT_GELU"],
};

/** Structs that TypeScript writes, of fields of four bytes. */
const STRUCTS = { "assembly/args.ts": "AttendArgs", "assembly/ops/score-rows.ts": "ScoreRow" };

/** @type {Map<string, ts.SourceFile>} */
const parsed = new Map();

/** @param {string} file */
function parse(file) {
  const known = parsed.get(file);
  if (known) return known;
  const source = ts.createSourceFile(file, readFileSync(file, "utf8"), ts.ScriptTarget.Latest, true);
  parsed.set(file, source);
  return source;
}

/**
 * Where `name` is declared, seen from `file`: there, or in what it is imported or exported from.
 * @param {string} file
 * @param {string} name
 * @returns {{ file: string; node: ts.VariableDeclaration | ts.FunctionDeclaration | ts.ClassDeclaration }}
 */
function find(file, name) {
  for (const statement of parse(file).statements) {
    if (ts.isVariableStatement(statement)) {
      const node = statement.declarationList.declarations.find((one) => one.name.getText() === name);
      if (node) return { file, node };
    }
    if ((ts.isFunctionDeclaration(statement) || ts.isClassDeclaration(statement)) && statement.name?.text === name) {
      return { file, node: statement };
    }
    const clause = ts.isImportDeclaration(statement)
      ? statement.importClause?.namedBindings
      : ts.isExportDeclaration(statement)
        ? statement.exportClause
        : undefined;
    if (!clause || !("elements" in clause)) continue;
    const hit = clause.elements.find((one) => one.name.text === name);
    const from = /** @type {ts.ImportDeclaration | ts.ExportDeclaration} */ (statement).moduleSpecifier;
    if (!hit || !from || !ts.isStringLiteral(from)) continue;
    return find(normalize(join(dirname(file), `${from.text}.ts`)), (hit.propertyName ?? hit.name).text);
  }
  throw new Error(`${file} has no ${name}`);
}

/**
 * The value of a constant expression of integers.
 * @param {string} file
 * @param {ts.Expression} node
 * @returns {number}
 */
function evaluate(file, node) {
  if (ts.isNumericLiteral(node)) return Number(node.text);
  if (ts.isParenthesizedExpression(node) || ts.isTypeAssertionExpression(node)) return evaluate(file, node.expression);
  if (ts.isIdentifier(node)) {
    const { file: from, node: declared } = find(file, node.text);
    if (ts.isVariableDeclaration(declared) && declared.initializer) return evaluate(from, declared.initializer);
  }
  if (node.getText() === "i32.MAX_VALUE") return 2 ** 31 - 1;
  if (ts.isBinaryExpression(node)) {
    const [a, b] = [evaluate(file, node.left), evaluate(file, node.right)];
    switch (node.operatorToken.kind) {
      case ts.SyntaxKind.PlusToken:
        return a + b;
      case ts.SyntaxKind.MinusToken:
        return a - b;
      case ts.SyntaxKind.AsteriskToken:
        return a * b;
      case ts.SyntaxKind.LessThanLessThanToken:
        return a * 2 ** b;
    }
  }
  throw new Error(`${file}: no constant: ${node.getText()}`);
}

/**
 * The doc comment of a declaration, as it stands.
 * @param {ts.Node} node
 */
function docOf(node) {
  const text = node.getSourceFile().text;
  const comments = ts.getLeadingCommentRanges(text, node.getFullStart()) ?? [];
  const doc = comments.map(({ pos, end }) => text.slice(pos, end)).filter((comment) => comment.startsWith("/**"));
  return doc.length > 0 ? `${doc.at(-1)}\n` : "";
}

/**
 * The first sentence of a doc comment, and where it stands.
 * @param {string} doc
 * @param {string} place
 */
function comment(doc, place) {
  const paragraph = /^\/\*\*\s*\*?\s*(.*?)(?:\n \*\n|\s*\*\/)/s.exec(doc)?.[1]?.replace(/\n \* /g, " ") ?? "";
  const sentence = /^.*?[.:](?= |$)/.exec(paragraph)?.[0].replace(/:$/, ".") ?? paragraph;
  return wrap(`${sentence.replace(/\{@link (\w+)\}/g, "`$1`")}${sentence && " "}${place}`);
}

/**
 * A doc comment in lines of at most 118 columns, indented by 2.
 * @param {string} text
 */
function wrap(text) {
  if (text.length <= 110) return `/** ${text} */`;
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines.at(-1) ?? "";
    if (line.length + word.length > 112) lines.push(word);
    else lines[lines.length - 1] = line ? `${line} ${word}` : word;
  }
  return `/**\n${lines.map((line) => ` * ${line}`).join("\n")}\n */`;
}

/** @param {ts.TypeNode | undefined} type */
function fieldType(type) {
  const name = type?.getText() ?? "";
  if (!["usize", "i32", "f32"].includes(name)) throw new Error(`no field of four bytes: ${name}`);
  return name;
}

/**
 * The fields of a struct, the integers first.
 * @param {string} file
 * @param {string} name
 */
function struct(file, name) {
  const { node } = find(file, name);
  if (!ts.isClassDeclaration(node)) throw new Error(`${name} is no class`);
  const fields = node.members.filter(ts.isPropertyDeclaration);
  const types = fields.map((field) => fieldType(field.type));
  const integers = types.filter((type) => type !== "f32").length;
  if (types.slice(0, integers).includes("f32")) throw new Error(`${name}: floats must come last`);
  const title = name.replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase();
  return `
/**
 * ${name} (${file}) in memory: its fields, of four bytes each. The first \`integers\` are integers, the
 * others floats.
 */
export const ${title} = {
  integers: ${integers},
  fields: ${JSON.stringify(fields.map((field) => field.name.getText()))},
} as const;

/** The values of ${name}. */
export type ${name} = Record<(typeof ${title})["fields"][number], number>;
`;
}

function constants() {
  return Object.entries(CONSTANTS).flatMap(([file, names]) =>
    names.map((name) => {
      const { node } = find(file, name);
      if (!ts.isVariableDeclaration(node) || !node.initializer) throw new Error(`${name} is no constant`);
      const statement = node.parent.parent;
      return `${comment(docOf(statement), `(${file})`)}\nexport const ${name} = ${evaluate(file, node.initializer)};`;
    }),
  );
}

/**
 * @param {ts.TypeNode | undefined} type
 * @param {boolean} isResult WebAssembly returns a bool as 0 or 1, and takes one as anything that coerces.
 */
function jsType(type, isResult) {
  const name = type?.getText() ?? "void";
  if (name === "bool") return isResult ? "number" : "boolean";
  if (["usize", "i32", "f32", "f64"].includes(name)) return "number";
  // A struct goes by its address.
  return name === "void" ? "void" : "number";
}

/**
 * The kernels that an entry of assembly/ exports.
 * @param {string} index
 */
function kernels(index) {
  const names = parse(index).statements.flatMap((statement) => {
    if (ts.isFunctionDeclaration(statement)) return statement.name?.text ?? [];
    if (!ts.isExportDeclaration(statement) || !statement.exportClause || !("elements" in statement.exportClause)) {
      return [];
    }
    return statement.exportClause.elements.map(({ name }) => name.text);
  });
  return names.map((name) => {
    const { file, node } = find(index, name);
    if (!ts.isFunctionDeclaration(node)) throw new Error(`${name} is no function`);
    const parameters = node.parameters.map((one) => `${one.name.getText()}: ${jsType(one.type, false)}`);
    return `${comment(docOf(node), `(${file})`)}\n${name}(${parameters.join(", ")}): ${jsType(node.type, true)};`;
  });
}

const text = `// Written by scripts/abi.js from the sources of assembly/: do not edit. \`npm run abi\` writes it anew.

${constants().join("\n\n")}
${Object.entries(STRUCTS)
  .map(([file, name]) => struct(file, name))
  .join("")}
/** What the compiled module exports; pointers are byte offsets into the imported memory. */
export interface Kernels {
${kernels("assembly/index.ts").join("\n")}
}

/** What the module of \`linear\` exports (docs/decisions/modules.md). */
export interface LinearKernels {
${kernels("assembly/modules/linear/index.ts").join("\n")}
}

/** What the module of transformer blocks exports (docs/decisions/transformer-module.md). */
export interface TransformerKernels {
${kernels("assembly/modules/transformer/index.ts").join("\n")}
}
`;
const wanted = await format(text, { ...(await resolveConfig(OUTPUT)), parser: "typescript" });
if (process.argv.includes("--check")) {
  if (readFileSync(OUTPUT, "utf8") !== wanted) {
    console.error(`${OUTPUT} is not what assembly/ says: npm run abi`);
    process.exit(1);
  }
} else {
  writeFileSync(OUTPUT, wanted);
}
