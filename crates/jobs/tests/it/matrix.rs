//! Every way in which a request may name its host and its origin, before every route that a daemon has.

use rbee_jobs::Route;
use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The hosts that are the daemon's own. The port is of no account: it is another one where the daemon's is forwarded.
const OWN_HOSTS: [&str; 10] = [
    "127.0.0.1:{port}",
    "localhost:{port}",
    "LOCALHOST:{port}",
    "LocalHost:{port}",
    "[::1]:{port}",
    "127.0.0.1",
    "localhost",
    "[::1]",
    "localhost:1",
    "127.0.0.1:65535",
];

const FOREIGN_HOSTS: [&str; 43] = [
    "",
    "evil.example",
    "evil.example:{port}",
    "localhost.evil.example:{port}",
    "localhost:{port}.evil.example",
    "127.0.0.1.evil.example:{port}",
    "127.0.0.1:{port}.evil.example",
    "evil-localhost:{port}",
    "evil.example#localhost:{port}",
    "evil.example/localhost:{port}",
    "evil.example?localhost:{port}",
    "evil.example\\localhost:{port}",
    "user@localhost:{port}",
    "user:secret@localhost:{port}",
    "localhost@localhost:{port}",
    "localhost:{port}@evil.example",
    "evil.example@localhost:{port}",
    "localhost.:{port}",
    "127.0.0.1.:{port}",
    "localhost.localdomain:{port}",
    "127.0.0.2:{port}",
    "127.1:{port}",
    "0.0.0.0:{port}",
    "0:{port}",
    "2130706433:{port}",
    "0x7f000001:{port}",
    "0177.0.0.1:{port}",
    "192.168.0.7:{port}",
    "::1",
    "[::]:{port}",
    "[::1:{port}",
    "[::1%25lo]:{port}",
    "[0:0:0:0:0:0:0:1]:{port}",
    "[::ffff:127.0.0.1]:{port}",
    "localhost:",
    "localhost:-1",
    "localhost:+{port}",
    "localhost:65536",
    "localhost:{port}x",
    "localhost:{port}:{port}",
    "localhost:{port}, evil.example",
    "http://localhost:{port}",
    "ｌocalhost:{port}",
];

/// What else says where a request goes: what stands before its path, its `Host` headers, and whether those are the
/// daemon's own.
const OTHER_PLACES: [(&str, &[&str], bool); 12] = [
    ("http://localhost:{port}", &["localhost:{port}"], true),
    ("http://localhost:{port}", &["127.0.0.1:{port}"], false),
    ("http://localhost:{port}", &["evil.example"], false),
    ("http://localhost:{port}", &[], false),
    ("http://evil.example", &["localhost:{port}"], false),
    ("http://evil.example", &["evil.example"], false),
    ("http://user@localhost:{port}", &["localhost:{port}"], false),
    ("http://localhost:{port}@evil.example", &["localhost:{port}"], false),
    ("", &[], false),
    ("", &["localhost:{port}", "localhost:{port}"], false),
    ("", &["localhost:{port}", "evil.example"], false),
    ("", &["evil.example", "localhost:{port}"], false),
];

/// The `Origin` headers of a request. None is what a program sends, and the daemon's own host is the only one that is
/// let in besides.
const ORIGINS: [&[&str]; 33] = [
    &[],
    &["http://{host}"],
    &["null"],
    &[""],
    &["http://"],
    &["{host}"],
    &["//{host}"],
    &["http:/{host}"],
    &["http:{host}"],
    &["https://{host}"],
    &["HTTP://{host}"],
    &["ws://{host}"],
    &["file://"],
    &["file://{host}"],
    &["chrome-extension://localhost"],
    &["http://{host}/"],
    &["http://{host}/v1/jobs"],
    &["http://{host}?"],
    &["http://{host}#"],
    &["http://{host}.evil.example"],
    &["http://{host}@evil.example"],
    &["http://evil.example@{host}"],
    &["http://user@{host}"],
    &["http://evil.example"],
    &["http://evil.example:{port}"],
    &["http://127.0.0.1.evil.example"],
    &["http://localhost.:{port}"],
    &["http://localhost:2"],
    &["http://{host}1"],
    &["http://{host} http://evil.example"],
    &["http://{host}", "http://{host}"],
    &["http://{host}", "http://evil.example"],
    &["http://evil.example", "http://{host}"],
];

