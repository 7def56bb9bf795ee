//! What happens now, as server-sent events: the list of sessions when it changes, and evaluations as they end. Every
//! viewer takes what is new from the traces at its own pace, so a slow one misses evaluations and holds up nobody; it
//! sees from the numbers what it has missed and asks for that.

use super::app::App;
use super::params::{Params, parse};
use super::problem::Problem;
use super::session::{Session, Watching};
use super::sessions::Sessions;
use super::summary::SessionSummary;
use axum::extract::State as Extract;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{Stream, unfold};
use ggscope_format::columns::Row;
use ggscope_query::evaluations::{Token, tokens_of};
use ggscope_query::table::Header;
use ggscope_trace::{State, Trace};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, watch};
use utoipa::openapi::schema::{AnyOfBuilder, ArrayBuilder, ObjectBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

/// Evaluations in an event; a viewer that has more to catch up with gets the latest.
const MAX_ITEMS: usize = 256;
/// Tokens of an evaluation that an event names.
const MAX_TOKENS: usize = 8;
/// Milliseconds between two events about the evaluations of one session if nothing is said, and what may be said.
const EVALUATIONS_EVERY_MS: u64 = 100;
const EVERY_MS: RangeInclusive<u64> = 20..=60_000;
/// Time between two lists of sessions that differ in nothing but their sums.
const SESSIONS_EVERY: Duration = Duration::from_secs(1);
/// A quiet connection is kept up by a comment.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// How often.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LiveParams {
    /// Milliseconds between two events about one session's evaluations, at least: 20 to 60000, 100 if not given
    every: Option<String>,
}

impl LiveParams {
    fn every(&self) -> Result<Duration, Problem> {
        let help = "give the milliseconds between two events about one session's evaluations";
        let every = parse("every", self.every.as_deref(), help)?.unwrap_or(EVALUATIONS_EVERY_MS);
        if !EVERY_MS.contains(&every) {
            let help = format!("give {} to {} milliseconds", EVERY_MS.start(), EVERY_MS.end());
            return Err(Problem::bad("every", format!("every={every} is too often or too seldom"), help));
        }
        Ok(Duration::from_millis(every))
    }
}

/// New evaluations of a session: the data of an `evaluations` event.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Evaluations {
    /// The session.
    session: String,
    /// Number of the first item; whoever expected a lower one asks for what is missing.
    from: usize,
    /// The evaluations, in the order of their ends.
    items: Vec<Item>,
    /// Evaluations of the session so far.
    total: usize,
}

/// The data of an event, by its name: `sessions`, the list of sessions; `evaluations`, those that have ended; `notices`,
/// lines about programs that are not recorded.
pub(super) struct LiveEvent;

impl PartialSchema for LiveEvent {
    fn schema() -> RefOr<Schema> {
        let list = |of: RefOr<Schema>, name: &str| {
            ArrayBuilder::new().items(of).description(Some(format!("The data of an event `{name}`")))
        };
        let text = ObjectBuilder::new().schema_type(Type::String);
        // One of them, and not exactly one: an empty list is of both kinds.
        let any = AnyOfBuilder::new()
            .item(list(Ref::from_schema_name(SessionSummary::name()).into(), "sessions"))
            .item(Ref::from_schema_name(Evaluations::name()))
            .item(list(text.into(), "notices"))
            .description(Some(
                "The data of an event: a list of sessions, new evaluations, or notices, by the event's name",
            ));
        any.into()
    }
}

impl ToSchema for LiveEvent {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        for (name, schema) in
            [(SessionSummary::name(), SessionSummary::schema()), (Evaluations::name(), Evaluations::schema())]
        {
            schemas.push((name.into_owned(), schema));
        }
        SessionSummary::schemas(schemas);
        Evaluations::schemas(schemas);
    }
}

