//! The server: what is in traces, over HTTP. It translates questions to those of [`ggscope_query`] and answers in JSON;
//! the OpenAPI document at `/api/v1/openapi.json` is generated from the same code. It changes nothing but what is captured of a program that runs, and reaches no
//! file but the traces and models that it was given, and the models of programs that are recorded here.

mod analytics;
mod app;
mod architecture;
mod attention;
mod authentication;
mod capture;
mod compare;
mod contexts;
mod document;
mod download;
mod experts;
mod graphs;
mod heads;
mod info;
mod kept_heads;
mod layers;
mod limits;
mod live;
mod measured_states;
mod metrics;
mod model_store;
mod models;
mod page;
mod params;
mod problem;
mod quant;
mod requests;
mod residency;
mod router;
mod session;
mod sessions;
mod summary;
mod tables;
mod timeline;

pub use router::openapi_document;
pub use sessions::Sessions;

use authentication::Access;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

/// Threads for what can take long: queries, and looking for what is new.
const MAX_BLOCKING: usize = 16;
/// How often it is looked whether something in memory is not needed any more.
const MAKE_ROOM_EVERY: Duration = Duration::from_secs(5);

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address that others can reach, without a token.
    #[error(
        "{0} can be reached from other machines: give --auth-token with a secret that viewers have to know, or listen \
             on a loopback address"
    )]
    NeedsToken(SocketAddr),
    /// The system does not let us.
    #[error("cannot listen on {address}: {source}; choose another address with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The server cannot begin.
    #[error("cannot answer: {0}")]
    Run(io::Error),
}

/// A server that has its address but answers nobody yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    token: Option<String>,
    names: Vec<String>,
}

impl Server {
    /// Takes an address; if its port is taken, another port that the system chooses.
    ///
    /// # Errors
    /// When others can reach the address and there is no token, or the system refuses.
    pub fn bind(address: SocketAddr, token: Option<String>) -> Result<Server, ServeError> {
        if !address.ip().is_loopback() && token.is_none() {
            return Err(ServeError::NeedsToken(address));
        }
        let failed = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).or_else(|error| match error.kind() {
            io::ErrorKind::AddrInUse => TcpListener::bind((address.ip(), 0)),
            _ => Err(error),
        });
        let listener = listener.map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Server { listener, address, token, names: vec![] })
    }

    /// Answers to these names of hosts too, which requests have in their Host.
    pub fn with_names(self, names: Vec<String>) -> Server {
        Server { names, ..self }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to answer, on threads that give way to a traced program.
    ///
    /// # Errors
    /// When the system has no threads left.
    pub fn start(self, sessions: impl Into<Arc<Sessions>>) -> Result<Serving, ServeError> {
        // What analyses compute gives way to a traced program as well. A pool that is there already stays as it is.
        let pool = rayon::ThreadPoolBuilder::new().start_handler(|_| ggscope_attach::ingest::lower_priority());
        let _ = pool.build_global();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(MAX_BLOCKING)
            .on_thread_start(ggscope_attach::ingest::lower_priority)
            .enable_all()
            .build()
            .map_err(ServeError::Run)?;
        let sessions = sessions.into();
        let router = router::router(sessions.clone(), Access::new(self.address, self.token, self.names));
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(self.listener).map_err(ServeError::Run)?
        };
        runtime.spawn(make_room_now_and_then(sessions));
        // It ends with the runtime, and with nothing else: a connection that cannot be accepted is tried again.
        runtime.spawn(async { axum::serve(listener, router).await });
        Ok(Serving(Some(runtime)))
    }
}

/// Lets go of what nobody asks for, as long as somebody serves it.
async fn make_room_now_and_then(sessions: Arc<Sessions>) {
    loop {
        tokio::time::sleep(MAKE_ROOM_EVERY).await;
        let sessions = sessions.clone();
        // It can wait for a query.
        let _ = tokio::task::spawn_blocking(move || sessions.make_room()).await;
    }
}

/// A server that answers until it is dropped.
pub struct Serving(Option<tokio::runtime::Runtime>);

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_others_reach_needs_a_token() {
        let anywhere: SocketAddr = "0.0.0.0:0".parse().unwrap();
        assert!(matches!(Server::bind(anywhere, None), Err(ServeError::NeedsToken(_))));
        assert!(Server::bind(anywhere, Some("secret".into())).is_ok());
    }

    #[test]
    fn a_port_that_is_taken_is_replaced() {
        let first = Server::bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let second = Server::bind(first.address(), None).unwrap();
        assert_ne!(first.address().port(), second.address().port());
    }

    #[test]
    fn threads_of_the_server_give_way_to_the_traced_program() {
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let _serving = server.start(Sessions::default()).unwrap();
        let is_worker = |task: &std::path::Path| {
            std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("tokio-rt-worker"))
        };
        // A thread begins at the priority of the one that starts it.
        let begin = std::time::Instant::now();
        loop {
            let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap());
            let workers = tasks.filter(|task| is_worker(&task.path())).filter_map(|task| {
                let number = task.file_name().to_str()?.parse::<u32>().ok()?;
                // SAFETY: plain numbers.
                Some(unsafe { libc::getpriority(libc::PRIO_PROCESS, number) })
            });
            let priorities: Vec<i32> = workers.collect();
            if !priorities.is_empty() && priorities.iter().all(|&nice| nice >= 10) {
                return;
            }
            assert!(begin.elapsed() < std::time::Duration::from_secs(20), "{priorities:?}");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}
