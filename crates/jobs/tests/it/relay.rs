use std::future::pending;
use std::time::Duration;

use rbee_jobs::{Child, JobWriter, Limits, Relayed, relay};
use rbee_protocol::{
    Client, ClientError, EndState, ErrorCode, Event, Followed, JobEvent, JobId, JobState, Operation,
    SubmitRequest, Submitted,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::support::{Server, detached, end, principal, script, stream_path, text, token};

const A_LONG_TIME: Duration = Duration::from_secs(3600);

/// A job of ada's, which no service runs.
fn job(server: &Server) -> JobWriter {
    server.jobs.create(&principal("ada"), &detached("")).expect("there is room")
}

/// What was appended to `job` between its creation and its end.
async fn copied(server: &Server, job: JobWriter) -> Vec<JobEvent> {
    let id = job.id().clone();
    drop(job);
    let events = server.events("ada", &id).await;
    events[1..events.len() - 1].iter().map(|followed| followed.event.clone()).collect()
}

fn all_but_the_end(events: &[Followed]) -> Vec<JobEvent> {
    end(events);
    events[..events.len() - 1].iter().map(|followed| followed.event.clone()).collect()
}

#[tokio::test]
async fn the_next_hops_events_are_copied_in_order_and_its_end_returned() {
    let (near, far) = (Server::start().await, Server::start().await);
    for (steps, state) in
        [("narrate one\ntokens 300 x\nnarrate two", EndState::Succeeded), ("fail", EndState::Failed)]
    {
        let job = job(&near);
        let relayed = relay(
            &job,
            &far.client("queen"),
            Child::New(Box::new(script(steps)), None),
            A_LONG_TIME,
            pending::<()>(),
        )
        .await;
        let Relayed::Ended(ended) = relayed else { panic!("{relayed:?}") };
        assert_eq!(ended.state, state);
        let jobs = far.client("queen").jobs().await.expect("the daemon answers").jobs;
        let mut sent = Vec::new();
        for job in jobs {
            let events = far.events("queen", &job.job_id).await;
            if end(&events) == &ended {
                sent = all_but_the_end(&events);
            }
        }
        assert_eq!(copied(&near, job).await, sent);
    }
}

#[tokio::test]
async fn a_relay_that_takes_up_another_goes_on_where_that_one_stopped() {
    let (near, far) = (Server::start().await, Server::start().await);
    let (job, client) = (job(&near), far.client("queen"));
    let child = far.submit("queen", &script("narrate one\ngate\ntokens 3 x")).await;
    let relay = |child| relay(&job, &client, Child::Existing(child), A_LONG_TIME, pending::<()>());
    let first_words = async {
        let mut follow = near.client("ada").follow(job.id(), 0);
        while let Some(event) = follow.next().await.expect("the stream goes on") {
            if event.json.contains("one") {
                return;
            }
        }
    };
    tokio::select! {
        relayed = relay(child.clone()) => panic!("{relayed:?} before the gate was opened"),
        () = first_words => {}
    }
    far.open(1);
    let relayed = relay(child.clone()).await;
    assert!(matches!(relayed, Relayed::Ended(_)), "{relayed:?}");
    let sent = all_but_the_end(&far.events("queen", &child).await);
    assert_eq!(copied(&near, job).await, sent);
}

#[tokio::test]
async fn a_refusal_of_the_next_hop_is_returned() {
    let (near, far) = (Server::start().await, Server::start().await);
    let job = job(&near);
    let request = SubmitRequest::new(Operation::HiveWatch {});
    let relayed =
        relay(&job, &far.client("queen"), Child::New(Box::new(request), None), A_LONG_TIME, pending::<()>())
            .await;
    let Relayed::Failed(ClientError::Api(error)) = relayed else { panic!("{relayed:?}") };
    assert_eq!(error.code, ErrorCode::Unavailable);
}

#[tokio::test]
async fn a_cancellation_is_passed_on_and_its_confirmation_awaited() {
    let (near, far) = (Server::start().await, Server::start().await);
    let job = job(&near);
    let client = far.client("queen");
    let relaying = relay(
        &job,
        &client,
        Child::New(Box::new(script("wait\ntokens 2 x")), None),
        A_LONG_TIME,
        pending::<()>(),
    );
    let cancelling = async {
        let mut follow = near.client("ada").follow(job.id(), 0);
        // Once what the next hop says of itself has come through, after the first line, it works on the job.
        for _ in 0..2 {
            follow.next().await.expect("the stream goes on").expect("the job has not ended");
        }
        near.client("ada").cancel(job.id()).await.expect("the job is known");
    };
    let (relayed, ()) = tokio::join!(relaying, cancelling);
    let Relayed::Ended(ended) = relayed else { panic!("{relayed:?}") };
    assert_eq!(ended.state, EndState::Cancelled);
    let events = copied(&near, job).await;
    assert_eq!(events[1..], [token(0, "x"), token(1, "x")], "what came between counts");
}

#[tokio::test]
async fn a_cancellation_that_is_not_confirmed_in_time_is_reported() {
    let (near, far) = (Server::start().await, Server::start().await);
    let job = job(&near);
    near.client("ada").cancel(job.id()).await.expect("the job is known");
    let client = far.client("queen");
    let relayed =
        relay(&job, &client, Child::New(Box::new(detached("gate")), None), Duration::ZERO, pending::<()>())
            .await;
    assert!(matches!(relayed, Relayed::Unconfirmed), "{relayed:?}");
}

#[tokio::test]
async fn a_next_hop_that_does_not_even_take_the_job_is_not_waited_for_either() {
    let near = Server::start().await;
    let job = job(&near);
    // It takes connections, as the system does for a process that is stopped, and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let client = Client::tcp(&url, "key").expect("the HTTP library can be set up");
    let relaying =
        relay(&job, &client, Child::New(Box::new(script("")), None), Duration::ZERO, pending::<()>());
    let cancelling = async {
        let (mut connection, _) = listener.accept().await.expect("it listens");
        read_to(&mut connection, "}").await;
        near.client("ada").cancel(job.id()).await.expect("the job is known");
        connection
    };
    let (relayed, _connection) = tokio::join!(relaying, cancelling);
    assert!(matches!(relayed, Relayed::Unconfirmed), "{relayed:?}");
}

#[tokio::test]
async fn a_job_over_its_quota_stops_the_next_hop() {
    let near = Server::with(Limits { job_bytes: 20 << 10, ..Limits::default() }).await;
    let far = Server::start().await;
    let job = job(&near);
    let client = far.client("queen");
    let relayed = relay(
        &job,
        &client,
        Child::New(Box::new(script("tokens 1000 <secret>\nwait")), None),
        A_LONG_TIME,
        pending::<()>(),
    )
    .await;
    let Relayed::Ended(ended) = relayed else { panic!("{relayed:?}") };
    assert_eq!(ended.state, EndState::Cancelled);
    assert_eq!(job.cancel_error().code, ErrorCode::Quota);
    let events = near.events("ada", job.id()).await;
    assert_eq!(end(&events).error.as_ref().map(|error| error.code), Some(ErrorCode::Quota));
    assert!(text(&events).len() > 10);
    // What was sent in vain is dropped, and told to nobody.
    let logged = serde_json::to_string(&near.lines.job(job.id().as_str())).expect("lines are plain data");
    assert!(!logged.contains("<secret>"), "{logged}");
}

/// A request, as far as `last`.
async fn read_to(stream: &mut TcpStream, last: &str) {
    let mut request = String::new();
    while !request.ends_with(last) {
        request.push(char::from(stream.read_u8().await.expect("the request comes whole")));
    }
}

/// A daemon that takes one job, sends `stream` in one go, and is gone.
async fn short_lived(listener: TcpListener, stream: &str, gone: oneshot::Sender<&'static str>) {
    let job_id = JobId::from_bits(1);
    let sse_url = stream_path(&job_id);
    let submitted = Submitted { job_id, sse_url, state: JobState::Queued };
    let submitted = serde_json::to_string(&submitted).expect("an answer is plain data");

    let (mut connection, _) = listener.accept().await.expect("it listens");
    read_to(&mut connection, "}").await;
    let length = submitted.len();
    let answer =
        format!("HTTP/1.1 201 Created\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{submitted}");
    connection.write_all(answer.as_bytes()).await.expect("the client reads");

    let (mut connection, _) = listener.accept().await.expect("it listens");
    read_to(&mut connection, "\r\n\r\n").await;
    let answer =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n{stream}");
    connection.write_all(answer.as_bytes()).await.expect("the client reads");
    drop((connection, listener));
    gone.send("it is gone").expect("the relay waits for this");
}

async fn check_last_words(events: &[JobEvent]) -> (Relayed<&'static str>, Vec<JobEvent>) {
    let mut stream = String::new();
    for (event, seq) in events.iter().cloned().zip(1_u64..) {
        let data = serde_json::to_string(&Event { seq, event }).expect("an event is plain data");
        stream += &format!("id: {seq}\ndata: {data}\n\n");
    }
    let near = Server::start().await;
    let job = job(&near);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let client = Client::tcp(&url, "key").expect("the HTTP library can be set up");
    let (gone, why) = oneshot::channel();
    let why = async { why.await.expect("it says so when it goes") };
    let (relayed, ()) = tokio::join!(
        relay(&job, &client, Child::New(Box::new(script("")), None), A_LONG_TIME, why),
        short_lived(listener, &stream, gone)
    );
    (relayed, copied(&near, job).await)
}

#[tokio::test]
async fn what_a_next_hop_sent_before_it_went_away_is_copied() {
    let events: Vec<JobEvent> = (0..2000).map(|index| token(index, "x")).collect();
    let (relayed, copied) = check_last_words(&events).await;
    assert!(matches!(relayed, Relayed::Gone("it is gone")), "{relayed:?}");
    assert!(copied == events, "{} of {} events were copied", copied.len(), events.len());
}

#[tokio::test]
async fn an_end_that_a_next_hop_sent_before_it_went_away_counts() {
    let events = [token(0, "x"), JobEvent::End(Box::new(rbee_protocol::End::succeeded()))];
    let (relayed, copied) = check_last_words(&events).await;
    assert!(matches!(relayed, Relayed::Ended(end) if end.state == EndState::Succeeded));
    assert_eq!(copied, events[..1]);
}
