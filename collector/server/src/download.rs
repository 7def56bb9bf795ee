//! A session in the format of another program, sent as it is made: a thread of its own writes into a short queue, from
//! which the answer is sent. A client that goes away or takes nothing for a while ends the thread with its next write.

use super::app::App;
use super::document;
use super::params::{Params, Path, context, numbers, parse};
use super::problem::Problem;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use ggscope_export::{Export, ExportError, ExportOptions, Format, Part};
use serde::Deserialize;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::IntoParams;

/// Downloads that run at the same time; others wait.
static SLOTS: Semaphore = Semaphore::const_new(4);
/// How long a download waits for others.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// How long a client may take nothing.
const MAX_IDLE: Duration = Duration::from_secs(60);
/// Pieces that wait for the client.
const QUEUED: usize = 4;
/// Size of a piece in bytes.
const PIECE: usize = 256 << 10;

/// What is exported.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportParams {
    /// `perfetto`, `chrome`, `csv`, `json`, `parquet` or `dot`
    #[param(required = true, schema_with = document::format)]
    format: Option<String>,
    /// Evaluations of these tokens, counted from 0 through the session: `7`, `7..9`, `7..`; not for dot
    #[param(schema_with = document::numbers)]
    tokens: Option<String>,
    /// Operators of these layers; for dot one layer with what touches it
    #[param(schema_with = document::numbers)]
    layer: Option<String>,
    /// Evaluations of this context, if the session has several; for dot, one of its graphs
    #[param(schema_with = document::number)]
    context: Option<String>,
}

/// A session in the format of another program, as a file: what `ggscope export` writes
#[utoipa::path(get, path = "/sessions/{id}/export",
    params(("id" = String, Path, description = "The session"), ExportParams),
    responses(
        (status = 200, description = "The file", content(
            (Vec<u8> = "application/octet-stream"), (Vec<u8> = "application/vnd.apache.parquet"),
            (serde_json::Value = "application/json"), (String = "text/csv"), (String = "text/vnd.graphviz"))),
        (status = 400, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn export(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(p, ..): Params<ExportParams>,
) -> Result<Response, Problem> {
    let help = "give one of perfetto, chrome, csv, json, parquet, dot";
    let format: Option<Format> = parse("format", p.format.as_deref(), help)?;
    let format = format.ok_or_else(|| Problem::bad("format", "format is missing", help))?;
    let tokens = numbers("tokens", p.tokens.as_deref())?;
    let layers = numbers("layer", p.layer.as_deref())?;
    let context = context(p.context.as_deref())?;
    let wanted = ExportOptions { format, tokens, layers, graph: None, context };
    let slot = timeout(MAX_WAIT, SLOTS.acquire()).await.ok().and_then(Result::ok).ok_or_else(|| {
        let error = "other exports are running, and more are not made at the same time";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, error, "ask again when one of them has ended")
    })?;
    let (begun, begin) = oneshot::channel();
    let (send, pieces) = mpsc::channel(QUEUED);
    let client = Client { send, runtime: Handle::current(), gone: false };
    let whole = Arc::new(AtomicBool::new(false));
    let is_whole = Arc::clone(&whole);
    let failed = |what: &str| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the export {what}"), "ask again, or for less")
    };
    let thread = std::thread::Builder::new().name("export".into());
    let spawned = thread.spawn(move || {
        let _slot = slot;
        produce(&app, &id, wanted, begun, client, &whole);
    });
    spawned.map_err(|error| failed(&format!("cannot begin: {error}")))?;
    let name = begin.await.map_err(|_| failed("came to no end"))??;
    let disposition = format!("attachment; filename=\"{}.{}\"", safe_name(&name), format.extension());
    let headers =
        [(header::CONTENT_TYPE, format.content_type().to_owned()), (header::CONTENT_DISPOSITION, disposition)];
    // An answer that only ends would be taken for whole.
    let cut = move |()| (!is_whole.load(Ordering::Acquire)).then(|| Err(io::Error::other("the export was cut")));
    let pieces = ReceiverStream::new(pieces).map(Ok).chain(tokio_stream::once(()).filter_map(cut));
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// Says the session's name as soon as it is certain that there is something to send, then sends it, and sets `whole` when
/// all of it was sent.
fn produce(
    app: &App,
    id: &str,
    wanted: ExportOptions,
    begun: oneshot::Sender<Result<String, Problem>>,
    client: Client,
    whole: &AtomicBool,
) {
    let session =
        app.sessions.get(id).and_then(|session| Ok((session.name.clone(), session.trace_of(wanted.context)?)));
    let prepared = session
        .as_ref()
        .map_err(Problem::clone)
        .and_then(|(name, trace)| Ok((name.clone(), Export::new(trace, wanted).map_err(problem)?)));
    let (name, export) = match prepared {
        Ok(prepared) => prepared,
        Err(problem) => {
            let _ = begun.send(Err(problem));
            return;
        }
    };
    if begun.send(Ok(name)).is_ok() {
        let mut out = BufWriter::with_capacity(PIECE, client);
        let written = export.write(&mut out);
        // Before `out` is dropped, with which the answer ends.
        whole.store(written.is_ok(), Ordering::Release);
    }
}

fn problem(error: ExportError) -> Problem {
    match error {
        ExportError::Trace(error) => error.into(),
        ExportError::Write(error) => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), "ask again, or for less")
        }
        ExportError::Refused { part, missing, reason } => {
            let (field, help) = match part {
                Part::Tokens => ("tokens", "leave the tokens out, or ask for another format"),
                Part::Layers => ("layer", "/api/v1/sessions/{id}/graphs lists the layers of each graph"),
                Part::Graph => ("format", "ask for another format"),
                Part::Context => ("context", "/api/v1/sessions/{id} lists the contexts"),
            };
            if missing { Problem::missing(field, reason, help) } else { Problem::bad(field, reason, help) }
        }
    }
}

