//! The arguments of a program without what a user wrote in them, for traces that are to have no texts. A prompt can stand
//! anywhere and begin with anything, so only what is known to be an option's name stays, and no value does.

/// Stands for what was left out.
const LEFT_OUT: &str = "…";

/// Options of llama.cpp's programs behind which a value stands.
const WITH_VALUE: &[&str] = &[
    "-a",
    "--alias",
    "--api-key",
    "--api-key-file",
    "--audio",
    "-b",
    "--batch-size",
    "-bf",
    "--binary-file",
    "-c",
    "--cache-ram",
    "--cache-reuse",
    "--cache-type-k",
    "--cache-type-v",
    "--chat-template",
    "--chat-template-file",
    "--chat-template-kwargs",
    "--control-vector",
    "--control-vector-layer-range",
    "--control-vector-scaled",
    "-ctk",
    "--ctx-size",
    "-ctv",
    "-dev",
    "--device",
    "--draft",
    "--draft-max",
    "--draft-min",
    "-f",
    "-fa",
    "--file",
    "--flash-attn",
    "--gpu-layers",
    "--grammar",
    "--grammar-file",
    "-hf",
    "-hff",
    "-hfr",
    "--hf-file",
    "--hf-repo",
    "--host",
    "--image",
    "--in-prefix",
    "--in-suffix",
    "-j",
    "--json-schema",
    "--json-schema-file",
    "--keep",
    "-lm",
    "--load-mode",
    "--log-file",
    "--lora",
    "--lora-scaled",
    "-lv",
    "-m",
    "--main-gpu",
    "-md",
    "-mg",
    "--min-p",
    "-mm",
    "--mmproj",
    "--model",
    "--model-draft",
    "--model-url",
    "-mu",
    "-n",
    "--n-cpu-moe",
    "--n-gpu-layers",
    "--n-predict",
    "-ncmoe",
    "-ngl",
    "-np",
    "--numa",
    "-o",
    "-ot",
    "--output",
    "--override-kv",
    "--override-tensor",
    "-p",
    "--parallel",
    "--pooling",
    "--port",
    "--predict",
    "--prompt",
    "-r",
    "--reasoning-budget",
    "--reasoning-format",
    "--repeat-last-n",
    "--repeat-penalty",
    "--reverse-prompt",
    "--rope-freq-base",
    "--rope-freq-scale",
    "--rope-scaling",
    "--rpc",
    "-s",
    "--samplers",
    "--seed",
    "-sm",
    "--spec-type",
    "--split-mode",
    "-sys",
    "-sysf",
    "--system-prompt",
    "--system-prompt-file",
    "-t",
    "-tb",
    "--temp",
    "--temperature",
    "--tensor-split",
    "--threads",
    "--threads-batch",
    "--top-k",
    "--top-p",
    "-ts",
    "-ub",
    "--ubatch-size",
    "--verbosity",
];

/// Options of llama.cpp's programs that stand alone.
const ALONE: &[&str] = &[
    "-cb",
    "--check-tensors",
    "-cmoe",
    "-cnv",
    "--color",
    "--cont-batching",
    "--context-shift",
    "--conversation",
    "--cpu-moe",
    "-e",
    "--embedding",
    "--embeddings",
    "--escape",
    "-h",
    "--help",
    "-i",
    "--ignore-eos",
    "--interactive",
    "--jinja",
    "--kv-unified",
    "-kvu",
    "--log-disable",
    "--metrics",
    "--mlock",
    "--mmap",
    "-nkvo",
    "--no-cnv",
    "-no-cnv",
    "--no-context-shift",
    "--no-conversation",
    "--no-display-prompt",
    "--no-escape",
    "--no-jinja",
    "--no-kv-offload",
    "--no-mmap",
    "--no-op-offload",
    "--no-perf",
    "--no-repack",
    "--no-slots",
    "--no-warmup",
    "--no-webui",
    "-nocb",
    "-nr",
    "--offline",
    "--perf",
    "--repack",
    "--rerank",
    "--reranking",
    "--simple-io",
    "--single-turn",
    "--slots",
    "-sp",
    "--special",
    "-st",
    "--swa-full",
    "-v",
    "--verbose",
    "--verbose-prompt",
    "--version",
    "--warmup",
];

/// Leaves out all of the arguments but the program's name and the names of options. An option that is not known here is
/// left out, too: it could be the beginning of a prompt.
pub(super) fn without_texts(argv: &mut [String]) {
    let mut is_value = false;
    for arg in argv.iter_mut().skip(1) {
        if std::mem::take(&mut is_value) {
            *arg = LEFT_OUT.to_owned();
        } else if WITH_VALUE.contains(&arg.as_str()) {
            is_value = true;
        } else if let Some((name, _)) = arg.split_once('=').filter(|(name, _)| WITH_VALUE.contains(name)) {
            *arg = format!("{name}={LEFT_OUT}");
        } else if !ALONE.contains(&arg.as_str()) {
            *arg = LEFT_OUT.to_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(argv: &[&str]) -> String {
        let mut argv: Vec<String> = argv.iter().map(|&arg| arg.to_owned()).collect();
        without_texts(&mut argv);
        argv.join(" ")
    }

    #[test]
    fn no_prompt_is_left_wherever_it_stands_and_whatever_it_begins_with() {
        let secrets = [
            "secret",
            "-secret",
            "--secret",
            "-my secret",
            "--secret=1",
            "=secret",
            "-p=secret",
            "--",
            "",
            "-mysecret",
        ];
        for secret in secrets {
            let all: &[&[&str]] = &[
                &["llama-cli", "-p", secret],
                &["llama-cli", "--prompt", secret, "-m", "m.gguf"],
                &["llama-cli", &format!("--prompt={secret}")],
                &["llama-cli", "-sys", secret, "-no-cnv"],
                &["llama-simple", "-m", "m.gguf", secret],
                &["llama-simple", "-m", "m.gguf", "-n", "4", secret, secret],
                &["llama-cli", "--in-prefix", secret, "--in-suffix", secret],
                &["llama-cli", "--not-known-here", secret],
                &["llama-cli", "--jinja", secret],
                &["llama-cli", "--lora-scaled", "a.gguf", secret],
            ];
            for argv in all {
                assert!(!left(argv).contains("secret"), "{argv:?}: {}", left(argv));
            }
        }
    }

    #[test]
    fn names_of_options_stay_and_values_do_not() {
        let argv =
            ["llama-server", "-m", "a.gguf", "--no-mmap", "-c", "512", "--port=80", "--jinja", "-p", "-m", "-n", "-1"];
        assert_eq!(left(&argv), "llama-server -m … --no-mmap -c … --port=… --jinja -p … -n …");
    }
}
