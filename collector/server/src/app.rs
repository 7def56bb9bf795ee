//! What all routes share: the sessions, room for queries and viewers, and how an answer is made. A query runs on
//! a blocking thread, and its answer is JSON of bounded size.

use super::limits::{MAX_ANSWER_BYTES, MAX_QUERIES, MAX_VIEWERS};
use super::measured_states::Measured;
use super::problem::Problem;
use super::sessions::Sessions;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::ToSchema;

/// What all routes know.
pub(super) struct App {
    pub sessions: Arc<Sessions>,
    /// The OpenAPI document.
    pub document: String,
    /// The hidden states that were measured last.
    pub layers: Arc<Measured>,
    /// Room for queries that run at the same time; others wait.
    queries: Arc<Semaphore>,
    /// Room for those who look on.
    viewers: Arc<Semaphore>,
}

impl App {
    pub(super) fn new(sessions: Arc<Sessions>, document: String) -> App {
        let room = |places| Arc::new(Semaphore::new(places));
        App { sessions, document, layers: Arc::default(), queries: room(MAX_QUERIES), viewers: room(MAX_VIEWERS) }
    }

    /// A place among those who look on.
    ///
    /// # Errors
    /// When all are taken.
    pub(super) fn viewer(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.viewers.clone().try_acquire_owned().map_err(|_| {
            let error = format!("{MAX_VIEWERS} look on already");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, error, "close another window, or ask /sessions now and then")
        })
    }
}

/// A part of a longer list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<T> {
    /// Items of the whole list.
    pub total: u64,
    /// Items before this page.
    pub offset: usize,
    /// Offset of the next page; null after the last item.
    pub next: Option<usize>,
    /// The items.
    pub items: Vec<T>,
}

impl<T> Page<T> {
    pub(super) fn new(total: u64, offset: usize, items: Vec<T>) -> Page<T> {
        let end = offset.saturating_add(items.len());
        let next = (!items.is_empty() && (end as u64) < total).then_some(end);
        Page { total, offset, next, items }
    }
}

/// Runs a query on a blocking thread and encodes its result as JSON.
pub(super) async fn answer<T: Serialize>(
    app: Arc<App>,
    query: impl FnOnce(&Sessions) -> Result<T, Problem> + Send + 'static,
) -> Result<Response, Problem> {
    let json = beside(app, |sessions| {
        let found = query(sessions)?;
        serde_json::to_vec(&found)
            .map_err(|e| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string(), "ask for something else"))
    });
    bounded("application/json", json.await?)
}

/// Runs a query on a blocking thread, so that it does not hold up the network.
pub(super) async fn beside<T: Send + 'static>(
    app: Arc<App>,
    query: impl FnOnce(&Sessions) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let failed = |_| {
        let help = "please report it with the address that you asked for";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the query came to no end", help)
    };
    // The semaphore is never closed. A query keeps its permit until it ends, even if its client has gone.
    let place = app.queries.clone().acquire_owned().await.ok();
    let sessions = app.sessions.clone();
    let run = move || {
        let _place = place;
        query(&sessions)
    };
    tokio::task::spawn_blocking(run).await.map_err(failed)?
}

/// An answer that is not too large to be one.
pub(super) fn bounded(content_type: &'static str, body: Vec<u8>) -> Result<Response, Problem> {
    if body.len() > MAX_ANSWER_BYTES {
        let error = format!("the answer has {} bytes, and {MAX_ANSWER_BYTES} are the most", body.len());
        let help = "ask for less: a smaller limit, one layer of a graph, fewer tokens";
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, error, help));
    }
    Ok(([(header::CONTENT_TYPE, content_type)], body).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_too_large_is_refused_with_what_to_ask_for_instead() {
        assert_eq!(bounded("text/plain", vec![0; MAX_ANSWER_BYTES]).unwrap().status(), 200);
        let problem = bounded("text/plain", vec![0; MAX_ANSWER_BYTES + 1]).unwrap_err();
        assert_eq!(problem.status, 413);
        assert!(
            problem.error.contains("67108864 are the most") && problem.help.contains("ask for less"),
            "{problem:?}"
        );
    }

    #[tokio::test]
    async fn a_query_that_nobody_waits_for_any_more_keeps_its_place_until_it_ends() {
        let app = Arc::new(App::new(Arc::default(), String::new()));
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let (begin, mut begun) = tokio::sync::mpsc::channel(1);
        let asked = beside(app.clone(), move |_| {
            begin.blocking_send(()).unwrap();
            ended.recv().ok();
            Ok(())
        });
        tokio::select! {
            _ = asked => panic!("it ended by itself"),
            () = async { begun.recv().await.unwrap() } => {}
        }
        assert_eq!(app.queries.available_permits(), MAX_QUERIES - 1, "who asked went away");
        drop(end);
        let _all = app.queries.acquire_many(MAX_QUERIES as u32).await.unwrap();
    }
}