/// A request that its handler answers, in one of these ways, where its host and origin are right.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: &'static str,
    pub(crate) answers: &'static [u16],
}

/// What is asked of a daemon besides calls of its routes: HEAD of each that has GET, and what it does not have.
pub(crate) fn others(routes: &[Route], call: impl Fn(&Route) -> Call) -> Vec<Call> {
    let heads = routes.iter().filter(|route| route.method == Method::GET);
    let heads = heads.map(|route| Call { method: Method::HEAD, ..call(route) });
    let absent = [(Method::GET, "/v1/nowhere"), (Method::OPTIONS, "/v1/jobs"), (Method::PUT, "/health")];
    let absent =
        absent.map(|(method, path)| Call { method, path: path.into(), body: "", answers: &[404, 405] });
    heads.chain(absent).collect()
}

/// Makes each of `calls` with every combination of host and origin there is, to the daemon at `authority` with `key`,
/// and returns how many of them let each reach its handler.
///
/// # Panics
/// When another one does, or one of them does not.
pub(crate) async fn check(authority: &str, key: &str, calls: &[Call]) -> usize {
    let (_, port) = authority.rsplit_once(':').expect("a TCP daemon has a port");
    let single =
        OWN_HOSTS.iter().map(|host| (host, true)).chain(FOREIGN_HOSTS.iter().map(|host| (host, false)));
    let single = single.map(|(host, own)| ("", std::slice::from_ref(host), own));
    let places: Vec<(&str, &[&str], bool)> = single.chain(OTHER_PLACES).collect();
    let mut connection = Connection { authority, stream: None };
    let mut let_in = 0;
    for Call { method, path, body, answers } in calls {
        let_in = 0;
        for (target, hosts, own) in &places {
            for origins in ORIGINS {
                let host = hosts.first().copied().unwrap_or_default();
                let filled = |text: &str| text.replace("{host}", host).replace("{port}", port);
                let origins: Vec<String> = origins.iter().map(|origin| filled(origin)).collect();
                let expected = *own && (origins.is_empty() || origins == [filled("http://{host}")]);
                let mut head = format!("{method} {}{path} HTTP/1.1\r\n", filled(target));
                hosts.iter().for_each(|host| head += &format!("Host: {}\r\n", filled(host)));
                origins.iter().for_each(|origin| head += &format!("Origin: {origin}\r\n"));
                let length = body.len();
                let request = format!(
                    "{head}Authorization: Bearer {key}\r\nContent-Type: application/json\r\n\
                     Content-Length: {length}\r\n\r\n{body}"
                );
                let (status, answer) = connection.ask(&request, method).await;
                let reached = answers.contains(&status);
                assert_eq!(reached, expected, "{status} for {head}");
                let_in += usize::from(reached);
                if !reached {
                    let is_said = *method == Method::HEAD || answer.contains(r#""code":"denied""#);
                    assert!(status == 403 && is_said, "{answer} for {head}");
                }
                assert!(!answer.to_ascii_lowercase().contains("access-control-"), "{answer} for {head}");
            }
        }
    }
    let_in
}

/// A connection that is made anew when an answer has no end of its own, as a stream has not.
struct Connection<'a> {
    authority: &'a str,
    stream: Option<TcpStream>,
}

impl Connection<'_> {
    /// The status and the text of the answer, of a stream's the head alone.
    async fn ask(&mut self, request: &str, method: &Method) -> (u16, String) {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => TcpStream::connect(self.authority).await.expect("the daemon listens"),
        };
        stream.write_all(request.as_bytes()).await.expect("the daemon reads");
        let mut answer = Vec::new();
        let head_end = loop {
            if let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            let read = stream.read_buf(&mut answer).await.expect("the daemon answers");
            assert_ne!(read, 0, "no answer to {request}");
        };
        let head = String::from_utf8_lossy(&answer[..head_end]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a head has a status");
        let field = |name| head.lines().find_map(|line| line.strip_prefix(name));
        let length = field("content-length: ").and_then(|length| length.parse::<usize>().ok());
        if let Some(length) = length {
            let length = if *method == Method::HEAD { 0 } else { length };
            while answer.len() < head_end + length {
                assert_ne!(stream.read_buf(&mut answer).await.expect("the answer comes whole"), 0);
            }
            self.stream = field("connection: close").is_none().then_some(stream);
        }
        (status, String::from_utf8_lossy(&answer).into_owned())
    }
}
