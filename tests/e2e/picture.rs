//! The picture of attention, read back: its cells have the colours of the weights that the same command prints as numbers.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use crate::attention::{CAPTURE, generate, numbers, walked};
use crate::ggscope::{ggscope, record, run};
use crate::support::gguf_writer::TensorType;
use crate::support::{tiny_attention, tiny_model};

type Rgb = [u8; 3];
/// Around the cells of a head.
const FRAME: Rgb = [138, 148, 160];
const NAN: Rgb = [216, 50, 20];
const UNSEEN: Rgb = [255, 255, 255];

struct Picture {
    width: usize,
    pixels: Vec<Rgb>,
}

impl Picture {
    fn read(path: &Path) -> Picture {
        let mut reader = png::Decoder::new(BufReader::new(File::open(path).unwrap())).read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        let n = info.color_type.samples();
        let pixels = bytes[..info.buffer_size()].chunks_exact(n).map(|p| [p[0], p[1], p[2]]).collect();
        Picture { width: info.width as usize, pixels }
    }

    fn at(&self, x: usize, y: usize) -> Rgb {
        self.pixels[y * self.width + x]
    }

    /// Where the cells of the first head begin, and how wide they are: within the first frame, read line by line.
    fn cells(&self) -> (usize, usize, usize) {
        let is_frame = |x: usize, y: usize| self.at(x, y) == FRAME;
        let height = self.pixels.len() / self.width;
        let all = (0..height).flat_map(|y| (0..self.width - 40).map(move |x| (x, y)));
        let (x, y) = all.into_iter().find(|&(x, y)| (0..40).all(|i| is_frame(x + i, y))).expect("a frame");
        (x + 1, y + 1, (x..self.width).take_while(|&x| is_frame(x, y)).count() - 2)
    }
}

/// The page's light colours, computed once more.
fn colour(weight: f64) -> Rgb {
    const STOPS: [[f64; 3]; 5] =
        [[236.0, 241.0, 246.0], [178.0, 212.0, 234.0], [96.0, 164.0, 210.0], [16.0, 100.0, 166.0], [10.0, 32.0, 74.0]];
    let at = (weight.sqrt() * 255.0).round() / 255.0 * 4.0;
    let i = (at.floor() as usize).min(3);
    std::array::from_fn(|c| (STOPS[i][c] + (at - i as f64) * (STOPS[i + 1][c] - STOPS[i][c])).round() as u8)
}

fn is_near(a: Rgb, b: Rgb) -> bool {
    a.iter().zip(b).all(|(&a, b)| a.abs_diff(b) <= 2)
}

#[test]
fn the_picture_of_a_head_has_the_colour_of_each_weight_in_its_cell() {
    let dir = tempfile::tempdir().unwrap();
    let (model, trace, picture) =
        (dir.path().join("gemma3.gguf"), dir.path().join("run.ggtrace"), dir.path().join("head.png"));
    tiny_attention::write_gemma3_gguf(&model);
    run(record(&trace, &CAPTURE, &generate(&model, 8, "off", &[]))).ok();
    let rows = walked(&trace);
    let n = rows.keys().map(|&(token, _)| token).max().unwrap() as usize + 1;
    for (layer, head) in [(0, 3), (1, 0)] {
        let (layer_text, head_text) = (layer.to_string(), head.to_string());
        let args = ["attention", trace.to_str().unwrap(), "--layer", &layer_text, "--head", &head_text, "--force"];
        run(ggscope(&[&args[..], &["--png", picture.to_str().unwrap()]].concat())).ok();
        let found = Picture::read(&picture);
        let (x, y, width) = found.cells();
        assert!(width.is_multiple_of(n), "{width} pixels for {n} tokens");
        let cell = width / n;
        for i in 0..n {
            let row = &rows[&(i as u64, layer)];
            let weights = numbers(&row["weights"][head]);
            let seen: Vec<usize> = numbers(&row["tokens"]).iter().map(|&t| t as usize).collect();
            for j in 0..n {
                let colour = seen.iter().position(|&t| t == j).map_or(UNSEEN, |at| colour(weights[at]));
                let middle = found.at(x + j * cell + cell / 2, y + i * cell + cell / 2);
                assert!(is_near(middle, colour), "layer {layer}, row {i}, column {j}: {middle:?} is not {colour:?}");
            }
        }
    }
}

