//! What `open`, `record --serve` and `daemon` have in common: where the server listens, who may ask, and the browser
//! that is sent there.

use super::options::memory_bytes;
use super::say;
use ggscope_compute::Device;
use ggscope_compute::open_device;
use ggscope_server::{Server, Serving, Sessions};
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Where to answer if nothing is said.
const DEFAULT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7437));

/// Where to answer, and whom.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Where to answer; if the port is taken, the system chooses another [default: 127.0.0.1:7437]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// A secret that viewers have to know; any address but loopback needs one
    #[arg(long = "auth-token", alias = "token", value_name = "SECRET", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    token: Option<String>,
    /// A name by which browsers may reach it besides addresses, localhost and this machine's own; can be given more
    /// than once
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    allow_host: Vec<String>,
    /// How much of traces is kept in memory at most, all together; what is older is read back from the files
    #[arg(long, value_name = "SIZE", default_value = "512M", value_parser = memory_bytes)]
    memory: usize,
    /// Where graph analytics, heads and comparisons of attention are computed: on a GPU that no traced program uses if the
    /// work is worth the trip (auto), cpu, or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: Device,
}

/// A server that has its address.
pub(super) struct Bound {
    server: Server,
    token: Option<String>,
}

impl Options {
    /// Whether anything was said about it.
    pub(super) fn is_given(&self) -> bool {
        self.listen.is_some() || self.token.is_some() || !self.allow_host.is_empty()
    }

    /// `sessions` with what was said about memory and device.
    pub(super) fn prepare(&self, sessions: Sessions) -> Sessions {
        sessions.with_memory(self.memory).with_device(self.device)
    }

    /// Takes the address.
    pub(super) fn bind(&self) -> anyhow::Result<Bound> {
        // A GPU that is not there is said now, not when somebody asks.
        open_device(self.device, &[])?;
        let wanted = self.listen.unwrap_or(DEFAULT);
        let server = Server::bind(wanted, self.token.clone())?.with_names(self.allow_host.clone());
        let port = server.address().port();
        if wanted.port() != 0 && port != wanted.port() {
            say::line(format_args!("port {} is taken: port {port} is used", wanted.port()));
        }
        Ok(Bound { server, token: self.token.clone() })
    }
}

impl Bound {
    /// Begins to answer, says where, and opens a browser there if that is wanted and possible.
    pub(super) fn start(self, sessions: Arc<Sessions>, browser: bool, until: &str) -> anyhow::Result<Serving> {
        let address = self.server.address();
        let serving = self.server.start(sessions)?;
        let secret = if self.token.is_some() { "; it asks for the token" } else { "" };
        say::line(format_args!("the page is at http://{address}/ ({until}{secret})"));
        if browser {
            let secret =
                |token: &String| form_urlencoded::Serializer::new(String::new()).append_pair("token", token).finish();
            let query = self.token.as_ref().map_or(String::new(), |token| format!("?{}", secret(token)));
            open_browser(&format!("http://{}/{query}", reachable(address)));
        }
        Ok(serving)
    }
}

/// A name of a host, without a port or anything else of an address.
fn host_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if text.is_empty() || !text.chars().all(plain) {
        return Err("give the name alone, as in gpu-box.example: no port and no http://".into());
    }
    Ok(text.to_owned())
}

/// An address that this machine reaches a server by that listens on all of them.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    address
}

/// Sends the user's browser to `url`, if there is a display. Whether that succeeds is the browser's business.
fn open_browser(url: &str) {
    let Some(program) = browser(|name| std::env::var_os(name)) else { return };
    let mut command = Command::new(program);
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    // SAFETY: between fork and exec it only sets the signal mask, which is async-signal-safe.
    unsafe { command.pre_exec(unblock_signals) };
    if let Ok(mut child) = command.spawn() {
        // It may stay as long as the browser does; somebody has to take note of its end.
        let _ = std::thread::Builder::new().name("browser".into()).spawn(move || child.wait());
    }
}

/// The program that opens an address in a browser: none without a display.
fn browser(variable: impl Fn(&str) -> Option<OsString>) -> Option<OsString> {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    set("DISPLAY").or_else(|| set("WAYLAND_DISPLAY"))?;
    // A list of programs, of which the first is preferred.
    let own = set("BROWSER").and_then(|list| std::env::split_paths(&list).next());
    Some(own.map_or_else(|| "xdg-open".into(), Into::into))
}

fn unblock_signals() -> std::io::Result<()> {
    // SAFETY: plain data; the call reads only what it is given.
    let status = unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut())
    };
    if status == 0 { Ok(()) } else { Err(std::io::Error::from_raw_os_error(status)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_opened_only_where_there_is_a_display() {
        let of = |variables: &[(&str, &str)]| {
            let found = |name: &str| variables.iter().find(|v| v.0 == name).map(|v| OsString::from(v.1));
            browser(found).map(|program| program.into_string().unwrap())
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("BROWSER", "firefox"), ("DISPLAY", "")]), None);
        assert_eq!(of(&[("DISPLAY", ":0")]).as_deref(), Some("xdg-open"));
        assert_eq!(of(&[("WAYLAND_DISPLAY", "wayland-0"), ("BROWSER", "firefox:lynx")]).as_deref(), Some("firefox"));
    }

    #[test]
    fn a_name_of_a_host_is_nothing_else() {
        assert_eq!(host_name("gpu-box.example").as_deref(), Ok("gpu-box.example"));
        for other in ["", "gpu-box:7437", "http://gpu-box", "a b", "a/b", "*"] {
            assert!(host_name(other).is_err(), "{other}");
        }
    }

    #[test]
    fn a_server_on_all_addresses_is_reached_on_loopback() {
        let reached = |address: &str| reachable(address.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:7437"), "127.0.0.1:7437");
        assert_eq!(reached("[::]:7437"), "[::1]:7437");
        assert_eq!(reached("192.0.2.1:7437"), "192.0.2.1:7437");
    }
}
