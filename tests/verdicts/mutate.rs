//! One change of a model's header: of its keys, lists, tokenizer, tensors, rotation, experts, splits, alignment, names, or of
//! the bytes themselves. Which one is chance, from a seed.

use super::file::*;

/// A random generator (splitmix64): small, and the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

const SCALARS: [u32; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12];
const TOKENIZERS: [&str; 11] =
    ["llama", "gpt2", "bert", "t5", "rwkv", "plamo2", "no_vocab", "test", "none", "gemma4", "mystery"];

type Change = fn(&mut Model, &mut Random) -> String;

/// The families of changes; those with many ways to go wrong come more often.
const CHANGES: [Change; 28] = [
    key_type,
    key_type,
    key_type,
    key_value,
    key_value,
    key_value,
    key_dropped,
    key_twice,
    list,
    list,
    tokenizer,
    tokenizer,
    tokenizer,
    vocabulary,
    vocabulary,
    vocabulary,
    tensor_dropped,
    tensor_added,
    tensor_shape,
    tensor_shape,
    tensor_twice,
    tensor_name,
    tensor_type,
    rope,
    experts,
    split,
    names,
    bytes,
];

/// Changes a model, and says how.
pub fn mutate(model: &mut Model, random: &mut Random) -> String {
    let change = CHANGES[random.below(CHANGES.len())];
    change(model, random)
}

fn shown(name: &[u8]) -> String {
    name.escape_ascii().to_string()
}

fn any_key(model: &Model, random: &mut Random) -> usize {
    random.below(model.keys.len())
}

fn key_type(model: &mut Model, random: &mut Random) -> String {
    let i = any_key(model, random);
    let (key, value) = &mut model.keys[i];
    let number = value.as_number();
    let to = random.of(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 10, 11, 12]);
    *value = match to {
        TEXT => Value::text("5"),
        ARRAY => {
            let of = random.of(&SCALARS);
            let length = random.of(&[0, 1, 2, 2, 3, 4, 22]);
            Value::numbers(of, &vec![number; length])
        }
        _ => Value::number(to, number),
    };
    format!("{} becomes type {to}", shown(key))
}

fn key_value(model: &mut Model, random: &mut Random) -> String {
    let numbers: Vec<usize> = (0..model.keys.len()).filter(|&i| matches!(model.keys[i].1, Value::Scalar(..))).collect();
    if numbers.is_empty() {
        return key_dropped(model, random);
    }
    let (key, value) = &mut model.keys[random.of(&numbers)];
    let old = value.as_number();
    let new = match value.kind() {
        F32 | F64 => random.of(&[0.0, -1.0, 1e-5, f64::NAN, f64::INFINITY, 1e30, old * 2.0]),
        BOOL => 1.0 - old,
        _ => random.of(&[
            0.0,
            1.0,
            2.0,
            3.0,
            old + 1.0,
            old - 1.0,
            old * 2.0,
            (old / 2.0).floor(),
            64.0,
            127.0,
            2_147_483_648.0,
            4_294_967_295.0,
            old + 32.0,
        ]),
    };
    *value = Value::number(value.kind(), new);
    format!("{} from {old} to {new}", shown(key))
}

fn key_dropped(model: &mut Model, random: &mut Random) -> String {
    let i = any_key(model, random);
    format!("without {}", shown(&model.keys.remove(i).0))
}

fn key_twice(model: &mut Model, random: &mut Random) -> String {
    let pair = model.keys[any_key(model, random)].clone();
    model.keys.push(pair.clone());
    format!("{} twice", shown(&pair.0))
}

fn list(model: &mut Model, random: &mut Random) -> String {
    let lists: Vec<usize> = (0..model.keys.len()).filter(|&i| model.keys[i].1.kind() == ARRAY).collect();
    if lists.is_empty() {
        return key_type(model, random);
    }
    let (key, value) = &mut model.keys[random.of(&lists)];
    let Value::Array(kind, all) = value else { unreachable!("it is a list") };
    let what = random.below(5);
    match what {
        0 => drop(all.pop()),
        1 => all.extend(all.last().cloned()),
        2 => all.clear(),
        3 if *kind != TEXT => {
            *kind = random.of(&SCALARS);
            all.iter_mut().for_each(|value| *value = Value::number(*kind, value.as_number()));
        }
        _ => {
            let i = random.below(all.len());
            let new =
                if *kind == TEXT { Value::text("zz") } else { Value::number(*kind, random.of(&[0.0, 1.0, 255.0])) };
            if let Some(value) = all.get_mut(i) {
                *value = new;
            }
        }
    }
    format!("list {} in way {what}, {} of type {kind}", shown(key), all.len())
}

