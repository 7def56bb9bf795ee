//! The page that shows it all: files that the build has put inside. A path that is no file is one of the page's own
//! places, and the page finds out what to show there.

use super::problem::Problem;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use ggscope_export::dashboard::TEMPLATE;
use ggscope_page::Files;
use rust_embed::EmbeddedFile;

const INDEX: &str = "index.html";
/// What the page may load: nothing from elsewhere.
const POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; \
                      worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'";
/// Names of files under `assets` change with what is in them.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// What stands in for a page that was not built.
const NOT_BUILT: &str = "This ggscope was built without its page. `make` builds it and puts it in.\n\n\
                         All questions can be asked without it: /api/v1/openapi.json describes them.\n";

/// Whether a path is the page's and not a question.
pub(super) fn is_page(path: &str) -> bool {
    path != "/api" && !path.starts_with("/api/") && path != "/metrics"
}

/// Answers all paths that are no questions.
pub(super) async fn page(uri: Uri) -> Response {
    serve(uri.path(), Files::get)
}

fn serve(path: &str, file: impl Fn(&str) -> Option<EmbeddedFile>) -> Response {
    let nothing = || {
        let help = "/api/v1/openapi.json lists what there is";
        Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path", help).into_response()
    };
    if !is_page(path) || path.split('/').any(|part| part == "..") {
        return nothing();
    }
    let name = path.trim_start_matches('/');
    // It is for files that models are put into.
    if name == TEMPLATE {
        return nothing();
    }
    let is_asset = name.starts_with("assets/");
    let is_file = is_asset || name.contains('.');
    let (name, found) = if is_file { (name, file(name)) } else { (INDEX, file(INDEX)) };
    let Some(found) = found else {
        let plain = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CONTENT_SECURITY_POLICY, POLICY)];
        return if is_file { nothing() } else { (plain, NOT_BUILT).into_response() };
    };
    let kind = mime_guess::from_path(name).first_or_octet_stream();
    let kind = match (kind.type_(), kind.subtype()) {
        (mime_guess::mime::TEXT, _) => format!("{kind}; charset=utf-8"),
        _ => kind.to_string(),
    };
    let caching = if is_asset { FOR_EVER } else { "no-store" };
    let headers = [(CONTENT_TYPE, kind.as_str()), (CONTENT_SECURITY_POLICY, POLICY), (CACHE_CONTROL, caching)];
    (headers, found.data).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;

    fn built(name: &str) -> Option<EmbeddedFile> {
        let of = |data: &'static [u8]| EmbeddedFile {
            data: data.into(),
            metadata: rust_embed::Metadata::__rust_embed_new([0; 32], None, None),
        };
        match name {
            "index.html" => Some(of(b"<!doctype html>")),
            "assets/a-123.js" => Some(of(b"let a")),
            "assets/b.woff2" | "icon.svg" | "dashboard.html" => Some(of(b"x")),
            _ => None,
        }
    }

    fn asked(path: &str, file: fn(&str) -> Option<EmbeddedFile>) -> (u16, String, String, String) {
        let answer = serve(path, file);
        let header = |name| answer.headers().get(&name).map_or(String::new(), |v| v.to_str().unwrap().to_owned());
        let (status, kind, caching) = (answer.status().as_u16(), header(CONTENT_TYPE), header(CACHE_CONTROL));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let body = runtime.block_on(to_bytes(answer.into_body(), 1 << 20)).unwrap();
        (status, kind, caching, String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn files_have_their_types_and_the_page_s_places_are_the_page() {
        for place in ["/", "/sessions/3/graph", "/table"] {
            let (status, kind, caching, body) = asked(place, built);
            assert_eq!(
                (status, kind.as_str(), caching.as_str()),
                (200, "text/html; charset=utf-8", "no-store"),
                "{place}"
            );
            assert_eq!(body, "<!doctype html>");
        }
        for (path, expected) in [
            ("/assets/a-123.js", "text/javascript; charset=utf-8"),
            ("/assets/b.woff2", "font/woff2"),
            ("/icon.svg", "image/svg+xml"),
        ] {
            let (status, kind, caching, _) = asked(path, built);
            assert_eq!((status, kind.as_str()), (200, expected), "{path}");
            assert_eq!(caching == FOR_EVER, path.starts_with("/assets/"), "{path}");
        }
    }

    #[test]
    fn what_is_not_there_is_said_and_nothing_else_is_reached() {
        for path in [
            "/assets/",
            "/assets/other",
            "/x.js",
            "/dashboard.html",
            "/../index.html",
            "/a/../../etc/passwd",
            "/api",
            "/api/v2",
            "/metrics",
        ] {
            assert_eq!(asked(path, built).0, 404, "{path}");
        }
    }

    #[test]
    fn without_a_page_it_says_how_to_get_one() {
        let (status, kind, _, body) = asked("/", |_| None);
        assert_eq!((status, kind.as_str()), (200, "text/plain; charset=utf-8"));
        assert!(body.contains("make") && body.contains("/api/v1/openapi.json"));
    }
}
