//! Runs a server (llama-server, alone or behind `ggscope record --`) on a free port and talks HTTP/1.1 to it over a
//! plain TCP stream. What the command prints goes to a log file, so that a full pipe can never hold it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const START_LIMIT: Duration = Duration::from_secs(120);
const ANSWER_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A running server. Dropping it ends the process that was started, and no other.
pub struct Server {
    child: Child,
    port: u16,
    log: PathBuf,
}

/// What came back for one request.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub body: String,
}

impl Response {
    /// The body as JSON; panics unless the status is 200.
    pub fn json(&self) -> Value {
        assert_eq!(self.status, 200, "the server refused: {}", self.body);
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("no JSON in the answer: {e}: {}", self.body))
    }
}

impl Server {
    /// Starts what `command` makes for a free port (it must listen there on 127.0.0.1) and waits until `/health` says 200.
    /// Its stdout and stderr go to `log`.
    pub fn start(log: &Path, command: impl FnOnce(u16) -> Command) -> Self {
        let port = free_port();
        let output = File::create(log).unwrap_or_else(|e| panic!("cannot create {}: {e}", log.display()));
        let errors = output.try_clone().expect("cannot duplicate the log file");
        let mut command = command(port);
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = command.spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        let mut server = Self { child, port, log: log.into() };
        server.wait_until_healthy();
        server
    }

    fn wait_until_healthy(&mut self) {
        let start = Instant::now();
        while !self.get("/health").is_ok_and(|answer| answer.status == 200) {
            if let Some(status) = self.child.try_wait().expect("cannot wait for the server") {
                panic!("the server ended with {status} before it was ready:\n{}", self.log_tail());
            }
            assert!(
                start.elapsed() < START_LIMIT,
                "the server was not ready after {START_LIMIT:?}:\n{}",
                self.log_tail()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The process that was started: the server, or the program in front of it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything printed so far, stdout and stderr together.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// `n_predict` greedy tokens after `prompt`, through `/completion`. The answer's text is in `content`, and its
    /// token ids in `tokens`.
    pub fn complete(&self, prompt: &str, n_predict: u32) -> Value {
        let request = json!({
            "prompt": prompt, "n_predict": n_predict, "temperature": 0.0, "seed": 1,
            "cache_prompt": false, "ignore_eos": true, "return_tokens": true,
        });
        self.post("/completion", &request).json()
    }

    /// The greedy answer to one user message, through `/v1/chat/completions`; the text is in `choices[0].message.content`.
    pub fn chat(&self, message: &str, max_tokens: u32) -> Value {
        let request = json!({
            "messages": [{ "role": "user", "content": message }],
            "max_tokens": max_tokens, "temperature": 0.0, "seed": 1, "cache_prompt": false,
        });
        self.post("/v1/chat/completions", &request).json()
    }

    /// Posts JSON and returns the whole answer.
    pub fn post(&self, path: &str, body: &Value) -> Response {
        self.request("POST", path, &body.to_string())
            .unwrap_or_else(|e| panic!("POST {path} failed: {e}\n{}", self.log_tail()))
    }

    /// One GET request.
    pub fn get(&self, path: &str) -> io::Result<Response> {
        self.request("GET", path, "")
    }

    fn request(&self, method: &str, path: &str, body: &str) -> io::Result<Response> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.port,
            body.len()
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        parse_response(&answer).ok_or_else(|| io::Error::other("the answer is not HTTP/1.1"))
    }

    /// Sends the signal (`libc::SIGTERM`, `SIGINT`, `SIGKILL`) and returns how the process ended.
    pub fn stop(mut self, signal: i32) -> ExitStatus {
        self.signal(signal);
        self.wait_for_exit(STOP_LIMIT)
            .unwrap_or_else(|| panic!("still running {STOP_LIMIT:?} after signal {signal}:\n{}", self.log_tail()))
    }

    fn signal(&self, signal: i32) {
        let pid = libc::pid_t::try_from(self.child.id()).expect("a pid fits pid_t");
        // SAFETY: kill has no memory effects; the child is not reaped while `self.child` lives, so the pid is still ours.
        unsafe { libc::kill(pid, signal) };
    }

    fn wait_for_exit(&mut self, limit: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        loop {
            match self.child.try_wait().expect("cannot wait for the server") {
                None if start.elapsed() < limit => thread::sleep(Duration::from_millis(20)),
                status => return status,
            }
        }
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Server {
    /// Asks first, because a program in front of the server passes SIGTERM on but cannot pass SIGKILL on.
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.signal(libc::SIGTERM);
            if self.wait_for_exit(Duration::from_secs(5)).is_none() {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("no free port on 127.0.0.1")
        .port()
}

/// A whole answer, whose end is the end of the connection.
fn parse_response(answer: &[u8]) -> Option<Response> {
    let end_of_head = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end_of_head]).ok()?;
    let body = &answer[end_of_head + 4..];
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { join_chunks(body)? } else { body.to_vec() };
    Some(Response { status, body: String::from_utf8(body).ok()? })
}

/// A streamed body (RFC 9112, section 7.1): hexadecimal length, bytes, and so on until a length of 0.
fn join_chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end_of_line = rest.windows(2).position(|two| two == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end_of_line]).ok()?, 16).ok()?;
        rest = &rest[end_of_line + 2..];
        if length == 0 {
            return Some(body);
        }
        body.extend(rest.get(..length)?);
        rest = rest.get(length + 2..)?;
    }
}
