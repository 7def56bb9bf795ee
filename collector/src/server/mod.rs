//! The server: what is in traces, over HTTP. It translates questions to those of [`crate::query`] and answers in JSON;
//! the OpenAPI document at `/api/v1/openapi.json` is generated from the same code. It changes nothing and reaches no
//! file but the traces that it was given.

mod access;
mod api;
mod compare;
mod download;
mod graphs;
mod metrics;
mod params;
mod problem;
mod session;
mod tables;

pub use session::Sessions;

use access::Access;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

/// Queries that run at the same time; others wait.
const MAX_QUERIES: usize = 4;

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address that others can reach, without a token.
    #[error(
        "{0} can be reached from other machines: give --token with a secret that viewers have to know, or listen \
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
    /// The server cannot go on.
    #[error("the server ended: {0}")]
    Run(io::Error),
}

/// A server that has its address but answers nobody yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    token: Option<String>,
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
        Ok(Server { listener, address, token })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the process is told to stop (Ctrl-C).
    ///
    /// # Errors
    /// When the system takes the listener away.
    pub fn run(self, sessions: Sessions) -> Result<(), ServeError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(MAX_QUERIES)
            .enable_all()
            .build()
            .map_err(ServeError::Run)?;
        let router = api::router(Arc::new(sessions), Access::new(self.address, self.token));
        let served = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(self.listener)?;
            tokio::select! {
                served = async { axum::serve(listener, router).await } => served,
                stopped = tokio::signal::ctrl_c() => stopped,
            }
        });
        runtime.shutdown_background();
        served.map_err(ServeError::Run)
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
}
