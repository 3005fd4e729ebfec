use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, MatchedPath, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use rbee_protocol::{ApiError, ErrorBody, ErrorCode, PrincipalId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::access::{Act, Permission, Principal, authorize};
use crate::routes::{Route, Shape};

/// A request's body may be so long, in bytes, and take so long to arrive.
const BODY_MAX_BYTES: usize = 4 << 20;
/// What one daemon has accepted must not be too long for the next one, which gets more with it.
const BODY_MAX_BYTES_BETWEEN_DAEMONS: usize = 8 << 20;
const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// Who may use a daemon's API.
#[derive(Clone)]
pub enum Access {
    /// Whoever can open its socket, which belongs to one user alone.
    Socket,
    /// Whoever has a key.
    Keys(Arc<dyn Authenticate>),
}

/// Knows whose key is whose.
pub trait Authenticate: Send + Sync + 'static {
    /// The principal whose key this is.
    fn authenticate(&self, key: &str) -> Option<Principal>;
}

/// What stands before the routes.
pub(crate) struct Door {
    pub(crate) access: Access,
    /// Pages of these may ask, besides our own.
    pub(crate) origins: Vec<String>,
    pub(crate) table: Vec<Route>,
    /// How what goes wrong is said, by the path of the route, where that is not our own way.
    pub(crate) shapes: HashMap<&'static str, Shape>,
}

/// Whoever sends no key to a route that takes guests. No key has this name.
const GUEST: &str = "(guest)";

/// Where a client may put its key: as we say it, and as Anthropic does.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// A browser asks again whether a page may ask after so many seconds.
const PREFLIGHT_MAX_AGE_S: u32 = 600;

/// Whom a connection serves, by what is cancelled when they are to be served no longer.
#[derive(Clone)]
pub(crate) struct Serving(pub(crate) watch::Sender<CancellationToken>);

/// How many bytes a request's body may have.
#[derive(Clone, Copy)]
struct BodyMax(usize);

/// Lets a request in when its host and origin are right and whoever makes it may.
pub(crate) async fn guard(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let page = door.page(&request).cloned();
    let shape = match request.extensions().get::<MatchedPath>() {
        Some(path) => door.shapes.get(path.as_str()).copied(),
        // Whoever asks for what is not there speaks the API of what is beside it.
        None => request
            .uri()
            .path()
            .rsplit_once('/')
            .and_then(|(folder, _)| {
                door.shapes
                    .iter()
                    .find(|(path, _)| path.rsplit_once('/').is_some_and(|(other, _)| other == folder))
            })
            .map(|(_, shape)| *shape),
    };
    let mut response = match check_host(&request) {
        Ok(()) if page.is_some() && is_preflight(&request) => preflight(&request),
        Ok(()) => door.answer(request, next).await,
        Err(error) => error_response(&error),
    };
    if let Some(shape) = shape {
        response = shaped(response, shape);
    }
    if let Some(origin) = page {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let exposed = HeaderValue::from_static("x-rbee-job, retry-after");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
    }
    response
}

/// Whether a browser asks for a page if that may ask.
fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer that it may. What it may do depends on its key, which comes with the request itself.
fn preflight(request: &Request) -> Response {
    let wanted = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS);
    let headers = wanted.cloned().unwrap_or(HeaderValue::from_static("authorization, content-type"));
    let answer = Response::builder()
        .status(StatusCode::NO_CONTENT)
        .header(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE")
        .header(header::ACCESS_CONTROL_ALLOW_HEADERS, headers)
        .header(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE_S)
        .body(Body::empty());
    answer.expect("the parts are constants, or were a header before")
}

/// `response`, if it reports a failure of ours, in the words of another API.
fn shaped(response: Response, shape: Shape) -> Response {
    let Some(error) = response.extensions().get::<ApiError>() else { return response };
    let (status, body) = shape(error);
    let (mut parts, _) = response.into_parts();
    parts.status = status;
    Response::from_parts(parts, Body::from(body.to_string()))
}

impl Door {
    /// Has a request answered, if whoever makes it may.
    async fn answer(&self, mut request: Request, next: Next) -> Response {
        match self.admit(&request) {
            Err(error) => return error_response(&error),
            Ok(None) => {}
            Ok(Some(principal)) => {
                // Guests who only look are strangers, and do not keep a connection.
                let is_known = principal.id.as_str() != GUEST || *request.method() == Method::POST;
                if let Some(serving) = request.extensions().get::<Serving>().filter(|_| is_known) {
                    serving.0.send_replace(principal.revoked.clone());
                }
                request.extensions_mut().insert(principal);
            }
        }
        request.extensions_mut().insert(match self.access {
            Access::Socket => BodyMax(BODY_MAX_BYTES_BETWEEN_DAEMONS),
            Access::Keys(_) => BodyMax(BODY_MAX_BYTES),
        });
        next.run(request).await
    }

