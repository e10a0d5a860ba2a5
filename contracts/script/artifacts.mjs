// Writes, or checks, what the Rust side needs of Forge's output: ABI and creation bytecode, nothing of the machine.
// usage: artifacts.mjs write|check
import { readFileSync, writeFileSync } from "node:fs";

const CONTRACTS = ["Inbox", "Registry", "RollupRegistry", "OrderingSlasher", "OrderingMarket"];
const path = (relative) => new URL(relative, import.meta.url);
const mode = process.argv[2];
if (mode !== "write" && mode !== "check") {
  console.error("usage: artifacts.mjs write|check");
  process.exit(2);
}

// `sol!` cannot see the schema's structs from a struct that another contract declares, so all of them are given to the
// contract itself.
const unqualified = (key, value) =>
  key === "internalType" && typeof value === "string" ? value.replace(/^(struct|enum) \w+\./, "$1 ") : value;

let stale = false;
for (const name of CONTRACTS) {
  const built = JSON.parse(readFileSync(path(`../out/${name}.sol/${name}.json`), "utf8"));
  const artifact = { contractName: name, abi: built.abi, bytecode: { object: built.bytecode.object } };
  const text = `${JSON.stringify(artifact, unqualified, 1)}\n`;
  const target = path(`../artifacts/${name}.json`);
  if (mode === "write") {
    writeFileSync(target, text);
    continue;
  }
  let committed = "";
  try {
    committed = readFileSync(target, "utf8");
  } catch (error) {
    if (error.code !== "ENOENT") throw error;
  }
  if (committed !== text) {
    stale = true;
    console.error(`contracts/artifacts/${name}.json is not what the sources build to; run contracts/build`);
  }
}
process.exit(stale ? 1 : 0);
