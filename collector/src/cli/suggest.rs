//! What a user may have meant whose command line makes no sense: a program without `--` before it, a file in the place of
//! a command. The command that would have done it is written out.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use ggscope_attach::find_program;
use ggscope_format::chunk::FILE_MAGIC;
use ggscope_model::gguf::{is_gguf, open_regular};
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::Path;

/// So alike have names to be for one to be proposed for the other (Jaro-Winkler).
const ALIKE: f64 = 0.8;

/// A hint for a command line, the program's name first, that was refused.
pub(super) fn hint(args: &[OsString], error: &clap::Error) -> Option<String> {
    let given = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::UnknownArgument => without_dashes(args, given(ContextKind::InvalidArg)?),
        ErrorKind::InvalidSubcommand => instead_of_a_command(args, given(ContextKind::InvalidSubcommand)?),
        _ => None,
    }
}

/// `ggscope record llama-cli -m model.gguf`
fn without_dashes(args: &[OsString], unknown: &str) -> Option<String> {
    let is_record = args.get(1).is_some_and(|arg| arg == "record");
    if !is_record || unknown.starts_with('-') || args.iter().any(|arg| arg == "--") {
        return None;
    }
    let program = args.iter().skip(2).position(|arg| arg.to_string_lossy() == unknown)? + 2;
    let command = [&args[1..program], &["--".into()], &args[program..]].concat();
    Some(format!("the program and its arguments stand behind `--`: ggscope {}", written(&command)))
}

/// `ggscope run.ggtrace`
fn instead_of_a_command(args: &[OsString], unknown: &str) -> Option<String> {
    let name = args.iter().skip(1).find(|arg| arg.to_string_lossy() == unknown)?;
    let (path, file) = (Path::new(name), written(std::slice::from_ref(name)));
    let ends_with = |extension: &str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(extension));
    if is_trace(path) || ends_with("ggtrace") {
        Some(format!("`ggscope info {file}` summarizes a trace, `ggscope open {file}` shows it in a browser"))
    } else if is_gguf(path) || ends_with("gguf") {
        Some(format!("`ggscope inspect {file}` describes a model, `ggscope open {file}` shows it in a browser"))
    } else if find_program(name).is_ok() {
        let command = args.iter().skip_while(|arg| *arg != name).cloned().collect::<Vec<OsString>>();
        Some(format!("`ggscope record -- {}` records what a program computes", written(&command)))
    } else {
        None
    }
}

fn is_trace(path: &Path) -> bool {
    let mut magic = [0; FILE_MAGIC.len()];
    open_regular(path).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok()) && magic == FILE_MAGIC
}

/// Arguments as a shell takes them.
fn written(args: &[impl AsRef<OsStr>]) -> String {
    let quoted = |arg: &OsStr| {
        let text = arg.to_string_lossy();
        let is_plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c);
        match !text.is_empty() && text.chars().all(is_plain) {
            true => text.into_owned(),
            false => format!("'{}'", text.replace('\'', r"'\''")),
        }
    };
    args.iter().map(|arg| quoted(arg.as_ref())).collect::<Vec<String>>().join(" ")
}

/// The name of `names` that is most like `given`, ignoring case; `None` if none is like it.
pub(super) fn nearest<'n>(given: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let given = given.to_lowercase();
    let alike = names.map(|name| (strsim::jaro_winkler(&given, &name.to_lowercase()), name));
    alike.filter(|(alike, _)| *alike > ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn hint_for(line: &[&str]) -> Option<String> {
        let args: Vec<OsString> = line.iter().map(OsString::from).collect();
        hint(&args, &super::super::Cli::try_parse_from(&args).unwrap_err())
    }

    #[test]
    fn a_program_without_dashes_is_put_behind_them() {
        let said =
            hint_for(&["ggscope", "record", "-o", "a.ggtrace", "llama-cli", "-m", "m.gguf", "-p", "it's me"]).unwrap();
        assert!(said.ends_with(r"ggscope record -o a.ggtrace -- llama-cli -m m.gguf -p 'it'\''s me'"), "{said}");
        assert_eq!(hint_for(&["ggscope", "record", "--capturre", "--", "llama-cli"]), None);
    }

    #[test]
    fn a_file_or_a_program_in_the_place_of_a_command_is_given_one() {
        let said = |name: &str| hint_for(&["ggscope", name, "x"]).unwrap_or_default();
        assert!(said("a run.ggtrace").contains("ggscope info 'a run.ggtrace'"));
        assert!(said("model.gguf").contains("ggscope inspect model.gguf"));
        assert!(said("sh").contains("ggscope record -- sh x"));
        assert_eq!(hint_for(&["ggscope", "no-such-thing"]), None);
        let dir = tempfile::tempdir().unwrap();
        let trace = dir.path().join("trace");
        std::fs::write(&trace, FILE_MAGIC).unwrap();
        assert!(said(trace.to_str().unwrap()).contains("ggscope info"));
    }

    #[test]
    fn the_nearest_name_is_proposed_and_none_that_is_far() {
        assert_eq!(nearest("mul_matt", ["ADD", "MUL", "MUL_MAT", "MUL_MAT_ID"].into_iter()), Some("MUL_MAT"));
        assert_eq!(nearest("zzz", ["ADD", "MUL"].into_iter()), None);
    }
}
