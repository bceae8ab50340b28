// Parses PowerShell scripts by the grammar of tree-sitter and prints what it does not
// understand: node parse.mjs MODULES FILE…
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [modules, ...files] = process.argv.slice(2);
const require = createRequire(modules + "/");
const { Parser, Language } = require("web-tree-sitter");
await Parser.init();
const parser = new Parser();
parser.setLanguage(await Language.load(require.resolve("tree-sitter-powershell/tree-sitter-powershell.wasm")));
let bad = 0;
for (const file of files) {
  const look = (node) => {
    if (node.isError || node.isMissing) {
      bad++;
      console.log(`${file}:${node.startPosition.row + 1}: ${node.isMissing ? "missing " + node.type : "not understood: " + node.text.slice(0, 80)}`);
    }
    for (const child of node.children) look(child);
  };
  look(parser.parse(readFileSync(file, "utf8")).rootNode);
}
process.exit(bad ? 1 : 0);
