//! What hives fetch over HTTP: models, and what hubs say of them.

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION, PROXY_AUTHORIZATION, RETRY_AFTER, USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rbee_jobs::JobWriter;
use rbee_narration::Level;
use rbee_protocol::{ApiError, ErrorCode, ErrorDraft};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};
use url::{Origin, Url};

use crate::proxy::{Connector, ProxyError};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that says nothing for so long is taken for gone.
pub(crate) const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);
const REDIRECTS_MAX: u32 = 8;
/// So many tries in a row that bring nothing are enough.
const TRIES: u32 = 6;
const RETRY_DELAY: Duration = Duration::from_millis(500);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(10);
/// A server that wants to be left alone for longer is not waited for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// What hubs say of a repository with thousands of files has less.
const ANSWER_BYTES_MAX: usize = 16 << 20;
const AGENT: &str = concat!("rbee/", env!("CARGO_PKG_VERSION"));

/// What lets its owner in at one server, and is told to no other, also where that leads elsewhere.
#[derive(Clone)]
pub(crate) struct Credential {
    origin: Origin,
    /// Missing where the owner has none, but might.
    header: Option<HeaderValue>,
}

impl Credential {
    /// The token for the server of `url`; `None` if it is no token.
    pub(crate) fn bearer(url: &Url, token: &str) -> Option<Self> {
        let is_one = token.bytes().all(|byte| byte.is_ascii_graphic());
        let mut header = HeaderValue::from_str(&format!("Bearer {token}")).ok().filter(|_| is_one)?;
        header.set_sensitive(true);
        Some(Self { origin: url.origin(), header: Some(header) })
    }

    /// Whether there is one.
    pub(crate) fn is_there(&self) -> bool {
        self.header.is_some()
    }

    /// What its owner might have for the server of `url`.
    pub(crate) fn none(url: &Url) -> Self {
        Self { origin: url.origin(), header: None }
    }
}

/// Why something could not be fetched.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum WebError {
    #[error("this machine's certificates cannot be read: {reason}")]
    NoTrust { reason: String },
    #[error("{host} cannot be reached: {reason}")]
    Unreachable { host: String, reason: String },
    #[error("{host} may be another server: {reason}")]
    Untrusted { host: String, reason: String },
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error("{host} said nothing for {} s", SILENCE_TIMEOUT.as_secs())]
    Silent { host: String },
    #[error("{host} broke off: {reason}")]
    Cut { host: String, reason: String },
    #[error("{host}{} answered {status}{}", or_proxy(.proxy.as_deref()), left_alone(*.retry_after))]
    Status {
        host: String,
        /// What may have answered instead.
        proxy: Option<String>,
        status: StatusCode,
        retry_after: Option<Duration>,
        /// Whether it is a server to which a token may be told.
        takes_token: bool,
    },
    #[error("{host} leads {reason}")]
    Redirect { host: String, reason: &'static str },
    #[error("{host} answered something that makes no sense: {reason}")]
    Nonsense { host: String, reason: String },
}

impl WebError {
    /// Whether another try may go better, and the server's word on when.
    fn retry(&self) -> Option<Option<Duration>> {
        match self {
            Self::Unreachable { .. }
            | Self::Proxy(ProxyError::NoWay { .. })
            | Self::Silent { .. }
            | Self::Cut { .. } => Some(None),
            Self::Status { status, retry_after, .. }
                if *status == StatusCode::TOO_MANY_REQUESTS
                    || *status == StatusCode::REQUEST_TIMEOUT
                    || status.is_server_error() =>
            {
                Some(*retry_after)
            }
            _ => None,
        }
    }

    fn draft(&self) -> ErrorDraft {
        let code = match self {
            Self::Status { status: StatusCode::NOT_FOUND, .. } => ErrorCode::NotFound,
            Self::Status { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, .. } => {
                ErrorCode::Denied
            }
            Self::Status { status: StatusCode::TOO_MANY_REQUESTS, .. } => ErrorCode::Busy,
            Self::Nonsense { .. } | Self::Redirect { .. } => ErrorCode::BadData,
            _ => ErrorCode::Unavailable,
        };
        ApiError::new(code, self.to_string())
    }
}