/// Writes to the client, and waits for it when the queue is full.
struct Client {
    send: mpsc::Sender<Bytes>,
    runtime: Handle,
    /// It went away or takes nothing: buffers that are given up need not try again.
    gone: bool,
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.gone {
            let piece = Bytes::copy_from_slice(bytes);
            // The timer begins when it is first polled: inside the runtime.
            let sent = self.runtime.block_on(async { timeout(MAX_IDLE, self.send.send(piece)).await });
            self.gone = !matches!(sent, Ok(Ok(())));
        }
        if self.gone { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A name that any system takes and that ends no header: of letters, digits, dots, dashes and underscores, without the
/// trace's extension.
fn safe_name(name: &str) -> String {
    let stem = name.strip_suffix(".ggtrace").unwrap_or(name);
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' };
    let safe: String = stem.chars().take(100).map(plain).collect();
    let safe = safe.trim_start_matches('.');
    if safe.is_empty() { "trace".into() } else { safe.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_after_the_trace_as_far_as_that_is_safe() {
        assert_eq!(safe_name("run-1.ggtrace"), "run-1");
        assert_eq!(safe_name("<b>\"\r\nSet-Cookie: x.ggtrace"), "_b____Set-Cookie__x");
        assert_eq!(safe_name("../../.bashrc"), "_.._.bashrc");
        assert_eq!([safe_name(".ggtrace"), safe_name("...")], ["trace", "trace"]);
        assert_eq!(safe_name(&"é".repeat(500)).len(), 100);
    }

    #[test]
    fn a_client_that_goes_away_ends_the_work() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (send, mut pieces) = mpsc::channel(QUEUED);
        let mut out = Client { send, runtime: runtime.handle().clone(), gone: false };
        out.write_all(b"first").unwrap();
        assert_eq!(pieces.try_recv().unwrap(), "first");
        drop(pieces);
        assert_eq!(out.write_all(b"second").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