/// Another tokenizer, with all that llama.cpp wants for most of them.
fn tokenizer(model: &mut Model, random: &mut Random) -> String {
    let name = random.of(&TOKENIZERS);
    let rows = model.tensors.iter().find(|t| t.name == b"token_embd.weight").and_then(|t| t.ne.get(1));
    let n = rows.map_or(128, |&n| n.clamp(0, 1 << 16) as usize);
    let special = ["<unk>", "<s>", "</s>", "[CLS]", "[SEP]", "[UNK]", "[PAD]", "\u{2581}", "a", "b", "he", "l", "o"];
    let tokens: Vec<String> =
        (0..n).map(|i| special.get(i).map_or_else(|| format!("t{i}"), |&s| s.to_owned())).collect();
    let set = |model: &mut Model, key: &str, value| model.set(&format!("tokenizer.ggml.{key}"), value);
    set(model, "model", Value::text(name));
    set(model, "tokens", Value::texts(&tokens));
    set(model, "scores", Value::numbers(F32, &vec![0.0; n]));
    set(model, "token_type", Value::numbers(I32, &vec![1.0; n]));
    if name == "gpt2" {
        set(model, "pre", Value::text(random.of(&["gpt-2", "default", "llama-bpe", "qwen2", "never-heard-of"])));
        set(model, "merges", Value::texts(&["h e", "l o"]));
    }
    format!("tokenizer {name}")
}

/// A tokenizer with something wrong.
fn vocabulary(model: &mut Model, random: &mut Random) -> String {
    let name = tokenizer(model, random);
    let count = match model.get("tokenizer.ggml.tokens") {
        Some(Value::Array(_, all)) => all.len(),
        _ => 0,
    };
    let wrong_length = [0, 1, count.saturating_sub(1), count + 1];
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let what = random.below(14);
    match what {
        0 => model.drop_key(&key("tokens")),
        1 => model.drop_key(&key("scores")),
        2 => model.drop_key(&key("token_type")),
        3 => {
            model.set(&key("scores"), Value::numbers(random.of(&[F32, F32, F64]), &vec![0.0; random.of(&wrong_length)]))
        }
        4 => model.set(
            &key("token_type"),
            Value::numbers(random.of(&[I32, I32, U32, I8]), &vec![1.0; random.of(&wrong_length)]),
        ),
        5 | 6 => {
            if let Some(Value::Array(_, all)) = model.get(&key("tokens")) {
                match what {
                    5 if all.len() > 6 => all[5] = all[6].clone(),
                    _ if random.below(2) == 0 => drop(all.pop()),
                    _ => all.push(Value::text("more")),
                }
            }
        }
        7 if random.below(4) == 0 => model.set(&key("pre"), Value::number(U32, 3.0)),
        7 => model.set(&key("pre"), Value::text(random.of(&["never-heard-of", "", "llama3", "gpt-2"]))),
        8 => {
            let merges: [&[&str]; 6] = [&["ab"], &[""], &["a b", "a b"], &[" "], &["a  b"], &[]];
            let merges = random.of(&merges);
            model.set(&key("merges"), Value::texts(merges));
        }
        9 => {
            let id = random.of(&["bos", "eos", "unknown", "padding", "eot", "seperator", "mask", "cls", "fim_pre"]);
            let number = random.of(&[0.0, 1.0, count as f64, 2_147_483_647.0, 4_294_967_295.0]);
            let kind = random.of(&[U32, U32, U32, I32, U64]);
            model.set(&key(&format!("{id}_token_id")), Value::number(kind, number));
        }
        10 => model.set(&key("add_bos_token"), Value::number(random.of(&[BOOL, U8, U32]), 1.0)),
        11 => {
            let map = vec![1.0; random.of(&[0, 3, 4, 8, 20])];
            model.set(&key("precompiled_charsmap"), Value::numbers(random.of(&[U8, I8, U32]), &map));
        }
        12 => model.set(&key("tokens"), Value::numbers(random.of(&[U32, F32]), &vec![0.0; count])),
        _ => {
            let sorts: Vec<f64> = (0..count).map(|_| random.of(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 99.0])).collect();
            model.set(&key("token_type"), Value::numbers(I32, &sorts));
        }
    }
    format!("{name}, wrong in way {what}")
}

