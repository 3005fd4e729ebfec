use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode, header};
use axum::response::IntoResponse;
use rbee_jobs::{
    Answer, Exposition, Jobs, Json, Permission, Principal, Routes, SystemLog, describe, job_routes,
    system_routes,
};
use rbee_narration::SystemNarrator;
use rbee_protocol::{ApiError, CreateKey, ErrorCode, KeyInfo, KeyList, KeyName, NewKey, SystemEventKind};
use utoipa::OpenApi;

use crate::api::{self, AnthropicApi, Api, OllamaApi, OpenAiApi};
use crate::driver::Queen;
use crate::keys::Keys;

/// Everything that the queen answers: the job API, and what is the queen's alone.
pub(crate) fn routes(
    jobs: Jobs,
    queen: Arc<Queen>,
    keys: Arc<Keys>,
    system: SystemNarrator,
    ollama: bool,
) -> Routes {
    let events = queen.events.clone();
    let api = Api { jobs: jobs.clone(), queen: queen.clone() };
    job_routes(jobs.clone(), queen.clone())
        .and(system_routes(jobs.clone(), events.clone()))
        .and(metrics_routes(MetricsApi { jobs, queen }))
        .and(key_routes(KeyApi { keys, events, system }))
        .and(api::routes(&api, ollama))
        .and(Routes::default().add(Method::GET, "/openapi.json", Permission::User, openapi))
}

#[derive(Clone)]
struct MetricsApi {
    jobs: Jobs,
    queen: Arc<Queen>,
}

fn metrics_routes(api: MetricsApi) -> Routes {
    Routes::default().add(Method::GET, "/metrics", Permission::Operator, metrics).with_state(api)
}

/// Figures for Prometheus
///
/// In its text format, version 0.0.4. For operators.
#[utoipa::path(
    get, path = "/metrics", tag = "daemon",
    responses((
        status = 200, description = "The figures.", body = String, content_type = "text/plain",
        example = "# HELP rbee_tokens_total Events of jobs that are tokens.\n# TYPE rbee_tokens_total counter\n\
                   rbee_tokens_total 4711\n"
    ))
)]
async fn metrics(State(api): State<MetricsApi>) -> impl IntoResponse {
    let mut exposition = Exposition::default();
    api.jobs.expose(&mut exposition);
    api.queen.expose(&mut exposition);
    let headers = [(header::CONTENT_TYPE, Exposition::CONTENT_TYPE), (header::CACHE_CONTROL, "no-store")];
    (headers, exposition.into_text())
}

#[derive(Clone)]
struct KeyApi {
    keys: Arc<Keys>,
    events: SystemLog,
    system: SystemNarrator,
}

/// What of the description in `rbee_jobs::describe` stands with the handlers below.
#[derive(OpenApi)]
#[openapi(
    paths(create, list, revoke, metrics, openapi),
    tags((name = "keys", description = "Who may use the service; for operators."))
)]
struct QueenApi;

/// The description of everything that the queen answers, as OpenAPI in JSON.
pub(crate) fn description() -> String {
    let others = OpenAiApi::openapi().merge_from(AnthropicApi::openapi()).merge_from(OllamaApi::openapi());
    describe(QueenApi::openapi().merge_from(others))
}

/// Keys are no jobs: what a stream carries is kept and read again, and a key is shown once.
fn key_routes(api: KeyApi) -> Routes {
    Routes::default()
        .add(Method::POST, "/v1/keys", Permission::Operator, create)
        .add(Method::GET, "/v1/keys", Permission::Operator, list)
        .add(Method::DELETE, "/v1/keys/{name}", Permission::Operator, revoke)
        .with_state(api)
}

/// Make a key
#[utoipa::path(
    post, path = "/v1/keys", tag = "keys", operation_id = "create_key",
    request_body(content = CreateKey, example = json!({"name": "ada", "role": "user"})),
    responses(
        (
            status = 201, description = "The key, which nobody can have again.", body = NewKey,
            example = json!({
                "name": "ada", "role": "user", "key": "rbee_…", "created_at_ms": 1_750_000_000_000_u64
            })
        ),
        (status = 409, description = "`exists`: there is a key of that name already."),
        (status = 500, description = "`io`: it could not be kept."),
        (status = 507, description = "`disk_full`: there is no room to keep it."),
    )
)]
async fn create(
    State(api): State<KeyApi>,
    Extension(principal): Extension<Principal>,
    Json(request): Json<CreateKey>,
) -> Answer<NewKey> {
    let keys = api.keys.clone();
    let created = tokio::task::spawn_blocking(move || keys.create(request)).await;
    let created = created.expect("making a key does not panic");
    if let Ok(key) = &created {
        let draft = api.system.action("key_create").target(&key.name).context(&principal.id);
        draft.context(&key.name).human("{} created a key for {}").emit();
        let (name, role, by) = (key.name.clone(), key.role, principal.id);
        api.events.append(SystemEventKind::KeyCreated { name, role, by });
    }
    Answer(StatusCode::CREATED, created)
}

