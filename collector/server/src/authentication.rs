//! Who may ask. A web page elsewhere must not read a trace: a browser that was led here by another name (DNS rebinding)
//! says so in Host, and a page from elsewhere says so in Origin. An address that other machines reach needs a token,
//! which a browser that opened the page with it keeps as a cookie, and answers to no name but those that are known.

use super::page::is_page;
use super::problem::Problem;
use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, HOST, LOCATION, ORIGIN,
    REFERRER_POLICY, SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::ffi::CStr;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What a request has to show.
#[derive(Clone)]
pub(super) struct Access {
    address: SocketAddr,
    token: Option<Arc<str>>,
    /// Names that it answers to besides.
    names: Arc<[String]>,
}

impl Access {
    /// Rules for a server that listens on `address` and answers to `names` too.
    pub(super) fn new(address: SocketAddr, token: Option<String>, mut names: Vec<String>) -> Access {
        if !address.ip().is_loopback() {
            names.extend(own_names());
        }
        Access { address, token: token.map(Arc::from), names: names.into() }
    }

    /// Whether `host` is a name of this server, whatever port it was forwarded to (`ssh -L`). Whoever leads a browser
    /// here by a name of their own needs a name: an address is what the browser was really sent to.
    fn is_own_host(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<axum::http::uri::Authority>() else { return false };
        if authority.as_str().contains('@') {
            return false;
        }
        let name = authority.host();
        if let Ok(ip) = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return ip.is_loopback() || !self.address.ip().is_loopback();
        }
        let is_it = |known: &str| name.strip_suffix('.').unwrap_or(name).eq_ignore_ascii_case(known);
        is_it("localhost") || self.names.iter().any(|known| is_it(known))
    }

    fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap, token: Option<&str>) -> Result<(), Problem> {
        let one = |name| {
            let mut all = headers.get_all(name).iter();
            let first = all.next().map(|v| v.to_str().unwrap_or("\u{fffd}"));
            (first, all.next().is_some())
        };
        let forbidden = |error: String, help: &str| Problem::new(StatusCode::FORBIDDEN, error, help);
        let (host, more_hosts) = one(HOST);
        let own = host.filter(|host| !more_hosts && self.is_own_host(host));
        let Some(host) = own.filter(|_| uri.authority().is_none_or(|a| self.is_own_host(a.as_str()))) else {
            let error = format!("Host {} is not this server", host.unwrap_or("(none)"));
            let help = format!("ask http://{}, or start ggscope with --allow-host NAME", self.address);
            return Err(forbidden(error, &help));
        };
        let (origin, more_origins) = one(ORIGIN);
        if let Some(origin) = origin {
            let own = origin.strip_prefix("http://").is_some_and(|o| o.eq_ignore_ascii_case(host));
            if more_origins || !own {
                let error = format!("a page from {origin} may not read traces");
                return Err(forbidden(error, "open the server's own address instead"));
            }
        }
        if let Some(wanted) = &self.token {
            let bearer = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()?.strip_prefix("Bearer "));
            let given = || bearer.into_iter().chain(token);
            let known = given().all(|given| is_same(given, wanted));
            if !known || (given().next().is_none() && !self.has_cookie(headers, wanted)) {
                let help = "send the secret of --auth-token as `Authorization: Bearer SECRET` or as ?token=SECRET";
                return Err(Problem::new(StatusCode::UNAUTHORIZED, "the token is missing or wrong", help));
            }
        }
        let changes = method == Method::PUT && is_changed(uri.path());
        if method != Method::GET && method != Method::HEAD && !changes {
            let error = format!("{method} is not answered");
            let help = match is_changed(uri.path()) {
                true => "ask with GET, or change it with PUT",
                false => "ask with GET: nothing can be changed here",
            };
            return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, error, help));
        }
        Ok(())
    }
}

impl Access {
    /// Cookies are the same for all ports of a host: the name tells one server from another.
    fn cookie_name(&self) -> String {
        format!("ggscope_token_{}", self.address.port())
    }

