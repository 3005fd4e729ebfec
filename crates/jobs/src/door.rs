use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use rbee_protocol::{ApiError, ErrorBody, ErrorCode, PrincipalId};
use serde::de::DeserializeOwned;

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

/// Who makes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Their name.
    pub id: PrincipalId,
    /// Whether they may operate the daemon itself.
    pub operator: bool,
}

/// How many bytes a request's body may have.
#[derive(Clone, Copy)]
struct BodyMax(usize);

/// Lets a request in when its host, its origin and its key are right.
pub(crate) async fn guard(State(access): State<Access>, mut request: Request, next: Next) -> Response {
    match admit(&access, &request) {
        Ok(principal) => {
            if let Some(principal) = principal {
                request.extensions_mut().insert(principal);
            }
            request.extensions_mut().insert(match access {
                Access::Socket => BodyMax(BODY_MAX_BYTES_BETWEEN_DAEMONS),
                Access::Keys(_) => BodyMax(BODY_MAX_BYTES),
            });
            next.run(request).await
        }
        Err(error) => error_response(&error),
    }
}

fn admit(access: &Access, request: &Request) -> Result<Option<Principal>, ApiError> {
    let text = |name| request.headers().get(name).map(|value| value.to_str().unwrap_or_default());
    let denied = |message: String, hint: &str| Err(ApiError::new(ErrorCode::Denied, message).hint(hint));

    let host = text(header::HOST).unwrap_or_default();
    if !is_own_host(host) || request.uri().authority().is_some_and(|named| !is_own_host(named.as_str())) {
        return denied(
            format!("requests for the host `{}` are not answered here", rbee_narration::printable(host)),
            "use the URL that `rbee queen status` shows",
        );
    }
    if let Some(origin) = text(header::ORIGIN)
        && origin.strip_prefix("http://") != Some(host)
    {
        return denied(
            "requests from web pages of other origins are not answered".to_owned(),
            "call the API from a program, not from a page",
        );
    }
    match access {
        Access::Socket => Ok(Some(Principal { id: PrincipalId::new("owner"), operator: true })),
        Access::Keys(_) if request.uri().path() == "/health" => Ok(None),
        Access::Keys(keys) => {
            let key = text(header::AUTHORIZATION).and_then(|value| {
                let (scheme, key) = value.split_once(' ')?;
                scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
            });
            let principal = key.and_then(|key| keys.authenticate(key));
            principal.map(Some).ok_or_else(|| {
                ApiError::new(ErrorCode::Unauthorized, "the request carries no key that is known here").hint(
                    "send `Authorization: Bearer <key>`; the operator's key is in operator.key in rbee's configuration folder",
                )
            })
        }
    }
}

/// Whether `host`, as a Host header has it, names this machine's loopback.
fn is_own_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    name.eq_ignore_ascii_case("localhost") || matches!(name, "127.0.0.1" | "[::1]")
}

/// A request's body, read as JSON within the limits.
pub(crate) struct Json<T>(pub(crate) T);

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
            return Err(ApiError::new(
                ErrorCode::BadRequest,
                format!("the body did not arrive whole: {error}"),
            ));
        }
        Err(_) => {
            let message = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
            return Err(ApiError::new(ErrorCode::Timeout, message).hint("try again"));
        }
    };
    serde_json::from_slice(&bytes).map_err(|error| {
        ApiError::new(
            ErrorCode::BadRequest,
            format!("the body is not a request of this API: {}", without_strings(&error.to_string())),
        )
        .hint("the README shows one under \"Over HTTP\"")
    })
}

/// What serde says of a text, less the text itself: it may be somebody's prompt.
fn without_strings(error: &str) -> String {
    match (error.find("string \""), error.rfind("\", expected")) {
        (Some(start), Some(end)) if start < end => {
            format!("{}a string{}", &error[..start], &error[end + 1..])
        }
        _ => error.to_owned(),
    }
}

/// The answer that reports `error`.
pub(crate) fn error_response(error: &ApiError) -> Response {
    let status = error.code.http_status();
    let body = serde_json::to_vec(&ErrorBody { error: error.clone() }).expect("an error is plain data");
    let mut response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CACHE_CONTROL, "no-store");
    if error.code == ErrorCode::Unauthorized {
        response = response.header(header::WWW_AUTHENTICATE, "Bearer");
    }
    if error.code == ErrorCode::Busy {
        response = response.header(header::RETRY_AFTER, "1");
    }
    // What is left of a body that is not wanted must not be read as the next request.
    if matches!(error.code, ErrorCode::TooLarge | ErrorCode::Timeout) {
        response = response.header(header::CONNECTION, "close");
    }
    response.body(Body::from(body)).expect("the parts are constants").into_response()
}

/// Answers a path that does not exist.
pub(crate) async fn no_such_path(method: Method, uri: axum::http::Uri) -> Response {
    let message = format!("there is no {method} {}", uri.path());
    error_response(&ApiError::new(ErrorCode::NotFound, message).hint("the API begins at /v1/jobs"))
}

/// Answers a method that a path does not take.
pub(crate) async fn no_such_method(method: Method, uri: axum::http::Uri) -> Response {
    error_response(&ApiError::new(ErrorCode::MethodNotAllowed, format!("{} takes no {method}", uri.path())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_are_own_hosts() {
        assert_eq!(
            without_strings("invalid type: string \"my \"secret\"\", expected a sequence at line 1"),
            "invalid type: a string, expected a sequence at line 1"
        );
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
