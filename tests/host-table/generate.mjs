// What a Node program does with node-llama-cpp: two sequences of one context, decoded by libuv's workers. Prints the ids
// of both answers. Written for the API that the releases from 3.1 to 3.22 have in common.
//
//   node generate.mjs MODEL
import { getLlama } from "node-llama-cpp";

const llama = await getLlama({ gpu: false, build: "never", logLevel: "error" });
const model = await llama.loadModel({ modelPath: process.argv[2], gpuLayers: 0 });
const context = await model.createContext({ contextSize: 256, sequences: 2, threads: 1 });
const prompts = ["The capital of France is", "Once upon a time there was a"];
const answer = async (text) => {
    const sequence = context.getSequence();
    const ids = [];
    for await (const id of sequence.evaluate(model.tokenize(text, true), { temperature: 0 })) {
        ids.push(id);
        if (ids.length === 8) break;
    }
    return ids;
};
console.log(JSON.stringify(await Promise.all(prompts.map(answer))));
process.exit(0);