fn tensor_dropped(model: &mut Model, random: &mut Random) -> String {
    let i = random.below(model.tensors.len());
    format!("without the tensor {}", shown(&model.tensors.remove(i).name))
}

fn tensor_added(model: &mut Model, random: &mut Random) -> String {
    let name = random.of(&[
        "extra.weight",
        "blk.9.attn_q.weight",
        "v.patch_embd.weight",
        "rope_freqs.weight",
        "blk.0.attn_q.bias",
        "output.weight",
        "blk.0.ffn_gate.weight",
        "blk.0.attn_q.scale",
        "blk.0.ffn_down.input_scale",
        "",
        "blk.0.attn_qkv.weight",
        "rope_factors_long.weight",
        "output_norm.bias",
        "cls.weight",
    ]);
    let like = model.tensors[random.below(model.tensors.len())].ne.clone();
    let ne = [vec![4], vec![1], vec![256, 256], vec![128], vec![64, 2], vec![0], like][random.below(7)].clone();
    let text = format!("with a tensor {name} {ne:?}");
    model.tensors.push(Tensor { name: name.into(), ne, kind: 0 });
    text
}

fn tensor_shape(model: &mut Model, random: &mut Random) -> String {
    let i = random.below(model.tensors.len());
    let t = &mut model.tensors[i];
    let old = t.ne.clone();
    let at = random.below(t.ne.len());
    match (random.below(10), t.ne.get_mut(at)) {
        (_, None) => {}
        (0, Some(n)) => *n += 32,
        (1, Some(n)) => *n = (*n - 1).max(1),
        (2, _) => t.ne.reverse(),
        (3, _) if old.len() < 4 => t.ne.push(1),
        (4, _) if old.len() < 4 => t.ne.push(2),
        (5, Some(n)) => *n *= 2,
        (6, Some(n)) => *n = 0,
        (7, Some(n)) => *n = random.of(&[-1, 1 << 62]),
        (8, _) => t.ne.extend([1, 1, 1, 1]),
        (_, Some(n)) => *n = 1,
    }
    format!("{} from {old:?} to {:?}", shown(&t.name), t.ne)
}

fn tensor_twice(model: &mut Model, random: &mut Random) -> String {
    let t = model.tensors[random.below(model.tensors.len())].clone();
    model.tensors.push(t.clone());
    format!("{} twice", shown(&t.name))
}

fn tensor_name(model: &mut Model, random: &mut Random) -> String {
    let i = random.below(model.tensors.len());
    let old = model.tensors[i].clone();
    let name = match random.below(6) {
        0 => [&old.name[..], b"\0x"].concat(),
        1 => [&old.name[..], b"\xff"].concat(),
        2 => vec![b'a'; random.of(&[62, 63, 64, 65])],
        3 => vec![0xff; random.of(&[30, 63, 64])],
        4 => old.name.to_ascii_uppercase(),
        _ => [&old.name[..], b" "].concat(),
    };
    let text = format!("{} becomes {}", shown(&old.name), shown(&name));
    model.tensors[i].name = name;
    if random.below(3) == 0 {
        model.tensors.push(old);
    }
    text
}

fn tensor_type(model: &mut Model, random: &mut Random) -> String {
    let i = random.below(model.tensors.len());
    let t = &mut model.tensors[i];
    let old = t.kind;
    t.kind = random.of(&[0, 1, 2, 3, 8, 12, 14, 24, 26, 27, 28, 30, 4, 5, 31, 99, 1 << 31]);
    format!("{} from type {old} to {}", shown(&t.name), t.kind)
}

