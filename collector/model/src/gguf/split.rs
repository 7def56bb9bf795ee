//! Models that are split over files `…-00001-of-00003.gguf`, as llama-gguf-split writes them: the names of the parts, and
//! whether they fit together.

use super::findings::{Finding, Severity};
use super::{Content, Gguf, GgufFile, Value};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Parts that are missing are told one by one up to here.
const TOLD: usize = 5;

/// Number of files that the model of this file has.
pub(super) fn count(file: &GgufFile) -> u64 {
    file.header.get("split.count").and_then(Value::integer).unwrap_or(1)
}

/// Paths of all files of a split model, made one by one: their number is the file's word.
pub(super) struct Names {
    path: PathBuf,
    stem: String,
    count: u64,
    next: u64,
}

impl Names {
    /// From the path of one part; `None` if its name is not one of `count` parts.
    pub(super) fn of(path: &Path, count: u64) -> Option<Names> {
        let name = path.file_name()?.to_str()?;
        let stem = name.strip_suffix(&format!("-of-{count:05}.gguf"))?;
        let (stem, number) = stem.rsplit_once('-')?;
        if number.len() != 5 || !number.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(Names { path: path.to_owned(), stem: stem.to_owned(), count, next: 1 })
    }
}

impl Iterator for Names {
    type Item = PathBuf;

    fn next(&mut self) -> Option<PathBuf> {
        let number = self.next;
        self.next += 1;
        let name = || self.path.with_file_name(format!("{}-{number:05}-of-{:05}.gguf", self.stem, self.count));
        (number <= self.count).then(name)
    }
}

/// Adds the other files of the model that `file` belongs to.
pub(super) fn examine(file: GgufFile, findings: Vec<Finding>) -> (Gguf, Vec<Finding>) {
    let count = count(&file);
    if count <= 1 {
        return (Gguf { files: vec![Arc::new(file)] }, findings);
    }
    let path = file.path.clone();
    let at = file.header.pair("split.count").map_or(0, |pair| pair.value_at);
    // `split.count` has 16 bits.
    let names = if count <= u64::from(u16::MAX) { Names::of(&path, count) } else { None };
    let Some(names) = names else {
        let what = format!("it is one of {count} files, but its name does not end in -00001-of-{count:05}.gguf");
        let finding = Finding { severity: Severity::Refused, file: None, at, what };
        return (Gguf { files: vec![Arc::new(file)] }, [findings, vec![finding]].concat());
    };
    let mut parts = Parts { files: vec![], findings: vec![], missing: 0 };
    let mut given = Some((file, findings));
    for name in names {
        match given.take_if(|(file, _)| file.path == name) {
            Some((file, findings)) => parts.add(file, findings),
            None => match Content::of(&name).and_then(|content| GgufFile::examine(&name, content)) {
                Ok((file, findings)) => parts.add(file, findings),
                Err(error) => parts.miss(&name, &error.to_string()),
            },
        }
    }
    parts.check(count);
    (Gguf { files: parts.files }, parts.findings)
}

struct Parts {
    files: Vec<Arc<GgufFile>>,
    findings: Vec<Finding>,
    missing: usize,
}

impl Parts {
    fn add(&mut self, file: GgufFile, findings: Vec<Finding>) {
        let name = Some(file.path.display().to_string());
        self.findings.extend(findings.into_iter().map(|f| Finding { file: name.clone(), ..f }));
        self.files.push(Arc::new(file));
    }

    fn miss(&mut self, path: &Path, why: &str) {
        self.missing += 1;
        if self.missing <= TOLD {
            self.find(path, 0, format!("a part of the model is missing: {why}"));
        }
    }

    fn find(&mut self, path: &Path, at: u64, what: String) {
        let file = Some(path.display().to_string());
        self.findings.push(Finding { severity: Severity::Refused, file, at, what });
    }