    fn has_cookie(&self, headers: &HeaderMap, wanted: &str) -> bool {
        let (name, value) = (self.cookie_name(), cookie_value(wanted));
        let pairs = headers.get_all(COOKIE).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(';'));
        pairs.filter_map(|pair| pair.trim().split_once('=')).any(|(n, v)| n == name && is_same(v, &value))
    }

    /// Sends a browser that came with the token to the same address without it, which then stands in no history.
    fn remember(&self, to: &Uri) -> Option<Response> {
        let token = self.token.as_ref()?;
        let cookie = format!("{}={}; Path=/; HttpOnly; SameSite=Strict", self.cookie_name(), cookie_value(token));
        let query = to.query().filter(|query| !query.is_empty()).map_or(String::new(), |query| format!("?{query}"));
        // A path of two slashes would name another host.
        let location = format!("/{}{query}", to.path().trim_start_matches('/'));
        let headers = [(SET_COOKIE, cookie), (LOCATION, location)];
        Some((StatusCode::SEE_OTHER, headers).into_response())
    }
}

/// Whether the path is of something that can be changed: what is captured of a session. A browser asks before it sends a
/// page's PUT elsewhere, and says in Origin where the page is from.
fn is_changed(path: &str) -> bool {
    let session = path.strip_prefix("/api/v1/sessions/").and_then(|rest| rest.strip_suffix("/capture"));
    session.is_some_and(|id| !id.is_empty() && !id.contains('/'))
}

/// Names of this machine: as it calls itself, and as others on the same link find it by multicast DNS.
fn own_names() -> Vec<String> {
    let mut name = [0_u8; 256];
    // SAFETY: the buffer is as long as is said; the last byte, which is not, ends the name.
    let status = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
    let name = CStr::from_bytes_until_nul(&name).ok().filter(|_| status == 0);
    let name = name.and_then(|name| name.to_str().ok()).filter(|name| !name.is_empty());
    let name = name.map(|name| [name.to_owned(), format!("{name}.local")]);
    name.into_iter().flatten().collect()
}

/// A secret in characters that a cookie can have.
fn cookie_value(secret: &str) -> String {
    form_urlencoded::byte_serialize(secret.as_bytes()).collect()
}

/// Compares all of two secrets, whatever they have in common.
fn is_same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

/// Takes `token`, the secret, out of a query: the address without it, and its value.
fn take_token(uri: &Uri) -> (Option<Uri>, Option<String>) {
    let Some(query) = uri.query() else { return (None, None) };
    let mut token = None;
    let mut rest = form_urlencoded::Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name == "token" {
            token = Some(value.into_owned());
        } else {
            rest.append_pair(&name, &value);
        }
    }
    if token.is_none() {
        return (None, None);
    }
    let mut parts = uri.clone().into_parts();
    let rest = format!("{}?{}", uri.path(), rest.finish());
    parts.path_and_query = rest.parse::<PathAndQuery>().ok();
    (Uri::from_parts(parts).ok(), token)
}

/// What a browser shows that has no token yet: a field for it, which comes back as `?token=`.
fn ask_for_token() -> Response {
    const POLICY: &str =
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
    let headers = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, POLICY)];
    (StatusCode::UNAUTHORIZED, headers, include_str!("token.html")).into_response()
}