    /// The page that asks, if it is one of those that may besides our own.
    fn page<'r>(&self, request: &'r Request) -> Option<&'r HeaderValue> {
        let origin = text(request, header::ORIGIN)?;
        let is_allowed = self.origins.iter().any(|allowed| allowed == origin);
        is_allowed.then(|| request.headers().get(header::ORIGIN)).flatten()
    }

    fn admit(&self, request: &Request) -> Result<Option<Principal>, ApiError> {
        if self.page(request).is_none() {
            check_origin(request)?;
        }
        let route = self.route(request);
        // Of what is not there, guests are told in their own API.
        let is_absent = route.is_err() && is_ollamas(request.uri().path());
        let guests = self.table.iter().any(|route| route.permission == Permission::Guest);
        let takes_guests =
            is_absent && guests || route.as_ref().is_ok_and(|route| route.permission == Permission::Guest);
        let principal = match self.principal(request) {
            None if takes_guests && key(request).is_none() => {
                check_site(request)?;
                Some(Principal {
                    id: PrincipalId::new(GUEST),
                    operator: false,
                    revoked: CancellationToken::new(),
                })
            }
            principal => principal,
        };
        // That a path or a method does not exist is for those to know who have a key.
        let permission = route.as_ref().map_or(Permission::User, |route| route.permission);
        authorize(principal.as_ref(), Act::Call(permission))?;
        route?;
        Ok(principal)
    }

    /// Who makes this request, if that is known.
    fn principal(&self, request: &Request) -> Option<Principal> {
        match &self.access {
            Access::Socket => Some(Principal {
                id: PrincipalId::new("owner"),
                operator: true,
                revoked: CancellationToken::new(),
            }),
            Access::Keys(keys) => keys.authenticate(key(request)??),
        }
    }

    /// The route of this request. What is not in the table is not answered, whatever the router has.
    fn route(&self, request: &Request) -> Result<&Route, ApiError> {
        let (method, path) = (request.method(), request.uri().path());
        let Some(matched) = request.extensions().get::<MatchedPath>() else {
            let error = ApiError::new(ErrorCode::NotFound, format!("there is no {method} {path}"));
            return Err(error.hint(match path {
                path if is_ollamas(path) => {
                    "docs/compatibility.md lists what of Ollama's API is answered, with `queen.ollama` in config.toml"
                }
                _ => "docs/protocol.md lists what there is, docs/compatibility.md what of other APIs",
            }));
        };
        let registered = if *method == Method::HEAD { &Method::GET } else { method };
        let found =
            self.table.iter().find(|route| route.path == matched.as_str() && route.method == *registered);
        found.ok_or_else(|| {
            ApiError::new(ErrorCode::MethodNotAllowed, format!("{path} takes no {method}"))
                .hint("the answer's `Allow` header has what it takes")
        })
    }
}

/// What a request has in the place of a key, if there is something: a key, or nothing that could be one.
fn key(request: &Request) -> Option<Option<&str>> {
    let Some(authorization) = text(request, header::AUTHORIZATION) else {
        return text(request, API_KEY).map(|key| Some(key.trim()));
    };
    let (scheme, key) = authorization.split_once(' ').unwrap_or_default();
    Some(scheme.eq_ignore_ascii_case("bearer").then(|| key.trim()))
}

/// Whether a path is of Ollama's API, which knows no keys.
fn is_ollamas(path: &str) -> bool {
    path.starts_with("/api/")
}

fn check_host(request: &Request) -> Result<(), ApiError> {
    let host = text(request, header::HOST).unwrap_or_default();
    // A target that names a host must name the same one.
    let target = request.uri().authority().map_or(host, Authority::as_str);
    if !is_own_host(host) || target != host {
        let host = rbee_narration::printable(host);
        let message = format!("requests for the host `{host}` are not answered here");
        return Err(
            ApiError::new(ErrorCode::Denied, message).hint("use the URL that `rbee queen status` shows")
        );
    }
    Ok(())
}

fn check_origin(request: &Request) -> Result<(), ApiError> {
    let host = text(request, header::HOST).unwrap_or_default();
    if let Some(origin) = text(request, header::ORIGIN)
        && origin.strip_prefix("http://") != Some(host)
    {
        let message = "requests from web pages of other origins are not answered";
        return Err(ApiError::new(ErrorCode::Denied, message)
            .hint("call the API from a program; `queen.origins` in config.toml lists pages that may"));
    }
    Ok(())
}

/// A page can have a browser ask without saying which page it is, though not without saying that it is another site's.
fn check_site(request: &Request) -> Result<(), ApiError> {
    match text(request, HeaderName::from_static("sec-fetch-site")) {
        None | Some("same-origin" | "none") => Ok(()),
        Some(_) => {
            Err(ApiError::new(ErrorCode::Denied, "requests from web pages of other sites are not answered")
                .hint("call the API from a program, or with a key"))
        }
    }
}

/// A header's value, empty where it is no text, or where there are several, of which none is to be believed.
fn text(request: &Request, name: header::HeaderName) -> Option<&str> {
    let mut values = request.headers().get_all(name).iter();
    let first = values.next()?;
    Some(first.to_str().ok().filter(|_| values.next().is_none()).unwrap_or_default())
}