#[test]
fn a_picture_goes_where_it_is_told_and_replaces_nothing_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let (model, trace, picture) =
        (dir.path().join("tiny.gguf"), dir.path().join("run.ggtrace"), dir.path().join("layer.png"));
    tiny_model::write_dense_gguf(&model, TensorType::F16);
    run(record(&trace, &CAPTURE, &generate(&model, 4, "on", &[]))).ok();
    let (trace, path) = (trace.to_str().unwrap(), picture.to_str().unwrap());
    let attention = |options: &[&str]| run(ggscope(&[&["attention", trace, "--layer", "1"], options].concat()));
    let said = attention(&["--png", "-o", path]).ok().stderr;
    assert!(said.contains("layer.png") && said.contains("4 heads"), "{said}");
    let first = std::fs::read(&picture).unwrap();
    let refused = attention(&["--png", path]);
    assert!(!refused.status.success() && refused.stderr.contains("--force"), "{}", refused.stderr);
    assert_eq!(std::fs::read(&picture).unwrap(), first);
    // Stdout is a file here.
    let mut to_stdout = ggscope(&["attention", trace, "--layer", "1", "--png"]);
    assert_eq!(to_stdout.output().unwrap().stdout, first, "the same run, the same picture");
    for (options, says) in [
        (&["--png", path, "--force", "--tokens", "900..901"][..], "no attention in layer 1 at these tokens"),
        (&["--png", path, "--force", "--head", "9"], "no head 9"),
        (&["--png", path, "--csv"], "cannot be used with"),
        (&["-o", path], "--png"),
        (&["--png", trace, "--force"], "it is the file that is read"),
        (&["--tokens", "900..901"], "there is no token 900: the last one is"),
    ] {
        let refused = attention(options);
        assert!(!refused.status.success() && refused.stderr.contains(says), "{options:?}: {}", refused.stderr);
    }
}

#[test]
fn numbers_that_are_none_have_a_colour_of_their_own_and_heads_that_were_not_captured_are_not_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let (model, trace, picture) =
        (dir.path().join("tiny.gguf"), dir.path().join("run.ggtrace"), dir.path().join("nan.png"));
    tiny_model::write_dense_gguf(&model, TensorType::F16);
    let place = |trace: &Path| -> usize {
        let rows = crate::ggscope::dump(trace, &["--name", "Qcur-1"]);
        crate::ggscope::number(&rows[0]["src"][0], "offset") as usize
    };
    run(record(&trace, &CAPTURE, &generate(&model, 2, "on", &[]))).ok();
    let at = place(&trace);
    let mut bytes = std::fs::read(&model).unwrap();
    bytes[at..at + 2].copy_from_slice(&half::f16::NAN.to_le_bytes());
    std::fs::write(&model, bytes).unwrap();
    let options = [&CAPTURE[..], &["--capture-heads", "0-1", "--force"]].concat();
    run(record(&trace, &options, &generate(&model, 2, "on", &[]))).ok();
    let draw = |head: &str| {
        let args = ["attention", trace.to_str().unwrap(), "--layer", "1", "--head", head, "--force", "--png"];
        run(ggscope(&[&args[..], &[picture.to_str().unwrap()]].concat()))
    };
    draw("0").ok();
    let found = Picture::read(&picture);
    let (x, y, _) = found.cells();
    assert_eq!(found.at(x + 2, y + 2), NAN, "the first head of layer 1 has no numbers");
    draw("1").ok();
    let found = Picture::read(&picture);
    assert_eq!(found.at(x + 2, y + 2), colour(1.0), "a token that sees only itself");
    let refused = draw("2");
    assert!(!refused.status.success() && refused.stderr.contains("--capture-heads"), "{}", refused.stderr);
}
