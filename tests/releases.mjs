#!/usr/bin/env node
// Records programs on many releases of llama.cpp and prints the table of docs/releases.md: the prebuilt libraries that
// node-llama-cpp brings, each driven by its own version of it. Needs npm and the network; what it fetches stays in DIR.
//
//   tests/releases.mjs DIR [VERSION…]

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const VERSIONS = ["3.1.1", "3.4.1", "3.7.0", "3.10.0", "3.13.0", "3.16.2", "3.19.1", "3.22.1"];
const N_PREDICT = 8;

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const ggscope = path.join(root, "target/release/ggscope");
const model = path.join(root, "vendor/models/SmolLM2-135M-Instruct.Q4_1.gguf");

const PROGRAM = `
import {getLlama, LlamaCompletion} from "node-llama-cpp";
const llama = await getLlama({build: "never", gpu: false, logLevel: "error", skipDownload: true});
const model = await llama.loadModel({modelPath: process.argv[2]});
const context = await model.createContext({contextSize: 256, threads: 2});
const completion = new LlamaCompletion({contextSequence: context.getSequence()});
const maxTokens = Number(process.argv[3]);
console.log(JSON.stringify(await completion.generateCompletion("The capital of France is", {maxTokens, temperature: 0})));
await context.dispose();
await model.dispose();
await llama.dispose();
`;

function run(command, args, cwd) {
    const done = spawnSync(command, args, { cwd, encoding: "utf8", maxBuffer: 1 << 30 });
    if (done.status !== 0) {
        throw new Error(`${command} ${args.join(" ")}: ${done.stderr || done.error}`);
    }
    return done;
}

function install(dir, version) {
    mkdirSync(dir, { recursive: true });
    writeFileSync(path.join(dir, "program.mjs"), PROGRAM);
    if (!existsSync(path.join(dir, "package.json"))) {
        writeFileSync(path.join(dir, "package.json"), '{"name": "release", "private": true, "type": "module"}');
    }
    // The package offers libraries for every machine and GPU: only one of them is wanted.
    for (const name of ["node-llama-cpp", "@node-llama-cpp/linux-x64"]) {
        if (!existsSync(path.join(dir, "node_modules", name))) {
            const options = ["--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund"];
            run("npm", ["install", ...options, `${name}@${version}`], dir);
        }
    }
}

function row(dir, version) {
    install(dir, version);
    const release = JSON.parse(readFileSync(path.join(dir, "node_modules/node-llama-cpp/llama/binariesGithubRelease.json")));
    const program = ["node", "program.mjs", model, String(N_PREDICT)];
    const untraced = run(program[0], program.slice(1), dir).stdout;
    const trace = path.join(dir, "run.ggtrace");
    const sets = "attention,layers,logits";
    const traced = run(ggscope, ["record", "--force", "-o", trace, "--capture", sets, "--", ...program], dir);
    const info = JSON.parse(run(ggscope, ["info", "--json", trace]).stdout);
    const rows = run(ggscope, ["dump", "--jsonl", trace]).stdout.trim().split("\n").map((line) => JSON.parse(line));
    const timed = rows.filter((row) => row.dur_ns !== undefined || row.fused_into !== undefined).length;
    const layers = new Set(rows.map((row) => row.layer).filter((layer) => layer !== undefined && layer !== null));
    const nothing = [...traced.stderr.matchAll(/nothing of the set `(\w+)`/g)].map((found) => found[1]);
    const cells = [
        version,
        release.release,
        traced.stdout === untraced ? "equal" : "**differs**",
        `${info.tokens.prompt + info.tokens.generate}`,
        `${timed} of ${rows.length}`,
        `${layers.size}`,
        `${info.graphs} for ${info.evaluations}`,
        nothing.length === 0 ? "all" : `no ${nothing.join(", ")}`,
    ];
    return `| ${cells.join(" | ")} |`;
}

const [dir, ...asked] = process.argv.slice(2);
if (dir === undefined) {
    console.error("usage: tests/releases.mjs DIR [VERSION…]");
    process.exit(2);
}
console.log("| node-llama-cpp | llama.cpp | answer | tokens | operators with a time | layers | graphs for evaluations | sets captured |");
console.log("|---|---|---|---|---|---|---|---|");
for (const version of asked.length > 0 ? asked : VERSIONS) {
    console.log(row(path.resolve(dir, version), version));
}