/// An evaluation that has ended.
#[derive(Debug, Serialize, ToSchema)]
struct Item {
    /// Number in the order of the trace.
    seq: u64,
    /// Number that the traced process gave it.
    eval: u64,
    /// Its graph.
    graph: u32,
    /// The scheduler that computed it.
    context: u32,
    /// Begin, nanoseconds after that of the session's first evaluation.
    start_ns: i64,
    /// Nanoseconds from begin to end.
    dur_ns: u64,
    /// Number of its first token.
    first_token: u64,
    /// Its tokens.
    n_tokens: u32,
    /// Those that belong to an answer.
    n_generated: u32,
    /// Those of which it is not known what they belong to.
    n_unknown: u32,
    /// Executed operators.
    operators: u32,
    /// Those of them that have no time.
    untimed: u32,
    /// Bytes that they read of files.
    disk_bytes: u64,
    /// Bytes that they read of buffers.
    buffer_bytes: u64,
    /// Page faults that needed no read.
    minor_faults: u32,
    /// Page faults that read from disk.
    major_faults: u32,
    /// `ggml_status`.
    status: i32,
    /// The first of its tokens.
    tokens: Vec<Token>,
}

/// An evaluation as the table has it, with its first tokens as the trace has them.
fn item(seq: usize, header: &Header, first_ns: u64, tokens: Vec<Token>) -> Item {
    Item {
        seq: seq as u64,
        eval: header.eval,
        graph: header.graph.0,
        context: header.context,
        start_ns: header.start.wrapping_sub(first_ns) as i64,
        dur_ns: header.dur,
        first_token: header.first_token,
        n_tokens: header.n_tokens,
        n_generated: header.n_generated,
        n_unknown: header.n_unknown,
        operators: header.operators,
        untimed: header.untimed,
        disk_bytes: header.disk_bytes,
        buffer_bytes: header.buffer_bytes,
        minor_faults: header.minor_faults,
        major_faults: header.major_faults,
        status: header.status,
        tokens,
    }
}

fn tokens(trace: &Trace, row: &Row) -> Vec<Token> {
    let ids = &row.evaluation.tokens;
    let texts = trace.texts_of(row.evaluation.graph, &ids[..ids.len().min(MAX_TOKENS)]);
    tokens_of(row, &texts, MAX_TOKENS)
}

/// Evaluations of a session from ordinal `from` on, but no more than the latest [`MAX_ITEMS`].
fn evaluations(session: &Session, from: usize) -> Result<Evaluations, Problem> {
    let (trace, table) = session.now()?;
    let from = from.max(table.len().saturating_sub(MAX_ITEMS));
    let first_ns = table.header(0).map_or(0, |h| h.start);
    let mut tokens_of: HashMap<u64, Vec<Token>> = HashMap::new();
    if let Some(header) = table.header(from) {
        trace.for_each_evaluation_from(header.at, false, |at, row| {
            tokens_of.insert(at, tokens(&trace, &row));
            ControlFlow::Continue(())
        });
    }
    let items = table
        .headers(from)
        .map(|(seq, header)| item(seq, header, first_ns, tokens_of.remove(&header.at).unwrap_or_default()));
    Ok(Evaluations { session: session.id.clone(), from, items: items.collect(), total: table.len() })
}

/// One who looks on.
struct Viewer {
    sessions: Arc<Sessions>,
    changes: watch::Receiver<u64>,
    ready: VecDeque<Event>,
    /// The list of sessions as it was told last, and when.
    told: Option<(Vec<SessionSummary>, Instant)>,
    /// Notices as they were told last.
    notices: Vec<String>,
    /// How far it is with each session.
    places: HashMap<String, Place>,
    /// Time between two events about one session's evaluations, at least.
    every: Duration,
    /// When to look again even if nothing changes.
    due: Instant,
    /// Whether what changes until then would have to wait for it all the same.
    early: bool,
    _counted: OwnedSemaphorePermit,
}

struct Place {
    /// Ordinal of the evaluation that it is told of next.
    next: usize,
    /// Evaluations of the trace when it was told last.
    seen: u64,
    /// Contexts that were known to draft then: each corrects phases.
    drafting: usize,
    told: Option<Instant>,
    watching: Option<Watching>,
}