/// Whether `host`, as a Host header has it, names this machine's loopback, on any port: ours may be forwarded.
fn is_own_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    name.eq_ignore_ascii_case("localhost") || matches!(name, "127.0.0.1" | "[::1]")
}

/// An answer in JSON with this status, or the error that takes its place.
pub struct Answer<T>(pub StatusCode, pub Result<T, ApiError>);

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        match self.1 {
            Ok(answer) => (self.0, [(header::CACHE_CONTROL, "no-store")], axum::Json(answer)).into_response(),
            Err(error) => error_response(&error),
        }
    }
}

/// A failure as a handler's way out.
pub struct Failed(ApiError);

impl From<ApiError> for Failed {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        error_response(&self.0)
    }
}

/// A request's body, read as JSON within the limits.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = Response;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Response> {
        read_json(request).await.map(Self).map_err(|error| error_response(&error))
    }
}

async fn read_json<T: DeserializeOwned>(request: Request) -> Result<T, ApiError> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        let message = format!(
            "the body must be JSON, but its content type is `{}`",
            rbee_narration::printable(content_type.unwrap_or("absent"))
        );
        return Err(ApiError::new(ErrorCode::UnsupportedMediaType, message)
            .hint("send `Content-Type: application/json`"));
    }
    let max_bytes = request.extensions().get().map_or(BODY_MAX_BYTES, |BodyMax(bytes)| *bytes);
    let too_large = || {
        ApiError::new(ErrorCode::TooLarge, format!("the body is over {max_bytes} bytes"))
            .hint("send less at once")
    };
    let body = request.into_body();
    // What announces itself as too large is refused before a byte of it is read.
    if http_body::Body::size_hint(&body).lower() > max_bytes as u64 {
        return Err(too_large());
    }
    let read = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, max_bytes).collect()).await;
    let bytes = match read {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(error)) => {
            let message = format!("the body did not arrive whole: {error}");
            return Err(ApiError::new(ErrorCode::BadRequest, message).hint("send it again"));
        }
        Err(_) => {
            let message = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
            return Err(ApiError::new(ErrorCode::Timeout, message).hint("try again"));
        }
    };
    let mut text = serde_json::Deserializer::from_slice(&bytes);
    let read = rbee_protocol::read(&mut text);
    let whole = read.and_then(|body| text.end().map(|()| body).map_err(|error| error.to_string()));
    whole.map_err(|error| {
        let message = format!("the body is not a request of this API: {}", without_strings(&error));
        ApiError::new(ErrorCode::BadRequest, message)
            .hint("docs/protocol.md tells the fields, docs/compatibility.md those of other APIs, and /openapi.json both")
    })
}

/// What serde says of a text, less the text itself: it may be somebody's prompt.
pub fn without_strings(error: &str) -> String {
    for (before, after, stand_in) in
        [("string \"", "\", expected", "a string"), ("unknown variant `", "`, expected", "unknown variant")]
    {
        if let (Some(start), Some(end)) = (error.find(before), error.rfind(after))
            && start < end
        {
            return format!("{}{stand_in}{}", &error[..start], &error[end + 1..]);
        }
    }
    error.to_owned()
}

/// The answer that reports `error`.
pub fn error_response(error: &ApiError) -> Response {
    let status = error.code.http_status();
    let body = serde_json::to_vec(&ErrorBody { error: error.clone() }).expect("an error is plain data");
    let mut response = Response::builder()
        .status(status)
        .extension(error.clone())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CACHE_CONTROL, "no-store");
    if error.code == ErrorCode::Unauthorized {
        response = response.header(header::WWW_AUTHENTICATE, "Bearer");
    }
    if error.code == ErrorCode::Busy {
        response = response.header(header::RETRY_AFTER, error.retry_after_s.unwrap_or(1));
    }
    // Clients of other APIs ask again after such a status, and what was ended here would begin anew.
    if matches!(error.code, ErrorCode::Cancelled | ErrorCode::Quota) {
        response = response.header("x-should-retry", "false");
    }
    // What is left of a body that is not wanted must not be read as the next request.
    if matches!(error.code, ErrorCode::TooLarge | ErrorCode::Timeout) {
        response = response.header(header::CONNECTION, "close");
    }
    response.body(Body::from(body)).expect("the parts are constants").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_quotes_no_text_of_a_request() {
        for (error, expected) in [
            (
                "invalid type: string \"my \"secret\"\", expected a sequence at line 1",
                "invalid type: a string, expected a sequence at line 1",
            ),
            (
                "unknown variant `my `secret``, expected `float` or `base64`",
                "unknown variant, expected `float` or `base64`",
            ),
            ("missing field `a`", "missing field `a`"),
        ] {
            assert_eq!(without_strings(error), expected);
        }
    }

    #[test]
    fn only_loopback_names_are_own_hosts() {
        for host in ["localhost", "LOCALHOST:7833", "127.0.0.1:7833", "[::1]:80", "localhost:1"] {
            assert!(is_own_host(host), "{host}");
        }
        for host in
            ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "localhost:80@x"]
        {
            assert!(!is_own_host(host), "{host}");
        }
    }
}
