//! Files that change while they are shown: cut, overwritten, replaced, deleted. The server answers with an error or with
//! what the file is now, never with zeros in the place of what is gone, and goes on serving.

#[path = "support/http.rs"]
mod http;

use ggscope_model::gguf::Gguf;
use ggscope_model::quant::{self, Tensor};
use ggscope_server::{Server, Serving, Sessions};
use ggscope_trace::Trace;
use ggscope_trace::testing::{Shape, write};
use serde_json::Value as Json;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const TENSOR: &str = "blk.5.attn_q.weight";

fn copy_of_the_demo_model(dir: &Path) -> PathBuf {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vendor/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let path = dir.join("model.gguf");
    std::fs::copy(&demo, &path).unwrap_or_else(|e| panic!("{}: {e}: run `make vendor`", demo.display()));
    path
}

fn cut(path: &Path, bytes: u64) {
    File::options().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

/// Writes over the tensor, as another program would that converts the model again, in a file of the same length.
fn overwrite(path: &Path) {
    let before = Gguf::open(path).unwrap();
    let at = before.tensors().find(|(_, t)| t.name == *TENSOR).unwrap().1.offset;
    let mut file = File::options().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[0x55; 4096]).unwrap();
    // Two writes in one tick of the clock look like one.
    file.set_modified(SystemTime::now() + Duration::from_secs(1)).unwrap();
}

struct Running {
    address: SocketAddr,
    _serving: Serving,
}

impl Running {
    fn start(traces: &[PathBuf], models: Vec<PathBuf>) -> Running {
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let address = server.address();
        let serving = server.start(Sessions::open(traces).unwrap().with_models(models)).unwrap();
        Running { address, _serving: serving }
    }

    fn get(&self, path: &str) -> (u16, Json) {
        http::get(self.address, path)
    }
}

fn tensor() -> String {
    format!("/api/v1/models/0/tensor?tensor={TENSOR}")
}

#[test]
fn numbers_of_a_tensor_that_changes_while_it_is_read_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    for change in [overwrite as fn(&Path), |path| cut(path, 100), |path| cut(path, 1 << 20)] {
        let path = copy_of_the_demo_model(dir.path());
        let model = Gguf::open(&path).unwrap();
        let tensor = Tensor::find(&model, TENSOR).unwrap();
        quant::report(&tensor).unwrap();
        change(&path);
        let errors = [
            quant::report(&tensor).unwrap_err(),
            quant::block(&tensor, 3).unwrap_err(),
            quant::every_type(&tensor).unwrap_err(),
            Tensor::find(&model, TENSOR).unwrap_err(),
        ];
        for error in errors.map(|error| error.to_string()) {
            assert!(error.contains("model.gguf") && error.contains("has changed"), "{error}");
        }
        let compared = quant::errors(&model, &model);
        assert!(compared.tensors.is_empty() && compared.unmatched[0].reason.contains("has changed"));
        // What was read of the header stays.
        let text = model.vocab().unwrap().text(1).unwrap();
        assert_eq!(text, b"<|im_start|>");
    }
}

#[test]
fn a_deleted_model_is_read_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = copy_of_the_demo_model(dir.path());
    let model = Gguf::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    quant::report(&Tensor::find(&model, TENSOR).unwrap()).unwrap();
}

#[test]
fn the_page_of_a_model_that_is_cut_shows_what_is_left_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = copy_of_the_demo_model(dir.path());
    let server = Running::start(&[], vec![path.clone()]);
    assert_eq!(server.get("/api/v1/models/0").1["valid"], true);
    assert_eq!(server.get(&tensor()).0, 200);
    for bytes in [50 << 20, 100, 0] {
        cut(&path, bytes);
        let paths = ["", "/quant", "/graph", "/blocks?tensor=token_embd.weight", "/tensor?tensor=output_norm.weight"];
        for path in paths {
            let (status, body) = server.get(&format!("/api/v1/models/0{path}"));
            assert!(status == 200 || !body["error"].as_str().unwrap().is_empty(), "{path}: {status} {body}");
        }
        assert_eq!(server.get("/api/v1/models/0").1["valid"], false);
        assert_eq!(server.get("/api/v1/models").0, 200);
    }
    std::fs::remove_file(&path).unwrap();
    copy_of_the_demo_model(dir.path());
    assert_eq!(server.get(&tensor()).0, 200, "a model that is whole again is read again");
}

#[test]
fn the_page_of_a_trace_that_is_cut_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ggtrace");
    write(&path, Shape { n_kv: 32, ..Shape::default() }, 5, 300).finish().unwrap();
    let server = Running::start(std::slice::from_ref(&path), vec![]);
    assert_eq!(server.get("/api/v1/sessions/0").0, 200);
    let open = Trace::open(&path).unwrap();
    for bytes in [std::fs::metadata(&path).unwrap().len() / 2, 100, 0] {
        cut(&path, bytes);
        for of in
            ["", "/evaluations", "/operators?limit=5", "/memory", "/analytics/ops", "/graphs", "/leaves", "/layers"]
        {
            let (status, body) = server.get(&format!("/api/v1/sessions/0{of}"));
            assert!(status == 200 || !body["error"].as_str().unwrap().is_empty(), "{of}: {status} {body}");
        }
        open.verify(u64::MAX);
        assert!(!open.warnings().is_empty());
    }
    assert_eq!(server.get("/api/v1/sessions").0, 200);
}
