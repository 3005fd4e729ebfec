//! Ways to servers: straight, or by the proxy that `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` name, as other
//! programs take them.

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower_service::Service;

use crate::web::cause;

/// Connects to servers.
#[derive(Clone)]
pub(crate) struct Connector {
    http: HttpConnector,
    proxies: Arc<Matcher>,
}

/// A connection, to a server or to the proxy that leads there.
pub(crate) struct Stream {
    stream: TcpStream,
    /// Whether the requests go to the proxy itself, and not through a tunnel.
    is_for_proxy: bool,
}

/// Why a proxy is of no use.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("the proxy {proxy} cannot be used: rbee goes by `http://` proxies alone")]
    Scheme { proxy: String },
    #[error("the proxy {proxy} wants a name and a password, and not those that it got, if any")]
    Password { proxy: String },
    #[error("the proxy {proxy} does not lead to {host}: {reason}")]
    NoWay { proxy: String, host: String, reason: String },
}

impl Connector {
    pub(crate) fn new(http: HttpConnector) -> Self {
        Self { http, proxies: Arc::new(Matcher::from_env()) }
    }

    /// The proxy that reads a request for `url`, since nothing is encrypted, and what it must be told.
    pub(crate) fn reader(&self, url: &Uri) -> Option<(String, Option<HeaderValue>)> {
        let proxy = self.proxy(url).filter(|_| is_plain(url))?;
        Some((proxy.uri().to_string(), proxy.basic_auth().cloned()))
    }

    fn proxy(&self, url: &Uri) -> Option<Intercept> {
        let host = url.host()?.trim_matches(['[', ']']);
        let is_here = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        self.proxies.intercept(url).filter(|_| !is_here)
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.http.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let (proxy, mut http) = (self.proxy(&url), self.http.clone());
        Box::pin(async move {
            let Some(proxy) = proxy else {
                let stream = http.call(url).await?.into_inner();
                return Ok(TokioIo::new(Stream { stream, is_for_proxy: false }));
            };
            let at = proxy.uri().clone();
            if !is_plain(&at) {
                return Err(ProxyError::Scheme { proxy: at.to_string() }.into());
            }
            let host = url.host().unwrap_or_default().to_owned();
            let failed = |error: &(dyn Error + 'static)| {
                let proxy = at.to_string();
                match cause(error).as_str() {
                    // This error's type has no name outside of its crate.
                    "tunnel error: proxy authorization required" => ProxyError::Password { proxy },
                    "tunnel error: unsuccessful" => {
                        ProxyError::NoWay { proxy, host: host.clone(), reason: "it refused".to_owned() }
                    }
                    reason => ProxyError::NoWay { proxy, host: host.clone(), reason: reason.to_owned() },
                }
            };
            let is_for_proxy = is_plain(&url);
            let stream = if is_for_proxy {
                http.call(at.clone()).await.map_err(|error| failed(&error))?
            } else {
                let mut tunnel = Tunnel::new(at.clone(), http);
                if let Some(authorization) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(authorization.clone());
                }
                tunnel.call(url).await.map_err(|error| failed(&error))?
            };
            Ok(TokioIo::new(Stream { stream: stream.into_inner(), is_for_proxy }))
        })
    }
}

fn is_plain(url: &Uri) -> bool {
    url.scheme_str() == Some("http")
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.stream.connected().proxy(self.is_for_proxy)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