impl Viewer {
    /// The next event, when there is one.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Viewer)> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some((Ok(event), self));
            }
            if self.told.is_some() {
                let (due, early) = (self.due, self.early);
                tokio::select! {
                    // The sender lives as long as the sessions do.
                    _ = self.changes.changed(), if !early => {}
                    () = tokio::time::sleep_until(due.into()) => {}
                }
            }
            self.changes.borrow_and_update();
            // Reading a trace can wait for the disk.
            self = tokio::task::spawn_blocking(move || self.look()).await.ok()?;
        }
    }

    /// Finds out what is new.
    fn look(mut self) -> Viewer {
        let now = Instant::now();
        let begins = self.told.is_none();
        let all = self.sessions.all();
        self.due = now + SESSIONS_EVERY;
        self.early = false;
        let mut events = vec![];
        for session in &all {
            if session.is_followed() {
                self.due = self.due.min(now + ggscope_trace::LOOK_EVERY);
            }
            // Of one that has ended, and is not in memory for anybody's sake, there is nothing to tell.
            if session.is_released() && !self.places.contains_key(&session.id) {
                continue;
            }
            let n_evaluations = session.n_evaluations();
            let place = self.places.entry(session.id.clone()).or_insert_with(|| Place {
                // What was there before is asked for by other questions.
                next: if begins { session.now().map_or(0, |now| now.1.len()) } else { 0 },
                seen: 0,
                drafting: session.trace().map_or(0, |trace| trace.drafting().len()),
                told: None,
                watching: session.watch(),
            });
            if place.watching.is_some() && session.state() == State::Ended {
                // What looks on keeps what it looks at.
                place.watching = None;
            }
            let is_new = n_evaluations > place.seen || place.told.is_none();
            if !is_new {
                continue;
            }
            if let Some(next) = place.told.map(|told| told + self.every).filter(|&next| next > now) {
                self.due = self.due.min(next);
                self.early = true;
                continue;
            }
            let drafting = session.trace().map_or(place.drafting, |trace| trace.drafting().len());
            // What was told of the latest may be wrong: it is told again.
            let from = if drafting == place.drafting { place.next } else { 0 };
            let Ok(told) = evaluations(session, from) else { continue };
            place.drafting = drafting;
            (place.next, place.seen, place.told) = (told.total, n_evaluations, Some(now));
            events.extend(Event::default().event("evaluations").json_data(told).ok());
        }
        // A session is in the list before its evaluations are told.
        self.tell_sessions(&all, now);
        self.tell_notices();
        self.ready.extend(events);
        self
    }

    fn tell_notices(&mut self) {
        let notices = self.sessions.notices();
        if notices != self.notices {
            self.ready.extend(Event::default().event("notices").json_data(&notices).ok());
            self.notices = notices;
        }
    }

    fn tell_sessions(&mut self, all: &[Arc<Session>], now: Instant) {
        let list: Vec<SessionSummary> = all.iter().map(|s| s.summary()).collect();
        let states = |list: &[SessionSummary]| list.iter().map(|s| s.state).collect::<Vec<State>>();
        let differs = match &self.told {
            None => true,
            Some((told, _)) if *told == list => false,
            Some((told, at)) => {
                let soon = *at + SESSIONS_EVERY;
                // Sums come with the evaluations that they are of: whoever draws draws once.
                if !self.early {
                    self.due = self.due.min(soon.max(now));
                }
                (soon <= now && !self.early) || states(told) != states(&list)
            }
        };
        if differs {
            self.ready.extend(Event::default().event("sessions").json_data(&list).ok());
            self.told = Some((list, now));
        }
    }
}

/// What happens now, as server-sent events: `sessions`, the list of sessions, at once and when it changes;
/// `evaluations`, those that have ended since the event before; `notices`, lines about programs that are not recorded, and
/// why
#[utoipa::path(get, path = "/live",
    params(LiveParams),
    responses(
        (status = 200, description = "Events without end", body = LiveEvent, content_type = "text/event-stream"),
        (status = 400, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn live(
    Extract(app): Extract<Arc<App>>,
    Params(p, ..): Params<LiveParams>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let viewer = Viewer {
        sessions: app.sessions.clone(),
        changes: app.sessions.changes(),
        ready: VecDeque::new(),
        told: None,
        notices: vec![],
        places: HashMap::new(),
        every: p.every()?,
        due: Instant::now(),
        early: false,
        _counted: app.viewer()?,
    };
    Ok(Sse::new(unfold(viewer, Viewer::next)).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}