impl From<WebError> for ApiError {
    fn from(error: WebError) -> Self {
        let hint = match &error {
            WebError::Proxy(ProxyError::Password { .. }) => {
                "put them into the variable that names it, `http://NAME:PASSWORD@HOST:PORT`, and `rbee queen stop` once, \
                 so that the hive sees it"
            }
            WebError::Proxy(_) => {
                "correct `HTTPS_PROXY`, `HTTP_PROXY` or `ALL_PROXY`, or name the server in `NO_PROXY`, and `rbee queen \
                 stop` once, so that the hive sees it"
            }
            WebError::Status {
                status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN,
                proxy: Some(_),
                ..
            } => {
                "a proxy is told no token where nothing is encrypted: name the server with `https://`, or in `NO_PROXY`, \
                 and `rbee queen stop` once, so that the hive sees it"
            }
            WebError::Status { status: StatusCode::NOT_FOUND, .. } => {
                "check the name or the address; `rbee model search WORDS` looks for models"
            }
            WebError::Status {
                status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN,
                takes_token,
                ..
            } => match takes_token {
                true => {
                    "accept the model's terms on its page, put a token into `HF_TOKEN`, and `rbee queen stop` once, so \
                     that the hive sees it"
                }
                false => {
                    "it gets no token from rbee: fetch the file with a program that it lets in, and name that by its path, \
                     `rbee model pull ./model.gguf`"
                }
            },
            WebError::Status { retry_after, .. } if *retry_after > Some(RETRY_AFTER_MAX) => {
                "say it again then: what is here already is kept"
            }
            WebError::Status { status: StatusCode::TOO_MANY_REQUESTS, .. } => "try again later",
            WebError::Nonsense { .. } | WebError::Redirect { .. } => "check the address",
            WebError::NoTrust { .. } => {
                "install them (the package `ca-certificates`), and `rbee queen stop` once"
            }
            WebError::Untrusted { .. } => {
                "check the address and this machine's clock; if the server is your own, add the certificate of who signed \
                 its to this machine's, and `rbee queen stop` once, so that the hive sees it"
            }
            _ => "check the network, then say it again: what is here already is kept",
        };
        let retry_after_s = match &error {
            WebError::Status { retry_after, .. } => retry_after.map(|after| after.as_secs()),
            _ => None,
        };
        Self { retry_after_s, ..error.draft().hint(hint) }
    }
}

fn or_proxy(proxy: Option<&str>) -> String {
    proxy.map(|proxy| format!(", or the proxy {proxy},")).unwrap_or_default()
}

/// What is said of a server that is not waited for.
fn left_alone(retry_after: Option<Duration>) -> String {
    match retry_after.filter(|after| *after > RETRY_AFTER_MAX) {
        Some(after) => format!(", and wants to be left alone for {} s", after.as_secs()),
        None => String::new(),
    }
}

/// A wait before another try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Retry {
    why: String,
    delay: Duration,
    until: Instant,
    /// How many tries in a row it will be that brought nothing, unless it does.
    tries: u32,
}

/// Who hears of waits.
pub(crate) type Told<'a> = dyn Fn(Retry) + Sync + 'a;

/// What connections wait for together ends at about the same time.
const SAME_WAIT: Duration = Duration::from_secs(1);

impl Retry {
    /// Whether it is what another connection waits for as well.
    pub(crate) fn is_also(&self, other: &Self) -> bool {
        let apart = self.until.max(other.until) - self.until.min(other.until);
        (&self.why, self.delay, self.tries) == (&other.why, other.delay, other.tries) && apart < SAME_WAIT
    }

    /// What it is for who hears of it from `since` on, unless it was over by then.
    pub(crate) fn heard_from(&self, since: Instant) -> Option<Self> {
        let left = self.until.checked_duration_since(since)?;
        let delay = self.delay.min(Duration::from_secs(left.as_secs() + 1));
        Some(Self { delay, ..self.clone() })
    }

    /// Says so in a job's narration.
    pub(crate) fn tell(&self, job: &JobWriter) {
        let narrator = job.narrator("hive");
        let draft = narrator.action("retry").level(Level::Warn);
        let draft = draft.context(&self.why).context(self.delay.as_secs_f64());
        let draft = draft.context(self.tries).context(TRIES);
        draft.human("{}; trying again in {} s (try {} of {})").emit();
    }
}

/// The tries in a row that brought nothing.
#[derive(Default)]
pub(crate) struct Tries(u32);