/// Lets a request through that shows what it has to, and marks every answer as for nobody else.
pub(super) async fn guard(State(access): State<Access>, mut request: Request, next: Next) -> Response {
    // Without a secret it is a parameter like any other, which no question has.
    let (without_token, token) = access.token.as_ref().map_or((None, None), |_| take_token(request.uri()));
    let checked = access.check(request.method(), request.uri(), request.headers(), token.as_deref());
    let mut response = match checked {
        Ok(()) => {
            if let Some(uri) = without_token {
                *request.uri_mut() = uri;
            }
            let remembered =
                token.filter(|_| is_page(request.uri().path())).and_then(|_| access.remember(request.uri()));
            match remembered {
                Some(redirect) => redirect,
                None => next.run(request).await,
            }
        }
        Err(problem) if problem.status == 401 && is_page(request.uri().path()) => ask_for_token(),
        Err(problem) => problem.into_response(),
    };
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ] {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(access: &Access, headers: &[(&str, &str)], uri: &str) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(axum::http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let uri: Uri = uri.parse().unwrap();
        let (_, token) = take_token(&uri);
        access.check(&Method::GET, &uri, &map, token.as_deref()).map_or_else(|p| p.status, |()| 200)
    }

    fn loopback(token: Option<&str>) -> Access {
        Access::new("127.0.0.1:4000".parse().unwrap(), token.map(str::to_owned), vec![])
    }

    #[test]
    fn only_names_of_this_server_are_answered() {
        let access = loopback(None);
        for own in ["127.0.0.1:4000", "localhost:4000", "LOCALHOST:4000", "[::1]:4000", "127.0.0.2", "localhost:9000"] {
            assert_eq!(status(&access, &[("host", own)], "/"), 200, "{own}");
        }
        let others = [
            "evil.example:4000",
            "evil.example",
            "localhost.evil.example:4000",
            "127.0.0.1.evil",
            "a@localhost:4000",
            "",
        ];
        for other in others {
            assert_eq!(status(&access, &[("host", other)], "/"), 403, "{other}");
        }
        assert_eq!(status(&access, &[], "/"), 403);
        assert_eq!(status(&access, &[("host", "localhost:4000"), ("host", "evil.example:4000")], "/"), 403);
        assert_eq!(status(&access, &[("host", "localhost:4000")], "http://evil.example:4000/"), 403);
    }

    #[test]
    fn only_a_capture_can_be_changed_and_only_by_who_may_read_it() {
        let access = loopback(Some("s3cret"));
        let of = |method: Method, path: &str, origin: Option<&str>, token: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.append(HOST, "localhost:4000".parse().unwrap());
            origin.map(|origin| headers.append(ORIGIN, origin.parse().unwrap()));
            access.check(&method, &path.parse().unwrap(), &headers, token).map_or_else(|p| p.status, |()| 200)
        };
        let (capture, token) = ("/api/v1/sessions/0/capture", Some("s3cret"));
        assert_eq!(of(Method::PUT, capture, Some("http://localhost:4000"), token), 200);
        assert_eq!(of(Method::PUT, capture, None, token), 200);
        assert_eq!(of(Method::PUT, capture, Some("http://evil.example"), token), 403);
        assert_eq!(of(Method::PUT, capture, None, None), 401);
        for (method, path) in [
            (Method::POST, capture),
            (Method::DELETE, capture),
            (Method::PUT, "/api/v1/sessions/0"),
            (Method::PUT, "/api/v1/sessions/0/x/capture"),
            (Method::PUT, "/api/v1/sessions//capture"),
            (Method::PUT, "/"),
        ] {
            assert_eq!(of(method.clone(), path, None, token), 405, "{method} {path}");
        }
    }

    #[test]
    fn pages_from_elsewhere_are_refused() {
        let access = loopback(None);
        let of = |origin| status(&access, &[("host", "localhost:4000"), ("origin", origin)], "/");
        assert_eq!(of("http://localhost:4000"), 200);
        for other in
            ["http://evil.example", "https://localhost:4000", "http://localhost:4001", "null", "http://127.0.0.1:4000"]
        {
            assert_eq!(of(other), 403, "{other}");
        }
    }

    #[test]
    fn a_token_is_asked_for_where_there_is_one() {
        let access = loopback(Some("s3cret"));
        let host = ("host", "localhost:4000");
        assert_eq!(status(&access, &[host], "/"), 401);
        assert_eq!(status(&access, &[host, ("authorization", "Bearer s3cret")], "/"), 200);
        assert_eq!(status(&access, &[host, ("authorization", "Bearer s3cre")], "/?token=s3cret"), 401);
        assert_eq!(status(&access, &[host, ("authorization", "Bearer s3cret")], "/?token=3"), 401);
        assert_eq!(status(&access, &[host], "/?layer=5&token=s3cret"), 200);
        assert_eq!(status(&access, &[host], "/?token=s3creT"), 401);
        let anywhere = Access::new("192.0.2.1:4000".parse().unwrap(), Some("s3cret".into()), vec![]);
        assert_eq!(status(&anywhere, &[("host", "192.0.2.1:4000")], "/?token=s3cret"), 200);
        assert_eq!(status(&anywhere, &[("host", "192.0.2.1:4000")], "/"), 401);
    }

    #[test]
    fn an_address_that_others_reach_answers_to_addresses_and_to_names_that_are_known() {
        let names = vec!["gpu-box.example".to_owned()];
        let access = Access::new("0.0.0.0:4000".parse().unwrap(), Some("s3cret".into()), names.clone());
        let of = |access: &Access, host: &str| status(access, &[("host", host)], "/?token=s3cret");
        let own = own_names();
        assert!(!own.is_empty(), "a machine has a name");
        let known = ["192.0.2.1:4000", "[2001:db8::1]:4000", "10.0.0.7", "localhost:4000", "gpu-box.example:4000"];
        for known in known.into_iter().chain(own.iter().map(String::as_str)).chain(["GPU-box.example."]) {
            assert_eq!(of(&access, known), 200, "{known}");
        }
        let strange = format!("{}.evil.example", own[0]);
        for other in ["evil.example:4000", "gpu-box:4000", "x.gpu-box.example", "192.0.2.1.evil.example", &strange] {
            assert_eq!(of(&access, other), 403, "{other}");
        }
        let mut headers = HeaderMap::new();
        headers.append(HOST, "evil.example".parse().unwrap());
        let problem = access.check(&Method::GET, &"/".parse().unwrap(), &headers, Some("s3cret")).unwrap_err();
        assert!(problem.help.contains("--allow-host NAME"), "{}", problem.help);
        let at_home = Access::new("127.0.0.1:4000".parse().unwrap(), Some("s3cret".into()), names);
        assert_eq!((of(&at_home, "gpu-box.example"), of(&at_home, "192.0.2.1")), (200, 403));
    }

    #[test]
    fn a_browser_keeps_the_token_as_a_cookie_and_not_in_the_address() {
        let access = loopback(Some("a b;c"));
        let answer = access.remember(&"/graph/3?layer=2".parse().unwrap()).unwrap();
        let cookie = answer.headers()[SET_COOKIE].to_str().unwrap();
        assert_eq!(
            (answer.status(), &answer.headers()[LOCATION]),
            (StatusCode::SEE_OTHER, &"/graph/3?layer=2".parse::<HeaderValue>().unwrap())
        );
        assert_eq!(cookie, "ggscope_token_4000=a+b%3Bc; Path=/; HttpOnly; SameSite=Strict");
        let host = ("host", "localhost:4000");
        let kept = cookie.split(';').next().unwrap();
        assert_eq!(status(&access, &[host, ("cookie", &format!("theme=dark; {kept}"))], "/"), 200);
        for other in ["ggscope_token_4000=", "ggscope_token_4000=x", "ggscope_token_4001=a+b%3Bc", "a+b%3Bc"] {
            assert_eq!(status(&access, &[host, ("cookie", other)], "/"), 401, "{other}");
        }
        let elsewhere = access.remember(&"//evil.example/".parse().unwrap()).unwrap();
        assert_eq!(elsewhere.headers()[LOCATION], "/evil.example/");
        assert!(loopback(None).remember(&"/".parse().unwrap()).is_none());
    }

    #[test]
    fn the_token_reaches_no_filter() {
        let (uri, token) = take_token(&"/a?layer=5&token=a%20b&op=MUL*".parse().unwrap());
        assert_eq!((uri.unwrap().to_string().as_str(), token.as_deref()), ("/a?layer=5&op=MUL*", Some("a b")));
        assert_eq!(take_token(&"/a?layer=5".parse().unwrap()), (None, None));
    }
}