fn rope(model: &mut Model, random: &mut Random) -> String {
    let key = |model: &mut Model, name: &str| format!("{}.rope.{name}", model.architecture());
    let (name, value) = match random.below(8) {
        0 => (
            "dimension_count",
            Value::number(U32, random.of(&[0.0, 1.0, 2.0, 8.0, 32.0, 63.0, 64.0, 128.0, 129.0, 300.0])),
        ),
        1 => ("scaling.type", Value::text(random.of(&["none", "linear", "yarn", "longrope", "ntk", ""]))),
        2 => ("freq_base", Value::number(random.of(&[F32, F64, U32]), random.of(&[0.0, 10_000.0]))),
        3 => {
            let sections: [&[f64]; 6] =
                [&[1.0; 4], &[0.0; 4], &[16.0; 2], &[8.0; 3], &[1.0; 5], &[-1.0, 2.0, 3.0, 4.0]];
            ("dimension_sections", Value::numbers(I32, random.of(&sections)))
        }
        4 => ("scaling.factor", Value::number(F32, random.of(&[0.0, 1.0, -1.0, 8.0, f64::NAN]))),
        5 => ("scaling.original_context_length", Value::number(random.of(&[U32, F32, I32]), random.of(&[0.0, 128.0]))),
        6 => ("scaling.finetuned", Value::number(random.of(&[BOOL, U32]), 1.0)),
        _ => ("freq_base_swa", Value::number(random.of(&[F32, U32]), 10_000.0)),
    };
    let key = key(model, name);
    let text = format!("{key} {value:?}");
    model.set(&key, value);
    text
}

fn experts(model: &mut Model, random: &mut Random) -> String {
    let name = random.of(&[
        "expert_count",
        "expert_used_count",
        "expert_shared_count",
        "expert_group_count",
        "expert_group_used_count",
        "expert_feed_forward_length",
        "expert_gating_func",
        "expert_weights_scale",
        "leading_dense_block_count",
        "nextn_predict_layers",
        "interleave_moe_layer_step",
    ]);
    let key = format!("{}.{name}", model.architecture());
    let number = random.of(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 100.0, 512.0, 513.0]);
    model.set(&key, Value::number(random.of(&[U32, U32, U32, F32]), number));
    format!("{key} is {number}")
}

fn split(model: &mut Model, random: &mut Random) -> String {
    let key = random.of(&["split.count", "split.count", "split.no", "split.tensors.count"]);
    let value = match random.below(6) {
        0 => Value::text("1"),
        _ => Value::number(random.of(&[U16, U16, U16, U32, I32]), random.of(&[0.0, 1.0, 2.0, 3.0, 65_535.0])),
    };
    let text = format!("{key} {value:?}");
    model.set(key, value);
    text
}

fn names(model: &mut Model, random: &mut Random) -> String {
    match random.below(7) {
        0 => model.set("general.name", Value::number(U32, 4.0)),
        1 => model.set("general.name", Value::text(b"\xff\x1b[31m")),
        2 => {
            let other = random.of(&["llama", "nothing", "", "gpt2", "clip", "qwen3", "LLAMA"]);
            model.set("general.architecture", Value::text(other));
        }
        3 => model.keys.push((vec![], Value::number(U32, 3.0))),
        4 => model.keys.push((b"general.\xff".to_vec(), Value::number(U32, 3.0))),
        5 => model.set("general.architecture", Value::numbers(U32, &[1.0])),
        _ => {
            let i = any_key(model, random);
            model.keys[i].0.push(0);
        }
    }
    let last = model.keys.last().map_or(String::new(), |(key, _)| shown(key));
    format!("names; the last key is {last}")
}

/// What is wrong with the file itself.
fn bytes(model: &mut Model, random: &mut Random) -> String {
    match random.below(6) {
        0 => model.shifted = Some((random.below(model.tensors.len()), random.of(&[32, 1, 64]))),
        1 => model.cut = random.of(&[1, 31, 32, 100, 1000, 1_000_000]),
        2 => model.flipped = Some((random.below(1 << 20), random.below(8) as u32)),
        3 => model.version = random.of(&[0, 1, 2, 4, 3 << 24]),
        4 => {
            let (a, b) = (random.below(model.tensors.len()), random.below(model.tensors.len()));
            model.tensors.swap(a, b);
            return format!("tensors {a} and {b} swapped");
        }
        _ => {
            let n = random.of(&[0, 1, 8, 16, 64, 128, 4096, 33]);
            let kind = random.of(&[U32, U32, U32, U64]);
            model.set("general.alignment", Value::number(kind, n as f64));
            if n > 0 && (n as u64).is_power_of_two() {
                model.alignment = n as u64;
            }
            return format!("alignment {n} of type {kind}");
        }
    }
    format!(
        "bytes: shifted {:?}, cut {}, flipped {:?}, version {}",
        model.shifted, model.cut, model.flipped, model.version
    )
}