/// List the keys, by name
#[utoipa::path(
    get, path = "/v1/keys", tag = "keys", operation_id = "list_keys",
    responses((
        status = 200, description = "The keys, without themselves.", body = KeyList,
        example = json!({"keys": [{"name": "ada", "role": "user", "created_at_ms": 1_750_000_000_000_u64}]})
    ))
)]
async fn list(State(api): State<KeyApi>) -> Answer<KeyList> {
    Answer(StatusCode::OK, Ok(api.keys.list()))
}

/// Revoke a key
///
/// Whoever has it is answered no more, and cut off from what they read.
#[utoipa::path(
    delete, path = "/v1/keys/{name}", tag = "keys", operation_id = "revoke_key",
    params(("name" = KeyName, Path, description = "The key's name.")),
    responses(
        (status = 200, description = "The key that was revoked.", body = KeyInfo),
        (status = 403, description = "`denied`: it is the key of the first start, or only an operator may."),
        (status = 404, description = "`not_found`: there is no such key."),
        (status = 500, description = "`io`: it could not be revoked."),
        (status = 507, description = "`disk_full`: there is no room to note that it is revoked."),
    )
)]
async fn revoke(
    State(api): State<KeyApi>,
    Extension(principal): Extension<Principal>,
    name: Result<Path<String>, PathRejection>,
) -> Answer<KeyInfo> {
    let name = match key_name(name) {
        Ok(name) => name,
        Err(error) => return Answer(StatusCode::OK, Err(error)),
    };
    let keys = api.keys.clone();
    let revoked = tokio::task::spawn_blocking(move || keys.revoke(&name)).await;
    let revoked = revoked.expect("revoking a key does not panic").map(|(key, cut)| {
        let draft = api.system.action("key_revoke").target(&key.name).context(&principal.id);
        draft.context(&key.name).human("{} revoked the key of {}").emit();
        api.events.append(SystemEventKind::KeyRevoked { name: key.name.clone(), by: principal.id });
        // Nothing is awaited from here on, so that whoever revokes their own key still gets the answer.
        drop(cut);
        key
    });
    Answer(StatusCode::OK, revoked)
}

/// This description
#[utoipa::path(
    get, path = "/openapi.json", tag = "daemon",
    responses((status = 200, description = "What the daemon answers, as OpenAPI.", body = Object))
)]
async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], description())
}

/// What is no name cannot be a key's either.
fn key_name(path: Result<Path<String>, PathRejection>) -> Result<KeyName, ApiError> {
    let text = path.map_or_else(|_| char::REPLACEMENT_CHARACTER.into(), |Path(text)| text);
    text.parse().map_err(|_| {
        let message = format!("there is no key of the name `{}`", rbee_narration::printable(&text));
        ApiError::new(ErrorCode::NotFound, message).hint("`rbee key list` shows the keys there are")
    })
}