impl Tries {
    /// Waits before the next try, after one that `came` to something or not; `told` hears of it.
    ///
    /// # Errors
    /// The same, where there is to be none.
    pub(crate) async fn wait(
        &mut self,
        error: WebError,
        came: bool,
        told: &Told<'_>,
    ) -> Result<(), WebError> {
        let Some(retry_after) = error.retry() else { return Err(error) };
        self.0 = if came { 0 } else { self.0 + 1 };
        if self.0 >= TRIES || retry_after.is_some_and(|after| after > RETRY_AFTER_MAX) {
            return Err(error);
        }
        if came && retry_after.is_none() {
            return Ok(());
        }
        let delay = (RETRY_DELAY * 2_u32.pow(self.0.saturating_sub(1))).min(RETRY_DELAY_MAX);
        let delay = retry_after.unwrap_or(delay);
        let until = Instant::now() + delay;
        told(Retry { why: error.to_string(), delay, until, tries: self.0 + 1 });
        // The back-off itself.
        tokio::time::sleep_until(until).await;
        Ok(())
    }
}

/// An HTTP client.
pub(crate) struct Web {
    /// Or why there is no server that it could trust.
    client: Result<Client<HttpsConnector<Connector>, Empty<Bytes>>, String>,
    connector: Connector,
}

impl Web {
    pub(crate) fn new() -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        http.set_nodelay(true);
        let connector = Connector::new(http);
        let client = HttpsConnectorBuilder::new().with_native_roots().map(|tls| {
            let tls = tls.https_or_http().enable_http1().wrap_connector(connector.clone());
            Client::builder(TokioExecutor::new()).build(tls)
        });
        Self { client: client.map_err(|error| error.to_string()), connector }
    }

    /// What the server of `url`, or where that leads, answers when it succeeds.
    pub(crate) async fn get(
        &self,
        url: &Url,
        headers: &HeaderMap,
        credential: Option<&Credential>,
    ) -> Result<Response<Incoming>, WebError> {
        let client = self.client.as_ref().map_err(|reason| WebError::NoTrust { reason: reason.clone() })?;
        let mut url = url.clone();
        for _ in 0..REDIRECTS_MAX {
            let host = host(&url);
            let nonsense = |reason: String| WebError::Nonsense { host: host.clone(), reason };
            let mut request = Request::builder().method(Method::GET).uri(url.as_str());
            for (name, value) in headers {
                request = request.header(name, value);
            }
            request = request.header(USER_AGENT, AGENT);
            let mut request = request.body(Empty::new()).map_err(|error| nonsense(error.to_string()))?;
            let (proxy, authorization) = self.connector.reader(request.uri()).unzip();
            if let Some(authorization) = authorization.flatten() {
                request.headers_mut().insert(PROXY_AUTHORIZATION, authorization);
            }
            let is_its = |credential: &&Credential| credential.origin == url.origin() && proxy.is_none();
            let credential = credential.filter(is_its);
            if let Some(header) = credential.and_then(|credential| credential.header.clone()) {
                request.headers_mut().insert(AUTHORIZATION, header);
            }
            let response = match timeout(SILENCE_TIMEOUT, client.request(request)).await {
                Err(_) => return Err(WebError::Silent { host }),
                Ok(Err(error)) if error.is_connect() => {
                    let error = innermost(&error);
                    return Err(match error.downcast_ref::<ProxyError>() {
                        Some(error) => error.clone().into(),
                        None if is_of_certificates(error) => {
                            WebError::Untrusted { host, reason: error.to_string() }
                        }
                        None => WebError::Unreachable { host, reason: error.to_string() },
                    });
                }
                Ok(Err(error)) => return Err(WebError::Cut { host, reason: cause(&error) }),
                Ok(Ok(response)) => response,
            };
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            if let (StatusCode::PROXY_AUTHENTICATION_REQUIRED, Some(proxy)) = (status, &proxy) {
                return Err(ProxyError::Password { proxy: proxy.clone() }.into());
            }
            let location = response.headers().get(LOCATION).filter(|_| status.is_redirection());
            let Some(location) = location else {
                let retry_after = seconds(response.headers(), &RETRY_AFTER);
                let takes_token = credential.is_some();
                return Err(WebError::Status { host, proxy, status, retry_after, takes_token });
            };
            let location = location.to_str().ok().and_then(|location| url.join(location).ok());
            let next = location.ok_or_else(|| nonsense("a redirect to nowhere".to_owned()))?;
            if !matches!(next.scheme(), "http" | "https") {
                return Err(WebError::Redirect { host, reason: "to where there is no web server" });
            }
            if url.scheme() == "https" && next.scheme() != "https" {
                return Err(WebError::Redirect { host, reason: "to where nothing is encrypted" });
            }
            url = next;
        }
        Err(WebError::Redirect { host: host(&url), reason: "around in circles" })
    }

    /// The same, again and again for a while where the server has no time or fails.
    pub(crate) async fn get_in_time(
        &self,
        url: &Url,
        headers: &HeaderMap,
        credential: Option<&Credential>,
        told: &Told<'_>,
    ) -> Result<Response<Incoming>, WebError> {
        let mut tries = Tries::default();
        loop {
            match self.get(url, headers, credential).await {
                Err(error @ WebError::Status { .. }) => tries.wait(error, false, told).await?,
                answer => return answer,
            }
        }
    }

    /// The JSON that is at `url`.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        url: &Url,
        headers: &HeaderMap,
        credential: Option<&Credential>,
        told: &Told<'_>,
    ) -> Result<T, WebError> {
        let body = self.get_in_time(url, headers, credential, told).await?.into_body();
        let host = host(url);
        let body = match timeout(SILENCE_TIMEOUT, Limited::new(body, ANSWER_BYTES_MAX).collect()).await {
            Err(_) => return Err(WebError::Silent { host }),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return Err(WebError::Nonsense { host, reason: "it does not end".to_owned() });
            }
            Ok(Err(error)) => return Err(WebError::Cut { host, reason: error.to_string() }),
            Ok(Ok(body)) => body.to_bytes(),
        };
        serde_json::from_slice(&body).map_err(|error| WebError::Nonsense { host, reason: error.to_string() })
    }
}