    fn check(&mut self, count: u64) {
        if self.missing > TOLD {
            let path = self.files[0].path.clone();
            self.find(&path, 0, format!("{} parts of {count} are missing", self.missing));
        }
        let mut numbers = vec![];
        for file in self.files.clone() {
            let said = file.header.get("split.count").and_then(Value::integer);
            if said != Some(count) {
                let said = said.map_or("none".to_owned(), |n| n.to_string());
                self.find(&file.path, 0, format!("split.count is {said}, but {count} in the file that was given"));
            }
            let number = file.header.get("split.no").and_then(Value::integer);
            if number.is_none_or(|n| n >= count || numbers.contains(&n)) {
                let number = number.map_or("missing".to_owned(), |n| n.to_string());
                self.find(
                    &file.path,
                    0,
                    format!("split.no is {number}: each part has a number of its own below {count}"),
                );
            }
            numbers.extend(number);
        }
        let first = self.files[0].clone();
        let tensors = first.header.get("split.tensors.count").and_then(Value::integer);
        let there: u64 = self.files.iter().map(|file| file.header.tensors.len() as u64).sum();
        if let Some(said) = tensors.filter(|&said| said != there && self.missing == 0) {
            let at = first.header.pair("split.tensors.count").map_or(0, |pair| pair.value_at);
            self.find(&first.path, at, format!("split.tensors.count is {said}, but the parts have {there} tensors"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Fixture};

    #[test]
    fn parts_of_a_split_model_are_found_from_any_of_them() {
        let path = Path::new("/m/big model-00002-of-00003.gguf");
        let names: Vec<PathBuf> = Names::of(path, 3).unwrap().collect();
        assert_eq!(names[0], Path::new("/m/big model-00001-of-00003.gguf"));
        assert_eq!((names.len(), names[1].as_path()), (3, path));
        assert!(Names::of(path, 4).is_none());
        assert!(Names::of(Path::new("/m/x-2-of-00003.gguf"), 3).is_none());
    }

    #[test]
    fn a_split_model_is_whole_from_any_part() {
        let dir = tempfile::tempdir().unwrap();
        let paths = testing::split(&testing::llama(testing::LLAMA_8B, false), dir.path(), 3);
        for path in &paths {
            let (model, findings) = Gguf::examine(path).unwrap();
            assert_eq!((model.tensors().count(), findings), (3 + 32 * 9, vec![]));
            assert_eq!(Gguf::open(path).unwrap().tensors().count(), 3 + 32 * 9);
        }
    }

    #[test]
    fn a_missing_part_and_a_foreign_one_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let paths = testing::split(&testing::llama(testing::LLAMA_8B, false), dir.path(), 3);
        std::fs::remove_file(&paths[1]).unwrap();
        let (model, findings) = Gguf::examine(&paths[0]).unwrap();
        assert_eq!(model.files().len(), 2);
        let [missing] = &findings[..] else { panic!("{findings:?}") };
        assert!(missing.what.contains("00002-of-00003"), "{}", missing.what);
        assert!(Gguf::open(&paths[0]).is_err());
        Fixture::new("llama").write(&paths[1]);
        let (_, findings) = Gguf::examine(&paths[0]).unwrap();
        let said: Vec<&str> = findings.iter().map(|f| f.what.as_str()).collect();
        assert!(said.iter().any(|s| s.contains("split.count is none")), "{said:?}");
        assert!(said.iter().any(|s| s.contains("split.tensors.count is")), "{said:?}");
    }

    #[test]
    fn absurd_numbers_of_parts_cost_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for count in [1_u64 << 60, 65_535, 2] {
            let path = dir.path().join(format!("m-00001-of-{count:05}.gguf"));
            let mut fixture = Fixture::new("llama");
            fixture.general("split.count", testing::Put::U64(count));
            fixture.write(&path);
            assert!(Gguf::open(&path).is_err());
            let (_, findings) = Gguf::examine(&path).unwrap();
            assert!(!findings.is_empty() && findings.len() < 20, "{}", findings.len());
        }
    }
}