/// The queen's own routes are tried with the same hosts and origins as those that every daemon has.
#[cfg(test)]
#[path = "../../jobs/tests/it/matrix.rs"]
mod matrix;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rbee_home::{new_key, read_or_create_key};
    use rbee_jobs::{Access, Limits, Listener, Route, run};
    use rbee_narration::{Capture, Log};
    use rbee_protocol::{
        Client, ClientError, InferRequest, KeyRole, Message, Operation, Role, SubmitRequest,
    };
    use serde_json::{Value, json};
    use tempfile::TempDir;
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    use super::matrix::{self, Call};
    use super::*;
    use crate::aliases::Aliases;
    use crate::state::QueueLimits;

    const OPENAI: [&str; 4] = ["/v1/chat", "/v1/completions", "/v1/embeddings", "/v1/responses"];

    /// The keys of those who ask: none, one of nobody, a revoked one, a user's, two operators'.
    struct Askers([Option<String>; 6]);

    /// What each of [`Askers`] gets. A route that is not here makes the test fail that generates the
    /// requests from the router.
    fn expected(route: &Route) -> Option<[u16; 6]> {
        Some(match (route.method.as_str(), route.path, route.permission) {
            ("GET", "/health", Permission::Open) => [200; 6],
            ("GET", "/v1/info" | "/v1/jobs" | "/openapi.json", Permission::User) => {
                [401, 401, 401, 200, 200, 200]
            }
            ("POST", "/v1/jobs", Permission::User) => [401, 401, 401, 201, 201, 201],
            // There is no such job; whose jobs are whose is tested where jobs are.
            ("GET" | "DELETE", "/v1/jobs/{id}", Permission::User)
            | ("GET", "/v1/jobs/{id}/stream", Permission::User) => [401, 401, 401, 404, 404, 404],
            // The second to come meets the key that the first has made, or no longer has it.
            ("POST", "/v1/keys", Permission::Operator) => [401, 401, 401, 403, 201, 409],
            ("DELETE", "/v1/keys/{name}", Permission::Operator) => [401, 401, 401, 403, 200, 404],
            ("GET", "/v1/keys", Permission::Operator) => [401, 401, 401, 403, 200, 200],
            ("GET", "/v1/system/events" | "/metrics", Permission::Operator) => [401, 401, 401, 403, 200, 200],
            ("POST", "/v1/system/stop", Permission::Operator) => [401, 401, 401, 403, 202, 202],
            // There is no hive, and so no model.
            ("GET", "/v1/models", Permission::User) => [401, 401, 401, 200, 200, 200],
            ("GET", "/v1/models/{model}", Permission::User) => [401, 401, 401, 404, 404, 404],
            ("POST", "/v1/responses/{id}/cancel", Permission::User)
            | ("GET", "/v1/responses/{id}", Permission::User) => [401, 401, 401, 404, 404, 404],
            // Nothing is asked for.
            (
                "POST",
                "/v1/chat/completions"
                | "/v1/completions"
                | "/v1/embeddings"
                | "/v1/responses"
                | "/v1/messages"
                | "/v1/messages/count_tokens",
                Permission::User,
            ) => [401, 401, 401, 400, 400, 400],
            // Whoever sends no key is a guest.
            ("GET", "/" | "/api/version" | "/api/tags" | "/api/ps", Permission::Guest) => {
                [200, 401, 401, 200, 200, 200]
            }
            (
                "POST",
                "/api/generate" | "/api/chat" | "/api/embed" | "/api/show" | "/api/pull",
                Permission::Guest,
            ) => [400, 401, 401, 400, 400, 400],
            _ => return None,
        })
    }

    fn body(route: &Route) -> &'static str {
        match (route.method.as_str(), route.path) {
            ("POST", "/v1/jobs") => r#"{"operation":"hive_list"}"#,
            ("POST", "/v1/keys") => r#"{"name":"dora"}"#,
            ("POST", _) => "{}",
            _ => "",
        }
    }

    struct Server {
        url: String,
        operator_key: String,
        routes: Vec<Route>,
        keys: Arc<Keys>,
        lines: Capture,
        _folder: TempDir,
    }

    impl Server {
        async fn start() -> Self {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let operator_path = folder.path().join("operator.key");
            let operator_key = read_or_create_key(&operator_path).expect("a new key");
            let keys = Keys::load(folder.path().join("keys.json"), &operator_path);
            let keys = Arc::new(keys.expect("there are no others yet"));
            let (log, lines) = Log::capture();
            let shutdown = CancellationToken::new();
            let jobs = Jobs::new("queen", Limits::default(), log.clone(), shutdown.clone());
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
            let url = format!("http://{}", listener.local_addr().expect("it is bound"));
            // A queen that is asked to stop goes on here.
            let events = SystemLog::default();
            jobs.tell(events.clone());
            let queue = QueueLimits { jobs: 1, jobs_per_principal: 1 };
            let aliases = Aliases::load(folder.path().join("aliases.json")).expect("there are none yet");
            let queen =
                Queen::new(url.clone(), jobs.clone(), events, queue, aliases, CancellationToken::new());
            let queen = Arc::new(queen);
            let system = SystemNarrator::new("queen", log);
            let routes = routes(jobs.clone(), queen, keys.clone(), system, true);
            let table = routes.table().to_vec();
            let router = routes.guarded(Access::Keys(keys.clone()), Vec::new());
            tokio::spawn(async move { run(Listener::Tcp(listener), router, &jobs, shutdown).await });
            Self { url, operator_key, routes: table, keys, lines, _folder: folder }
        }

        fn create(&self, name: &str, role: KeyRole) -> String {
            let name = name.parse().expect("a name");
            self.keys.create(CreateKey { name, role }).expect("a new key").key
        }

        async fn status(&self, key: Option<&String>, route: &Route) -> u16 {
            let id = "job-00000000000000000000000000000001";
            let path = route.path.replace("{id}", id).replace("{name}", "carol").replace("{model}", "m");
            assert!(!path.contains('{'), "the test knows what stands for each name in {path}");
            let http = reqwest::Client::builder().no_proxy().build().expect("the HTTP library can be set up");
            let mut request = http.request(route.method.clone(), format!("{}{path}", self.url));
            if let Some(key) = key {
                request = request.bearer_auth(key);
            }
            if route.method == Method::POST {
                request = request.header("Content-Type", "application/json").body(body(route));
            }
            request.send().await.expect("the queen answers").status().as_u16()
        }
    }

    #[tokio::test]
    async fn every_route_answers_those_whom_its_permission_names_and_nobody_else() {
        let server = Server::start().await;
        let revoked = server.create("revoked", KeyRole::Operator);
        drop(server.keys.revoke(&"revoked".parse().expect("a name")).expect("it is there"));
        server.create("carol", KeyRole::User);
        let askers = Askers([
            None,
            Some(new_key()),
            Some(revoked),
            Some(server.create("ada", KeyRole::User)),
            Some(server.create("bob", KeyRole::Operator)),
            Some(server.operator_key.clone()),
        ]);
        assert!(server.routes.iter().any(|route| route.path == "/v1/keys"));
        for route in &server.routes {
            let expected = expected(route).unwrap_or_else(|| panic!("say who may call {route:?}"));
            for (asker, (key, expected)) in askers.0.iter().zip(expected).enumerate() {
                let status = server.status(key.as_ref(), route).await;
                assert_eq!(status, expected, "asker {asker} calls {route:?}");
            }
        }
    }

    #[tokio::test]
    async fn of_all_hosts_and_origins_the_queens_own_alone_reach_a_handler() {
        let server = Server::start().await;
        server.create("carol", KeyRole::User);
        let client = Client::tcp(&server.url, &server.operator_key).expect("the HTTP library can be set up");
        let job =
            client.submit(&SubmitRequest::new(Operation::HiveList {})).await.expect("there is room").job_id;
        let mut follow = client.follow(&job, 0);
        while follow.next().await.expect("the stream goes on").is_some() {}

        let path = |route: &Route| {
            let id = if route.path.starts_with("/v1/responses") { "resp_0" } else { job.as_str() };
            route.path.replace("{id}", id).replace("{name}", "carol").replace("{model}", "m")
        };
        let call = |route: &Route| {
            let answers: &[u16] = match (route.method.as_str(), route.path) {
                // The first to come makes the key, or has the other revoked.
                ("POST", "/v1/keys") => &[201, 409],
                ("DELETE", "/v1/keys/{name}") => &[200, 404],
                // There is no hive, and nothing that they ask for.
                (_, path) if path.starts_with("/api/") || path.starts_with("/v1/m") => &[200, 400, 404],
                (_, path) if OPENAI.iter().any(|begin| path.starts_with(begin)) => &[400, 404],
                _ => &[200, 201, 202],
            };
            Call { method: route.method.clone(), path: path(route), body: body(route), answers }
        };
        let mut calls: Vec<Call> = server.routes.iter().map(call).collect();
        calls.extend(matrix::others(&server.routes, call));
        let authority = server.url.strip_prefix("http://").expect("a URL");
        let reached = matrix::check(authority, &server.operator_key, &calls).await;
        // Lists of models and workers are jobs too, and are asked for by GET and HEAD.
        let lists = ["/v1/models", "/v1/models/{model}", "/api/tags", "/api/ps"].len() * 2;
        assert_eq!(client.jobs().await.expect("the queen answers").jobs.len(), 1 + (1 + lists) * reached);
    }

    /// The documented routes, and for whom each is.
    fn documented() -> Vec<(String, String, bool)> {
        let description: Value = serde_json::from_str(&description()).expect("it is JSON");
        let paths = description["paths"].as_object().expect("paths by name");
        let operations = paths.iter().flat_map(|(path, item)| {
            let methods = item.as_object().expect("operations by method").iter();
            methods.map(move |(method, operation)| {
                // Without a word of its own, an operation is as the whole: with a key.
                let open = operation["security"] == json!([{}]);
                (path.clone(), method.to_uppercase(), open)
            })
        });
        operations.collect()
    }

    #[tokio::test]
    async fn what_is_asked_is_in_no_log() {
        let server = Server::start().await;
        let client = Client::tcp(&server.url, &server.operator_key).expect("the HTTP library can be set up");
        let message = Message::new(Role::User, "a secret of whoever asks");
        let infer = InferRequest { messages: vec![message], ..Default::default() };
        let request = SubmitRequest::new(Operation::Infer(infer));
        let job = client.submit(&request).await.expect("there is room").job_id;
        let mut follow = client.follow(&job, 0);
        // There is no hive, so it ends.
        while follow.next().await.expect("the stream goes on").is_some() {}
        let mut lines = server.lines.job(job.as_str());
        assert!(!lines.is_empty());
        lines.extend(server.lines.system());
        assert!(lines.iter().all(|line| !line.formatted.contains("secret")), "{lines:?}");
    }

    #[tokio::test]
    async fn the_description_has_every_route_and_no_other() {
        let server = Server::start().await;
        let routes = server.routes.iter().map(|route| {
            let open = matches!(route.permission, Permission::Open | Permission::Guest);
            (route.path.to_owned(), route.method.to_string(), open)
        });
        let routes: BTreeSet<_> = routes.collect();
        assert_eq!(documented().into_iter().collect::<BTreeSet<_>>(), routes);
    }

    #[test]
    fn the_description_tells_each_code_under_its_status() {
        let description: Value = serde_json::from_str(&description()).expect("it is JSON");
        let items = description["paths"].as_object().expect("paths by name").values();
        let operations = items.flat_map(|item| item.as_object().expect("operations by method").values());
        let answers =
            operations.flat_map(|operation| operation["responses"].as_object().expect("answers by status"));
        for (status, answer) in answers.filter(|(status, _)| !status.starts_with('2')) {
            let text = answer["description"].as_str().expect("every answer is described");
            let (codes, _) = text.split_once(':').expect("codes, then what they mean");
            for code in codes.split(", ") {
                let parsed: ErrorCode = serde_json::from_str(&code.replace('`', "\"")).expect("a code");
                assert_eq!(parsed.http_status().to_string(), *status, "{text}");
            }
        }
    }

    #[tokio::test]
    async fn an_operator_who_revokes_their_own_key_is_told_that_it_is_done() {
        let server = Server::start().await;
        for round in 0..20 {
            let name = format!("op-{round}");
            let client = Client::tcp(&server.url, &server.create(&name, KeyRole::Operator))
                .expect("the HTTP library can be set up");
            let name: KeyName = name.parse().expect("a name");
            assert_eq!(client.revoke_key(&name).await.expect("it is revoked").name, name);
            let refused = client.keys().await.expect_err("the key is revoked");
            assert!(matches!(refused, ClientError::Api(error) if error.code == ErrorCode::Unauthorized));
        }
    }

    #[tokio::test]
    async fn what_is_no_name_of_a_key_is_refused_and_makes_none() {
        let server = Server::start().await;
        let http = reqwest::Client::builder().no_proxy().build().expect("the HTTP library can be set up");
        for body in [
            r#"{"name":"Ada"}"#,
            r#"{"name":""}"#,
            r#"{"name":"ada","role":"king"}"#,
            r#"{"name":"operator"}"#,
            "{}",
        ] {
            let request = http.post(format!("{}/v1/keys", server.url)).bearer_auth(&server.operator_key);
            let request = request.header("Content-Type", "application/json").body(body);
            assert_eq!(request.send().await.expect("the queen answers").status(), 400, "{body}");
        }
        for path in ["Ada", "%2e%2e", "%FF", "nobody"] {
            let request = http.delete(format!("{}/v1/keys/{path}", server.url));
            let answer = request.bearer_auth(&server.operator_key).send().await.expect("the queen answers");
            assert_eq!(answer.status(), 404, "{path}");
        }
        assert_eq!(server.keys.list().keys.len(), 1);
    }
}