/// What to do about an environment variable of the hive that makes no sense.
pub(crate) const CORRECT_HINT: &str =
    "correct it, or remove it, and `rbee queen stop` once, so that the hive sees it";

/// The server that the environment variable `name` names.
///
/// # Errors
/// `bad_data` when `value` is no URL of one.
pub(crate) fn server(name: &str, value: &str) -> Result<Url, ApiError> {
    match Url::parse(value) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        _ => Err(ApiError::new(ErrorCode::BadData, format!("`{name}` is not the URL of a server"))
            .hint(CORRECT_HINT)),
    }
}

/// The server, for people.
pub(crate) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn seconds(headers: &HeaderMap, name: &HeaderName) -> Option<Duration> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// The innermost reason, which is the one that says something.
pub(crate) fn cause(error: &(dyn Error + 'static)) -> String {
    innermost(error).to_string()
}

fn is_of_certificates(mut error: &(dyn Error + 'static)) -> bool {
    while let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        error = inner;
    }
    matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))
}

fn innermost<'a>(mut error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(delay_s: u64, until: Instant) -> Retry {
        let (why, delay) = ("it is busy".to_owned(), Duration::from_secs(delay_s));
        Retry { why, delay, until, tries: 1 }
    }

    #[test]
    fn errors_of_certificates_are_known_however_they_are_wrapped() {
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let once = io::Error::new(io::ErrorKind::InvalidData, tls);
        assert!(is_of_certificates(&once));
        assert!(is_of_certificates(&io::Error::other(once)));
        let handshake = io::Error::other(rustls::Error::HandshakeNotComplete);
        for other in [io::ErrorKind::UnexpectedEof.into(), io::Error::other("another"), handshake] {
            assert!(!is_of_certificates(&other), "{other}");
        }
    }

    #[test]
    fn waits_are_the_same_that_end_together() {
        let now = Instant::now();
        let soon = wait(60, now + Duration::from_secs(60));
        assert!(soon.is_also(&wait(60, now + Duration::from_millis(60_100))));
        assert!(!soon.is_also(&wait(60, now + Duration::from_secs(121))));
        assert!(!soon.is_also(&Retry { tries: 2, ..soon.clone() }));
    }

    #[test]
    fn who_comes_late_hears_of_what_is_left_of_a_wait() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let heard = |since| wait(60, at(60)).heard_from(since).map(|retry| retry.delay.as_secs());
        assert_eq!(heard(now), Some(60));
        assert_eq!(heard(at(40) + Duration::from_millis(500)), Some(20));
        assert_eq!(heard(at(61)), None);
    }
}
